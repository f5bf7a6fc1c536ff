package node_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	audit "github.com/postern-im/postern/audit/jsonl"
	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/node"
	"github.com/postern-im/postern/tenants"
)

// A failing recorder keeps records until it is set to fail.
type failing struct {
	mu     sync.Mutex
	err    error // the result of each call
	anyway bool  // keep the records even if err is set
	calls  int
	kept   []audit.Record
}

func (f *failing) Record(records []audit.Record) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.err == nil || f.anyway {
		f.kept = append(f.kept, records...)
	}
	return f.err
}

// Ready returns the error that Record would return.
func (f *failing) Ready() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (f *failing) set(err error, anyway bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err, f.anyway = err, anyway
}

// seen returns the number of calls of Record, and the records kept.
func (f *failing) seen() (calls int, kept []audit.Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls, append([]audit.Record(nil), f.kept...)
}

// TestUnrecorded: a node that cannot record gives no verdict. It logs that at once
// and each minute, and tries to record again each second. When it can, it writes a
// record of the outage and then decides again.
func TestUnrecorded(t *testing.T) {
	for name, anyway := range map[string]bool{"failed": false, "failed and happened": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { unrecorded(t, anyway) })
		})
	}
}

func unrecorded(t *testing.T, anyway bool) {
	l, err := eventlog.Open(eventlog.Config{Dir: "log", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	recorder, registry := new(failing), prometheus.NewRegistry()
	var text bytes.Buffer
	r := run(t, node.Config{Log: l, LogID: l.LogID(), Recorder: recorder, Metrics: registry, Logger: slog.New(slog.NewTextHandler(&text, nil))})
	defer r.stop()
	synctest.Wait()
	r.tenants()
	ask := func() decision.Reply {
		return r.answer(decision.Mark{}, chat(t, "acme", "bob@acme.test", "carol@acme.test", 2))
	}
	if reply := ask(); reply.Status != decision.StatusOK {
		t.Fatalf("before: %+v", reply)
	}
	stopped := time.Now()
	recorder.set(errors.New("no space left on device"), anyway)
	for range 3 {
		if reply := ask(); reply.Status != decision.StatusNotFresh || len(reply.Results) > 0 {
			t.Errorf("an unrecorded verdict was answered: %+v", reply)
		}
	}
	if calls, _ := recorder.seen(); calls != 2 {
		t.Errorf("%d calls: a node must not decide during an outage", calls)
	}
	if err := r.Ready(); !errors.Is(err, node.ErrUnrecorded) || !strings.Contains(err.Error(), "no space left") || r.State().Ready {
		t.Errorf("ready: %v", err)
	}
	if r.Failure() != nil {
		t.Errorf("failure: %v", r.Failure())
	}
	if recording := gauge(t, registry, "postern_node_recording"); recording != 0 {
		t.Errorf("recording: %v", recording)
	}
	if _, err := r.Execute(t.Context(), command("acme", "meanwhile", tenants.SuspendMember{JID: "eve@acme.test"})); err != nil {
		t.Errorf("a change meanwhile: %v", err)
	}
	<-time.After(150*time.Second + 500*time.Millisecond)
	if calls, _ := recorder.seen(); calls != 152 {
		t.Errorf("%d calls after 150 seconds", calls)
	}
	recorder.set(nil, false)
	<-time.After(time.Second)
	synctest.Wait()
	if err := r.Ready(); err != nil {
		t.Fatalf("the node is not ready, though it can record again: %v", err)
	}
	if recording := gauge(t, registry, "postern_node_recording"); recording != 1 {
		t.Errorf("recording: %v", recording)
	}
	if reply := ask(); reply.Status != decision.StatusOK {
		t.Errorf("afterwards: %+v", reply)
	}
	_, kept := recorder.seen()
	resumed := kept[len(kept)-2]
	if last := kept[len(kept)-1]; last.Kind != audit.Verdict || resumed.Kind != audit.Resumed || !resumed.Stopped.Equal(stopped) ||
		resumed.Cause != "no space left on device" || resumed.Node != "n1" || resumed.Position != 3 {
		t.Errorf("records: %+v", kept[len(kept)-2:])
	}
	if err := r.stop(); err != nil {
		t.Errorf("run: %v", err)
	}
	for part, want := range map[string]int{
		"gives no verdict until": 1, "still cannot be recorded": 2, "recorded again": 1, "error=\"no space left on device\" remedy=": 3,
	} {
		if n := strings.Count(text.String(), part); n != want {
			t.Errorf("%q is %d times in the log, want %d:\n%s", part, n, want, text.String())
		}
	}
}

// TestUnrecordedFromTheStart: a node that starts without room for records is not
// ready, and says so in its log, before the first question.
func TestUnrecordedFromTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := eventlog.Open(eventlog.Config{Dir: "log", FS: vfs.NewMem()})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		recorder, registry := new(failing), prometheus.NewRegistry()
		recorder.set(errors.New("the disk is nearly full"), false)
		var text bytes.Buffer
		r := run(t, node.Config{Log: l, LogID: l.LogID(), Recorder: recorder, Metrics: registry, Logger: slog.New(slog.NewTextHandler(&text, nil))})
		defer r.stop()
		synctest.Wait()
		if err := r.Ready(); !errors.Is(err, node.ErrUnrecorded) || gauge(t, registry, "postern_node_recording") != 0 {
			t.Errorf("ready: %v", err)
		}
		if n := strings.Count(text.String(), "gives no verdict until"); n != 1 {
			t.Errorf("%d lines in the log:\n%s", n, text.String())
		}
		recorder.set(nil, false)
		<-time.After(time.Second)
		synctest.Wait()
		if err := r.Ready(); err != nil {
			t.Errorf("there is room: %v", err)
		}
	})
}

// TestUnrecordedMeanwhile: if every record fails, no concurrent call of Answer gives
// a verdict. A node can be stopped during an outage.
func TestUnrecordedMeanwhile(t *testing.T) {
	l := openLog(t)
	recorder := new(failing)
	r := start(t, l, l.LogID(), recorder).ready()
	r.tenants()
	recorder.set(errors.New("input/output error"), false)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			if reply := r.answer(decision.Mark{}, chat(t, "acme", "bob@acme.test", "carol@acme.test", 2)); reply.Status != decision.StatusNotFresh {
				t.Errorf("reply %+v", reply)
			}
		})
	}
	wg.Wait()
	ended := make(chan error, 1)
	go func() { ended <- r.stop() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("run: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the node does not stop while it cannot record")
	}
	if err := r.Ready(); !errors.Is(err, node.ErrStopped) {
		t.Errorf("ready: %v", err)
	}
}

// A slow recorder holds its first call of Record until it is released, and then
// keeps the records. Every other call fails.
type slow struct {
	begun    atomic.Bool
	entered  chan struct{} // closed when the first call has begun
	released chan struct{} // closed to end the first call
}

func (s *slow) Record([]audit.Record) error {
	if s.begun.Swap(true) {
		return errors.New("input/output error")
	}
	close(s.entered)
	<-s.released
	return nil
}

func (*slow) Ready() error { return nil }

// TestRecordedDuringOutage: a batch whose records are written gets no verdict if
// another batch could not be recorded meanwhile. From that moment on the node has
// announced that it does not decide.
func TestRecordedDuringOutage(t *testing.T) {
	l := openLog(t)
	recorder := &slow{entered: make(chan struct{}), released: make(chan struct{})}
	r := start(t, l, l.LogID(), recorder).ready()
	r.tenants()
	ask := func() decision.Reply {
		return r.answer(decision.Mark{}, chat(t, "acme", "bob@acme.test", "carol@acme.test", 2))
	}
	recorded := make(chan decision.Reply, 1)
	go func() { recorded <- ask() }()
	<-recorder.entered
	if reply := ask(); reply.Status != decision.StatusNotFresh {
		t.Errorf("the batch that was not recorded: %+v", reply)
	}
	close(recorder.released)
	if reply := <-recorded; reply.Status != decision.StatusNotFresh || len(reply.Results) > 0 {
		t.Errorf("the batch that was recorded: %+v", reply)
	}
	if err := r.stop(); err != nil {
		t.Errorf("run: %v", err)
	}
}

// gauge returns the value of a gauge without labels.
func gauge(t *testing.T, from prometheus.Gatherer, name string) float64 {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
