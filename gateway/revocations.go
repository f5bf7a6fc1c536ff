package gateway

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/gateway/session"
)

// maxRevocations bounds the queue of revocations. When the queue is full, the
// gateway asks about all sessions instead, which is correct as well but costs
// more questions.
const maxRevocations = 1024

// revocations is the queue of revocations that have not been handled.
type revocations struct {
	wake chan struct{} // has a token when the queue may not be empty

	mu      sync.Mutex // guards the fields below
	waiting []decision.Revocation
	all     bool   // waiting was full: ask about all sessions
	heard   uint64 // number of revocations received from policy nodes
}

// Recheck queues a revocation. The gateway then asks again about the sessions
// that the revocation concerns. It also asks about each session that was under
// negotiation at that time, as soon as the session begins. Recheck does not
// wait for the answers.
func (g *Gateway) Recheck(v decision.Revocation) {
	g.revocations.add(v, true)
}

// add queues a revocation. heard is true if a policy node has sent it.
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

// count returns the number of revocations received from policy nodes. A caller
// compares two counts to find out whether a revocation has come in between. It
// cannot use positions instead, because positions of different logs cannot be
// compared, and a revocation that means "some may have been lost" has no
// position.
func (n *revocations) count() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.heard
}

// take empties the queue and returns the accounts to ask about. An empty account
// means all sessions.
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
	// recheckBatch is the number of sessions in one batch of questions.
	recheckBatch = 64
	// recheckHold bounds the wait for an answer during an outage. If no answer
	// comes, each session still asks with its next stanza.
	recheckHold = 5 * time.Second
	// recheckTries bounds how often the gateway asks again about a session because
	// the verdict was not fresh when it came. That takes a suspended machine.
	recheckTries = 3
)

// recheckAll handles queued revocations until ctx is done.
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

// recheck asks about sessions and ends each that has been revoked. A verdict that
// is not fresh shows nothing, so recheck then asks again.
func (g *Gateway) recheck(ctx context.Context, batch []*session.Session) {
	for range recheckTries {
		qs := make([]decision.Question, len(batch))
		vs := make([]decision.Verdict, len(batch))
		for i, s := range batch {
			qs[i] = s.Question()
		}
		err := g.config.Decider.Ask(ctx, qs, vs, recheckHold)
		var left []*session.Session
		for i, s := range batch {
			if !s.Apply(&vs[i]) {
				left = append(left, s)
			}
		}
		if batch = left; len(left) == 0 {
			return
		}
		if err != nil {
			g.logger.Warn("no answer about sessions that may have ended", "err", err)
			return
		}
	}
	g.logger.Warn("no fresh answer about sessions that may have ended", "sessions", len(batch))
}
