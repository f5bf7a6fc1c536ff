package replica

import (
	"time"

	"github.com/postern-im/postern/decision"
)

// A simGateway is a gateway. It sends challenges to all nodes, asks nodes about
// stanzas, and hands a stanza over only on a fresh verdict.
type simGateway struct {
	machine
	name    string
	base    uint64        // the challenge at its start
	started time.Duration // by its clock

	lastPassed time.Duration
}

// A simVerdict is a node's answer and the times that say how old it is.
type simVerdict struct {
	decision.Freshness
	answer simAnswer
}

func (g *simGateway) boot() {
	g.life++
	g.up = true
	g.base = 1<<61 | g.sim.rng.Uint64()>>3
	g.started = g.clock()
	g.beat()
	g.after(g.sim.upTo(time.Second), g.stanza)
}

// clock is the gateway's boot-time clock. It runs while the process is held still.
func (g *simGateway) clock() time.Duration { return g.sim.now + time.Hour }

// challenge is the challenge of the moment.
func (g *simGateway) challenge() uint64 {
	return g.base + uint64((g.clock()-g.started)/time.Millisecond)
}

// beat sends a challenge to each node.
func (g *simGateway) beat() {
	challenge := g.challenge()
	for _, n := range g.sim.nodes {
		g.sim.send(&g.machine, &n.machine, func() { n.r.Heard(g.name, challenge) })
	}
	g.after(simPeriod, g.beat)
}

// stanza receives a stanza, and schedules the next one.
func (g *simGateway) stanza() {
	g.ask(10)
	g.after(g.sim.upTo(3*time.Second), g.stanza)
}

// ask asks a node about a stanza, and another one if there is no fresh answer.
func (g *simGateway) ask(tries int) {
	if tries == 0 {
		return // the stanza is refused
	}
	n := g.sim.nodes[g.sim.rng.IntN(simNodes)]
	asked, challenge, answered := g.clock(), g.challenge(), false
	g.sim.send(&g.machine, &n.machine, func() {
		answer, ok := n.answer(g.name, challenge)
		if !ok {
			return
		}
		g.sim.send(&n.machine, &g.machine, func() {
			v := &simVerdict{decision.Freshness{AskedAt: asked, ProvenAt: g.provenAt(answer.proven)}, answer}
			switch {
			case answered:
			case !v.Fresh(g.clock()):
				g.sim.stats.NotFresh++ // another node may have a newer proof
			default:
				answered = true
				g.hold(v)
			}
		})
	})
	g.after(100*time.Millisecond+g.sim.upTo(900*time.Millisecond), func() {
		if !answered {
			answered = true
			g.ask(tries - 1)
		}
	})
}

// provenAt returns when the gateway sent a proven challenge, or zero, which is not
// fresh, if another process of the gateway sent it.
func (g *simGateway) provenAt(proven uint64) time.Duration {
	if proven < g.base || !sameRun(proven, g.base) {
		return 0
	}
	return g.started + time.Duration(proven-g.base)*time.Millisecond
}

// hold holds a verdict until the stanza's turn comes.
func (g *simGateway) hold(v *simVerdict) {
	wait := g.sim.upTo(5 * time.Millisecond)
	switch {
	case g.sim.chance(0.05):
		wait = g.sim.upTo(40 * time.Second)
	case g.sim.chance(0.2):
		wait = g.sim.upTo(2 * time.Second)
	}
	g.after(wait, func() { g.handOver(v) })
}

// handOver hands the stanza over, or asks again if the verdict is not fresh now.
func (g *simGateway) handOver(v *simVerdict) {
	if !v.Fresh(g.clock()) {
		g.sim.stats.Stale++
		g.ask(3)
		return
	}
	g.lastPassed = g.sim.now
	g.sim.handOver(g, v.answer.node, v.answer.view)
}
