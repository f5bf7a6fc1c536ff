package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/postern-im/postern/tenants"
)

// ruleBook implements the rules of roles a second time, from
// docs/PERMISSIONS.md and Prosody's documentation, with names and maps only. It
// shares no code with the product except the types of the commands.
type ruleBook struct {
	roles     map[string]ruleRole
	ceiling   []string
	domains   map[string]ruleDomain
	members   map[string]ruleMember
	suspended bool
}

type ruleRole struct {
	builtin, allow, deny, inherits []string // builtin: permissions the role has without an adjustment
	own                            bool
}

type ruleDomain struct {
	role      string
	suspended string // "operator", "tenant", or empty if not suspended
}

type ruleMember struct {
	role      string
	secondary []string
	suspended string // as for a domain
}

func newRuleBook() *ruleBook {
	account := func(names ...string) (all []string) {
		for _, n := range names {
			all = append(all, "xmpp:account:"+n)
		}
		return all
	}
	guest := append(account("messages:read", "messages:write", "presence:write", "contacts:read", "contacts:write",
		"bookmarks:read", "bookmarks:write", "profile:read", "profile:write", "omemo:read", "omemo:write",
		"blocklist:read", "blocklist:write", "disco:read", "history:read", "history:write", "pep:read", "pep:write"),
		"xmpp:requests:read", "xmpp:requests:write")
	registered := append(account("read", "write", "legacy-storage:read", "legacy-storage:write"), "xmpp:federate")
	return &ruleBook{
		roles: map[string]ruleRole{
			"prosody:guest":      {builtin: guest},
			"prosody:registered": {builtin: registered, inherits: []string{"prosody:guest"}},
			"prosody:member":     {inherits: []string{"prosody:registered"}},
			"prosody:admin":      {inherits: []string{"prosody:member"}},
			"prosody:operator":   {inherits: []string{"prosody:admin"}},
		},
		domains: map[string]ruleDomain{"alpha.test": {role: "prosody:registered"}, "beta.test": {role: "prosody:guest"}},
		members: map[string]ruleMember{},
	}
}

// answer returns a role's answer for a permission: 1 yes, -1 no, 0 none. The
// role's own table decides first, deny before allow; then its parents, from
// left to right.
func (b *ruleBook) answer(role, permission string) int {
	r := b.roles[role]
	switch {
	case slices.Contains(r.deny, permission):
		return -1
	case slices.Contains(r.allow, permission), slices.Contains(r.builtin, permission):
		return 1
	}
	for _, parent := range r.inherits {
		if a := b.answer(parent, permission); a != 0 {
			return a
		}
	}
	return 0
}

func (b *ruleBook) acts(account string) string {
	if m := b.members[account]; m.role != "" {
		return m.role
	}
	return b.domains[account[strings.IndexByte(account, '@')+1:]].role
}

func (b *ruleBook) barred(account string) bool {
	domain, there := b.domains[account[strings.IndexByte(account, '@')+1:]]
	return b.suspended || !there || b.members[account].suspended != "" || domain.suspended != ""
}

// lifts reports whether a command removed a suspension by an operator. Only an
// operator may give such a command.
func (b *ruleBook) lifts(after *ruleBook) bool {
	for name, d := range b.domains {
		if d.suspended == "operator" && after.domains[name].suspended != "operator" {
			return true
		}
	}
	for name, m := range b.members {
		if m.suspended == "operator" && after.members[name].suspended != "operator" {
			return true
		}
	}
	return false
}

// byWhom returns the new suspension. A tenant does not replace an operator's
// suspension.
func byWhom(was, who string) string {
	if was == "operator" {
		return was
	}
	return who
}

func (b *ruleBook) may(account, permission string) bool {
	return !slices.Contains(b.ceiling, permission) && b.answer(b.acts(account), permission) == 1
}

func (b *ruleBook) inherits(role, from string) bool {
	return role == from || slices.ContainsFunc(b.roles[role].inherits, func(p string) bool { return b.inherits(p, from) })
}

func (b *ruleBook) used(role string) bool {
	for _, r := range b.roles {
		if slices.Contains(r.inherits, role) {
			return true
		}
	}
	for _, d := range b.domains {
		if d.role == role {
			return true
		}
	}
	for _, m := range b.members {
		if m.role == role || slices.Contains(m.secondary, role) {
			return true
		}
	}
	return false
}

func (b *ruleBook) clone() *ruleBook {
	c := *b
	c.roles, c.domains, c.members = maps.Clone(b.roles), maps.Clone(b.domains), maps.Clone(b.members)
	return &c
}

func (b *ruleBook) equal(o *ruleBook) bool {
	return b.suspended == o.suspended && slices.Equal(b.ceiling, o.ceiling) && maps.Equal(b.domains, o.domains) &&
		maps.EqualFunc(b.roles, o.roles, func(x, y ruleRole) bool {
			return slices.Equal(x.allow, y.allow) && slices.Equal(x.deny, y.deny) && slices.Equal(x.inherits, y.inherits)
		}) &&
		maps.EqualFunc(b.members, o.members, func(x, y ruleMember) bool {
			return x.role == y.role && x.suspended == y.suspended && slices.Equal(x.secondary, y.secondary)
		})
}

func (b *ruleBook) known(roles ...string) bool {
	return !slices.ContainsFunc(roles, func(r string) bool { _, ok := b.roles[r]; return !ok })
}

func distinct(list []string) bool {
	return len(slices.Compact(slices.Sorted(slices.Values(list)))) == len(list)
}

func sound(lists ...[]string) bool {
	for _, list := range lists {
		if !distinct(list) || slices.ContainsFunc(list, func(p string) bool { return strings.ContainsAny(p, "*") || !strings.Contains(p, ":") }) {
			return false
		}
	}
	return true
}

// execute applies a command of who, an operator or the tenant's administrator.
// refused reports that the command must be refused whatever its effect. ends is
// the account whose sessions the command ends in any case.
func (b *ruleBook) execute(c tenants.Change, who string) (refused bool, ends string) {
	switch c.(type) {
	case tenants.SetCeiling, tenants.SuspendTenant, tenants.ResumeTenant, tenants.AddDomain:
		if who != "operator" {
			return true, "" // these set bounds for the tenant
		}
	}
	switch c := c.(type) {
	case tenants.DefineRole:
		if strings.HasPrefix(c.Role, "prosody:") || strings.ContainsAny(c.Role, " /") || !b.known(c.Inherits...) ||
			!distinct(c.Inherits) || !sound(c.Allow, c.Deny) ||
			slices.ContainsFunc(c.Inherits, func(p string) bool { return b.inherits(p, c.Role) }) {
			return true, ""
		}
		b.roles[c.Role] = ruleRole{own: true, allow: c.Allow, deny: c.Deny, inherits: c.Inherits}
	case tenants.AdjustRole:
		r, ok := b.roles[c.Role]
		if !ok || r.own || !sound(c.Add, c.Remove) {
			return true, ""
		}
		r.allow, r.deny = c.Add, c.Remove
		b.roles[c.Role] = r
	case tenants.RemoveRole:
		if r := b.roles[c.Role]; !r.own || b.used(c.Role) {
			return true, ""
		}
		delete(b.roles, c.Role)
	case tenants.SetCeiling:
		if !sound(c.Permissions) {
			return true, ""
		}
		b.ceiling = c.Permissions
	case tenants.SetDomainDefaultRole:
		d, ok := b.domains[c.Domain]
		if !ok || !b.known(c.Role) {
			return true, ""
		}
		d.role = c.Role
		b.domains[c.Domain] = d
	case tenants.SuspendDomain:
		return b.setDomain(c.Domain, byWhom(b.domains[c.Domain].suspended, who)), ""
	case tenants.ResumeDomain:
		return b.setDomain(c.Domain, ""), ""
	case tenants.AddDomain:
		if _, there := b.domains[c.Domain]; there || c.Domain == "gamma.test" || c.DefaultRole != "" && !b.known(c.DefaultRole) {
			return true, "" // gamma.test belongs to another tenant
		}
		d := ruleDomain{role: c.DefaultRole}
		if d.role == "" {
			d.role = "prosody:registered"
		}
		if c.Suspended != nil && *c.Suspended {
			d.suspended = who
		}
		b.domains[c.Domain] = d
	case tenants.RemoveDomain:
		if _, there := b.domains[c.Domain]; !there {
			return true, ""
		}
		delete(b.domains, c.Domain)
		maps.DeleteFunc(b.members, func(account string, _ ruleMember) bool { return strings.HasSuffix(account, "@"+c.Domain) })
	case tenants.SuspendTenant:
		b.suspended = true
	case tenants.ResumeTenant:
		b.suspended = false
	default:
		return b.obeyMember(c, who)
	}
	return false, ""
}

func (b *ruleBook) setDomain(name, suspended string) (refused bool) {
	d, ok := b.domains[name]
	if ok {
		d.suspended = suspended
		b.domains[name] = d
	}
	return !ok
}

func (b *ruleBook) obeyMember(c tenants.Change, who string) (refused bool, ends string) {
	has := func(account string) bool {
		_, ok := b.domains[account[strings.IndexByte(account, '@')+1:]]
		return ok
	}
	switch c := c.(type) {
	case tenants.SetMemberRoles:
		if !has(c.JID) || c.Role != "" && !b.known(c.Role) || !b.known(c.Secondary...) || !distinct(c.Secondary) {
			return true, ""
		}
		m, listed := b.members[c.JID]
		if c.Suspended != nil {
			if m.suspended = byWhom(m.suspended, who); !*c.Suspended {
				m.suspended = ""
			}
		}
		if listed || c.Role != "" || len(c.Secondary) > 0 || m.suspended != "" {
			b.members[c.JID] = ruleMember{c.Role, c.Secondary, m.suspended}
		}
	case tenants.RemoveMember:
		if m, listed := b.members[c.JID]; !listed || m.suspended != "" {
			return true, "" // removal would lift the suspension
		}
		delete(b.members, c.JID)
		return false, c.JID
	case tenants.SuspendMember:
		m := b.members[c.JID]
		m.suspended = byWhom(m.suspended, who)
		if !has(c.JID) {
			return true, ""
		}
		b.members[c.JID] = m
	case tenants.ResumeMember:
		if !has(c.JID) {
			return true, ""
		}
		if m, listed := b.members[c.JID]; listed {
			m.suspended = ""
			b.members[c.JID] = m
		}
	case tenants.EndMemberSessions:
		return !has(c.JID), c.JID
	default:
		panic(fmt.Sprintf("no rule for %T", c))
	}
	return false, ""
}

// survives reports whether a session of an account survives a command. The
// session ends if the role in which the account acts changes, if the account is
// barred afterwards (suspended, or without a domain), or if it loses the
// permission to receive messages or to send presence.
func survives(before, after *ruleBook, account string) bool {
	lost := func(p string) bool { return before.may(account, p) && !after.may(account, p) }
	return before.acts(account) == after.acts(account) && !after.barred(account) &&
		!lost("xmpp:account:messages:read") && !lost("xmpp:account:presence:write")
}

// leansOn reports whether an account changes from a role of its own to the
// default role of its domain. Even if both are the same role, the session may
// end, because the default role may have changed since the session began. No
// rule requires the session to end.
func leansOn(before, after *ruleBook, account string) bool {
	_, there := after.domains[account[strings.IndexByte(account, '@')+1:]]
	return there && before.members[account].role != "" && after.members[account].role == ""
}
