package replica

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/events"
)

// following returns a node that has applied a commit and a tick.
func following(t *testing.T) *orderCase {
	o := newOrderCase(t)
	o.run([]string{"generation"})
	o.run([]string{"batch", "a1"})
	o.run([]string{"tick", "a1", "1"})
	return o
}

func (o *orderCase) pass(d time.Duration) { o.node.sim.now += d }

func TestReady(t *testing.T) {
	o := newOrderCase(t)
	r := o.node.r
	refused := func(reason string) {
		t.Helper()
		if err := r.Ready(); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%v, want %q", err, reason)
		}
	}
	refused("joining")
	o.run([]string{"generation"})
	refused("not applied a tick")
	o.run([]string{"tick", "a0"})
	if err := r.Ready(); err != nil {
		t.Error(err)
	}
	o.pass(notReadyAfter + time.Millisecond)
	refused("no tick for 3.001s")
	o.run([]string{"tick", "a0"})
	if err := r.Ready(); err != nil {
		t.Error(err)
	}
	o.run([]string{"kind", "9"})
	refused("kind 9")
	if r.Failure() == nil || r.Prove("edge", base, 1) != 0 {
		t.Error("a stopped node proves something")
	}
}

// TestOldTicks: a node that follows again reads ticks that it has applied before. They do
// not show that the node still hears from its cluster.
func TestOldTicks(t *testing.T) {
	o := following(t)
	r := o.node.r
	newest := r.Status().LastTick
	o.pass(time.Minute)
	r.start()
	for _, line := range [][]string{{"at", "2", "batch", "a1"}, {"at", "3", "tick", "a1", "1"}} {
		o.run(line)
	}
	if at := r.Status().LastTick; at != newest || r.Failure() != nil {
		t.Errorf("an old tick was applied at %v, first at %v; failure: %v", at, newest, r.Failure())
	}
	o.run([]string{"tick", "a1", "2"})
	if at := r.Status().LastTick; !at.After(newest) {
		t.Error("a new tick does not count")
	}
}

// TestTicksOfTheProcessBefore: a process that has just started believes ticks from its
// own first one on.
func TestTicksOfTheProcessBefore(t *testing.T) {
	o := following(t)
	o.restart()
	r := o.node.r
	r.caughtUp = false
	own := func(number uint64) []byte {
		return appendTick(nil, &tick{Node: "n1", Generation: [16]byte{1}, Challenges: []challenge{{".n1", number}, {"edge", base + 7}}})
	}
	take := func(data []byte, want uint64) {
		t.Helper()
		o.seq++
		if err := r.take(t.Context(), []Entry{{o.seq, data}}); err != nil {
			t.Fatal(err)
		}
		if got := r.Prove("edge", base, 1); got != want || r.Status().LastTick.IsZero() != (want == 0) {
			t.Errorf("it proves %d, want %d; newest tick %v", got, want, r.Status().LastTick)
		}
	}
	o.seq = 1
	take(o.entry([]string{"batch", "a1"}), 0) // the entry of the cursor
	take(o.entry([]string{"tick", "a1", "3"}), 0)
	r.tick()
	take(own(r.firstBarrier), 0)
	if err := r.Ready(); err != ErrMute {
		t.Errorf("a node that is not heard says: %v", err)
	}
	take(own(r.barriers.Load()+1), 0)
	take(own(r.barriers.Load()), base+7)
	if err := r.Ready(); err != nil {
		t.Errorf("after its own tick: %v", err)
	}
	take(o.entry([]string{"tick", "a1", "9"}), base+9)
}

// TestTwin lets another process use the node's name.
func TestTwin(t *testing.T) {
	o := following(t)
	r := o.node.r
	other := appendState(nil, &state{Node: "n1", Boot: 99, Generation: [16]byte{1}})
	own := r.state()
	tell := func(state []byte, wait time.Duration, want error) {
		t.Helper()
		o.pass(wait)
		o.run([]string{"tick", "a1", "1"}) // the node stays fresh
		r.told(state)
		if got := r.Ready(); got != want {
			t.Errorf("%v, want %v", got, want)
		}
	}
	tell(appendState(nil, &own), 0, nil)
	tell(other, 0, nil) // a late message of the process before
	tell(other, 10*time.Second, nil)
	tell(other, time.Second, nil)
	tell(other, time.Second, ErrTwin)
	tell(other, time.Second, ErrTwin)
	tell(appendState(nil, &own), twinFor+time.Second, nil)
	for _, m := range r.Members() {
		if m.Boot == 99 {
			t.Errorf("%+v is a member", m)
		}
	}
}

// TestFailWhileCopying: a node whose View fails while the log is still being copied tells
// the other nodes that it has stopped, also afterwards.
func TestFailWhileCopying(t *testing.T) {
	o := newOrderCase(t)
	r := o.node.r
	r.Fail(errors.New("a commit cannot be applied"))
	head, _ := o.node.log.Head()
	if err := r.copyBefore(t.Context(), events.Generation{Position: head + 1}); err == nil {
		t.Error("it has copied a commit that no node has")
	}
	if s := r.state(); !s.Failed {
		t.Errorf("%+v: it does not say that it has stopped", s)
	}
}

// TestForkInStates tells the node of nodes that have other commits.
func TestForkInStates(t *testing.T) {
	for name, test := range map[string]struct {
		state state
		stops bool
	}{
		"the same":           {state{Generation: [16]byte{1}, Position: 1, Hash: events.Hash(record("a1"))}, false},
		"behind":             {state{Generation: [16]byte{1}}, false},
		"ahead":              {state{Generation: [16]byte{1}, Position: 2, Hash: events.Hash(record("b2"))}, false},
		"another generation": {state{Generation: [16]byte{2}, Position: 1, Hash: events.Hash(record("b1"))}, false},
		"another commit":     {state{Generation: [16]byte{1}, Position: 1, Hash: events.Hash(record("b1"))}, true},
	} {
		o := following(t)
		test.state.Node = "n2"
		o.node.r.told(appendState(nil, &test.state))
		if err := o.node.r.Failure(); (err != nil) != test.stops {
			t.Errorf("%s: %v", name, err)
		}
		o.node.r.told([]byte("unreadable"))
	}
}

func TestMembersAreBounded(t *testing.T) {
	o := following(t)
	for i := range 3 * maxMembers {
		o.pass(time.Second)
		o.node.r.told(appendState(nil, &state{Node: "m" + strings.Repeat("x", i), Age: noTick}))
	}
	members := o.node.r.Members()
	if len(members) != maxMembers+1 || members[0].ProofAge != -1 {
		t.Errorf("%d members, the first is %+v", len(members), members[0])
	}
}

// TestTwinInTicks orders ticks of another process with the node's name. Two log servers
// of one name may not hear each other, so such a process shows in the order only.
func TestTwinInTicks(t *testing.T) {
	o := following(t)
	r := o.node.r
	o.seq = r.Status().Applied
	order := func(wait time.Duration, node string, barrier uint64, want error) {
		t.Helper()
		o.pass(wait)
		data := appendTick(nil, &tick{Node: node, Generation: [16]byte{1}, Challenges: []challenge{{barrierPrefix + node, barrier}}})
		o.seq++
		if err := r.take(t.Context(), []Entry{{o.seq, data}}); err != nil {
			t.Fatal(err)
		}
		if err := r.Ready(); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	r.tick()
	own, other := r.barriers.Load(), r.firstBarrier^1<<60
	order(0, "n1", own, nil)
	order(0, "n1", other, nil) // the process before may have offered one more
	order(time.Second, "n1", own, nil)
	order(time.Second, "n2", other, nil)
	order(time.Second, "n1", other, ErrTwin)
	order(twinFor-time.Second, "n1", own, ErrTwin)
	order(2*time.Second, "n1", own, nil)
}
