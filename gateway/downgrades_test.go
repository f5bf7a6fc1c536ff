package gateway

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestDowngrades: the warning about a domain comes at most once an hour, and
// names the remedy.
func TestDowngrades(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		d := &downgrades{logger: slog.New(slog.NewTextHandler(&log, nil)), told: make(map[string]time.Time)}
		lines := func() int { return strings.Count(log.String(), "level=WARN") }
		d.tell("a.test", []string{"SCRAM-SHA-1-PLUS"})
		d.tell("a.test", []string{"SCRAM-SHA-1-PLUS"})
		d.tell("b.test", []string{"SCRAM-SHA-1-PLUS"})
		if lines() != 2 {
			t.Errorf("log:\n%s", log.String())
		}
		<-time.After(downgradeEvery)
		d.tell("a.test", nil)
		if lines() != 3 {
			t.Errorf("an hour later:\n%s", log.String())
		}
		for _, want := range []string{"domain=a.test", "SCRAM-SHA-1-PLUS", "disable_sasl_scram_downgrade_protection", "mod_sasl_ssdp"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("no %s in\n%s", want, log.String())
			}
		}
		for i := range 2 * maxDowngrades {
			d.tell(fmt.Sprint(i), nil)
		}
		if len(d.told) > maxDowngrades {
			t.Errorf("%d domains are remembered", len(d.told))
		}
	})
}
