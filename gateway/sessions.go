package gateway

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/postern-im/postern/gateway/session"
)

// An account is an account of a tenant, by its bare JID.
type account struct{ tenant, jid string }

// sessions holds the running sessions by account.
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

// of returns the sessions of an account. If jid is empty, it returns all sessions
// of the tenant; if tenant is empty too, it returns all sessions.
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

// drainRate is the number of sessions closed per second when the gateway
// stops. Clients reconnect at once, and a few hundred at a time do not
// overload a server. With many sessions the rate is higher, so that the drain
// ends within DrainTime.
const drainRate = 100

// drain ends all sessions, spread over time by drainRate and DrainTime.
func (g *Gateway) drain() {
	all := g.sessions.of(account{})
	pause := min(time.Second/drainRate, g.config.DrainTime/time.Duration(max(1, len(all))))
	for _, s := range all {
		s.End("system-shutdown", "")
		rest(context.Background(), pause)
	}
}
