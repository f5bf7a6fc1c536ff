package gateway

import (
	"context"
	"slices"
	"sync"
	"time"

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
