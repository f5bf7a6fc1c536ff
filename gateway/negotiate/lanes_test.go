package negotiate

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-im/postern/decision"
)

// A walker enters a lane and keeps its turn until it is told the outcome with
// which to leave.
type walker struct {
	in  bool
	err error
	out chan outcome
}

// walk lets n walkers enter a lane, one after the other.
func walk(ctx context.Context, l *lanes, n int) []*walker {
	ws := make([]*walker, n)
	for i := range ws {
		w := &walker{out: make(chan outcome)}
		ws[i] = w
		go func() {
			leave, err := l.enter(ctx, "a", TurnTimeout)
			if w.err = err; err != nil {
				return
			}
			w.in = true
			leave(<-w.out, errors.New("no route"))
		}()
		synctest.Wait()
	}
	return ws
}

func (w *walker) leave(o outcome) {
	w.out <- o
	synctest.Wait()
}

// wantLane compares the numbers of a lane with the wanted ones.
func wantLane(t *testing.T, l *lanes, waiting, underWay int) {
	t.Helper()
	if w, u := l.counts(); w != waiting || u != underWay {
		t.Errorf("%d wait and %d are under way, want %d and %d", w, u, waiting, underWay)
	}
}

// TestLanesInOrder checks that at most maxDials connections have a turn, and
// that they get it in the order of arrival.
func TestLanesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lanes{by: map[string]*lane{}}
		ws := walk(t.Context(), l, maxDials+5)
		wantLane(t, l, 5, maxDials)
		for i := range 5 {
			if ws[maxDials+i].in {
				t.Fatalf("%d goes before its turn", maxDials+i)
			}
			ws[i].leave(answered)
			if !ws[maxDials+i].in {
				t.Fatalf("%d was to be next", maxDials+i)
			}
		}
		wantLane(t, l, 0, maxDials)
		for _, w := range ws[5:] {
			w.leave(unclear)
		}
		wantLane(t, l, 0, 0)
		if len(l.by) != 0 {
			t.Error("a lane is left that nobody is in")
		}
	})
}

// TestLanesOfTwoAddresses checks that one address does not delay the other.
func TestLanesOfTwoAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lanes{by: map[string]*lane{}}
		ws := walk(t.Context(), l, maxDials)
		leave, err := l.enter(t.Context(), "b", 0)
		if err != nil {
			t.Fatal(err)
		}
		leave(answered, nil)
		for _, w := range ws {
			w.leave(answered)
		}
	})
}

// TestLanesGiveUp checks that a connection which has waited too long, or is
// canceled, leaves the queue without effect on the others.
func TestLanesGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lanes{by: map[string]*lane{}}
		ws := walk(t.Context(), l, maxDials)
		late := walk(t.Context(), l, 1)[0]
		ctx, stop := context.WithCancel(t.Context())
		stopped := walk(ctx, l, 1)[0]
		<-time.After(time.Second)
		patient := walk(t.Context(), l, 1)[0]
		stop()
		synctest.Wait()
		if !errors.Is(stopped.err, context.Canceled) {
			t.Errorf("stopped: %v", stopped.err)
		}
		<-time.After(TurnTimeout - time.Second)
		synctest.Wait()
		if !errors.Is(late.err, errTurn) || patient.err != nil {
			t.Errorf("late: %v, patient: %v", late.err, patient.err)
		}
		wantLane(t, l, 1, maxDials)
		ws[0].leave(answered)
		if !patient.in {
			t.Error("the queue has stopped")
		}
		for _, w := range append(ws[1:], patient) {
			w.leave(answered)
		}
		wantLane(t, l, 0, 0)
	})
}

// TestLanesDown checks that an unreachable address fails all waiting
// connections at once, and that no connection tries it again for a second.
func TestLanesDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lanes{by: map[string]*lane{}}
		ws := walk(t.Context(), l, maxDials+2)
		<-time.After(time.Second)
		ws[0].leave(unreachable)
		for _, w := range ws[maxDials:] {
			if !errors.Is(w.err, errDown) || !strings.Contains(w.err.Error(), "no route") {
				t.Errorf("waiting: %v", w.err)
			}
		}
		wantLane(t, l, 0, maxDials-1)
		if w := walk(t.Context(), l, 1)[0]; !errors.Is(w.err, errDown) {
			t.Errorf("a moment later: %v", w.err)
		}
		for _, w := range ws[1:maxDials] {
			w.leave(unclear)
		}
		<-time.After(downTime)
		again := walk(t.Context(), l, 1)[0]
		if !again.in {
			t.Errorf("a second later: %v", again.err)
		}
		again.leave(answered)
		if len(l.by) != 0 {
			t.Error("a lane is left that nobody is in")
		}
	})
}

// TestLanesLoss checks that an address does not count as down if it has
// answered another connection in the meantime, or if the outcome was unclear.
func TestLanesLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lanes{by: map[string]*lane{}}
		ws := walk(t.Context(), l, maxDials+4)
		<-time.After(time.Second)
		ws[0].leave(answered)
		ws[1].leave(unreachable)
		ws[2].leave(unclear)
		<-time.After(time.Second)
		if !ws[maxDials+2].in || ws[maxDials+3].err != nil {
			t.Error("one loss among successes ends the wait of others")
		}
		for i, w := range ws[3:] {
			if !w.in {
				t.Fatalf("%d has had no turn", i+3)
			}
			w.leave(answered)
		}
	})
}

// TestLanesSwept checks that lanes of addresses that were down are removed.
func TestLanesSwept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lanes{by: map[string]*lane{}}
		for i := range 10 * keptLanes {
			leave, err := l.enter(t.Context(), fmt.Sprint(i), 0)
			if err != nil {
				t.Fatal(err)
			}
			leave(unreachable, errors.New("no route"))
			<-time.After(downTime / 10)
		}
		if len(l.by) > keptLanes {
			t.Errorf("%d lanes are kept", len(l.by))
		}
	})
}

// TestConnectPaced checks that, of many connections at once, at most maxDials
// are unfinished, and that all of them try the second address if the first is
// silent.
func TestConnectPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		most, now := 0, 0
		var serving sync.WaitGroup
		dial := func(ctx context.Context, _, address string) (net.Conn, error) {
			if address == "silent" {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			ours, theirs := net.Pipe()
			serving.Go(func() {
				defer ours.Close()
				<-time.After(time.Second)
				mu.Lock()
				now--
				mu.Unlock()
				(&testBackend{}).serve(ours)
			})
			return theirs, nil
		}
		n := pacedNegotiator(t, dial)
		began := time.Now()
		var all sync.WaitGroup
		for range 3 * maxDials {
			all.Go(func() {
				x := newNegotiation(n, "a.test", decision.Backend{Address: "silent"}, decision.Backend{Address: "good"})
				if err := x.connect(t.Context()); err != nil {
					t.Error(err)
					return
				}
				x.unhook()
				x.backend.close(nil)
			})
		}
		all.Wait()
		serving.Wait()
		if most != maxDials {
			t.Errorf("%d under way at once, want %d", most, maxDials)
		}
		if took := time.Since(began); took != ConnectTimeout+3*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// TestConnectSilent checks that a backend counts as unreachable if it accepts
// the connection and sends nothing, but not if it sends anything.
func TestConnectSilent(t *testing.T) {
	for _, c := range []struct {
		says string
		want outcome
	}{
		{"", unreachable}, {testHeader, unclear}, {"x", unclear},
	} {
		synctest.Test(t, func(t *testing.T) {
			var serving sync.WaitGroup
			n := pacedNegotiator(t, func(context.Context, string, string) (net.Conn, error) {
				ours, theirs := net.Pipe()
				serving.Go(func() {
					buf := make([]byte, 1024)
					_, _ = ours.Read(buf)
					if c.says != "" { // a pipe delivers an empty write
						_, _ = ours.Write([]byte(c.says))
					}
					for {
						if _, err := ours.Read(buf); err != nil {
							return
						}
					}
				})
				return theirs, nil
			})
			x := newNegotiation(n, "a.test")
			o, err := x.try(t.Context(), decision.Backend{Address: "a"})
			if o != c.want || err == nil {
				t.Errorf("%q: outcome %d, %v", c.says, o, err)
			}
			x.unhook()
			x.backend.close(nil)
			serving.Wait()
		})
	}
}

func pacedNegotiator(t *testing.T, dial func(context.Context, string, string) (net.Conn, error)) *Negotiator {
	t.Helper()
	n, err := New(Config{Admitter: noAdmitter{}, Certificate: func(string) *tls.Certificate { return nil }, Dial: dial})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
