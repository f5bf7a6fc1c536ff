package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/postern-im/postern/events"
)

var errCrash = errors.New("the machine has crashed")

// A simNode is a policy node: a replica with a log, and a View that follows the log.
type simNode struct {
	machine
	name string
	data int // counts the disks that it has lost
	// stored is the most commits that a disk of the node has ever had.
	stored int
	log    *simLog
	voter  *voter
	clock  time.Duration // what the node's clock differs from the time

	// The fields of the process.
	r         *Replica
	view      events.Position
	followed  int // the entries that the replica has been given
	following bool
	woken     bool
	backs     int // counts how often the memory was put back
	pending   []*simAttempt

	snapshot *simSnapshot
}

// A simAttempt is an append that the node waits for.
type simAttempt struct {
	*attempt
	command  *simCommand
	deadline time.Duration
}

func newSimNode(s *sim, i int) *simNode {
	n := &simNode{machine: machine{sim: s, index: i}, name: fmt.Sprintf("n%d", i+1)}
	n.log = &simLog{node: n, id: fmt.Sprintf("%032x", i+1), commands: map[string]events.Position{}}
	n.voter = &voter{node: n, votes: true, patience: 4*time.Second + s.upTo(5*time.Second)}
	return n
}

func simGeneration(l *simLog) events.Generation {
	position, hash := l.Head()
	return events.Generation{ID: [16]byte{1}, Cluster: "acme", LogID: l.id, Position: position, Hash: hash}
}

// joined reports whether the node has the commits from before the cluster.
func (n *simNode) joined() bool {
	return n.log.bound != nil && len(n.log.records) >= int(n.log.bound.Position)
}

// boot starts the process.
func (n *simNode) boot() {
	n.life++
	n.up = true
	n.following, n.woken, n.pending, n.followed = false, false, nil, 0
	n.voter.leader, n.voter.leading, n.voter.commit, n.voter.heard = nil, false, 0, n.sim.now
	var err error
	n.r, err = New(Config{
		Node: n.name, Cluster: "acme", Log: n.log, Sequencer: simSequencer{n}, Peers: simPeers{n},
		Data: fmt.Sprint(n.data), Boot: uint64(n.life), Logger: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return time.Unix(1_763_890_200, 0).Add(n.sim.now + n.clock) },
	})
	n.sim.must(err)
	n.view, _ = n.log.Head()
	n.r.Decides(n.view)
	n.after(0, n.connect)
	n.after(n.sim.upTo(simPeriod), n.tick)
	n.after(n.sim.upTo(time.Second), n.beat)
}

// tick does what the replica's ticker and its other loops do.
func (n *simNode) tick() {
	n.r.offerGeneration()
	n.r.tick()
	n.r.tell()
	n.after(simPeriod, n.tick)
}

func (n *simNode) beat() {
	n.sim.order.beat(n.voter)
	n.after(time.Second, n.beat)
}

// connect begins a pass over the order, as runFollow does.
func (n *simNode) connect() {
	n.following = false
	err := n.r.join(context.Background())
	if err != nil {
		n.judge(err)
		n.after(time.Second, n.connect)
		return
	}
	n.r.start()
	n.followed, n.following = int(n.r.reading.after()), true
	n.wake()
}

// judge handles the error of a pass.
func (n *simNode) judge(err error) {
	if errors.Is(err, errCrash) {
		n.sim.crash(n)
		return
	}
	n.sim.must(n.r.judge(err))
	n.checkStop()
}

// checkStop reports a node that has stopped: no fault of the simulator is one at
// which a node must stop.
func (n *simNode) checkStop() {
	if err := n.r.Failure(); err != nil {
		n.sim.fail("node %s stops without need: %w", n.name, err)
	}
}

// wake lets the replica read what is ordered. Sometimes it is slow.
func (n *simNode) wake() {
	if n.woken || !n.up {
		return
	}
	n.woken = true
	delay := n.sim.upTo(time.Millisecond)
	if !n.sim.ending && n.sim.chance(0.01) {
		delay = n.sim.upTo(2 * time.Second)
	}
	n.after(delay, n.read)
}

// read gives the replica the entries that its voter knows to be ordered.
func (n *simNode) read() {
	n.woken = false
	v := n.voter
	if !n.following || n.followed >= v.commit {
		return
	}
	entries := v.entries(n.followed)
	n.followed = v.commit
	before, _ := n.log.Head()
	err := n.r.take(context.Background(), entries)
	if len(n.log.pending) > 0 {
		n.after(n.log.syncTime(), n.settle)
	}
	select {
	case <-n.r.began:
		n.r.tick()
	default:
	}
	if err != nil {
		n.judge(err)
		if n.up {
			n.after(time.Second, n.connect)
		}
		return
	}
	if head, _ := n.log.Head(); head > before {
		delay := n.sim.upTo(2 * time.Millisecond)
		if !n.sim.ending && n.sim.chance(0.1) {
			delay = n.sim.upTo(3 * time.Second)
		}
		n.after(delay, n.fold)
		if !n.sim.ending && n.sim.chance(0.005) {
			n.sim.crash(n) // between the log and the View
		}
	}
}

// entries returns the ordered entries after the first n.
func (v *voter) entries(n int) (list []Entry) {
	for i := n; i < min(v.commit, len(v.log)); i++ {
		if v.log[i].data != nil {
			list = append(list, Entry{Seq: uint64(i + 1), Data: v.log[i].data})
		}
	}
	return list
}

// settle makes the log durable, as runSettle does.
func (n *simNode) settle() {
	if err := n.r.settle(context.Background()); err != nil {
		n.judge(err)
		return
	}
	n.r.tell()
}

// fold takes the log's commits into the View.
func (n *simNode) fold() {
	n.view, _ = n.log.Head()
	n.r.Decides(n.view)
	n.r.tell()
	for _, a := range slices.Clone(n.pending) {
		n.check(a)
	}
}

// execute runs a command, as a policy node does.
func (n *simNode) execute(c *simCommand, deadline time.Duration) {
	if p, found := n.log.commands[c.commandID(0)]; found && p+events.Position(c.commits)-1 <= n.view {
		n.confirm(c, p, n.sim.now+simConfirm)
		return
	}
	if n.sim.now > deadline {
		n.sim.stats.GivenUp++
		return
	}
	again := func() { n.execute(c, deadline) }
	head, _ := n.log.Head()
	if head != n.view {
		n.after(100*time.Millisecond, again)
		return
	}
	commits := make([]*events.Commit, c.commits)
	for i := range commits {
		commits[i] = &events.Commit{
			Tenant: "acme", TenantVersion: uint64(head) + uint64(i) + 1, Time: time.Unix(1_763_890_200, 0).Add(n.sim.now),
			Actor: "operator:root", CommandID: c.commandID(i), Reason: n.name,
			Events: []events.Event{events.MemberRolesSet{JID: "anna@alpha.test"}},
		}
	}
	a, err := n.r.prepare(head, commits)
	if err != nil {
		n.after(200*time.Millisecond, again)
		return
	}
	attempt := &simAttempt{a, c, deadline}
	n.pending = append(n.pending, attempt)
	n.offer(attempt)
}

// offer offers an attempt until its outcome is known or its client has left.
func (n *simNode) offer(a *simAttempt) {
	if !slices.Contains(n.pending, a) {
		return
	}
	n.sim.order.offer(n, a.batch)
	if !n.check(a) {
		n.after(reofferEvery/2+n.sim.upTo(reofferEvery), func() { n.offer(a) })
	}
}

// check looks for the outcome of an attempt.
func (n *simNode) check(a *simAttempt) (done bool) {
	done, err := n.r.outcome(a.attempt)
	if !done && n.sim.now <= a.deadline {
		return false
	}
	i := slices.Index(n.pending, a)
	n.pending = slices.Delete(n.pending, i, i+1)
	if _, ok := errors.AsType[*events.ConflictError](err); ok {
		n.sim.stats.Conflicts++
		n.execute(a.command, a.deadline)
	} else if done && err == nil {
		n.confirm(a.command, a.at+1, n.sim.now+simConfirm)
	} else {
		n.sim.stats.GivenUp++
	}
	return true
}

// confirm acknowledges a command when a majority of the nodes has told that its disk
// has the commits, as a policy node does.
func (n *simNode) confirm(c *simCommand, first events.Position, deadline time.Duration) {
	stored := 0
	for _, m := range n.r.Members() {
		if m.Position >= c.last(first) {
			stored++
		}
	}
	switch backs := n.backs; {
	case stored >= majority:
		n.sim.acknowledge(c, n, first)
	case n.sim.now > deadline:
		n.sim.stats.GivenUp++
	default:
		n.after(10*time.Millisecond, func() {
			if backs == n.backs {
				n.confirm(c, first, deadline)
			}
		})
	}
}

// A simAnswer is a node's answer to a gateway.
type simAnswer struct {
	node   *simNode
	view   events.Position
	proven uint64
}

// answer answers a question, from the View of the moment.
func (n *simNode) answer(gateway string, challenge uint64) (simAnswer, bool) {
	if n.r.Failure() != nil || !n.following {
		return simAnswer{}, false
	}
	return simAnswer{n, n.view, n.r.Prove(gateway, challenge, n.view)}, true
}

// A simSnapshot is a machine at an earlier time.
type simSnapshot struct {
	memory    *Replica
	log       simWrite
	durable   simWrite
	pending   []simWrite
	bound     *events.Generation
	data      int
	view      events.Position
	followed  int
	following bool
}

// save takes a snapshot of the machine. The voter's store is not part of it: a voter
// that is put back breaks the order's promise, which the simulator takes for granted.
func (n *simNode) save() {
	n.snapshot = &simSnapshot{
		memory: copyOf(n.r), log: n.log.now(), durable: n.log.durable, pending: slices.Clone(n.log.pending),
		bound: n.log.bound, data: n.data, view: n.view, followed: n.followed, following: n.following,
	}
}

// copyOf copies the state of a replica.
func copyOf(r *Replica) *Replica {
	c := &Replica{
		reading: r.reading, phase: r.phase, failure: r.failure, generation: r.generation,
		applied: r.applied, lastTick: r.lastTick, caughtUp: r.caughtUp, mute: r.mute, recent: r.recent, decides: r.decides,
		proofs: proofs{own: r.proofs.own, ticks: r.proofs.ticks, gateways: map[string]*gatewayProofs{}},
		heard:  heard{ticks: r.heard.ticks, gateways: map[string][]heardRun{}},
	}
	for name, g := range r.proofs.gateways {
		own := *g
		own.runs = nil
		for _, run := range g.runs {
			own.runs = append(own.runs, slices.Clone(run))
		}
		c.proofs.gateways[name] = &own
	}
	for name, runs := range r.heard.gateways {
		c.heard.gateways[name] = slices.Clone(runs)
	}
	c.roster = roster{members: maps.Clone(r.roster.members), firstTwin: r.roster.firstTwin, lastTwin: r.roster.lastTwin}
	return c
}

// putBack puts the machine's memory, its disk, or both back to the snapshot.
func (n *simNode) putBack(memory, disk bool) {
	s := n.snapshot
	if s == nil || !n.up || s.data != n.data {
		return
	}
	n.sim.stats.PutBack++
	if disk {
		n.log.truncate(s.log)
		n.log.durable, n.log.pending, n.log.bound = s.durable, slices.Clone(s.pending), s.bound
	}
	if !memory {
		n.end()
		n.log.lose()
		n.boot()
		return
	}
	old := copyOf(s.memory)
	r := n.r
	r.reading, r.phase, r.failure, r.generation = old.reading, old.phase, old.failure, old.generation
	r.applied, r.lastTick, r.caughtUp, r.recent = old.applied, old.lastTick, old.caughtUp, old.recent
	r.proofs, r.heard, r.roster, r.decides = old.proofs, old.heard, old.roster, old.decides
	n.view, n.followed, n.following, n.pending = s.view, s.followed, s.following, nil
	n.backs++
	n.after(n.log.syncTime(), n.settle)
	if !n.following {
		n.after(time.Second, n.connect)
	}
}

// A simSequencer is a node's side of the order. The simulator gives the entries to
// the node itself; Follow is for joining.
type simSequencer struct{ n *simNode }

func (q simSequencer) Offer(data []byte) { q.n.sim.order.offer(q.n, data) }

func (q simSequencer) Follow(_ context.Context, after uint64, fn func([]Entry) error) error {
	if list := q.n.voter.entries(int(after)); len(list) > 0 {
		return fn(list)
	}
	return errors.New("nothing is ordered yet")
}

func (q simSequencer) State() SequencerState { return SequencerState{} }

// simPeers are the other nodes.
type simPeers struct{ n *simNode }

func (p simPeers) Tell(state []byte) {
	for _, other := range p.n.sim.nodes {
		if other != p.n {
			p.n.sim.send(&p.n.machine, &other.machine, func() {
				other.r.told(state)
				other.checkStop()
				p.n.sim.claim(other)
			})
		}
	}
}

func (p simPeers) Listen(context.Context, func([]byte)) error { return nil }

// Copy copies from the first node that is reached, a record at a time.
func (p simPeers) Copy(_ context.Context, from, to events.Position, fn func([][]byte) error) error {
	s := p.n.sim
	for _, other := range s.nodes {
		head, _ := other.log.Head()
		if other == p.n || head < to || !s.reaches(&p.n.machine, &other.machine) || !s.reaches(&other.machine, &p.n.machine) {
			continue
		}
		for ; from <= to; from++ {
			if err := fn(other.log.records[from-1 : from]); err != nil {
				return err
			}
		}
		return nil
	}
	return errors.New("no node with the commits is reached")
}

// A simLog is a node's log. The machine can crash before and after each write. A crash
// loses some of the newest writes that are not durable, or all of them.
type simLog struct {
	node      *simNode
	id        string
	records   [][]byte
	hashes    [][32]byte
	commands  map[string]events.Position
	cursor    events.Cursor
	hasCursor bool
	bound     *events.Generation
	creator   bool
	durable   simWrite
	pending   []simWrite // after durable, in order
}

// A simWrite is a log after a write.
type simWrite struct {
	records   int
	cursor    events.Cursor
	hasCursor bool
}

// now returns the log after its last write.
func (l *simLog) now() simWrite { return simWrite{len(l.records), l.cursor, l.hasCursor} }

// syncTime is the time until a write is durable.
func (l *simLog) syncTime() time.Duration {
	if s := l.node.sim; !s.ending && s.chance(0.05) {
		return s.upTo(3 * time.Second)
	}
	return l.node.sim.upTo(2 * time.Millisecond)
}

// lose loses what a crash loses.
func (l *simLog) lose() {
	left := l.durable
	if kept := l.node.sim.rng.IntN(len(l.pending) + 1); kept > 0 {
		left = l.pending[kept-1]
	}
	if left.records < len(l.records) {
		l.node.sim.stats.Lost++
	}
	l.truncate(left)
	l.settled()
}

// settled makes the log durable as it is.
func (l *simLog) settled() {
	l.durable, l.pending = l.now(), nil
	l.node.stored = max(l.node.stored, len(l.records))
}

func (l *simLog) Durable() (events.Position, [32]byte) {
	if l.durable.records == 0 {
		return 0, [32]byte{}
	}
	return events.Position(l.durable.records), l.hashes[l.durable.records-1]
}

func (l *simLog) Settle(context.Context) error {
	if l.crashes() {
		return errCrash
	}
	l.settled()
	if l.crashes() {
		return errCrash
	}
	return nil
}

func (l *simLog) Head() (events.Position, [32]byte) {
	if len(l.hashes) == 0 {
		return 0, [32]byte{}
	}
	return events.Position(len(l.hashes)), l.hashes[len(l.hashes)-1]
}

func (l *simLog) Wait(context.Context, events.Position) (events.Position, error) {
	panic("the simulator does not wait")
}

func (l *simLog) Commit(p events.Position) (events.Commit, error) {
	c, err := events.DecodeCommit(l.records[p-1])
	if err != nil {
		return events.Commit{}, err
	}
	return *c, nil
}

func (l *simLog) Prepare(at events.Position, commits ...*events.Commit) (records [][]byte, err error) {
	head, hash := l.Head()
	if at != head {
		return nil, &events.ConflictError{Expected: at, Head: head}
	}
	for _, given := range commits {
		if p, found := l.commands[given.CommandID]; found {
			return nil, &events.DuplicateCommandError{Tenant: given.Tenant, CommandID: given.CommandID, Position: p}
		}
		c := *given
		head++
		c.Position, c.Previous = head, hash
		record := events.AppendCommit(nil, &c)
		hash = events.Hash(record)
		records = append(records, record)
	}
	return records, nil
}

func (l *simLog) Take(_ context.Context, to events.Cursor, records [][]byte) error {
	if l.crashes() {
		return errCrash
	}
	var c events.Commit
	for _, record := range records {
		head, hash := l.Head()
		err := c.Decode(record)
		switch {
		case err != nil:
		case c.Position != head+1 || c.Previous != hash:
			err = errors.New("it does not chain")
		case l.commands[c.CommandID] != 0:
			err = &events.DuplicateCommandError{CommandID: c.CommandID}
		case c.TenantVersion != uint64(head)+1:
			err = errors.New("another tenant version")
		}
		if err != nil {
			return &events.RecordError{Position: head + 1, Err: err}
		}
		l.records = append(l.records, record)
		l.hashes = append(l.hashes, events.Hash(record))
		l.commands[c.CommandID] = c.Position
		l.node.sim.learn(l.node, c.Position, l.hashes[head])
	}
	l.cursor, l.hasCursor = to, true
	l.pending = append(l.pending, l.now())
	if l.crashes() {
		return errCrash
	}
	return nil
}

// crashes reports whether the machine crashes at this moment.
func (l *simLog) crashes() bool { return !l.node.sim.ending && l.node.sim.chance(0.005) }

func (l *simLog) Cursor() (events.Cursor, bool) { return l.cursor, l.hasCursor }

func (l *simLog) Bind(_ context.Context, g events.Generation, creator bool) error {
	l.id, l.bound, l.creator = g.LogID, &g, creator
	if !creator {
		l.node.sim.stats.Joins++
	}
	return nil
}

func (l *simLog) Generation() (g events.Generation, creator, ok bool) {
	if l.bound == nil {
		return g, false, false
	}
	return *l.bound, l.creator, true
}

// moveIn makes commits from before the cluster.
func (l *simLog) moveIn(count int) {
	for i := range count {
		head, _ := l.Head()
		records, err := l.Prepare(head, &events.Commit{
			Tenant: "acme", TenantVersion: uint64(head) + 1, Time: time.Unix(1_763_890_200, 0), Actor: "operator:root",
			CommandID: fmt.Sprint("before ", i), Events: []events.Event{events.MemberRolesSet{JID: "anna@alpha.test"}},
		})
		l.node.sim.must(err)
		l.records, l.hashes = append(l.records, records[0]), append(l.hashes, events.Hash(records[0]))
		l.commands[fmt.Sprint("before ", i)] = head + 1
		l.node.sim.learn(l.node, head+1, l.hashes[head])
	}
	l.settled()
}

// truncate makes the log what it was after an earlier write.
func (l *simLog) truncate(w simWrite) {
	n := w.records
	l.cursor, l.hasCursor = w.cursor, w.hasCursor
	for id, p := range l.commands {
		if int(p) > n {
			delete(l.commands, id)
		}
	}
	n = min(n, len(l.records))
	l.records, l.hashes = slices.Clip(l.records[:n]), slices.Clip(l.hashes[:n])
}

// times returns how often each command is in the log.
func (l *simLog) times() map[string]int {
	times := map[string]int{}
	for i, record := range l.records {
		c, err := events.DecodeCommit(record)
		if err != nil {
			l.node.sim.fail("node %s: the commit at %d: %w", l.node.name, i+1, err)
			break
		}
		times[c.CommandID]++
	}
	return times
}

// foreignEntry returns an entry of a node that does not belong to the cluster.
func (s *sim) foreignEntry() []byte {
	g := events.Generation{ID: [16]byte{9}, Cluster: "other", LogID: fmt.Sprintf("%032x", 9)}
	switch s.rng.IntN(3) {
	case 0:
		return events.AppendGeneration(nil, &g)
	case 1:
		return appendTick(nil, &tick{Node: "n9", Generation: g.ID, Position: 1 << 40, Challenges: []challenge{{"edge1", 1 << 61}}})
	}
	return append(append([]byte{kindBatch}, g.ID[:]...), binary.AppendUvarint(nil, 0)...)
}
