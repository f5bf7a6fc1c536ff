package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/gateway/session"
	"github.com/postern-im/postern/xmpp/stanza"
)

type noDecider struct{}

func (noDecider) Ask(context.Context, []decision.Question, []decision.Verdict, time.Duration) error {
	return nil
}

// TestVerdictMetrics: each counter of the sessions is exported with its own
// labels.
func TestVerdictMetrics(t *testing.T) {
	shared, err := session.NewShared(noDecider{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	if _, err := newMetrics(registry, shared); err != nil {
		t.Fatal(err)
	}
	shared.Effects[decision.Out][decision.Refuse].Add(3)
	shared.Faults[decision.In][stanza.BadFrom].Add(4)
	shared.Faults[decision.Out][stanza.Undescribable].Add(5)
	shared.Throttled[session.ThrottledStanzas].Add(uint64(1500 * time.Millisecond))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if m.GetCounter().GetValue() == 0 {
				continue
			}
			line := f.GetName()
			for _, l := range m.GetLabel() {
				line += " " + l.GetName() + "=" + l.GetValue()
			}
			got = append(got, fmt.Sprintf("%s: %v", line, m.GetCounter().GetValue()))
		}
	}
	const want = `postern_gateway_stanzas_faulty_total cause=bad-from direction=in: 4
postern_gateway_stanzas_faulty_total cause=undescribable direction=out: 5
postern_gateway_stanzas_total direction=out effect=refuse: 3
postern_gateway_throttled_seconds_total by=stanzas: 1.5`
	if text := strings.Join(got, "\n"); text != want {
		t.Errorf("exported\n%s\nwant\n%s", text, want)
	}
}
