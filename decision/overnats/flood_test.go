package overnats

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A logBuffer keeps log lines.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// TestFloodOfBadBatches checks that all bad batches of a gateway are counted, but
// only two lines are logged for each kind of bad batch: the first batch, and a
// sum.
func TestFloodOfBadBatches(t *testing.T) {
	s := startNATS(t, -1)
	lines, metrics := new(logBuffer), prometheus.NewRegistry()
	r, err := NewResponder(ResponderConfig{
		Conn: connect(t, s), Node: "n1", Decider: newDecider(), Logger: slog.New(slog.NewTextHandler(lines, nil)), Metrics: metrics,
	})
	if err != nil {
		t.Fatal(err)
	}
	mad := connect(t, s)
	told, err := mad.SubscribeSync(announceSubject)
	if err != nil {
		t.Fatal(err)
	}
	if err := mad.Flush(); err != nil {
		t.Fatal(err)
	}
	stop := running(t, r.Serve)
	if _, err := told.NextMsg(10 * time.Second); err != nil { // it subscribes before its first announcement
		t.Fatal(err)
	}
	const each = 500 // fewer than maxWaiting
	send := func(reply string) {
		t.Helper()
		for i := range each {
			if err := mad.PublishRequest(askSubject("n1", "gw1"), reply, fmt.Append(nil, "nonsense ", i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	send("postern.reply.gw1.x.1")
	count := func(reason string) float64 {
		return metric(t, metrics, "postern_responder_refused_batches_total", reason)
	}
	eventually(t, func() bool { return count(refusedUnreadable) == each })
	send("postern.reply.gw2.x.1")
	eventually(t, func() bool { return count(refusedElsewhere) == each })
	stop()
	got := lines.String()
	for message, reason := range map[string]string{"a batch cannot be read": refusedUnreadable, "a batch asks for its answer to be sent to another gateway": refusedElsewhere} {
		if n := strings.Count(got, `msg="`+message+`" gateway=gw1`); n != 2 {
			t.Errorf("%s: %d lines:\n%s", reason, n, got)
		}
	}
	if n := strings.Count(got, fmt.Sprintf("count=%d within=", each-1)); n != 2 {
		t.Errorf("%d sums:\n%s", n, got)
	}
}

// metric returns the value of a counter or gauge. label is the value of its only
// label.
func metric(t *testing.T, from prometheus.Gatherer, name, label string) float64 {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && len(m.GetLabel()) == 1 && m.GetLabel()[0].GetValue() == label {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return 0
}

// eventually waits until a condition is true.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the condition did not become true in time")
		}
	}
}
