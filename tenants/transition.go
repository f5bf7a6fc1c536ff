package tenants

import (
	"slices"
	"strings"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/projections"
)

// An Op says whether an Edit adds, removes or changes a thing.
type Op string

// The ops.
const (
	Added   Op = "+"
	Removed Op = "-"
	Changed Op = "~"
)

// An Edit is one step from one state of a tenant to another.
type Edit struct {
	Op    Op
	Event events.Event
	// Was is the event that would undo the change, for display. It is nil if the
	// Event alone shows the whole change.
	Was events.Event
}

// suspensions says what is to be suspended or not. A tenant, domain or account
// that it does not name keeps its present state.
type suspensions struct {
	tenant           *bool
	domains, members map[string]suspension
}

// steps collects the Edits of a transition.
type steps struct {
	before, after *projections.Tenant
	suspended     suspensions
	edits         []Edit
}

// transition returns the Edits that lead from one state of a tenant to another.
// Every Edit changes something, and its event applies after the earlier events.
// The wanted suspensions are taken from suspended, not from after.
func transition(before, after *projections.Tenant, suspended suspensions) []Edit {
	s := steps{before: before, after: after, suspended: suspended}
	s.tenant()
	s.leave()
	s.roles()
	s.domains()
	s.members()
	s.unneededRoles()
	return s.edits
}

func (s *steps) add(e events.Event)    { s.edits = append(s.edits, Edit{Added, e, nil}) }
func (s *steps) remove(e events.Event) { s.edits = append(s.edits, Edit{Removed, e, nil}) }
func (s *steps) change(e, was events.Event) {
	s.edits = append(s.edits, Edit{Changed, e, was})
}

func (s *steps) tenant() {
	b, a := s.before, s.after
	if b.Name() != a.Name() {
		s.change(events.TenantRenamed{Name: a.Name()}, events.TenantRenamed{Name: b.Name()})
	}
	if want := s.suspended.tenant; want != nil && *want != b.Suspended() {
		if *want {
			s.change(events.TenantSuspended{}, nil)
		} else {
			s.change(events.TenantResumed{}, nil)
		}
	}
	if !sameSet(b.Ceiling(), a.Ceiling()) {
		s.change(events.CeilingSet{Permissions: slices.Clone(a.Ceiling())}, events.CeilingSet{Permissions: slices.Clone(b.Ceiling())})
	}
	if b.MaxSessions() != a.MaxSessions() {
		s.change(events.TenantLimitsSet{MaxSessions: a.MaxSessions()}, events.TenantLimitsSet{MaxSessions: b.MaxSessions()})
	}
	if b.Settings() != a.Settings() {
		s.change(events.SettingsChanged(a.Settings()), events.SettingsChanged(b.Settings()))
	}
}

// leave removes domains, with their members, and services. It must come before
// domains, so that a name can change from a domain to a service or back.
func (s *steps) leave() {
	for d := range s.before.Domains() {
		if s.after.HostKind([]byte(d.Name)) != projections.Domain {
			s.remove(events.DomainRemoved{Domain: d.Name})
		}
	}
	for _, name := range s.before.Services() {
		if s.after.HostKind([]byte(name)) != projections.Service {
			s.remove(events.ServiceRemoved{Service: name})
		}
	}
}

// roles adjusts and defines roles, in the order parents before children of the new
// state. After each step, all ancestors of a role in its new state are in their
// new states too, and every other role still has its old parents. So no
// intermediate state has a role that inherits from itself.
func (s *steps) roles() {
	seen := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		r, _ := s.after.Role(name)
		for _, parent := range r.Inherits {
			visit(parent)
		}
		s.role(r)
	}
	for r := range s.after.Roles() {
		visit(r.Name)
	}
}

func (s *steps) role(r projections.Role) {
	old, exists := s.before.Role(r.Name)
	same := exists && slices.Equal(old.Inherits, r.Inherits) && sameSet(old.Allow, r.Allow) && sameSet(old.Deny, r.Deny)
	switch {
	case same:
	case exists:
		s.change(roleEvent(r), roleEvent(old))
	default:
		s.add(roleEvent(r))
	}
}

func roleEvent(r projections.Role) events.Event {
	if r.Builtin {
		return events.BuiltinRoleAdjusted{Name: r.Name, Add: slices.Clone(r.Allow), Remove: slices.Clone(r.Deny)}
	}
	return events.RoleDefined{Name: r.Name, Inherits: slices.Clone(r.Inherits), Allow: slices.Clone(r.Allow), Deny: slices.Clone(r.Deny)}
}

// domains adds new domains and services and changes the others.
func (s *steps) domains() {
	for d := range s.after.Domains() {
		old, exists := s.before.Domain([]byte(d.Name))
		if !exists {
			s.add(events.DomainAdded{Domain: d.Name, DefaultRole: d.DefaultRole, Backends: slices.Clone(d.Backends)})
			old.DefaultRole, old.Backends = d.DefaultRole, d.Backends
		}
		if old.DefaultRole != d.DefaultRole {
			s.change(events.DomainDefaultRoleSet{Domain: d.Name, Role: d.DefaultRole}, events.DomainDefaultRoleSet{Domain: d.Name, Role: old.DefaultRole})
		}
		if !slices.Equal(old.Backends, d.Backends) {
			s.change(events.DomainBackendsSet{Domain: d.Name, Backends: slices.Clone(d.Backends)}, events.DomainBackendsSet{Domain: d.Name, Backends: slices.Clone(old.Backends)})
		}
		if want, said := s.suspended.domains[d.Name]; said {
			s.suspend(suspension{old.Suspended, old.ByOperator}, want,
				func(byOperator bool) events.Event {
					return events.DomainSuspended{Domain: d.Name, ByOperator: byOperator}
				},
				events.DomainResumed{Domain: d.Name})
		}
	}
	for _, name := range s.after.Services() {
		if s.before.HostKind([]byte(name)) != projections.Service {
			s.add(events.ServiceAdded{Service: name})
		}
	}
}

// members changes the accounts of both states, in the order of their addresses.
func (s *steps) members() {
	names := map[string]bool{}
	for m := range s.before.Members() {
		if _, domain, _ := strings.Cut(m.JID, "@"); s.after.HostKind([]byte(domain)) == projections.Domain {
			names[m.JID] = true // otherwise it is removed with its domain
		}
	}
	for m := range s.after.Members() {
		names[m.JID] = true
	}
	// An account may be listed only for its suspension.
	for name := range s.suspended.members {
		names[name] = true
	}
	list := make([]string, 0, len(names))
	for name := range names {
		list = append(list, name)
	}
	slices.Sort(list)
	for _, name := range list {
		s.member(name)
	}
}

// member changes one account. If the account loses all its roles, its entry is
// removed, unless it is suspended.
func (s *steps) member(account string) {
	old, _ := s.before.Member(account)
	m, _ := s.after.Member(account)
	set := events.MemberRolesSet{JID: account, Role: m.Role, Secondary: slices.Clone(m.Secondary)}
	was := events.MemberRolesSet{JID: account, Role: old.Role, Secondary: slices.Clone(old.Secondary)}
	switch {
	case old.Role == m.Role && sameSet(old.Secondary, m.Secondary):
	case !holds(m) && !old.Suspended:
		s.edits = append(s.edits, Edit{Removed, events.MemberRemoved{JID: account}, was})
	case !holds(old):
		s.add(set)
	default:
		s.change(set, was)
	}
	if want, said := s.suspended.members[account]; said {
		s.suspend(suspension{old.Suspended, old.ByOperator}, want,
			func(byOperator bool) events.Event {
				return events.MemberSuspended{JID: account, ByOperator: byOperator}
			},
			events.MemberResumed{JID: account})
	}
}

// suspend changes one suspension into another. An event that suspends never removes
// the mark of an operator. To change an operator's suspension into a tenant's,
// suspend therefore resumes first.
func (s *steps) suspend(was, want suspension, suspended func(byOperator bool) events.Event, resumed events.Event) {
	if was.on && (!want.on || was.byOperator && !want.byOperator) {
		var undone events.Event
		if was.byOperator {
			undone = suspended(true) // shows that it was an operator's
		}
		s.change(resumed, undone)
		was = suspension{}
	}
	if was != want {
		s.change(suspended(want.byOperator), nil)
	}
}

// unneededRoles removes roles that are not in the new state, children before
// parents. It must come last, because until then domains and members may
// refer to these roles.
func (s *steps) unneededRoles() {
	var order []string
	seen := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		if _, stays := s.after.Role(name); stays || seen[name] || permission.IsBuiltin(name) {
			return
		}
		seen[name] = true
		r, _ := s.before.Role(name)
		for _, parent := range r.Inherits {
			visit(parent)
		}
		order = append(order, name)
	}
	for r := range s.before.Roles() {
		visit(r.Name)
	}
	slices.Reverse(order)
	for _, name := range order {
		old, _ := s.before.Role(name)
		s.edits = append(s.edits, Edit{Removed, events.RoleRemoved{Name: name}, roleEvent(old)})
	}
}
