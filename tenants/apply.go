package tenants

import (
	"cmp"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/xmpp/jid"
)

// ApplyTenant brings a tenant into a wanted state, in one commit. It has the
// fields of CreateTenant and describes the tenant completely: parts that it
// leaves out are removed, or set to the defaults of a new tenant.
//
// Suspensions are the exception: if it does not mention a suspension, the
// suspension is kept. A suspended account that is left out loses its roles but
// stays suspended. A suspension that is wanted and exists already does not
// change; it remains an operator's or the tenant's. Lists whose order has no
// meaning may have any order.
type ApplyTenant CreateTenant

// Name is the command's name.
func (ApplyTenant) Name() string { return "tenant.apply" }

func (c ApplyTenant) check(p *checker) {
	want := c.alone(p)
	if want == nil {
		return
	}
	c.places(p)
	if len(p.errs) > 0 {
		return
	}
	for _, e := range transition(p.tenant, want, c.suspensions(p)) {
		p.emit(e.Event)
	}
	for d := range p.tenant.Domains() {
		if _, stays := want.Domain([]byte(d.Name)); stays {
			continue
		}
		p.forgets("domains", d)
	}
}

// forgets warns of the suspensions that are lost when a domain is removed.
func (p *checker) forgets(field string, d projections.DomainInfo) {
	if d.Suspended {
		p.warn(field, "domain %s is removed while it is suspended: if it is added again, it will not be suspended", d.Name)
	}
	if n := suspendedIn(p.tenant, d); n > 0 {
		p.warn(field, "domain %s is removed with %d suspended members: if it is added again, they will not be suspended", d.Name, n)
	}
}

func suspendedIn(t *projections.Tenant, d projections.DomainInfo) int {
	if d.Members == 0 {
		return 0
	}
	n := 0
	for m := range t.Members() {
		if m.Suspended && strings.HasSuffix(m.JID, "@"+d.Name) {
			n++
		}
	}
	return n
}

// alone checks the wanted tenant by itself, in an installation without any
// other tenant, and returns it. It returns nil if the tenant is refused.
func (c ApplyTenant) alone(p *checker) *projections.Tenant {
	scratch := &checker{view: projections.New(), id: p.id, live: p.tenant, operator: p.operator}
	CreateTenant(c).check(scratch)
	p.warnings = append(p.warnings, scratch.warnings...)
	p.errs, p.failures = append(p.errs, scratch.errs...), p.failures+scratch.failures
	if p.fault = scratch.fault; p.fault != nil || p.failures > 0 {
		return nil
	}
	v, err := projections.New().Apply(&events.Commit{Position: 1, Tenant: p.id, TenantVersion: 1, Events: scratch.events})
	if err != nil {
		p.fault = err
		return nil
	}
	return v.Tenant([]byte(p.id))
}

// places refuses domains and services that belong to other tenants or are
// shared. It does nothing unless an operator gives the command. A tenant's
// administrator may not add any domain or service, and must not learn which
// domains and services other tenants have.
func (c ApplyTenant) places(p *checker) {
	if !p.operator {
		return
	}
	other := func(field, name string) {
		prepared, err := jid.Domain(name)
		if err != nil {
			return // alone has refused it
		}
		p.unshared(field, prepared)
		if owner, _ := p.view.Owner([]byte(prepared)); owner != nil && owner.ID() != p.id {
			p.fail(Conflict, field, "%s belongs to another tenant: leave it out, or have it removed there first", quote(prepared))
		}
	}
	for i, d := range c.Domains {
		other(fmt.Sprintf("domains[%d].domain", i), d.Domain)
	}
	for i, s := range c.Services {
		other(fmt.Sprintf("services[%d]", i), s.Service)
	}
}

// suspensions returns the suspensions that the change asks for, by prepared
// names.
func (c ApplyTenant) suspensions(p *checker) suspensions {
	s := suspensions{tenant: c.Suspended, domains: map[string]suspension{}, members: map[string]suspension{}}
	for _, d := range c.Domains {
		if name, err := jid.Domain(d.Domain); err == nil && d.Suspended != nil {
			is, _ := p.tenant.Domain([]byte(name))
			s.domains[name] = suspension{is.Suspended, is.ByOperator}.wish(*d.Suspended, p.operator)
		}
	}
	for _, m := range c.Members {
		if bare, err := jid.Bare(m.JID); err == nil && m.Suspended != nil {
			is, _ := p.tenant.Member(bare)
			s.members[bare] = suspension{is.Suspended, is.ByOperator}.wish(*m.Suspended, p.operator)
		}
	}
	return s
}

// Desired returns the ApplyTenant that describes the present state of a tenant.
// Applied to the tenant itself it changes nothing. As a CreateTenant for a new
// id it makes an equal tenant. All lists are sorted, except those whose order
// has a meaning. Members without roles that are not suspended are left out.
func Desired(t *projections.Tenant) ApplyTenant {
	c := ApplyTenant{
		DisplayName: t.Name(), Ceiling: sorted(t.Ceiling()), MaxSessions: t.MaxSessions(),
		Settings: t.Settings(), Suspended: ifSuspended(t.Suspended()),
	}
	for r := range t.Roles() {
		switch {
		case !r.Builtin:
			c.Roles = append(c.Roles, DefineRole{r.Name, slices.Clone(r.Inherits), sorted(r.Allow), sorted(r.Deny)})
		case len(r.Allow)+len(r.Deny) > 0:
			c.BuiltinRoles = append(c.BuiltinRoles, AdjustRole{r.Name, sorted(r.Allow), sorted(r.Deny)})
		}
	}
	for d := range t.Domains() {
		c.Domains = append(c.Domains, AddDomain{d.Name, d.DefaultRole, slices.Clone(d.Backends), ifSuspended(d.Suspended)})
	}
	for _, name := range t.Services() {
		c.Services = append(c.Services, AddService{name})
	}
	for _, m := range t.MembersAfter("", math.MaxInt) {
		if m.Suspended || holds(m) {
			c.Members = append(c.Members, SetMemberRoles{m.JID, m.Role, sorted(m.Secondary), ifSuspended(m.Suspended)})
		}
	}
	return c
}

func ifSuspended(b bool) *bool {
	if !b {
		return nil
	}
	return &b
}

// holds reports whether a member has roles of its own.
func holds(m projections.Member) bool { return m.Role != "" || len(m.Secondary) > 0 }

// sorted returns a sorted copy of a list.
func sorted(names []string) []string {
	list := slices.Clone(names)
	slices.Sort(list)
	return list
}

// sameSet reports whether two lists without duplicates have the same elements.
func sameSet(a, b []string) bool {
	return slices.Equal(a, b) || len(a) == len(b) && slices.Equal(sorted(a), sorted(b))
}

// operatorOnly refuses events that only commands for operators may make. The field
// Makes of an Entry assigns an event to its command.
func operatorOnly(evs []events.Event) Errors {
	makers := makers()
	var errs Errors
	for _, e := range evs {
		if maker, known := makers[reflect.TypeOf(e)]; (!known || maker.Operator) && len(errs) < maxErrors {
			errs = append(errs, &Error{Code: Forbidden, Text: fmt.Sprintf("for operators only, as %s is: %s", cmp.Or(maker.Name, "it"), events.Describe(e))})
		}
	}
	return errs
}

// makers returns the command of each event type, according to Entry.Makes.
func makers() map[reflect.Type]Entry {
	byEvent := map[reflect.Type]Entry{}
	for _, c := range Catalogue() {
		event := reflect.TypeOf(c.Makes)
		if _, known := byEvent[event]; c.Makes != nil && !known { // all commands of settings make the same event
			byEvent[event] = c
		}
	}
	return byEvent
}
