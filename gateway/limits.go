package gateway

import (
	"fmt"
	"sync"

	"github.com/postern-im/postern/internal/limit"
)

// siteShare is the limit of an IPv6 /48 network, as a multiple of the limit of
// one source.
const siteShare = 8

// Names of the limits in metrics and logs. The first four are also the names
// of their settings in [limits]. The value of sessions_per_tenant comes from a
// policy node with the admission of a domain. The value of tenant_share is
// computed from connections.
const (
	byConnections = "connections"
	byAddress     = "per_address"
	byEarly       = "unauthenticated"
	byAccount     = "sessions_per_account"
	bySessions    = "sessions_per_tenant"
	byTenant      = "tenant_share"
)

// limits counts connections and sessions, and holds the limits on them.
type limits struct {
	total, each, early, perAccount int // the limits; each and early are per source

	mu          sync.Mutex               // guards all below
	all         int                      // connections
	by, unbound limit.Held[limit.Source] // connections; connections without a session
	accounts    limit.Held[account]      // sessions
	tenants     limit.Held[string]       // sessions
}

// A place records where one connection is counted. It belongs to one goroutine
// at a time.
type place struct {
	limits  *limits
	from    limit.Source
	inside  bool // counted in limits.all
	counted bool // counted in limits.by
	early   bool // counted in limits.unbound
}

// enter counts the connection towards the limit on all connections. If the limit
// is reached, it counts nothing and returns the name of the limit.
func (p *place) enter() (limit string) {
	l := p.limits
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= l.total {
		return byConnections
	}
	l.all++
	p.inside = true
	return ""
}

// take counts the connection towards the limits of its source. If one of them is
// reached, it counts nothing and returns the name of that limit.
func (p *place) take(from limit.Source) (limit string) {
	l := p.limits
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.by.Of(from) >= l.each {
		return byAddress
	}
	if !l.unbound.Take(from, l.early) {
		return byEarly
	}
	if site, ok := from.Site(); ok && !l.by.Take(site, siteShare*l.each) {
		l.unbound.Give(from)
		return byAddress
	}
	l.by.Take(from, l.each)
	p.from, p.counted, p.early = from, true, true
	return ""
}

// bound records that the connection has a session now.
func (p *place) bound() {
	l := p.limits
	l.mu.Lock()
	defer l.mu.Unlock()
	p.settle()
}

// settle stops counting the connection as a connection without a session. The
// caller holds the lock.
func (p *place) settle() {
	if p.early {
		p.early = false
		p.limits.unbound.Give(p.from)
	}
}

// leave stops counting the connection towards any limit.
func (p *place) leave() {
	l := p.limits
	l.mu.Lock()
	defer l.mu.Unlock()
	p.settle()
	if p.counted {
		p.counted = false
		l.by.Give(p.from)
		if site, ok := p.from.Site(); ok {
			l.by.Give(site)
		}
	}
	if p.inside {
		p.inside = false
		l.all--
	}
}

// take counts one more session of an account. If a limit is reached, it counts
// nothing and returns the name of the limit. most limits the sessions of the
// tenant; 0 means no limit. When more than nine tenths of all connections are
// taken, a tenant that already has an equal share of the limit on connections
// gets no further session.
func (l *limits) take(a account, most uint64) (limit string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if most > 0 && uint64(l.tenants.Of(a.tenant)) >= most {
		return bySessions
	}
	present := l.tenants.Keys()
	if l.tenants.Of(a.tenant) == 0 {
		present++
	}
	if l.all*10 > l.total*9 && l.tenants.Of(a.tenant) >= max(1, l.total/present) {
		return byTenant
	}
	if !l.accounts.Take(a, l.perAccount) {
		return byAccount
	}
	l.tenants.Take(a.tenant, l.total)
	return ""
}

// give stops counting one session of an account.
func (l *limits) give(a account) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accounts.Give(a)
	l.tenants.Give(a.tenant)
}

// told returns the stream error for a client that has reached a limit: its
// condition (RFC 6120 section 4.9.3) and text.
func (l *limits) told(limit string) (condition, text string) {
	switch limit {
	case byAddress:
		return "policy-violation", fmt.Sprintf("too many connections from your address: %d may be open", l.each)
	case byEarly:
		return "policy-violation", fmt.Sprintf("too many connections from your address that have not logged in: %d may be open", l.early)
	case byAccount:
		return "resource-constraint", fmt.Sprintf("too many sessions of this account: %d may be open", l.perAccount)
	case byTenant:
		return "resource-constraint", "this service is nearly full, and your domain has its share of it"
	}
	return "resource-constraint", "this service is full"
}
