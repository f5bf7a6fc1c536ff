package replica

import (
	"slices"
	"time"
)

// A simOrder is a sequencer with a voter on each node, as Raft has it: a leader is
// elected by a majority that has no newer entries than it, an entry is ordered when
// a majority has stored it in the leader's term. Storing an entry takes no time, so
// that the simulator is fast. A voter stores it if the leader reaches it.
type simOrder struct{ sim *sim }

// A voter stores the order on one node. All but the last group of fields is durable.
type voter struct {
	node  *simNode
	votes bool // it belongs to the voters
	term  int
	log   []ordered

	commit   int // the entries known to be ordered
	leading  bool
	leader   *voter // the leader that it has heard last
	heard    time.Duration
	lonely   int // the rounds in which a leader has reached no majority
	patience time.Duration
}

// An ordered entry has no data if a leader made it at the start of its term.
type ordered struct {
	term int
	data []byte
}

const majority = simNodes/2 + 1

// begin makes the first node's voter the leader.
func (o *simOrder) begin() {
	v := o.sim.nodes[0].voter
	v.term, v.leading, v.leader = 1, true, v
	v.log = append(v.log, ordered{term: 1})
	o.replicate(v)
}

// offer sends a node's offer to the leader that the node knows. The offer may be
// lost, and may arrive twice and late.
func (o *simOrder) offer(n *simNode, data []byte) {
	data = slices.Clone(data)
	copies := 1
	switch {
	case o.sim.ending:
	case o.sim.chance(0.03):
		copies = 0
	case o.sim.chance(0.03):
		copies = 2
	}
	leader := n.voter.leader
	if leader == nil {
		return
	}
	for range copies {
		o.sim.send(&n.machine, &leader.node.machine, func() { o.order(leader, data) })
	}
}

// order appends an entry to the leader's log, unless it does not lead any more.
func (o *simOrder) order(leader *voter, data []byte) {
	if leader.node.voter != leader || !leader.leading {
		return
	}
	leader.log = append(leader.log, ordered{leader.term, data})
	o.replicate(leader)
}

// replicate copies the leader's log to all voters that it reaches, and finds out how
// much of it is ordered. The leader may crash in the middle.
func (o *simOrder) replicate(l *voter) (acknowledged int) {
	s := o.sim
	acknowledged = 1
	first := s.rng.IntN(simNodes)
	for i := range simNodes {
		v := s.nodes[(first+i)%simNodes].voter
		if v == l || !s.reaches(&l.node.machine, &v.node.machine) {
			continue
		}
		if !s.ending && s.chance(0.0005) {
			s.crash(l.node)
			return 0
		}
		back := s.reaches(&v.node.machine, &l.node.machine)
		if v.term > l.term {
			if back {
				l.leading = false
			}
			continue
		}
		v.term, v.leading, v.leader, v.heard = l.term, false, l, s.now
		v.log = append(v.log[:common(v.log, l.log)], l.log[common(v.log, l.log):]...)
		if back && v.votes {
			acknowledged++
		}
	}
	if acknowledged >= majority && l.leading && l.log[len(l.log)-1].term == l.term {
		l.commit = len(l.log)
		l.node.wake()
		for _, n := range s.nodes {
			if v := n.voter; v.leader == l && s.reaches(&l.node.machine, &n.machine) && len(v.log) == len(l.log) {
				o.inform(n, l.commit)
			}
		}
		o.replace(l, acknowledged)
	}
	return acknowledged
}

// inform tells a node's voter how much is ordered.
func (o *simOrder) inform(n *simNode, commit int) {
	v := n.voter
	n.after(o.sim.upTo(2*time.Millisecond), func() {
		if n.voter == v && commit > v.commit {
			v.commit = min(commit, len(v.log))
			n.wake()
		}
	})
}

// replace gives the place of a voter that has lost its disk to the node's new voter,
// once all others and the new one have the whole log.
func (o *simOrder) replace(l *voter, acknowledged int) {
	for _, n := range o.sim.nodes {
		if v := n.voter; !v.votes && acknowledged == simNodes-1 && v.leader == l && len(v.log) == len(l.log) {
			v.votes = true
		}
	}
}

// common returns the number of entries that two logs have in common. In Raft, logs
// with an entry of one term at one place are equal up to there.
func common(a, b []ordered) int {
	n := min(len(a), len(b))
	for n > 0 && a[n-1].term != b[n-1].term {
		n--
	}
	return n
}

// beat is what a voter does each second: a leader repeats its log, and another voter
// that has heard none for long wants to lead.
func (o *simOrder) beat(v *voter) {
	s := o.sim
	switch {
	case v.leading:
		if o.replicate(v) >= majority {
			v.lonely = 0
		} else if v.lonely++; v.lonely > 5 {
			v.leading = false
		}
	case v.votes && s.now-v.heard > v.patience:
		v.heard, v.patience = s.now, 4*time.Second+s.upTo(5*time.Second)
		o.elect(v)
	}
}

// elect lets a voter ask the others for their votes.
func (o *simOrder) elect(c *voter) {
	s := o.sim
	c.term++
	votes := 1
	for _, n := range s.nodes {
		v := n.voter
		if v == c || !v.votes || !s.reaches(&c.node.machine, &n.machine) || !s.reaches(&n.machine, &c.node.machine) {
			continue
		}
		if v.term >= c.term {
			c.term = v.term
			continue
		}
		v.term, v.leading = c.term, false
		if newer(c.log, v.log) {
			votes++
		}
	}
	if votes < majority {
		return
	}
	s.stats.Elections++
	c.leading, c.leader, c.lonely = true, c, 0
	c.log = append(c.log, ordered{term: c.term})
	o.replicate(c)
}

// newer reports whether log a may lead a voter with log b.
func newer(a, b []ordered) bool {
	last := func(log []ordered) int {
		if len(log) == 0 {
			return 0
		}
		return log[len(log)-1].term
	}
	return last(a) > last(b) || last(a) == last(b) && len(a) >= len(b)
}
