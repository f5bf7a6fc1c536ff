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
// delayed, duplicated and reordered; nodes hang, stop, lag, cannot prove their
// state, and send false replies; links are lost, hang, and become deaf in one
// direction. Each seed gives one run, which can be repeated.

// A packet is a message in the network, with its time of arrival.
type packet struct {
	at time.Duration
	do func()
}

// simLink is one of the gateway's connections.
type simLink struct {
	hung     bool // it is connected and carries nothing
	deafUp   bool // what the gateway sends is lost
	deafDown bool // what the nodes send is lost
}

// simNode is a node of the simulation.
type simNode struct {
	id       string
	boot     uint64
	links    []int // the links that reach it
	alive    bool  // it answers and announces itself
	hung     bool  // it announces itself but does not answer
	notFresh bool
	busy     bool
	lag      uint64 // how many positions it is behind
	slow     time.Duration
	wire     decision.Wire
	narrow   bool // it announces Wire2, and cannot read it
	// A node in a cluster proves its state by the gateway's challenges that stand in
	// the log; any other node is the log.
	clustered bool
	cut       bool   // it receives nothing of the log
	heard     uint64 // the gateway's newest challenge that it has heard
	proven    uint64 // the newest one that it has read in the log
	lies      uint64 // if it is not zero, the node claims this challenge
}

type simulation struct {
	t       *testing.T
	random  *rand.Rand
	now     time.Duration
	core    *core
	links   []*simLink
	nodes   []*simNode
	head    uint64 // the log's position
	logID   string
	packets []packet
	loss    float64
	double  float64
	mangle  float64
	delay   time.Duration

	asked    map[*call][]uint64 // the question ids of each open call
	slept    map[*call]bool     // the open calls during which the machine was suspended
	answered int
	failed   int
	nextID   uint64
	poison   uint64        // nodes cannot decide questions whose id is a multiple of it; 0: they decide all
	held     time.Duration // the longest time that a call waited beyond its hold
	waits    []time.Duration
	batches  []int // the sizes of messages sent
	wires    map[decision.Wire]int
	over     []int // how many messages were sent over each link
	rechecks []decision.Revocation
}

func newSimulation(t *testing.T, seed uint64) *simulation {
	s := &simulation{
		t: t, random: rand.New(rand.NewPCG(seed, 1)), now: 1000 * time.Second, head: 10, logID: "log",
		delay: time.Millisecond, asked: make(map[*call][]uint64), slept: make(map[*call]bool), wires: make(map[decision.Wire]int),
	}
	s.poison = 97
	s.connect(1 + s.random.IntN(3))
	for i := range 1 + s.random.IntN(3) {
		n := &simNode{id: fmt.Sprintf("n%d", i), boot: uint64(i), alive: true, wire: decision.Wire1 + decision.Wire(s.random.IntN(2))}
		n.clustered = n.wire == decision.Wire2 && s.random.IntN(2) == 0
		for l := range s.links {
			if s.random.IntN(2) == 0 {
				n.links = append(n.links, l)
			}
		}
		if len(n.links) == 0 {
			n.links = []int{s.random.IntN(len(s.links))}
		}
		s.nodes = append(s.nodes, n)
	}
	return s
}

// connect makes a core with the given number of links.
func (s *simulation) connect(links int) {
	s.links, s.over = nil, make([]int, links)
	for range links {
		s.links = append(s.links, new(simLink))
	}
	s.core = newCore(s.now, s.random.Uint64(), links, decision.NewChallenges(s.random.Uint64(), s.now))
}

func (s *simulation) later(d time.Duration, do func()) {
	s.packets = append(s.packets, packet{s.now + d, do})
}

// travel returns how long a packet takes over a link. It reports false if the packet
// is lost.
func (s *simulation) travel(link int, up bool) (time.Duration, bool) {
	d := time.Duration(s.random.Int64N(int64(s.delay) + 1))
	if s.random.IntN(50) == 0 {
		d *= 100
	}
	l := s.links[link]
	lost := l.hung || up && l.deafUp || !up && l.deafDown || !s.core.links[link].connected
	return d, s.random.Float64() >= s.loss && !lost
}

// take carries out the core's output, as the Asker does.
func (s *simulation) take() {
	for _, k := range s.core.ended {
		s.check(k)
	}
	s.core.ended = s.core.ended[:0]
	for _, out := range s.core.sends {
		s.batches = append(s.batches, len(out.flight.requests))
		s.wires[out.wire]++
		s.over[out.link]++
		if (out.wire >= decision.Wire2) != (out.challenge != decision.NoChallenge) {
			s.t.Fatalf("a message of wire %d with challenge %d", out.wire, out.challenge)
		}
		m := batchMessage{sending: out}
		for _, r := range out.flight.requests {
			m.kinds = append(m.kinds, r.kind)
			m.ids = append(m.ids, uint64(r.body[0])|uint64(r.body[1])<<8|uint64(r.body[2])<<16)
		}
		copies := 1
		if s.random.Float64() < s.double {
			copies = 2
		}
		for range copies {
			if d, ok := s.travel(out.link, true); ok {
				s.later(d, func() { s.arrive(m) })
			}
		}
	}
	s.core.sends = s.core.sends[:0]
	s.rechecks = append(s.rechecks, s.core.rechecks.out...)
	s.core.rechecks.out = nil
}

// A batchMessage is a batch on its way to a node.
type batchMessage struct {
	sending
	kinds []decision.RequestKind
	ids   []uint64
}

// check checks that a finished call keeps the core's guarantees.
func (s *simulation) check(k *call) {
	ids, open := s.asked[k]
	if !open {
		s.t.Fatalf("a call ended twice")
	}
	delete(s.asked, k)
	s.waits = append(s.waits, s.now-k.at)
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
		if v.AskedAt < k.at || v.AskedAt > s.now {
			s.t.Fatalf("a verdict asked at %v, within a call from %v to %v", v.AskedAt, k.at, s.now)
		}
	}
	switch {
	case k.err == nil:
		s.answered++
	case errors.Is(k.err, ErrUnavailable):
		s.failed++
		if waited := s.now - k.at; waited > k.hold && !s.slept[k] {
			s.held = max(s.held, waited-k.hold)
		}
	default:
		s.failed++
	}
}

// reaches reports whether a link reaches the node.
func (n *simNode) reaches(link int) bool {
	return (n.alive || n.hung) && slices.Contains(n.links, link)
}

// arrive delivers a message to a node, or to any node of a link's queue group.
func (s *simulation) arrive(m batchMessage) {
	var group []*simNode
	for _, n := range s.nodes {
		if n.reaches(m.link) && (m.node == "" || m.node == n.id) {
			group = append(group, n)
		}
	}
	if len(group) == 0 {
		if d, ok := s.travel(m.link, false); ok {
			s.later(d, func() { s.core.lost(s.now, m.try); s.take() })
		}
		return
	}
	n := group[s.random.IntN(len(group))]
	if n.hung {
		return
	}
	r := s.reply(n, &m)
	garbled := s.random.Float64() < s.mangle
	if garbled {
		s.spoil(r)
	}
	copies := 1
	if s.random.Float64() < s.double {
		copies = 2
	}
	for range copies {
		if d, ok := s.travel(m.link, false); ok {
			s.later(n.slow+d, func() {
				if garbled && s.random.IntN(3) == 0 {
					s.core.malformed(s.now, m.try)
				} else {
					s.receive(m.try, r)
				}
				s.take()
			})
		}
	}
}

// receive passes a reply to the core and checks the freshness of the verdicts that
// it brought.
func (s *simulation) receive(id uint64, r *decision.Reply) {
	_, t := s.core.find(id)
	var got []*request
	if t != nil && t.flight != nil {
		for _, q := range t.flight.requests {
			if !q.done {
				got = append(got, q)
			}
		}
	}
	s.core.replied(s.now, id, r)
	for _, q := range got {
		if q.call.err != nil || q.kind != decision.Ask || q.call.verdicts[q.index].Effect == decision.Undecided {
			continue
		}
		v := q.call.verdicts[q.index]
		if v.ProvenAt <= 0 || v.ProvenAt > s.now || s.now-v.ProvenAt > decision.Lease {
			s.t.Fatalf("a verdict that was asked at %v and proven at %v was handed out at %v", v.AskedAt, v.ProvenAt, s.now)
		}
	}
	if s.core.out && r.Status == decision.StatusOK && len(got) > 0 && got[0].done && got[0].call.err == nil {
		s.t.Fatal("a node answers, and the core reports an outage")
	}
}

// reply returns a node's answer.
func (s *simulation) reply(n *simNode, m *batchMessage) *decision.Reply {
	r := &decision.Reply{ReplyHead: decision.ReplyHead{ID: m.try, Node: n.id, Wire: m.wire, At: decision.Mark{LogID: s.logID, Position: s.head - min(n.lag, s.head)}}}
	switch {
	case m.wire > n.wire: // a node of today's version before this one
		r.ID, r.Wire, r.Status = 0, decision.Wire1, decision.StatusBad
		return r
	case m.wire >= decision.Wire2 && n.narrow:
		r.Status = decision.StatusVersion
	case n.notFresh, n.clustered && m.wire < decision.Wire2, n.clustered && n.proven == 0:
		r.Status = decision.StatusNotFresh
	case n.busy && m.wire >= decision.Wire2:
		r.Status = decision.StatusBusy
	case m.atLeast.LogID == s.logID && m.atLeast.Position > r.At.Position:
		r.Status = decision.StatusBehind
	case slices.ContainsFunc(m.ids, func(id uint64) bool { return s.poison > 0 && id%s.poison == 0 }):
		r.Status = decision.StatusBad // no node can decide this question
	default:
		for i, id := range m.ids {
			res := decision.Result{Kind: m.kinds[i]}
			if res.Kind == decision.Ask {
				res.Verdict = decision.Verdict{Effect: decision.Pass, Position: id}
			}
			r.Results = append(r.Results, res)
		}
	}
	if m.wire >= decision.Wire2 {
		switch r.Proven = m.challenge; {
		case n.lies != 0:
			r.Proven = n.lies
		case n.clustered:
			r.Proven = n.proven
		}
	}
	return r
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
			r.Results[i].Kind++
		}
		if len(r.Results) == 0 {
			r.ID++
		}
	}
}

// announce lets the nodes announce themselves, and the gateway its challenge, over
// every link. Then the log carries the challenges to the nodes.
func (s *simulation) announce() {
	newest := uint64(0)
	for _, n := range s.nodes {
		if n.alive && !n.cut {
			newest = max(newest, n.heard)
		}
	}
	for _, n := range s.nodes {
		if !n.alive && !n.hung {
			continue
		}
		if n.alive && !n.cut {
			n.proven = max(n.proven, newest)
		}
		for _, link := range n.links {
			for _, wire := range []decision.Wire{decision.Wire1, n.wire} {
				a := decision.Announcement{Node: n.id, Boot: n.boot, Ready: !n.notFresh, Load: uint16(s.random.IntN(decision.MaxLoad)),
					At: decision.Mark{LogID: s.logID, Position: s.head - min(n.lag, s.head)}, Wire: wire}
				if d, ok := s.travel(link, false); ok {
					s.later(d, func() { s.core.announced(s.now, link, &a); s.take() })
				}
			}
			challenge := s.core.challenges.At(s.now)
			if d, ok := s.travel(link, true); ok && n.wire >= decision.Wire2 {
				s.later(d, func() { n.heard = max(n.heard, challenge) })
			}
		}
	}
	s.later(announceEach, s.announce)
}

// ask asks n questions in one call.
func (s *simulation) ask(n int, hold time.Duration) *call { return s.request(decision.Ask, n, hold) }

// request makes a call with n requests of one kind.
func (s *simulation) request(kind decision.RequestKind, n int, hold time.Duration) *call {
	k := &call{at: s.now, hold: hold, finished: make(chan struct{}, 1), requests: make([]request, n)}
	if kind == decision.Ask {
		k.verdicts = make([]decision.Verdict, n)
	}
	ids := make([]uint64, n)
	for i := range k.requests {
		s.nextID++
		ids[i] = s.nextID
		k.requests[i] = request{call: k, index: i, kind: kind, body: []byte{byte(ids[i]), byte(ids[i] >> 8), byte(ids[i] >> 16)}}
	}
	s.asked[k] = ids
	s.core.add(s.now, k)
	s.take()
	return k
}

// run lets time pass. Packets arrive, and tick is called when the core needs it.
func (s *simulation) run(d time.Duration) {
	end := s.now + d
	for steps := 0; ; steps++ {
		if steps > 5_000_000 {
			s.t.Fatal("the core keeps asking to be woken at once")
		}
		next := end
		due := -1
		for i, p := range s.packets {
			if p.at < next || p.at == next && due < 0 {
				next, due = p.at, i
			}
		}
		tick := s.core.next(s.now)
		if tick != 0 && tick < next {
			s.now = max(s.now, tick)
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
		s.now = max(s.now, p.at)
		p.do()
	}
}

// connection passes the state of a link to the core.
func (s *simulation) connection(link int, up bool) {
	s.core.connection(s.now, link, up)
	s.take()
}

// suspend suspends the gateway's machine. Nothing happens there meanwhile, and what
// was on its way arrives at the end.
func (s *simulation) suspend(d time.Duration) {
	for k := range s.asked {
		s.slept[k] = true
	}
	s.now += d
}

// allConnected connects all links.
func (s *simulation) allConnected() {
	for i := range s.links {
		s.connection(i, true)
	}
}

// mishap makes one random change to the nodes, the links or the network.
func (s *simulation) mishap() {
	n := s.nodes[s.random.IntN(len(s.nodes))]
	i := s.random.IntN(len(s.links))
	l := s.links[i]
	switch s.random.IntN(17) {
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
		n.heard, n.proven = 0, 0
		if s.random.IntN(2) == 0 && !n.clustered { // an upgrade, or the way back
			n.wire = decision.Wire1 + decision.Wire(s.random.IntN(2))
		}
	case 5:
		n.slow = time.Duration(s.random.IntN(300)) * time.Millisecond
	case 6:
		s.head++
	case 7:
		s.connection(i, s.random.IntN(4) > 0)
	case 8:
		s.loss, s.double, s.mangle = s.random.Float64()*0.3, s.random.Float64()*0.3, s.random.Float64()*0.1
	case 9:
		if s.random.IntN(5) == 0 {
			s.logID, s.head = s.logID+"x", 5 // restored from a backup
		}
	case 10:
		l.hung = !l.hung
	case 11:
		l.deafUp = !l.deafUp
	case 12:
		l.deafDown = !l.deafDown
	case 13:
		n.cut = !n.cut
	case 14:
		if n.wire == decision.Wire2 {
			n.lies = []uint64{0, s.random.Uint64(), s.core.challenges.At(s.now + time.Second), s.core.challenges.At(s.now) + 1<<41, 1}[s.random.IntN(5)]
		}
	case 15:
		n.busy = !n.busy
	case 16:
		n.narrow = n.wire == decision.Wire2 && !n.clustered && s.random.IntN(2) == 0
	}
}

// heal makes all nodes, the links and the network work again.
func (s *simulation) heal() {
	s.loss, s.double, s.mangle = 0, 0, 0
	for _, n := range s.nodes {
		*n = simNode{id: n.id, boot: n.boot, alive: true, links: n.links, wire: n.wire, clustered: n.clustered, heard: n.heard, proven: n.proven}
	}
	for _, l := range s.links {
		*l = simLink{}
	}
	s.allConnected()
}

func TestSimulation(t *testing.T) {
	seeds := uint64(150)
	if os.Getenv("POSTERN_SOAK") == "1" {
		seeds = 10_000
	}
	answered, failed, wires, counts := 0, 0, make(map[decision.Wire]int), counts{}
	for seed := range seeds {
		s := newSimulation(t, seed)
		simulate(s)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
		answered, failed = answered+s.answered, failed+s.failed
		for w, n := range s.wires {
			wires[w] += n
		}
		counts.unproven += s.core.counts.unproven
		counts.version += s.core.counts.version
		counts.busy += s.core.counts.busy
		counts.hedges += s.core.counts.hedges
	}
	t.Logf("%d seeds: %d calls answered, %d failed, messages by wire %v, %+v", seeds, answered, failed, wires, counts)
	if answered == 0 || failed == 0 || wires[decision.Wire1] == 0 || wires[decision.Wire2] == 0 || counts.unproven == 0 || counts.version == 0 || counts.busy == 0 {
		t.Error("the simulation proves nothing: some events never happen")
	}
}

func simulate(s *simulation) {
	s.allConnected()
	s.announce()
	for range 60 {
		for range s.random.IntN(20) {
			kind := decision.Ask
			if s.random.IntN(10) == 0 {
				kind = decision.Open
			}
			n := 1
			if kind == decision.Ask {
				n += s.random.IntN(4)
			}
			k := s.request(kind, n, time.Duration(1+s.random.IntN(3000))*time.Millisecond)
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
		step := time.Duration(s.random.IntN(200)) * time.Millisecond
		if s.random.IntN(30) == 0 {
			step = 25 * time.Second // longer than the lease
		}
		s.run(step)
		if s.random.IntN(30) == 0 {
			s.suspend(time.Duration(s.random.IntN(40)) * time.Second)
		}
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
	s.run(leaveAloneMost + atLeastFor + time.Second)
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
	if c := s.core; c.pending != 0 || c.waiting.any() || len(c.freeFlights) > 1000 {
		s.t.Errorf("requests are left: %d pending, %d waiting", c.pending, c.waiting.len())
	}
	for _, p := range s.paths() {
		if p.inFlight != 0 {
			s.t.Errorf("over link %d, %d messages are still in flight", p.link.index, p.inFlight)
		}
	}
}

// paths returns all paths that the core knows.
func (s *simulation) paths() (ps []*path) {
	for _, l := range s.core.links {
		ps = append(ps, &l.anyone)
	}
	for _, n := range s.core.nodes {
		ps = append(ps, n.paths...)
	}
	return ps
}

var errClientGone = errors.New("the client has gone")
