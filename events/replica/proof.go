package replica

import (
	"slices"
	"strings"
	"time"

	"github.com/postern-im/postern/events"
)

const (
	// maxProofs bounds the proofs of one run of a gateway. Each node offers a tick
	// each second, so they reach back ten seconds and more. A View that is further
	// behind the log gets no proof.
	maxProofs = 64

	// forgottenAfter is the number of ticks after which a gateway without a new
	// proof makes room for another gateway. Its newest proof is older than any
	// gateway accepts by then: eight nodes offer at most eight ticks a second.
	forgottenAfter = 1024
)

// A proof says: a View that includes the commit at position At includes everything
// that was acknowledged before the gateway sent Challenge.
type proof struct {
	At        events.Position
	Challenge uint64
}

// proofs are the newest proofs of each gateway. They are taken from ticks that
// were applied, and from nothing else.
type proofs struct {
	// own is the name of this node's challenges to itself. They always find room, so
	// that gateways cannot prevent a Barrier. Those of other nodes are not kept,
	// because no caller asks for their proofs.
	own      string
	ticks    uint64 // the ticks so far
	gateways map[string]*gatewayProofs
}

// gatewayProofs are the proofs of one gateway's runs, the latest changed first.
type gatewayProofs struct {
	changed uint64    // the tick that changed them last
	newest  time.Time // when that tick was applied, by this node's clock
	runs    [][]proof
}

// add takes the proofs of a tick that was applied when the head was at a position.
func (p *proofs) add(at events.Position, challenges []challenge, now time.Time) {
	if p.gateways == nil {
		p.gateways = map[string]*gatewayProofs{}
	}
	p.ticks++
	for _, c := range challenges {
		g := p.gateways[c.Gateway]
		if g == nil {
			if c.Gateway != p.own && (strings.HasPrefix(c.Gateway, barrierPrefix) || !p.makeRoom()) {
				continue
			}
			g = &gatewayProofs{}
			p.gateways[c.Gateway] = g
		}
		if g.add(proof{at, c.Number}) {
			g.changed, g.newest = p.ticks, now
		}
	}
}

// makeRoom reports whether there is room for one more gateway. It first forgets
// the gateways whose proofs are too old to be of use.
func (p *proofs) makeRoom() bool {
	if p.others() < maxGateways {
		return true
	}
	for name, g := range p.gateways {
		if p.ticks-g.changed >= forgottenAfter {
			delete(p.gateways, name)
		}
	}
	return p.others() < maxGateways
}

// others returns the number of gateways, without this node's own name.
func (p *proofs) others() int {
	if _, ok := p.gateways[p.own]; ok {
		return len(p.gateways) - 1
	}
	return len(p.gateways)
}

// add adds a proof and reports whether it is news. Ticks are ordered late at times,
// so a later tick may have an older challenge, which proves nothing new.
func (g *gatewayProofs) add(p proof) bool {
	i := slices.IndexFunc(g.runs, func(run []proof) bool { return sameRun(run[0].Challenge, p.Challenge) })
	if i < 0 {
		g.runs = slices.Insert(g.runs, 0, []proof{p})
		g.runs = g.runs[:min(len(g.runs), maxRuns)]
		return true
	}
	run := g.runs[i]
	last := &run[len(run)-1]
	if p.Challenge <= last.Challenge {
		return false
	}
	if last.At == p.At {
		*last = p
	} else {
		if len(run) == maxProofs {
			run = slices.Delete(run, 0, 1)
		}
		run = append(run, p)
	}
	g.runs = slices.Insert(slices.Delete(g.runs, i, i+1), 0, run)
	return true
}

// newest returns the newest proven challenge of the gateway's run that sent a
// challenge, for a View at a position; 0 if there is none.
func (p *proofs) newest(gateway string, challenge uint64, at events.Position) uint64 {
	g := p.gateways[gateway]
	if g == nil {
		return 0
	}
	for _, run := range g.runs {
		if !sameRun(run[0].Challenge, challenge) {
			continue
		}
		for _, p := range slices.Backward(run) {
			if p.At <= at {
				return p.Challenge
			}
		}
	}
	return 0
}
