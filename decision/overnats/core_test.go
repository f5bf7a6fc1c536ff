package overnats

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/postern-im/postern/decision"
)

// This file tests the core alone, in a simulated network. Messages are lost,
// delayed, duplicated and reordered; nodes hang, stop, lag and send false replies.
// Each seed gives one run, which can be repeated.

// A packet is a message in the network, with its time of arrival.
type packet struct {
	at time.Time
	do func()
}

// simNode is a node of the simulation.
type simNode struct {
	id       string
	boot     uint64
	alive    bool // it answers and announces itself
	hung     bool // it announces itself but does not answer
	notFresh bool
	lag      uint64 // how many positions it is behind
	slow     time.Duration
}

type simulation struct {
	t       *testing.T
	random  *rand.Rand
	now     time.Time
	core    *core
	nodes   []*simNode
	head    uint64 // the log's position
	logID   string
	packets []packet
	loss    float64
	double  float64
	mangle  float64
	delay   time.Duration

	asked    map[*call][]uint64 // the question ids of each open call
	answered int
	failed   int
	nextID   uint64
	poison   uint64        // nodes cannot decide questions whose id is a multiple of it; 0: they decide all
	held     time.Duration // the longest time that a call waited beyond its hold
	waits    []time.Duration
	batches  []int // the sizes of messages sent
}

// bootTime is the boot-time clock of a simulation or a synctest bubble.
func bootTime(now time.Time) time.Duration { return time.Duration(now.UnixNano()) }

func newSimulation(t *testing.T, seed uint64) *simulation {
	s := &simulation{
		t: t, random: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(1e9, 0), head: 10, logID: "log",
		delay: time.Millisecond, asked: make(map[*call][]uint64),
	}
	s.core = newCore(s.now, func() time.Duration { return bootTime(s.now) }, seed)
	s.poison = 97
	for i := range 1 + s.random.IntN(3) {
		s.nodes = append(s.nodes, &simNode{id: fmt.Sprintf("n%d", i), boot: uint64(i), alive: true})
	}
	return s
}

func (s *simulation) later(d time.Duration, do func()) {
	s.packets = append(s.packets, packet{s.now.Add(d), do})
}

// travel returns how long a packet takes. It reports false if the packet is lost.
func (s *simulation) travel() (time.Duration, bool) {
	d := time.Duration(s.random.Int64N(int64(s.delay) + 1))
	if s.random.IntN(50) == 0 {
		d *= 100
	}
	return d, s.random.Float64() >= s.loss
}

// take carries out the core's output, as the Asker does.
func (s *simulation) take() {
	for _, k := range s.core.ended {
		s.check(k)
	}
	s.core.ended = s.core.ended[:0]
	for _, out := range s.core.sends {
		s.batches = append(s.batches, len(out.flight.requests))
		ids := make([]uint64, len(out.flight.requests))
		for i, r := range out.flight.requests {
			ids[i] = uint64(r.body[0]) | uint64(r.body[1])<<8 | uint64(r.body[2])<<16
		}
		copies := 1
		if s.random.Float64() < s.double {
			copies = 2
		}
		for range copies {
			if d, ok := s.travel(); ok {
				s.later(d, func() { s.arrive(out.node, out.try, out.atLeast, ids) })
			}
		}
	}
	s.core.sends = s.core.sends[:0]
}

// check checks that a finished call keeps the core's guarantees.
func (s *simulation) check(k *call) {
	ids, open := s.asked[k]
	if !open {
		s.t.Fatalf("a call ended twice")
	}
	delete(s.asked, k)
	s.waits = append(s.waits, s.now.Sub(k.at))
	for i, v := range k.verdicts {
		if v.Effect == decision.Undecided {
			if k.err == nil {
				s.t.Fatalf("question %d has no verdict and the call no error", ids[i])
			}
			continue
		}
		if v.Position != ids[i] {
			s.t.Fatalf("question %d got the verdict of question %d", ids[i], v.Position)
		}
		if v.AskedAt < bootTime(k.at) || v.AskedAt > bootTime(s.now) {
			s.t.Fatalf("a verdict asked at %v, within a call from %v to %v", v.AskedAt, k.at, s.now)
		}
	}
	switch {
	case k.err == nil:
		s.answered++
	case errors.Is(k.err, ErrUnavailable):
		s.failed++
		if waited := s.now.Sub(k.at); waited > k.hold {
			s.held = max(s.held, waited-k.hold)
		}
	default:
		s.failed++
	}
}

// arrive delivers a message to a node, or to any node of the queue group.
func (s *simulation) arrive(to string, try uint64, at decision.Mark, ids []uint64) {
	var n *simNode
	if to == "" {
		var group []*simNode
		for _, c := range s.nodes {
			if c.alive || c.hung {
				group = append(group, c)
			}
		}
		if len(group) > 0 {
			n = group[s.random.IntN(len(group))]
		}
	} else if i := slices.IndexFunc(s.nodes, func(n *simNode) bool { return n.id == to && (n.alive || n.hung) }); i >= 0 {
		n = s.nodes[i]
	}
	if n == nil {
		if d, ok := s.travel(); ok {
			s.later(d, func() { s.core.lost(s.now, try); s.take() })
		}
		return
	}
	if n.hung {
		return
	}
	r := &decision.Reply{ReplyHead: decision.ReplyHead{ID: try, Node: n.id, At: decision.Mark{LogID: s.logID, Position: s.head - min(n.lag, s.head)}}}
	switch {
	case n.notFresh:
		r.Status = decision.StatusNotFresh
	case at.LogID == s.logID && at.Position > r.At.Position:
		r.Status = decision.StatusBehind
	case slices.ContainsFunc(ids, func(id uint64) bool { return s.poison > 0 && id%s.poison == 0 }):
		r.Status = decision.StatusBad // no node can decide this question
	default:
		for _, id := range ids {
			r.Results = append(r.Results, decision.Result{Kind: decision.Ask, Verdict: decision.Verdict{Effect: decision.Pass, Position: id}})
		}
	}
	garbled := s.random.Float64() < s.mangle
	if garbled {
		s.spoil(r)
	}
	copies := 1
	if s.random.Float64() < s.double {
		copies = 2
	}
	for range copies {
		if d, ok := s.travel(); ok {
			s.later(n.slow+d, func() {
				if garbled && s.random.IntN(3) == 0 {
					s.core.malformed(s.now, try)
				} else {
					s.core.replied(s.now, try, r)
				}
				s.take()
			})
		}
	}
}

// spoil changes a reply so that it no longer matches its message.
func (s *simulation) spoil(r *decision.Reply) {
	switch s.random.IntN(4) {
	case 0:
		r.ID++
	case 1:
		r.Node = "stranger"
	case 2:
		r.Results = append(r.Results, decision.Result{Kind: decision.Ask, Verdict: decision.Verdict{Effect: decision.Pass}})
	case 3:
		for i := range r.Results {
			r.Results[i].Kind = decision.Admit
		}
		if len(r.Results) == 0 {
			r.ID++
		}
	}
}

func (s *simulation) announce() {
	for _, n := range s.nodes {
		if !n.alive && !n.hung {
			continue
		}
		a := decision.Announcement{Node: n.id, Boot: n.boot, Ready: !n.notFresh, Load: uint16(s.random.IntN(decision.MaxLoad)),
			At: decision.Mark{LogID: s.logID, Position: s.head - min(n.lag, s.head)}}
		if d, ok := s.travel(); ok {
			s.later(d, func() { s.core.announced(s.now, &a); s.take() })
		}
	}
	s.later(announceEach, s.announce)
}

// ask asks n questions in one call.
func (s *simulation) ask(n int, hold time.Duration) *call {
	k := &call{at: s.now, hold: hold, finished: make(chan struct{}, 1), verdicts: make([]decision.Verdict, n), requests: make([]request, n)}
	ids := make([]uint64, n)
	for i := range k.requests {
		s.nextID++
		ids[i] = s.nextID
		k.requests[i] = request{call: k, index: i, kind: decision.Ask, body: []byte{byte(ids[i]), byte(ids[i] >> 8), byte(ids[i] >> 16)}}
	}
	s.asked[k] = ids
	s.core.add(s.now, k)
	s.take()
	return k
}

// run lets time pass. Packets arrive, and tick is called when the core needs it.
func (s *simulation) run(d time.Duration) {
	end := s.now.Add(d)
	for steps := 0; ; steps++ {
		if steps > 5_000_000 {
			s.t.Fatal("the core keeps asking to be woken at once")
		}
		next := end
		due := -1
		for i, p := range s.packets {
			if p.at.Before(next) || p.at.Equal(next) && due < 0 {
				next, due = p.at, i
			}
		}
		tick := s.core.next(s.now)
		if !tick.IsZero() && tick.Before(next) {
			if tick.After(s.now) {
				s.now = tick
			}
			s.core.tick(s.now)
			s.take()
			continue
		}
		if due < 0 {
			s.now = end
			return
		}
		p := s.packets[due]
		s.packets = slices.Delete(s.packets, due, due+1)
		if p.at.After(s.now) {
			s.now = p.at
		}
		p.do()
	}
}

// mishap makes one random change to the nodes or the network.
func (s *simulation) mishap() {
	n := s.nodes[s.random.IntN(len(s.nodes))]
	switch s.random.IntN(10) {
	case 0:
		n.alive, n.hung = !n.alive, false
	case 1:
		n.hung = !n.hung
	case 2:
		n.notFresh = !n.notFresh
	case 3:
		n.lag = uint64(s.random.IntN(3))
	case 4:
		n.boot++
	case 5:
		n.slow = time.Duration(s.random.IntN(300)) * time.Millisecond
	case 6:
		s.head++
	case 7:
		s.core.connection(s.now, s.random.IntN(4) > 0)
		s.take()
	case 8:
		s.loss, s.double, s.mangle = s.random.Float64()*0.3, s.random.Float64()*0.3, s.random.Float64()*0.1
	case 9:
		if s.random.IntN(5) == 0 {
			s.logID, s.head = s.logID+"x", 5 // restored from a backup
		}
	}
}

// heal makes all nodes and the network work again.
func (s *simulation) heal() {
	s.loss, s.double, s.mangle = 0, 0, 0
	for _, n := range s.nodes {
		*n = simNode{id: n.id, boot: n.boot, alive: true}
	}
	s.core.connection(s.now, true)
	s.take()
}

func TestSimulation(t *testing.T) {
	seeds := uint64(100)
	if os.Getenv("POSTERN_SOAK") == "1" {
		seeds = 5_000
	}
	answered, failed := 0, 0
	for seed := range seeds {
		s := newSimulation(t, seed)
		simulate(s)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
		answered, failed = answered+s.answered, failed+s.failed
	}
	t.Logf("%d seeds: %d calls answered, %d failed", seeds, answered, failed)
	if answered == 0 || failed == 0 {
		t.Error("the simulation proves nothing: all calls succeed, or all fail")
	}
}

func simulate(s *simulation) {
	s.core.connection(s.now, true)
	s.take()
	s.announce()
	for range 60 {
		for range s.random.IntN(20) {
			k := s.ask(1+s.random.IntN(4), time.Duration(1+s.random.IntN(3000))*time.Millisecond)
			if s.random.IntN(20) == 0 {
				s.later(time.Duration(s.random.IntN(500))*time.Millisecond, func() { s.core.cancel(k, errClientGone); s.take() })
			}
		}
		switch s.random.IntN(6) {
		case 0, 1:
			s.mishap()
		case 2:
			s.heal()
		}
		s.run(time.Duration(s.random.IntN(200)) * time.Millisecond)
	}
	// After the longest hold time every call must have ended.
	s.run(3100 * time.Millisecond)
	if len(s.asked) > 0 {
		s.t.Errorf("%d calls never end", len(s.asked))
	}
	if s.held > 0 {
		s.t.Errorf("a call failed %v after its hold time", s.held)
	}
	s.heal()
	s.run(20 * time.Second) // longer than leaveAloneMost and atLeastFor together
	if s.core.out {
		s.t.Error("all nodes work again, but the core still reports an outage")
	}
	s.poison = 0
	before := s.failed
	for range 10 {
		s.ask(1, time.Second)
		s.run(10 * time.Millisecond)
	}
	s.run(time.Second)
	if s.failed > before || len(s.asked) > 0 {
		s.t.Errorf("all nodes work again, but %d of 10 calls fail", s.failed-before+len(s.asked))
	}
	if c := s.core; c.pending != 0 || c.waiting() || len(c.freeFlights) > 1000 {
		s.t.Errorf("requests are left: %d pending, %d and %d waiting", c.pending, len(c.queue), len(c.again))
	}
	for _, n := range append(s.core.nodes, &s.core.anyone) {
		if n.inFlight != 0 {
			s.t.Errorf("node %q still has %d messages in flight", n.id, n.inFlight)
		}
	}
}

var errClientGone = errors.New("the client has gone")
