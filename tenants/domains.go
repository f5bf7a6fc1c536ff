package tenants

import (
	"fmt"
	"slices"
	"strings"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/projections"
)

// The commands on a domain.
type (
	// AddDomain gives the tenant an XMPP host.
	AddDomain struct {
		Domain      string
		DefaultRole string // empty: prosody:registered
		Backends    []events.Backend
		Suspended   *bool // nil: false; in an ApplyTenant: no change
	}
	// SetDomainBackends replaces a domain's backends, listed in the order to try.
	SetDomainBackends struct {
		Domain   string
		Backends []events.Backend
	}
	// SetDomainDefaultRole changes the role of accounts without a role of their
	// own, and ends their sessions.
	SetDomainDefaultRole struct{ Domain, Role string }
	// SuspendDomain ends the domain's sessions and admits no new ones. If an
	// operator gives the command, the tenant cannot undo it, even if it had
	// suspended the domain itself before.
	SuspendDomain struct{ Domain string }
	// ResumeDomain undoes SuspendDomain. Only an operator may undo a
	// suspension by an operator.
	ResumeDomain struct{ Domain string }
	// RemoveDomain ends the domain's sessions and removes it with its members.
	RemoveDomain struct{ Domain string }
)

// Name is the command's name.
func (AddDomain) Name() string            { return "domain.add" }
func (SetDomainBackends) Name() string    { return "domain.set-backends" }
func (SetDomainDefaultRole) Name() string { return "domain.set-default-role" }
func (SuspendDomain) Name() string        { return "domain.suspend" }
func (ResumeDomain) Name() string         { return "domain.resume" }
func (RemoveDomain) Name() string         { return "domain.remove" }

// domainCommands are the commands on a domain.
func domainCommands() []Entry {
	return []Entry{
		{Zero: AddDomain{}, Makes: events.DomainAdded{}, Operator: true},
		{Zero: SetDomainBackends{}, Makes: events.DomainBackendsSet{}, Operator: true},
		{Zero: SetDomainDefaultRole{}, Makes: events.DomainDefaultRoleSet{}},
		{Zero: SuspendDomain{}, Makes: events.DomainSuspended{}},
		{Zero: ResumeDomain{}, Makes: events.DomainResumed{}},
		{Zero: RemoveDomain{}, Makes: events.DomainRemoved{}},
	}
}

func (c AddDomain) check(p *checker) {
	before := p.failures
	name, ok := p.domainName("domain", "domain", c.Domain)
	if ok {
		p.free("domain", projections.Domain, name)
	}
	if p.tenant != nil && p.tenant.DomainCount() >= MaxDomains {
		p.fail(Conflict, "domain", "the tenant already has %d domains, the maximum", MaxDomains)
	}
	role := c.DefaultRole
	if role == "" {
		role = permission.DefaultRole
	}
	known := p.role("default_role", role)
	p.backends(c.Backends)
	if known && !p.failed(before) {
		p.emit(events.DomainAdded{Domain: name, DefaultRole: role, Backends: slices.Clone(c.Backends)})
		if c.Suspended != nil && *c.Suspended {
			p.emit(events.DomainSuspended{Domain: name, ByOperator: p.operator})
		}
	}
}

func (c SetDomainBackends) check(p *checker) {
	d, ok := p.ownDomain("domain", c.Domain)
	p.backends(c.Backends)
	if ok && !slices.Equal(d.Backends, c.Backends) {
		p.emit(events.DomainBackendsSet{Domain: d.Name, Backends: slices.Clone(c.Backends)})
	}
}

func (c SetDomainDefaultRole) check(p *checker) {
	d, ok := p.ownDomain("domain", c.Domain)
	if p.role("role", c.Role) && ok && d.DefaultRole != c.Role {
		p.emit(events.DomainDefaultRoleSet{Domain: d.Name, Role: c.Role})
	}
}

func (c SuspendDomain) check(p *checker) {
	if d, ok := p.ownDomain("domain", c.Domain); ok && p.suspends(d.Suspended, d.ByOperator) {
		p.emit(events.DomainSuspended{Domain: d.Name, ByOperator: p.operator})
	}
}

func (c ResumeDomain) check(p *checker) {
	if d, ok := p.ownDomain("domain", c.Domain); ok && d.Suspended {
		p.emit(events.DomainResumed{Domain: d.Name})
	}
}

func (c RemoveDomain) check(p *checker) {
	if d, ok := p.ownDomain("domain", c.Domain); ok {
		p.emit(events.DomainRemoved{Domain: d.Name})
		p.forgets("domain", d)
	}
}

// free refuses a domain or service that has an owner. If the owner is another
// tenant, the error does not name it.
func (p *checker) free(field string, want projections.HostKind, name string) {
	p.unshared(field, name)
	owner, kind := p.view.Owner([]byte(name))
	switch {
	case owner == nil:
	case owner.ID() != p.id:
		p.fail(Conflict, field, "%s belongs to another tenant: leave it out, or have it removed there first", quote(name))
	case kind == want:
		p.fail(Exists, field, "%s is a %s of tenant %s already", quote(name), kind, quote(p.id))
	default:
		p.fail(Conflict, field, "%s is a %s of tenant %s: remove that first to make it a %s", quote(name), kind, quote(p.id), want)
	}
}

// ownDomain looks up a domain of the tenant.
func (p *checker) ownDomain(field, name string) (projections.DomainInfo, bool) {
	prepared, ok := p.domainName(field, "domain", name)
	if !ok {
		return projections.DomainInfo{}, false
	}
	d, ok := p.tenant.Domain([]byte(prepared))
	if !ok {
		p.fail(NotFound, field, "tenant %s has no domain %s", quote(p.id), quote(prepared))
	}
	return d, ok
}

// backends checks a list of backends.
func (p *checker) backends(list []events.Backend) {
	if len(list) > MaxBackends {
		p.fail(Invalid, "backends", "%d backends: at most %d", len(list), MaxBackends)
		return
	}
	for i, b := range list {
		at := fmt.Sprintf("backends[%d].address", i)
		if err := CheckBackend(b); err != nil {
			p.fail(Invalid, at, "%v", err)
		}
		if slices.ContainsFunc(list[:i], func(o events.Backend) bool { return strings.EqualFold(o.Address, b.Address) }) {
			p.fail(Invalid, at, "backend %s is listed twice", quote(b.Address))
		}
	}
}
