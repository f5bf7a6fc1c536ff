package tenants

import (
	"fmt"
	"slices"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/xmpp/jid"
)

// CreateTenant creates a tenant with all its parts in one commit. The parts are
// checked one after the other, each like a command of its own. The roles may be
// listed in any order.
type CreateTenant struct {
	DisplayName string // empty: the id
	Ceiling     []string
	MaxSessions uint64 // as in SetLimits
	events.Settings
	Roles        []DefineRole
	BuiltinRoles []AdjustRole
	Domains      []AddDomain
	Services     []AddService
	Members      []SetMemberRoles
	Suspended    *bool // nil: false; in an ApplyTenant: no change
}

// Name is the command's name.
func (CreateTenant) Name() string { return "tenant.create" }

func (c CreateTenant) check(p *checker) {
	if err := CheckID(p.id); err != nil {
		p.fail(Invalid, "", "%v", err)
		return
	}
	if p.view.Used([]byte(p.id)) {
		p.fail(Exists, "", "tenant %s exists, or did once: an id is never used again; choose another", quote(p.id))
		return
	}
	name := c.DisplayName
	if name == "" {
		name = p.id
	}
	before := p.failures
	p.text("display_name", "display name", name, MaxDisplayName, isPrintable)
	if p.failed(before) {
		name = p.id
	}
	p.emit(events.TenantCreated{Name: name})
	p.broken = map[string]bool{}
	if !p.advance(0) {
		return
	}
	c.parts(p)
}

// parts checks everything except the tenant itself.
func (c CreateTenant) parts(p *checker) {
	if len(c.BuiltinRoles)+len(c.Roles) > MaxRoles {
		p.fail(Invalid, "roles", "%d roles: at most %d", len(c.BuiltinRoles)+len(c.Roles), MaxRoles)
		return
	}
	p.ceiling("ceiling", c.Ceiling)
	p.limits("max_sessions", c.MaxSessions)
	for setting := range events.AllSettings() {
		p.value(setting, setting.Of(c.Settings))
	}
	p.settings(c.Settings)
	if !p.advance(1) {
		return
	}
	for i, r := range c.BuiltinRoles {
		if slices.ContainsFunc(c.BuiltinRoles[:i], func(o AdjustRole) bool { return o.Role == r.Role }) {
			p.fail(Invalid, fmt.Sprintf("builtin_roles[%d].role", i), "role %s is listed twice", quote(r.Role))
			continue
		}
		p.part(fmt.Sprintf("builtin_roles[%d].", i), r.check, "role "+r.Role)
	}
	c.roles(p)
	for i, d := range c.Domains {
		broken := "domain " + d.Domain
		if prepared, err := jid.Domain(d.Domain); err == nil {
			broken = "domain " + prepared
		}
		p.part(fmt.Sprintf("domains[%d].", i), d.check, broken)
	}
	for i, s := range c.Services {
		p.part("", func(p *checker) { s.add(p, fmt.Sprintf("services[%d]", i)) }, "")
	}
	c.members(p)
	if c.Suspended != nil && *c.Suspended {
		p.emit(events.TenantSuspended{})
	}
}

// members checks the members. No member depends on another, so members saves time:
// it does not advance the View after each one.
func (c CreateTenant) members(p *checker) {
	if len(c.Members) > MaxMembers {
		p.fail(Invalid, "members", "%d members: at most %d", len(c.Members), MaxMembers)
		return
	}
	seen := make(map[string]bool, len(c.Members))
	for i, m := range c.Members {
		name := m.JID
		if bare, err := jid.Bare(name); err == nil {
			name = bare
		}
		p.prefix = fmt.Sprintf("members[%d].", i)
		if seen[name] {
			p.fail(Invalid, "jid", "member %s is listed twice", quote(name))
		} else {
			m.check(p)
		}
		p.prefix = ""
		seen[name] = true
	}
}

// roles checks the custom roles, parents before children. If every
// unchecked role has an unchecked parent, some of these roles inherit from
// themselves. Those roles are refused.
func (c CreateTenant) roles(p *checker) {
	waiting := map[string]bool{}
	var todo []int
	for i, r := range c.Roles {
		if waiting[r.Role] {
			p.fail(Invalid, fmt.Sprintf("roles[%d].role", i), "role %s is listed twice", quote(r.Role))
			continue
		}
		waiting[r.Role] = true
		todo = append(todo, i)
	}
	for progress := true; progress; {
		progress = false
		todo = slices.DeleteFunc(todo, func(i int) bool {
			r := c.Roles[i]
			if slices.ContainsFunc(r.Inherits, func(parent string) bool { return waiting[parent] }) {
				return false
			}
			p.part(fmt.Sprintf("roles[%d].", i), r.check, "role "+r.Role)
			delete(waiting, r.Role)
			progress = true
			return true
		})
	}
	if len(todo) == 0 {
		return
	}
	d := descent{inherits: map[string][]string{}}
	for _, i := range todo {
		d.inherits[c.Roles[i].Role] = c.Roles[i].Inherits
	}
	for _, i := range todo {
		if !p.failed(maxErrors) {
			c.circle(p, &d, i)
		}
		p.broken["role "+c.Roles[i].Role] = true
	}
}

// circle refuses a role that inherits from itself, with an error at the parent
// that leads back to it. It reports no error for a role that only inherits from
// such a role.
func (c CreateTenant) circle(p *checker, d *descent, i int) {
	r := c.Roles[i]
	for j, parent := range r.Inherits {
		if way := d.way(parent, r.Role); way != nil {
			p.fail(Invalid, fmt.Sprintf("roles[%d].inherits[%d]", i, j), "role %s inherits from itself: %s", quote(r.Role), chain(append([]string{r.Role}, way...)))
			return
		}
	}
}

// part calls do to check one part, and then advances the View with the part's
// events. If the part is refused, its events are dropped instead, and broken is
// added to p.broken unless it is empty.
func (p *checker) part(prefix string, do func(*checker), broken string) {
	errs, evs := p.failures, len(p.events)
	p.prefix, p.skipped = prefix, false
	do(p)
	p.prefix = ""
	if p.failed(errs) || p.skipped {
		p.events = p.events[:evs]
		if broken != "" {
			p.broken[broken] = true
		}
		return
	}
	p.advance(evs)
}

// advance applies the checker's events from the n-th on to its View. This View
// is a preview of the result and is used only by the checker.
func (p *checker) advance(n int) bool {
	if len(p.events) == n {
		return true
	}
	c := events.Commit{Position: p.view.Position() + 1, Tenant: p.id, TenantVersion: 1, Events: p.events[n:]}
	if p.tenant != nil {
		c.TenantVersion = p.tenant.Version() + 1
	}
	next, err := p.view.Apply(&c)
	if err != nil {
		p.fault = err
		return false
	}
	p.view, p.tenant = next, next.Tenant([]byte(p.id))
	return true
}
