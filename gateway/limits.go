package gateway

import (
	"fmt"
	"sync"

	"github.com/postern-im/postern/internal/limit"
)

// siteShare is how many sources' connections may come from an IPv6 /48.
const siteShare = 8

// Names of the limits, as in the configuration's [limits], in metrics and logs.
// The last two have no setting: the policy nodes tell sessions_per_tenant, and
// tenant_share follows from connections.
const (
	byConnections = "connections"
	byAddress     = "per_address"
	byEarly       = "unauthenticated"
	byAccount     = "sessions_per_account"
	bySessions    = "sessions_per_tenant"
	byTenant      = "tenant_share"
)

// limits count connections and sessions.
type limits struct {
	total, each, early, perAccount int

	mu          sync.Mutex // guards all below
	all         int
	by, unbound limit.Held[limit.Source] // connections, and those without a session
	accounts    limit.Held[account]      // sessions
	tenants     limit.Held[string]       // sessions
}

// A place is what one connection takes of the limits. It belongs to one goroutine
// at a time.
type place struct {
	limits  *limits
	from    limit.Source
	inside  bool // counted in all
	counted bool // counted by source
	early   bool // counted among those without a session
}

// enter counts one more connection, unless that is one too many, and then it says
// by which limit.
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

// take counts the connection to its source, as enter does.
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

// bound says that the connection has a session now.
func (p *place) bound() {
	l := p.limits
	l.mu.Lock()
	defer l.mu.Unlock()
	p.settle()
}

// settle takes the connection from those without a session. The caller holds the
// lock.
func (p *place) settle() {
	if p.early {
		p.early = false
		p.limits.unbound.Give(p.from)
	}
}

// leave gives everything back.
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

// take counts one more session of an account, as place.take does. The tenant may
// have so many at most, where that is not 0. When nearly all connections are
// taken, a tenant that has its share of them gets no more.
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

// give counts one less.
func (l *limits) give(a account) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accounts.Give(a)
	l.tenants.Give(a.tenant)
}

// told is what a client is told of a limit: the condition of a stream error (RFC
// 6120 section 4.9.3) and its text.
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
