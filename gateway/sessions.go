package gateway

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/gateway/session"
)

// An account is whose a session is.
type account struct{ tenant, jid string }

// sessions are those that run, by account.
type sessions struct {
	mu sync.Mutex // guards by
	by map[account][]*session.Session
}

func (r *sessions) add(a account, s *session.Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.by[a] = append(r.by[a], s)
}

func (r *sessions) remove(a account, s *session.Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rest := slices.DeleteFunc(r.by[a], func(o *session.Session) bool { return o == s })
	if r.by[a] = rest; len(rest) == 0 {
		delete(r.by, a)
	}
}

// of returns the sessions of an account; of all the tenant's if jid is empty,
// and of everybody if tenant is empty too.
func (r *sessions) of(a account) (found []*session.Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a.jid != "" {
		return slices.Clone(r.by[a])
	}
	for o, s := range r.by {
		if a.tenant == "" || o.tenant == a.tenant {
			found = append(found, s...)
		}
	}
	return found
}

// maxEndings bounds the notices that wait. With more, everybody is asked
// about, which is right as well, if dearer.
const maxEndings = 1024

// endings are notices that wait to be followed.
type endings struct {
	wake chan struct{} // has a token when there may be something

	mu      sync.Mutex // guards the three below
	waiting []decision.Ending
	all     bool
	heard   uint64 // how many notices there have been
}

// Recheck has the sessions of a notice asked about soon, and those that are
// being negotiated once they run. It does not wait.
func (g *Gateway) Recheck(e decision.Ending) {
	g.endings.add(e, true)
}

// add has the sessions of a notice asked about soon; heard says that the notice
// came from outside.
func (n *endings) add(e decision.Ending, heard bool) {
	n.mu.Lock()
	if heard {
		n.heard++
	}
	if len(n.waiting) < maxEndings {
		n.waiting = append(n.waiting, e)
	} else {
		n.all = true
	}
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// count returns how many notices there have been. They are counted, and their
// positions not compared, because those of two logs cannot be, and that of a
// notice of what may have been missed is none.
func (n *endings) count() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.heard
}

// take returns the accounts to ask about.
func (n *endings) take() []account {
	n.mu.Lock()
	defer n.mu.Unlock()
	waiting, all := n.waiting, n.all
	n.waiting, n.all = nil, false
	if all {
		return []account{{}}
	}
	var as []account
	for _, e := range waiting {
		as = append(as, account{e.Tenant, e.Account})
	}
	return as
}

const (
	// recheckBatch is how many sessions are asked about at once.
	recheckBatch = 64
	// recheckHold is how long a notice is worth waiting for an answer: its
	// sessions ask again with their next stanza anyway.
	recheckHold = 5 * time.Second
)

// recheckAll follows notices until ctx is done.
func (g *Gateway) recheckAll(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.endings.wake:
		}
		for _, a := range g.endings.take() {
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
	if err := g.config.Policy.Ask(ctx, qs, vs, recheckHold); err != nil {
		g.log.Warn("no answer about sessions that may have ended", "err", err)
	}
	for i, s := range batch {
		s.Obey(&vs[i])
	}
}

// drainRate is how many sessions a second are closed when the gateway stops,
// unless that would take longer than the drain may: a few hundred at once are
// no storm anywhere.
const drainRate = 100

// drain ends all sessions, spread over time.
func (g *Gateway) drain() {
	all := g.sessions.of(account{})
	pause := min(time.Second/drainRate, g.config.DrainTime/time.Duration(max(1, len(all))))
	for _, s := range all {
		s.End("system-shutdown", "")
		rest(context.Background(), pause)
	}
}
