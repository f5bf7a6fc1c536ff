package natsserver_test

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/postern-im/postern/internal/natsserver"
	"github.com/postern-im/postern/internal/natsserver/natsservertest"
)

// eventually waits until done returns true.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within 30 s: %s", what)
		case <-tick.C:
		}
	}
}

func TestLogServersJoin(t *testing.T) {
	c := natsservertest.New(t, 3)
	for i := range c.Configs {
		c.Configs[i].Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	all := c.StartAll()
	for _, s := range all {
		eventually(t, "three log servers see each other", func() bool { return len(s.Seen()) == 3 })
		if !s.SyncAlways() || s.Refused() > 0 || len(s.Twins()) > 0 {
			t.Errorf("%s: syncs %v, refused %d, twins %v", s.Name(), s.SyncAlways(), s.Refused(), s.Twins())
		}
	}
	var members []natsserver.LogMember
	eventually(t, "three current members", func() bool {
		var err error
		members, err = all[1].Members(t.Context())
		return err == nil && len(members) == 3 && !slices.ContainsFunc(members, func(m natsserver.LogMember) bool { return !m.Current })
	})
	for i, m := range members {
		if m.Name != all[i].Name() || m.Node != c.Configs[i].Node {
			t.Errorf("member %d is %+v, want %s", i, m, all[i].Name())
		}
	}
}
