package gateway

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/gateway/session"
)

// maxRevocations bounds the revocations that wait. Beyond it, all sessions are
// asked about again, which is correct as well but costs more questions.
const maxRevocations = 1024

// revocations is the queue of revocations that have not been acted on.
type revocations struct {
	wake chan struct{} // has a token when there may be something

	mu      sync.Mutex // guards the fields below
	waiting []decision.Revocation
	all     bool   // more came than waiting holds
	heard   uint64 // how many revocations have come
}

// Recheck asks about the sessions of a revocation again soon, and about those
// under negotiation once they run. It does not wait for the answers.
func (g *Gateway) Recheck(v decision.Revocation) {
	g.revocations.add(v, true)
}

// add queues a revocation. heard: a policy node has sent it.
func (n *revocations) add(v decision.Revocation, heard bool) {
	n.mu.Lock()
	if heard {
		n.heard++
	}
	if len(n.waiting) < maxRevocations {
		n.waiting = append(n.waiting, v)
	} else {
		n.all = true
	}
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// count returns how many revocations have come. They are counted because their
// positions cannot be compared: positions of different logs are not comparable,
// and a revocation that says "some may have been lost" has none.
func (n *revocations) count() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.heard
}

// take returns the accounts to ask about.
func (n *revocations) take() []account {
	n.mu.Lock()
	defer n.mu.Unlock()
	waiting, all := n.waiting, n.all
	n.waiting, n.all = nil, false
	if all {
		return []account{{}}
	}
	var as []account
	for _, v := range waiting {
		as = append(as, account{v.Tenant, v.Account})
	}
	return as
}

const (
	// recheckBatch is how many sessions are asked about at once.
	recheckBatch = 64
	// recheckHold is how long a revocation waits for an answer about its
	// sessions, which ask again with their next stanza anyway.
	recheckHold = 5 * time.Second
)

// recheckAll acts on revocations until ctx is done.
func (g *Gateway) recheckAll(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.revocations.wake:
		}
		for _, a := range g.revocations.take() {
			for batch := range slices.Chunk(g.sessions.of(a), recheckBatch) {
				g.recheck(ctx, batch)
			}
		}
	}
}

// recheck asks about sessions and ends those that are to end.
func (g *Gateway) recheck(ctx context.Context, batch []*session.Session) {
	qs := make([]decision.Question, len(batch))
	vs := make([]decision.Verdict, len(batch))
	for i, s := range batch {
		qs[i] = s.Question()
	}
	if err := g.config.Decider.Ask(ctx, qs, vs, recheckHold); err != nil {
		g.logger.Warn("no answer about sessions that may have ended", "err", err)
	}
	for i, s := range batch {
		s.Apply(&vs[i])
	}
}
