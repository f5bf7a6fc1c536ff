package overnats

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postern-im/postern/decision"
)

// A wire is an Asker's network inside a synctest bubble. The test decides how it
// handles each message.
type wire struct {
	*Asker
	replies chan *nats.Msg
	mu      sync.Mutex
	sent    int
}

// onWire runs an Asker with one link until the test ends. The Asker's messages are
// passed to send.
func onWire(t *testing.T, send func(w *wire, reply string, msg []byte) error) *wire {
	t.Helper()
	return onWires(t, 1, func(w *wire, _ int, reply string, msg []byte) error { return send(w, reply, msg) })
}

// onWires runs an Asker with several links until the test ends.
func onWires(t *testing.T, links int, send func(w *wire, link int, reply string, msg []byte) error) *wire {
	t.Helper()
	w := &wire{replies: make(chan *nats.Msg, maxReplies)}
	w.Asker = newAsker(Config{Gateway: "gw1", Links: make([]LinkConfig, links), Logger: quiet(), Clock: bubbleTime})
	for i, l := range w.links {
		l.publish = func(_, reply string, msg []byte) error {
			w.mu.Lock()
			w.sent++
			w.mu.Unlock()
			return send(w, i, reply, msg)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		w.run(ctx, w.replies, func(context.Context, *sync.WaitGroup) {
			for _, l := range w.links {
				w.connection(l, true)
			}
		})
		close(done)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return w
}

// bubbleTime is the boot-time clock of a synctest bubble.
func bubbleTime() time.Duration { return time.Duration(time.Now().UnixNano()) }

// silence answers no message.
func silence(*wire, string, []byte) error { return nil }

// answer returns a network that answers every question with Pass after the given
// time.
func answer(after time.Duration) func(*wire, string, []byte) error {
	return func(w *wire, reply string, msg []byte) error {
		var b decision.Batch
		if err := decision.DecodeBatch(msg, &b); err != nil {
			return err
		}
		r := decision.Reply{ReplyHead: decision.ReplyHead{ID: b.ID, Node: "n1", At: decision.Mark{LogID: "log", Position: 1}}}
		for i := range b.Requests {
			r.Results = append(r.Results, decision.Result{Kind: decision.Ask, Verdict: decision.Verdict{Effect: decision.Pass, Position: b.Requests[i].Question.ID}})
		}
		out := decision.AppendReply(nil, &r)
		time.AfterFunc(after, func() { w.replies <- &nats.Msg{Subject: reply, Data: out} })
		return nil
	}
}

func TestHoldIsKeptToTheMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := onWire(t, silence)
		begin := time.Now()
		if err := askOne(t, w.Asker, 1, 5*time.Second); !errors.Is(err, ErrUnavailable) || time.Since(begin) != 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		if err := askOne(t, w.Asker, 1, 5*time.Second); !errors.Is(err, ErrUnavailable) || time.Since(begin) != 5*time.Second {
			t.Errorf("the second: %v after %v", err, time.Since(begin))
		}
		if err := askOne(t, w.Asker, 1, 30*time.Second); !errors.Is(err, ErrUnavailable) || time.Since(begin) != 30*time.Second {
			t.Errorf("with a longer hold time: %v after %v", err, time.Since(begin))
		}
	})
}

func TestVerdictKnowsItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := onWire(t, answer(30*time.Millisecond))
		<-time.After(1100 * time.Millisecond) // between two pings
		begin, asked := time.Now(), bubbleTime()
		vs := make([]decision.Verdict, 1)
		if err := w.Ask(t.Context(), []decision.Question{question(1)}, vs, time.Second); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 30*time.Millisecond || vs[0].AskedAt != asked || vs[0].ProvenAt != asked {
			t.Errorf("answered after %v, asked at %v, which is %v after the call", took, vs[0].AskedAt, vs[0].AskedAt-asked)
		}
	})
}

func TestSendFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failures := 3
		good := answer(time.Millisecond)
		w := onWire(t, func(w *wire, reply string, msg []byte) error {
			if failures > 0 {
				failures--
				return nats.ErrReconnectBufExceeded
			}
			return good(w, reply, msg)
		})
		begin := time.Now()
		if err := askOne(t, w.Asker, 1, 5*time.Second); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took > time.Second {
			t.Errorf("answered after %v", took)
		}
	})
}

// TestFullQueue checks that calls above maxPending wait for room, but not longer
// than their hold time.
func TestFullQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := onWire(t, silence)
		const each = 64
		qs := make([]decision.Question, each)
		for i := range qs {
			qs[i] = question(uint64(i))
		}
		var wg sync.WaitGroup
		for range maxPending / each {
			wg.Go(func() {
				if err := w.Ask(t.Context(), qs, make([]decision.Verdict, each), 10*time.Second); !errors.Is(err, ErrUnavailable) {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if w.core.pending != maxPending {
			t.Fatalf("%d requests wait", w.core.pending)
		}
		begin := time.Now()
		if err := askOne(t, w.Asker, 1, time.Second); !errors.Is(err, ErrUnavailable) || time.Since(begin) != time.Second {
			t.Errorf("one more: %v after %v", err, time.Since(begin))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := w.Ask(ctx, qs[:1], make([]decision.Verdict, 1), time.Minute)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("one more that gives up: %v", err)
		}
		late := make(chan error, 1)
		go func() { late <- askOne(t, w.Asker, 1, 20*time.Second) }()
		synctest.Wait()
		wg.Wait() // after 10 s there is room
		if err := <-late; !errors.Is(err, ErrUnavailable) || time.Since(begin) > 20*time.Second {
			t.Errorf("one more that found room: %v after %v", err, time.Since(begin))
		}
		if n := w.core.pending; n != 0 {
			t.Errorf("%d requests still wait", n)
		}
	})
}

// TestTooLong checks that a question longer than MaxQuestion fails at once.
func TestTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := onWire(t, answer(time.Millisecond))
		q := question(1)
		q.Desc.ID = []byte(strings.Repeat("x", decision.MaxQuestion))
		if err := w.Ask(t.Context(), []decision.Question{q}, make([]decision.Verdict, 1), time.Second); !errors.Is(err, ErrBadRequest) {
			t.Error(err)
		}
		if err := askOne(t, w.Asker, 2, time.Second); err != nil {
			t.Errorf("the next: %v", err)
		}
	})
}
