package replica

import (
	"time"

	"github.com/postern-im/postern/events"
)

// fault makes a random fault, and schedules the next one.
func (s *sim) fault() {
	if s.ending {
		return
	}
	s.faults++
	n := s.nodes[s.rng.IntN(simNodes)]
	g := s.gateways[s.rng.IntN(simGateways)]
	long := s.upTo(40 * time.Second)
	switch s.rng.IntN(17) {
	case 0: // two machines are cut apart, or one of them does not hear the other
		a, b := s.rng.IntN(len(s.machines)), s.rng.IntN(len(s.machines))
		s.cutLink(a, b, long)
		if s.chance(0.5) {
			s.cutLink(b, a, long)
		}
	case 1: // a node hears none of the other nodes, or no machine, or is not heard
		s.isolate(n, long)
	case 2, 3: // the node's process is stopped
		n.freeze(long)
	case 4: // the node's machine is suspended: its clocks stop or do not
		n.freeze(long)
		s.after(long, func() { n.setClock(-long) })
	case 5: // the machine is held by its hypervisor, and its clock is set later
		n.freeze(long)
		s.after(long, func() {
			n.setClock(-long)
			s.after(s.upTo(10*time.Second), func() { n.setClock(long) })
		})
	case 6: // the clock is set
		n.setClock(s.upTo(2*time.Hour) - time.Hour)
	case 7, 8:
		s.crash(n)
	case 9, 10: // a snapshot of the machine, and the machine is put back to it later
		if n.up && n.joined() {
			n.save()
			kind := s.rng.IntN(3)
			s.after(long, func() {
				if !s.ending {
					n.putBack(kind != 1, kind != 0)
				}
			})
		}
	case 11:
		s.wipe(n)
	case 12: // the gateway is stopped; its clock runs
		g.freeze(long)
	case 13:
		g.end()
		g.boot()
	case 14: // the gateway reaches one node only, or does not hear the others
		for _, other := range s.nodes {
			if other != n {
				s.cutLink(other.index, g.index, long)
				if s.chance(0.5) {
					s.cutLink(g.index, other.index, long)
				}
			}
		}
	case 15: // a node of another cluster offers an entry
		if leader := n.voter.leader; leader != nil && s.stats.Acknowledged > 0 {
			s.stats.Foreign++
			s.order.order(leader, s.foreignEntry())
		}
	case 16: // the node that leads is cut off from the others
		if leader := n.voter.leader; leader != nil {
			s.isolate(leader.node, long)
		}
	}
	s.after(s.upTo(12*time.Second), s.fault)
}

// setClock changes a node's clock.
func (n *simNode) setClock(by time.Duration) {
	if !n.sim.ending {
		n.clock += by
	}
}

func (s *sim) cutLink(from, to int, d time.Duration) {
	s.cut[from][to] = true
	s.after(d, func() { s.cut[from][to] = false })
}

// isolate cuts a node off, in one direction or both, from the nodes or all machines.
func (s *sim) isolate(n *simNode, d time.Duration) {
	others := len(s.machines)
	if s.chance(0.5) {
		others = simNodes
	}
	deaf, mute := s.chance(0.7), s.chance(0.7)
	for i := range others {
		if i != n.index && deaf {
			s.cutLink(i, n.index, d)
		}
		if i != n.index && mute {
			s.cutLink(n.index, i, d)
		}
	}
}

// crash ends a node's process and starts it again later.
func (s *sim) crash(n *simNode) {
	if !n.up {
		return
	}
	s.stats.Crashes++
	n.voter.leading = false
	n.end()
	n.log.lose()
	s.after(s.upTo(15*time.Second), func() {
		if !n.up {
			n.boot()
		}
	})
}

// wipe takes a node's disk away, once the order has begun and all nodes have the
// commits from before the cluster. The node comes back with empty data and a new
// voter, which does not vote until it has replaced the old one. A second disk is not
// lost before: the promises of the order end with the loss of a majority.
func (s *sim) wipe(n *simNode) {
	for _, other := range s.nodes {
		if s.stats.Acknowledged == 0 || !other.voter.votes || !other.joined() {
			return
		}
	}
	s.stats.Wipes++
	s.crash(n)
	n.data++
	n.log = &simLog{node: n, commands: map[string]events.Position{}}
	n.voter = &voter{node: n, patience: 4*time.Second + s.upTo(5*time.Second)}
}

// heal ends all faults.
func (s *sim) heal() {
	s.cut = [len(s.cut)][len(s.cut)]bool{}
	for _, m := range s.machines {
		if m.frozen > 0 {
			m.frozen = 1
			m.thaw(m.life)
		}
	}
	for _, n := range s.nodes {
		if !n.up {
			n.boot()
		}
	}
}
