package replica

import (
	"container/heap"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/events"
)

// The simulator runs the real code of a replica on three simulated machines, with a
// simulated order of three voters and two simulated gateways. It has its own time
// and one goroutine, so that a seed gives one schedule. Faults of every kind happen
// at random. The simulator checks after each step that
//
//   - all nodes have the same commits at the same positions (P2);
//   - a gateway hands no stanza over on a verdict that does not know a commit that
//     was acknowledged more than the lease before (P3);
//   - a command that is sent again and again is carried out once, and stays (P1, P6);
//   - a command is acknowledged only when the disks of a majority have it (P1);
//   - once each node has reported that it decides from a commit, no gateway hands a
//     stanza over on a verdict from before it that it asks for afterwards (in schedules
//     that put no machine back);
//   - no node stops for good, because no fault here is one at which a node must stop;
//
// and at the end, when all faults are healed, that everything works again.

var (
	simSeed  = flag.Uint64("sim.seed", 0, "run this schedule of the simulator alone")
	simCount = flag.Int("sim.count", 0, "the number of schedules; zero means the default")
)

const (
	simNodes    = 3
	simGateways = 2
	simPeriod   = 4 * time.Second // between two ticks of a node, and two challenges of a gateway
	simFaulty   = 60 * time.Second
	simHealed   = 40 * time.Second
	simConfirm  = 2 * time.Second // the wait for a majority after an append
)

// TestSimulate runs seeded schedules: a thousand, and ten thousand in the soak form.
func TestSimulate(t *testing.T) {
	if *simSeed != 0 {
		s := newSim(*simSeed)
		s.run()
		t.Logf("%+v", s.stats)
		if s.failed != nil {
			t.Fatal(s.failed)
		}
		return
	}
	count := *simCount
	switch {
	case count > 0:
	case os.Getenv("POSTERN_SOAK") == "1":
		count = 10_000
	case raceDetector:
		count = 200 // one goroutine runs a schedule, so there is little to detect
	default:
		count = 1000
	}
	// A schedule makes much garbage and keeps little.
	defer debug.SetGCPercent(debug.SetGCPercent(1000))
	var (
		all    sync.WaitGroup
		next   atomic.Uint64
		mu     sync.Mutex
		total  simStats
		faults int
	)
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for seed := next.Add(1); seed <= uint64(count) && !t.Failed(); seed = next.Add(1) {
				s := newSim(seed)
				s.run()
				if s.failed != nil {
					t.Errorf("schedule %d, at %v: %v (run it alone with -sim.seed=%d)", seed, s.now, s.failed, seed)
				}
				mu.Lock()
				total.add(&s.stats)
				faults += s.faults
				mu.Unlock()
			}
		})
	}
	all.Wait()
	t.Logf("%d schedules with %d faults: %+v", count, faults, total)
	if count >= 100 && !t.Failed() && !total.everything() {
		t.Error("some kind of event did not happen")
	}
}

// simStats count the events of schedules, so that a simulator that does nothing is
// noticed.
type simStats struct {
	Events, Elections, Crashes, Wipes, PutBack       int
	Commits, Acknowledged, Conflicts, Repeated       int
	Passed, NotFresh, Stale, Foreign, GivenUp, Joins int
	Lost, Enforced                                   int
}

func (a *simStats) add(b *simStats) {
	a.Events += b.Events
	a.Elections += b.Elections
	a.Crashes += b.Crashes
	a.Wipes += b.Wipes
	a.PutBack += b.PutBack
	a.Commits += b.Commits
	a.Acknowledged += b.Acknowledged
	a.Conflicts += b.Conflicts
	a.Repeated += b.Repeated
	a.Passed += b.Passed
	a.NotFresh += b.NotFresh
	a.Stale += b.Stale
	a.Foreign += b.Foreign
	a.GivenUp += b.GivenUp
	a.Joins += b.Joins
	a.Lost += b.Lost
	a.Enforced += b.Enforced
}

// everything reports whether each kind of event has happened.
func (a *simStats) everything() bool {
	return !slices.Contains([]int{a.Elections, a.Crashes, a.Wipes, a.PutBack, a.Acknowledged, a.Conflicts,
		a.Repeated, a.Passed, a.NotFresh, a.Stale, a.Foreign, a.GivenUp, a.Joins, a.Lost, a.Enforced}, 0)
}

// A sim is one schedule.
type sim struct {
	rng    *rand.Rand
	now    time.Duration
	queue  simQueue
	seq    uint64
	faults int
	stats  simStats
	failed error // the first violation
	ending bool  // the faults are healed

	nodes    [simNodes]*simNode
	gateways [simGateways]*simGateway
	machines []*machine // of the nodes, then of the gateways
	cut      [simNodes + simGateways][simNodes + simGateways]bool
	order    *simOrder

	commands  []*simCommand
	canonical [][32]byte // the hash of the commit at each position, from 1
	// acked is when the commit at each position was acknowledged; zero: not yet.
	acked []time.Duration
	// enforced is when each position, from 1, was first known to be enforced everywhere.
	enforced []time.Duration
}

func newSim(seed uint64) *sim {
	s := &sim{rng: rand.New(rand.NewPCG(seed, 7))}
	s.order = &simOrder{sim: s}
	for i := range s.nodes {
		s.nodes[i] = newSimNode(s, i)
		s.machines = append(s.machines, &s.nodes[i].machine)
	}
	for i := range s.gateways {
		s.gateways[i] = &simGateway{machine: machine{sim: s, index: simNodes + i}, name: fmt.Sprintf("edge%d", i+1)}
		s.machines = append(s.machines, &s.gateways[i].machine)
	}
	return s
}

// run runs the schedule: first with faults, then without.
func (s *sim) run() {
	first := s.nodes[0]
	if s.chance(0.5) {
		first.log.moveIn(1 + s.rng.IntN(5))
	}
	s.must(first.log.Bind(context.Background(), simGeneration(first.log), true))
	for _, n := range s.nodes {
		n.boot()
	}
	for _, g := range s.gateways {
		g.boot()
	}
	s.order.begin()
	s.after(0, s.command)
	s.after(s.upTo(10*time.Second), s.fault)
	s.until(simFaulty)
	s.ending = true
	s.heal()
	s.until(simFaulty + simHealed)
	if s.failed == nil {
		s.checkEnd()
	}
}

// until runs the events up to a time.
func (s *sim) until(end time.Duration) {
	for s.failed == nil && len(s.queue) > 0 && s.queue[0].at <= end {
		e := heap.Pop(&s.queue).(simEvent)
		s.now = e.at
		s.stats.Events++
		e.run()
	}
	if s.failed == nil {
		s.now = end
	}
}

func (s *sim) fail(format string, args ...any) {
	if s.failed == nil {
		s.failed = fmt.Errorf(format, args...)
	}
}

func (s *sim) must(err error) {
	if err != nil {
		s.fail("the simulator: %w", err)
	}
}

// chance is true in a part p of the calls.
func (s *sim) chance(p float64) bool { return s.rng.Float64() < p }

// upTo returns a random time up to d.
func (s *sim) upTo(d time.Duration) time.Duration { return time.Duration(s.rng.Int64N(int64(d) + 1)) }

// after runs fn later.
func (s *sim) after(d time.Duration, fn func()) {
	s.seq++
	heap.Push(&s.queue, simEvent{s.now + d, s.seq, fn})
}

type simEvent struct {
	at  time.Duration
	seq uint64
	run func()
}

type simQueue []simEvent

func (q simQueue) Len() int { return len(q) }
func (q simQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q simQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *simQueue) Push(e any)   { *q = append(*q, e.(simEvent)) }
func (q *simQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = simEvent{}
	*q = old[:len(old)-1]
	return e
}

// A machine runs one process, which can be frozen and can crash.
type machine struct {
	sim     *sim
	index   int
	up      bool
	frozen  int      // the faults that hold it still
	life    int      // counts the process's starts and crashes
	backlog []func() // the events that wait for the frozen process
}

// after runs fn later in the same process. A frozen process runs it when it goes on.
func (m *machine) after(d time.Duration, fn func()) {
	life := m.life
	m.sim.after(d, func() { m.deliver(life, fn) })
}

func (m *machine) deliver(life int, fn func()) {
	switch {
	case life != m.life || !m.up:
	case m.frozen > 0:
		m.backlog = append(m.backlog, fn)
	default:
		fn()
	}
}

// freeze holds the process still for a time.
func (m *machine) freeze(d time.Duration) {
	life := m.life
	m.frozen++
	m.sim.after(d, func() { m.thaw(life) })
}

func (m *machine) thaw(life int) {
	if life != m.life {
		return
	}
	m.frozen = max(m.frozen-1, 0)
	if m.frozen > 0 {
		return
	}
	for _, fn := range m.backlog {
		m.after(0, fn)
	}
	m.backlog = nil
}

// end ends the process.
func (m *machine) end() {
	m.up, m.frozen, m.backlog = false, 0, nil
	m.life++
}

// reaches reports whether a message from one machine gets to another now.
func (s *sim) reaches(from, to *machine) bool {
	return from.up && to.up && from.frozen == 0 && to.frozen == 0 && !s.cut[from.index][to.index]
}

// send sends a message over a network that delays, reorders and loses.
func (s *sim) send(from, to *machine, fn func()) {
	if s.cut[from.index][to.index] || s.chance(0.01) {
		return
	}
	delay := time.Millisecond + s.upTo(2*time.Millisecond)
	if s.chance(0.02) && !s.ending {
		delay = s.upTo(3 * time.Second)
	}
	life := to.life
	s.after(delay, func() {
		if !s.cut[from.index][to.index] {
			to.deliver(life, fn)
		}
	})
}

// learn checks that a commit is the only one at its position (P2).
func (s *sim) learn(n *simNode, p events.Position, hash [32]byte) {
	switch i := int(p) - 1; {
	case i == len(s.canonical):
		s.canonical = append(s.canonical, hash)
		s.acked = append(s.acked, 0)
		s.stats.Commits++
	case i > len(s.canonical):
		s.fail("P2: node %s has a commit at %d, and no node has one at %d", n.name, p, len(s.canonical)+1)
	case s.canonical[i] != hash:
		s.fail("P2: node %s has %x at %d, and another node has %x", n.name, hash[:4], p, s.canonical[i][:4])
	}
}

// handOver checks a stanza that a gateway hands over on the verdict of a View (P3).
func (s *sim) handOver(g *simGateway, n *simNode, view events.Position) {
	s.stats.Passed++
	for i := int(view); i < len(s.acked); i++ {
		if at := s.acked[i]; at != 0 && s.now-at > decision.Lease {
			s.fail("P3: gateway %s hands a stanza over on a verdict of node %s at %d, and the commit at %d was acknowledged %v before",
				g.name, n.name, view, i+1, s.now-at)
			return
		}
	}
	if i := int(view); s.stats.PutBack == 0 && i < len(s.enforced) && s.now-s.enforced[i] > decision.MaxAge {
		s.fail("P3: gateway %s hands a stanza over on a verdict of node %s at %d, and all nodes had decided from the commit at %d %v before",
			g.name, n.name, view, i+1, s.now-s.enforced[i])
	}
}

// claim notes the positions that a node knows to be enforced everywhere, by the reports
// of all nodes.
func (s *sim) claim(n *simNode) {
	members := n.r.Members()
	if len(members) < simNodes {
		return
	}
	all := n.view
	for _, m := range members {
		all = min(all, m.Decides)
	}
	for len(s.enforced) < int(all) {
		s.enforced = append(s.enforced, s.now)
		s.stats.Enforced++
	}
}

// A simCommand is a command that a client sends until it is acknowledged.
type simCommand struct {
	id      string
	commits int
	tries   int
	first   events.Position // of its commits, once acknowledged
}

// command sends a new command, and schedules the next one.
func (s *sim) command() {
	if s.now < simFaulty+simHealed/2 {
		c := &simCommand{id: fmt.Sprintf("c%d", len(s.commands)), commits: 1 + max(s.rng.IntN(8)-5, 0)}
		s.commands = append(s.commands, c)
		s.submit(c)
		s.after(time.Millisecond+s.upTo(6*time.Second), s.command)
	}
}

// submit sends a command to some node. An impatient client sends it to another node
// meanwhile.
func (s *sim) submit(c *simCommand) {
	if c.first != 0 {
		return
	}
	if c.tries++; c.tries > 1 {
		s.stats.Repeated++
	}
	n := s.nodes[s.rng.IntN(simNodes)]
	n.after(time.Millisecond+s.upTo(5*time.Millisecond), func() { n.execute(c, s.now+10*time.Second) })
	wait := 8 * time.Second
	if s.chance(0.1) {
		wait = s.upTo(100 * time.Millisecond)
	}
	s.after(wait, func() { s.submit(c) })
}

// acknowledge acknowledges a command to its client.
func (s *sim) acknowledge(c *simCommand, n *simNode, first events.Position) {
	if int(first)+c.commits-1 > len(s.canonical) || n.log.commands[c.commandID(0)] != first {
		s.fail("P1: node %s acknowledges command %s at %d, which is not there", n.name, c.id, first)
		return
	}
	stored := 0
	for _, n := range s.nodes {
		if n.stored >= int(c.last(first)) {
			stored++
		}
	}
	if stored < majority {
		s.fail("P1: node %s acknowledges command %s at %d, which the disks of %d nodes have had", n.name, c.id, first, stored)
		return
	}
	for i := range c.commits {
		if at := &s.acked[int(first)+i-1]; *at == 0 {
			*at = s.now
		}
	}
	if c.first == 0 {
		s.stats.Acknowledged++
	}
	c.first = first
}

// last is the position of its last commit if its first one is at a position.
func (c *simCommand) last(first events.Position) events.Position {
	return first + events.Position(c.commits) - 1
}

func (c *simCommand) commandID(i int) string { return fmt.Sprintf("%s.%d", c.id, i) }

// checkEnd checks a healed cluster: it has lost nothing, and it works.
func (s *sim) checkEnd() {
	want := s.nodes[0].log
	for _, n := range s.nodes {
		if st := n.r.Status(); st.Phase != Following || n.r.cfg.Now().Sub(st.LastTick) > 2*simPeriod {
			s.fail("after all faults, node %s does not work: %+v", n.name, st)
			return
		}
		if len(n.log.records) != len(s.canonical) {
			s.fail("after all faults, node %s has %d commits of %d", n.name, len(n.log.records), len(s.canonical))
			return
		}
	}
	times := want.times()
	for _, c := range s.commands {
		for i := range c.commits {
			if n := times[c.commandID(i)]; n != 1 {
				s.fail("P6: command %s is in the log %d times", c.commandID(i), n)
			}
		}
		if c.first == 0 {
			s.fail("after all faults, command %s is not acknowledged", c.id)
		} else if want.commands[c.commandID(0)] != c.first {
			s.fail("P1: command %s was acknowledged at %d", c.id, c.first)
		}
	}
	for _, g := range s.gateways {
		if s.now-g.lastPassed > 10*time.Second {
			s.fail("after all faults, nothing passes gateway %s", g.name)
		}
	}
}
