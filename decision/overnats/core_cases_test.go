package overnats

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/postern-im/postern/decision"
)

// newCase returns a simulation with the given number of nodes, without loss and
// mishaps. All nodes are known, and a packet takes up to a millisecond.
func newCase(t *testing.T, nodes int) *simulation {
	return newLinksCase(t, 1, slices.Repeat([][]int{{0}}, nodes)...)
}

// newLinksCase returns such a simulation with several links. The nodes are named a,
// b, and so on, and reach names the links that reach each.
func newLinksCase(t *testing.T, links int, reach ...[]int) *simulation {
	s := newSimulation(t, 1)
	s.connect(links)
	s.nodes, s.poison = nil, 0
	for i, links := range reach {
		s.nodes = append(s.nodes, &simNode{id: string(rune('a' + i)), alive: true, wire: decision.Wire2, links: links})
	}
	s.delay = 0
	s.allConnected()
	s.announce()
	s.run(10 * time.Millisecond)
	s.delay = time.Millisecond
	s.batches, s.waits, s.rechecks = nil, nil, nil
	return s
}

// path returns the path to a node over a link.
func (s *simulation) path(node string, link int) *path {
	return s.core.node(node).on(s.core.links[link])
}

func TestHungNodeCostsOneHedge(t *testing.T) {
	s := newCase(t, 2)
	s.nodes[0].hung = true
	for range 2000 {
		s.ask(1, 5*time.Second)
		s.run(time.Millisecond)
	}
	s.run(time.Second)
	slow := 0
	for _, w := range s.waits {
		// A few packets take a hundred times as long.
		if w > hedgeAfter+2*100*s.delay {
			t.Errorf("a call waited %v", w)
		}
		if w >= hedgeAfter {
			slow++
		}
	}
	// Only messages in flight when the node hung, and messages sent after a
	// successful ping, can be slow.
	if slow > inFlight+20 || s.failed > 0 || s.answered != 2000 {
		t.Errorf("%d of %d calls waited for the hung node, %d failed", slow, s.answered, s.failed)
	}
	s.nodes[0].hung = false
	s.run(leaveAloneMost + time.Second)
	if p := s.path("a", 0); p == nil || p.misses > 0 {
		t.Errorf("the node works again, but is still avoided: %+v", p)
	}
}

func TestOutageCountsFromItsBeginning(t *testing.T) {
	s := newCase(t, 1)
	s.ask(1, 5*time.Second)
	s.run(time.Second)
	if s.answered != 1 || s.core.out {
		t.Fatalf("%d answered, out %v", s.answered, s.core.out)
	}
	s.nodes[0].alive = false
	began := s.now
	waits := func() time.Duration { return s.waits[len(s.waits)-1] }

	s.ask(1, 5*time.Second)
	s.run(4 * time.Second)
	s.ask(1, 30*time.Second) // with a longer hold time
	s.ask(1, 5*time.Second)
	s.run(1001 * time.Millisecond)
	if s.failed != 2 {
		t.Fatalf("%v after the outage began %d calls have failed, want 2", (s.now - began), s.failed)
	}
	if w := waits(); w > time.Second+10*time.Millisecond {
		t.Errorf("a call made 4 s into the outage waited %v, want 1 s", w)
	}
	s.ask(1, 5*time.Second)
	if s.failed != 3 || waits() != 0 {
		t.Errorf("a call made after 5 s waited %v", waits())
	}
	s.run(20 * time.Second)
	if s.failed != 3 {
		t.Errorf("the call that holds for 30 s failed after 25 s")
	}
	s.nodes[0].alive = true
	s.run(announceEach + 100*time.Millisecond)
	if s.answered != 2 || s.core.out {
		t.Errorf("the node is back: %d answered, out %v", s.answered, s.core.out)
	}
}

// TestOutageBeginsAfterTheLastAnswer checks that an outage does not begin before
// the last answer, even if an older message was missed.
func TestOutageBeginsAfterTheLastAnswer(t *testing.T) {
	s := newCase(t, 2)
	s.nodes[0].hung = true
	for s.path("a", 0).inFlight == 0 {
		s.ask(1, 5*time.Second)
	}
	s.run(tryFor - 10*time.Millisecond)
	s.ask(1, 5*time.Second)
	s.run(3 * time.Millisecond)
	answered := s.core.lastOK
	s.nodes[1].alive = false
	s.ask(1, 5*time.Second)
	s.run(time.Second)
	if !s.core.out || s.core.outSince < answered {
		t.Errorf("out %v since %v, the last answer came at %v", s.core.out, s.core.outSince, answered)
	}
}

// TestRecoveryIsFound checks that the core finds the end of an outage even if no
// caller asks.
func TestRecoveryIsFound(t *testing.T) {
	s := newCase(t, 1)
	s.nodes[0].alive = false
	s.run(10 * time.Second)
	if !s.core.out {
		t.Fatal("all nodes have stopped, but the core reports no outage")
	}
	if d := (s.now - s.core.outSince); d > 10*time.Second || d < 5*time.Second {
		t.Errorf("the outage began %v ago", d)
	}
	s.nodes[0].alive = true
	s.run(pingEach + 20*time.Millisecond)
	if s.core.out {
		t.Error("a node is back, but the core still reports an outage")
	}
}

func TestNaturalBatching(t *testing.T) {
	s := newCase(t, 1)
	for range 100 {
		s.ask(3, time.Second)
	}
	// The first caller's questions are sent at once. Further messages follow when
	// enough requests wait for them, and the remaining requests wait for answers.
	if n := len(s.batches); n != inFlight || s.batches[0] != 3 || s.batches[1] < worth || s.batches[3] < 3*worth {
		t.Errorf("sent messages of %v", s.batches)
	}
	s.run(time.Second)
	if s.answered != 100 || len(s.batches) > inFlight+2 {
		t.Errorf("%d calls in messages of %v", s.answered, s.batches)
	}
	for _, n := range s.batches {
		if n > decision.MaxBatch {
			t.Errorf("a message of %d", n)
		}
	}
}

// TestPatience checks that a few requests do not wait long for a message that is
// slow or lost.
func TestPatience(t *testing.T) {
	s := newCase(t, 1)
	s.delay = 0
	s.nodes[0].hung = true
	s.ask(1, time.Second)
	s.run(time.Microsecond) // the message is lost
	s.nodes[0].hung = false
	s.ask(1, time.Second)
	if len(s.batches) != 1 {
		t.Fatalf("sent messages of %v", s.batches)
	}
	s.run(patience)
	if s.answered != 1 || len(s.batches) != 2 {
		t.Errorf("%d answered in messages of %v", s.answered, s.batches)
	}
}

func TestMessagesAreBounded(t *testing.T) {
	s := newCase(t, 1)
	s.nodes[0].slow = time.Hour // so that all requests wait
	body := make([]byte, decision.MaxQuestion)
	k := &call{at: s.now, hold: time.Second, verdicts: make([]decision.Verdict, 20)}
	for i := range 20 {
		k.requests = append(k.requests, request{call: k, index: i, kind: decision.Ask, body: body})
	}
	s.asked[k] = make([]uint64, 20)
	s.core.add(s.now, k)
	for _, out := range s.core.sends {
		if n := len(out.flight.requests); n != maxBatchBytes/decision.MaxQuestion {
			t.Errorf("%d of the longest questions in one message", n)
		}
	}
	if len(s.core.sends) != 1 {
		t.Errorf("%d messages", len(s.core.sends))
	}
}

// TestOneBadQuestion checks that an undecidable question fails alone, although it
// was sent in a batch with others.
func TestOneBadQuestion(t *testing.T) {
	s := newCase(t, 1)
	s.poison = 97
	var bad *call
	for range 130 {
		if k := s.ask(1, time.Second); s.nextID == s.poison {
			bad = k
		}
	}
	s.run(2 * time.Second)
	if s.answered != 129 || s.failed != 1 || !errors.Is(bad.err, ErrBadRequest) {
		t.Errorf("%d answered, %d failed, %v", s.answered, s.failed, bad.err)
	}
	if s.core.out || s.core.counts.misses > 0 {
		t.Error("the node answered, but the core reports an outage or a miss")
	}
}

func TestBehind(t *testing.T) {
	s := newCase(t, 2)
	s.head = 20
	s.run(2 * time.Second) // both announce 20
	s.nodes[0].lag = 5
	for range 200 {
		s.ask(1, time.Second)
		s.run(2 * time.Millisecond)
	}
	s.run(time.Second)
	if s.failed > 0 || s.answered != 200 {
		t.Errorf("%d answered, %d failed", s.answered, s.failed)
	}
	for _, w := range s.waits {
		if w > hedgeAfter+300*s.delay {
			t.Errorf("a call waited %v", w)
		}
	}
	// The only remaining node is behind the newest position seen. After atLeastFor
	// this position is forgotten.
	s.nodes[1].alive = false
	s.ask(1, 5*time.Second)
	s.run(6 * time.Second)
	if s.failed != 1 {
		t.Error("a node that is behind answered")
	}
	s.run(atLeastFor)
	s.ask(1, 5*time.Second)
	s.run(time.Second)
	if s.answered != 201 {
		t.Error("the core still requires a position that no node has")
	}
}

func TestLogChanges(t *testing.T) {
	s := newCase(t, 1)
	s.ask(1, time.Second)
	s.run(10 * time.Millisecond)
	s.logID, s.head = "restored", 3 // fewer commits than the old log had
	s.ask(1, time.Second)
	s.run(time.Second)
	if s.failed > 0 || s.answered != 2 || s.core.newest.LogID != "restored" || s.core.newest.Position != 3 {
		t.Errorf("%d answered, %d failed, newest %+v", s.answered, s.failed, s.core.newest)
	}
}

// TestRestartedNode checks that requests to a node are sent again as soon as its
// announcement shows that it has restarted.
func TestRestartedNode(t *testing.T) {
	s := newCase(t, 1)
	s.nodes[0].hung = true
	s.ask(1, 5*time.Second)
	s.run(20 * time.Millisecond)
	s.nodes[0].hung = false
	s.nodes[0].boot++
	asked := s.now
	s.core.announced(s.now, 0, &decision.Announcement{Node: "a", Boot: s.nodes[0].boot, Ready: true, Wire: decision.Wire2})
	s.take()
	s.run(300 * time.Millisecond)
	if s.answered != 1 || (s.now-asked) >= tryFor {
		t.Errorf("%d answered after %v", s.answered, (s.now - asked))
	}
}

// TestStrangeReplies checks that a reply that does not match its message is never
// used as an answer.
func TestStrangeReplies(t *testing.T) {
	good := func(c *core, now time.Duration, try uint64) decision.Reply {
		return decision.Reply{
			ReplyHead: decision.ReplyHead{
				ID: try, Node: "a", Wire: decision.Wire2, Proven: c.challenges.At(now), At: decision.Mark{LogID: "log", Position: 10},
			},
			Results: []decision.Result{{Kind: decision.Ask, Verdict: decision.Verdict{Effect: decision.Pass, Position: 1}}},
		}
	}
	for name, spoil := range map[string]func(*decision.Reply){
		"another batch":   func(r *decision.Reply) { r.ID++ },
		"another node":    func(r *decision.Reply) { r.Node = "b" },
		"no result":       func(r *decision.Reply) { r.Results = nil },
		"two results":     func(r *decision.Reply) { r.Results = append(r.Results, r.Results[0]) },
		"another kind":    func(r *decision.Reply) { r.Results[0].Kind = decision.Open },
		"an older state":  func(r *decision.Reply) { r.At.Position = 9 },
		"the good answer": nil,
	} {
		s := newCase(t, 1)
		s.nodes[0].hung = true
		k := s.ask(1, time.Second)
		try := s.core.tries[0].id
		r := good(s.core, s.now, try)
		if spoil != nil {
			spoil(&r)
		}
		s.core.replied(s.now, try, &r)
		switch {
		case spoil == nil:
			if !k.over || k.err != nil || k.verdicts[0].Effect != decision.Pass {
				t.Errorf("%s: %v, %+v", name, k.err, k.verdicts)
			}
		case k.over || k.verdicts[0].Effect != decision.Undecided || s.core.counts.malformed != 1:
			t.Errorf("%s was used: %v, %+v", name, k.err, k.verdicts)
		}
		// A second reply, and a reply to an unknown message, must have no effect.
		s.core.replied(s.now, try, &r)
		r = good(s.core, s.now, 999)
		s.core.replied(s.now, 999, &r)
		s.core.malformed(s.now, 998)
		s.core.lost(s.now, 997)
	}
}

// TestGoneCallersLeaveNothing checks that cancelled calls do not accumulate while
// nothing can be sent.
func TestGoneCallersLeaveNothing(t *testing.T) {
	s := newCase(t, 1)
	s.core.connection(s.now, 0, false)
	for range 100_000 {
		s.core.cancel(s.ask(1, time.Hour), errClientGone)
		s.take()
	}
	if n := s.core.waiting.len(); n > 2*pruneOver || s.core.pending != 0 {
		t.Errorf("%d requests of cancelled calls wait, %d count as pending", n, s.core.pending)
	}
}
