package overnats

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/postern-im/postern/decision"
)

// This file has cases with several links, proofs, and versions.

// askEach asks a question each millisecond, so many times. After each, it reports
// an outage as an error.
func (s *simulation) askEach(n int) {
	for range n {
		s.ask(1, 5*time.Second)
		s.run(time.Millisecond)
		if s.core.out {
			s.t.Fatalf("an outage at %v, although a node answers", s.now)
		}
	}
	s.run(time.Second)
	if s.failed > 0 || len(s.asked) > 0 {
		s.t.Errorf("%d calls failed, %d did not end", s.failed, len(s.asked))
	}
}

// slowest returns how many calls waited for at least so long, and the longest wait.
func (s *simulation) slowest(d time.Duration) (n int, worst time.Duration) {
	for _, w := range s.waits {
		worst = max(worst, w)
		if w >= d {
			n++
		}
	}
	return n, worst
}

// TestStuckLinks checks that a link that carries nothing, or nothing in one
// direction, costs a hedge and no more. The other link works, be it the link of
// another node or another link to the same node.
func TestStuckLinks(t *testing.T) {
	for name, stick := range map[string]func(*simLink){
		"hung":                      func(l *simLink) { l.hung = true },
		"deaf to the gateway":       func(l *simLink) { l.deafUp = true },
		"the gateway hears nothing": func(l *simLink) { l.deafDown = true },
	} {
		for shape, reach := range map[string][][]int{"a node each": {{0}, {1}}, "one node": {{0, 1}}, "two nodes on both": {{0, 1}, {0, 1}}} {
			t.Run(name+", "+shape, func(t *testing.T) {
				s := newLinksCase(t, 2, reach...)
				stick(s.links[0])
				s.askEach(2000)
				slow, worst := s.slowest(hedgeAfter)
				if worst > hedgeAfter+2*100*s.delay {
					t.Errorf("a call waited %v", worst)
				}
				// Only the calls of the first hedgeAfter, and those sent after a node announced
				// itself over the stuck link, can be slow.
				if slow > int(hedgeAfter/time.Millisecond)+50 {
					t.Errorf("%d calls waited for the stuck link", slow)
				}
				*s.links[0] = simLink{}
				s.run(leaveAloneMost + time.Second)
				if p := s.path("a", 0); p == nil || p.misses > 0 {
					t.Errorf("the link works again, but is still avoided: %+v", p)
				}
			})
		}
	}
}

// TestLostLink checks that the loss of a connection loses its own messages only.
// Their requests are sent at once to a node on the other link.
func TestLostLink(t *testing.T) {
	s := newLinksCase(t, 2, []int{0}, []int{1})
	s.nodes[0].slow, s.nodes[1].slow = 50*time.Millisecond, 50*time.Millisecond
	for len(s.core.tries) < 2 {
		s.ask(1, 5*time.Second)
		s.run(patience)
	}
	stays := s.core.tries[slices.IndexFunc(s.core.tries, func(t *try) bool { return t.path.link.index == 1 })].id
	s.connection(0, false)
	if _, t0 := s.core.find(stays); t0 == nil {
		t.Error("the message over the other link was lost too")
	}
	for _, try := range s.core.tries {
		if try.path.link.index == 0 {
			t.Error("a message over the lost link is still waited for")
		}
	}
	if s.core.out {
		t.Error("an outage, although the other link works")
	}
	s.nodes[1].slow = 0
	s.run(80 * time.Millisecond)
	if len(s.asked) > 0 || s.failed > 0 {
		t.Errorf("%d calls wait, %d failed", len(s.asked), s.failed)
	}
	s.connection(1, false)
	if !s.core.out {
		t.Error("no outage, although no link is left")
	}
	s.connection(0, true)
	s.run(pingEach + 100*time.Millisecond)
	if s.core.out {
		t.Error("a link is back, but the outage goes on")
	}
}

// TestFlappingLink checks that a link that is lost and made again all the time
// neither fails a call nor makes the gateway ask about all sessions all the time.
func TestFlappingLink(t *testing.T) {
	s := newLinksCase(t, 2, []int{0}, []int{1})
	begin := s.now
	for i := range 400 {
		s.connection(0, i%2 == 1)
		s.askEach(10)
	}
	if n, most := len(s.rechecks), int((s.now-begin)/recheckEach)+1; n == 0 || n > most {
		t.Errorf("in %v, all sessions were asked about %d times", s.now-begin, n)
	}
	if _, worst := s.slowest(0); worst > hedgeAfter+2*100*s.delay {
		t.Errorf("a call waited %v", worst)
	}
}

// TestFirstContact checks that each link's queue group is tried while no node is
// known.
func TestFirstContact(t *testing.T) {
	for seed := range uint64(10) {
		s := newSimulation(t, seed)
		s.connect(2)
		s.poison, s.links[0].hung = 0, true
		s.nodes = []*simNode{{id: "a", alive: true, wire: decision.Wire2, links: []int{1}}}
		s.allConnected()
		s.ask(1, 5*time.Second)
		s.run(hedgeAfter + 2*100*s.delay)
		if s.answered != 1 || s.wires[decision.Wire2] > 0 {
			t.Errorf("%d answered after messages by link %v, by wire %v", s.answered, s.over, s.wires)
		}
	}
}

// TestOneUnfreshNode checks that a node that always refuses is no outage while
// another answers.
func TestOneUnfreshNode(t *testing.T) {
	for name, spoil := range map[string]func(*simNode){
		"not fresh":        func(n *simNode) { n.notFresh = true },
		"an old proof":     func(n *simNode) { n.lies = 1 << 50 },
		"behind":           func(n *simNode) { n.lag = 5 },
		"busy":             func(n *simNode) { n.busy = true },
		"an older version": func(n *simNode) { n.narrow = true },
	} {
		s := newLinksCase(t, 2, []int{0}, []int{1})
		spoil(s.nodes[0])
		s.askEach(1000)
		// A few packets take a hundred times as long.
		if slow, worst := s.slowest(hedgeAfter); slow > 10 || worst > hedgeAfter+2*100*s.delay {
			t.Errorf("%s: %d calls were slow, the worst took %v", name, slow, worst)
		}
	}
}

// TestAllUnfresh checks that it is an outage if no node can prove its state, and
// that the outage begins with the first refusal.
func TestAllUnfresh(t *testing.T) {
	s := newLinksCase(t, 2, []int{0}, []int{1})
	s.askEach(10)
	s.nodes[0].lies, s.nodes[1].lies = 1<<50, 1<<50
	began := s.now
	s.ask(1, 5*time.Second)
	s.run(time.Second)
	if !s.core.out || s.core.outSince < s.core.lastOK || s.core.outSince > began+100*time.Millisecond {
		t.Errorf("out %v since %v, the last answer came at %v", s.core.out, s.core.outSince, s.core.lastOK)
	}
	s.nodes[1].lies = 0
	s.run(time.Second)
	if s.core.out || s.answered != 11 {
		t.Errorf("out %v, %d answered", s.core.out, s.answered)
	}
}

// TestProofs checks which challenges prove an answer fresh.
func TestProofs(t *testing.T) {
	ms := time.Millisecond
	for name, c := range map[string]struct {
		proven func(s *simulation, sent time.Duration) uint64
		fresh  time.Duration // how long ago the state was proven; negative: not at all
	}{
		"of the batch":         {func(s *simulation, sent time.Duration) uint64 { return s.core.challenges.At(sent) }, 30 * ms},
		"since the batch":      {func(s *simulation, _ time.Duration) uint64 { return s.core.challenges.At(s.now) }, 0},
		"older":                {func(s *simulation, _ time.Duration) uint64 { return s.core.challenges.At(s.now - 5*time.Second) }, 5 * time.Second},
		"as old as the lease":  {func(s *simulation, _ time.Duration) uint64 { return s.core.challenges.At(s.now - decision.Lease) }, decision.Lease},
		"older than the lease": {func(s *simulation, _ time.Duration) uint64 { return s.core.challenges.At(s.now - decision.Lease - ms) }, -1},
		"none":                 {func(*simulation, time.Duration) uint64 { return 0 }, -1},
		"in the future":        {func(s *simulation, _ time.Duration) uint64 { return s.core.challenges.At(s.now + ms) }, -1},
		"before the run":       {func(s *simulation, _ time.Duration) uint64 { return s.core.challenges.At(0) - 1 }, -1},
		"of another run":       {func(s *simulation, _ time.Duration) uint64 { return s.core.challenges.At(s.now) + 1<<41 }, -1},
		"the greatest":         {func(*simulation, time.Duration) uint64 { return 1<<64 - 1 }, -1},
	} {
		s := newLinksCase(t, 1, []int{0})
		s.run(30 * time.Second)
		s.nodes[0].hung = true
		k := s.ask(1, 5*time.Second)
		sent := s.now
		s.run(30 * ms)
		r := decision.Reply{
			ReplyHead: decision.ReplyHead{ID: s.core.tries[0].id, Node: "a", Wire: decision.Wire2, Proven: c.proven(s, sent), At: decision.Mark{LogID: "log", Position: 10}},
			Results:   []decision.Result{{Kind: decision.Ask, Verdict: decision.Verdict{Effect: decision.Pass, Position: 1}}},
		}
		s.core.replied(s.now, r.ID, &r)
		if c.fresh < 0 {
			if k.over || s.core.counts.unproven != 1 || s.core.node("a").waitUntil != s.now+waitNotFresh || !s.core.out {
				t.Errorf("%s: over %v, %d unproven, out %v", name, k.over, s.core.counts.unproven, s.core.out)
			}
			continue
		}
		if v := k.verdicts[0]; !k.over || v.ProvenAt != s.now-c.fresh || v.AskedAt != sent {
			t.Errorf("%s: over %v, asked at %v, proven at %v, now %v", name, k.over, v.AskedAt, v.ProvenAt, s.now)
		}
	}
}

// TestWires checks that each node is asked in its own version, and the queue group
// in the lowest.
func TestWires(t *testing.T) {
	s := newLinksCase(t, 1, []int{0}, []int{0})
	s.nodes[0].wire, s.nodes[0].boot = decision.Wire1, 7 // the node goes back to the version before
	s.run(time.Second)
	s.askEach(200)
	if a, b := s.core.node("a").wire, s.core.node("b").wire; a != decision.Wire1 || b != decision.Wire2 || s.wires[decision.Wire1] == 0 || s.wires[decision.Wire2] == 0 {
		t.Errorf("wires %d and %d, messages by wire %v", a, b, s.wires)
	}
	if w := s.core.wire(&s.core.links[0].anyone); w != decision.Wire1 {
		t.Errorf("the queue group is asked in wire %d", w)
	}
	s.nodes[0].wire, s.nodes[0].boot = decision.Wire2, 8
	s.run(2 * time.Second)
	if w := s.core.wire(&s.core.links[0].anyone); w != decision.Wire2 {
		t.Errorf("after the upgrade, the queue group is asked in wire %d", w)
	}
}

// TestWireIsLowered checks that a node that cannot read a message is asked in an
// older version until it restarts, and that no request fails because of it.
func TestWireIsLowered(t *testing.T) {
	for name, narrow := range map[string]func(*simNode){
		"it says so":                            func(n *simNode) { n.narrow = true },
		"it was replaced by the version before": func(n *simNode) { n.wire = decision.Wire1 },
	} {
		s := newLinksCase(t, 1, []int{0})
		narrow(s.nodes[0])
		k := s.ask(1, 5*time.Second)
		s.run(20 * time.Millisecond)
		if k.err != nil || !k.over || s.core.counts.version != 1 || s.core.out {
			t.Errorf("%s: over %v, %v, %d refused, out %v", name, k.over, k.err, s.core.counts.version, s.core.out)
		}
		s.nodes[0].wire = decision.Wire2 // it still announces the newer version
		s.run(3 * time.Second)
		if w := s.core.node("a").wire; w != decision.Wire1 {
			t.Errorf("%s: asked in wire %d again", name, w)
		}
		s.nodes[0].narrow = false
		s.nodes[0].boot++
		s.run(2 * time.Second)
		if w := s.core.node("a").wire; w != decision.Wire2 {
			t.Errorf("%s: after a restart, asked in wire %d", name, w)
		}
	}
}

// TestBusyNode checks that a busy node gets less, and all again later.
func TestBusyNode(t *testing.T) {
	s := newLinksCase(t, 1, []int{0})
	s.nodes[0].busy = true
	for range 3 * decision.MaxBatch {
		s.ask(1, 30*time.Second)
	}
	s.run(200 * time.Millisecond)
	if share := s.core.node("a").share; share > decision.MaxBatch/16 || share < leastShare {
		t.Errorf("the node still gets %d requests in a message", share)
	}
	if s.core.out {
		t.Error("a busy node is an outage")
	}
	if n := s.over[0]; n > inFlight*200/20+10 {
		t.Errorf("%d messages were sent to a busy node in 200 ms", n)
	}
	s.batches, s.nodes[0].busy = nil, false
	s.run(time.Second)
	if slices.Max(s.batches) > decision.MaxBatch/8 {
		t.Errorf("after it was busy, it got messages of %v", s.batches)
	}
	s.run(5 * time.Second)
	if s.ask(1, time.Second); s.core.node("a").most(s.now) != decision.MaxBatch || s.core.node("a").share != decision.MaxBatch {
		t.Errorf("it still gets only %d requests in a message", s.core.node("a").share)
	}
}

// TestEntriesGoFirst checks that admissions and openings overtake questions, but
// take only a part of each message.
func TestEntriesGoFirst(t *testing.T) {
	s := newLinksCase(t, 1, []int{0})
	s.connection(0, false)
	for range 2 * decision.MaxBatch {
		s.ask(1, 30*time.Second)
	}
	for range decision.MaxBatch {
		s.request(decision.Open, 1, 30*time.Second)
	}
	s.core.connection(s.now, 0, true)
	for i, out := range s.core.sends[:2] {
		n := 0
		for _, r := range out.flight.requests {
			if r.kind == decision.Open {
				n++
			}
		}
		if n != decision.MaxBatch/entryShare || len(out.flight.requests) != decision.MaxBatch || out.flight.requests[0].kind != decision.Open {
			t.Errorf("message %d has %d requests, %d of them openings", i, len(out.flight.requests), n)
		}
	}
	s.take()
	s.run(time.Second)
	if len(s.asked) > 0 || s.failed > 0 {
		t.Errorf("%d calls wait, %d failed", len(s.asked), s.failed)
	}
}

// TestRechecks checks that a revocation is handled once although nodes and links
// repeat it, and that nodes that start together cause two rechecks.
func TestRechecks(t *testing.T) {
	s := newLinksCase(t, 2)
	e := decision.Revocation{LogID: "log", Position: 12, Tenant: "acme", Account: "bob@alpha.test"}
	other := e
	other.Account = ""
	for range 5 {
		s.core.revoked(s.now, e)
		s.core.revoked(s.now, other)
	}
	s.take()
	if !slices.Equal(s.rechecks, []decision.Revocation{e, other}) || s.core.newest != (decision.Mark{LogID: "log", Position: 12}) {
		t.Errorf("handled %+v", s.rechecks)
	}
	s.rechecks = nil
	for i := range uint64(3 * maxSeen) {
		e.Position = 100 + i
		s.core.revoked(s.now, e)
		s.core.revoked(s.now, e)
	}
	s.take()
	if len(s.rechecks) != 3*maxSeen || len(s.core.rechecks.seen) != maxSeen || len(s.core.rechecks.oldest) != maxSeen {
		t.Errorf("handled %d, remembers %d", len(s.rechecks), len(s.core.rechecks.seen))
	}

	s.rechecks = nil
	at := decision.Mark{LogID: "log", Position: 9999}
	for i := range 20 {
		for link := range 2 {
			s.core.announced(s.now, link, &decision.Announcement{Node: fmt.Sprint("n", i), Boot: 1, Ready: true, At: at, Wire: decision.Wire2})
			s.take()
		}
		s.run(10 * time.Millisecond)
	}
	s.run(2 * recheckEach)
	all := decision.Revocation{LogID: "log", Position: 9999}
	if !slices.Equal(s.rechecks, []decision.Revocation{all, all}) {
		t.Errorf("20 nodes that started together caused %+v", s.rechecks)
	}
}

// TestLateAnnouncement checks that an announcement from before a restart, which a
// slower link carries, is not taken for another restart.
func TestLateAnnouncement(t *testing.T) {
	s := newLinksCase(t, 2, []int{0, 1})
	was := s.nodes[0].boot
	s.nodes[0].boot = 77
	s.core.announced(s.now, 0, &decision.Announcement{Node: "a", Boot: 77, Ready: true, Wire: decision.Wire2})
	s.run(2 * recheckEach)
	s.rechecks = nil
	s.core.announced(s.now, 1, &decision.Announcement{Node: "a", Boot: was, Ready: true, Wire: decision.Wire2})
	s.run(2 * time.Second)
	if n := s.core.node("a"); n.boot != 77 || len(s.rechecks) > 0 {
		t.Errorf("boot %d, rechecks %+v", n.boot, s.rechecks)
	}
}
