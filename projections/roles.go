package projections

import (
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"slices"
	"strings"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/permission"
)

// A roleRef is a role's number in its tenant, from 1; zero means no role.
// Members and domains refer to a role by its number, so a change of the role
// changes none of them.
type roleRef uint16

// maxRoles is the greatest number a role can have: a roleRef has 16 bits.
const maxRoles = 1<<16 - 2

// role is one role. After it is made it never changes.
type role struct {
	name    string
	builtin bool
	gives   permission.Set // by default; built-in roles only
	parents []roleRef
	// allow and deny are the role's own table. For a built-in role they are
	// the permissions that the tenant adds and removes.
	allow, deny []string
}

// roleTable holds a tenant's roles. The number of a removed role is given to
// the next new role. This is safe because a role can be removed only when
// nothing refers to it.
type roleTable struct {
	compiled []compiledRole
	roles    []*role // by number-1; nil: a free number
	byName   table[roleRef]
}

// compiledRole is the part of a role that a decision needs.
type compiledRole struct {
	name      string
	effective permission.Set // the permissions given, minus the ceiling
	revokedAt events.Position
}

// builtinRoleTable returns the roles that every tenant starts with.
func builtinRoleTable(seed maphash.Seed) roleTable {
	var t roleTable
	by := new(owner)
	for _, b := range permission.BuiltinRoles() {
		r := &role{name: b.Name, builtin: true, gives: b.Gives}
		if b.Inherits != "" {
			parent, _ := t.byName.get(maphash.String(seed, b.Inherits), []byte(b.Inherits))
			r.parents = []roleRef{parent}
		}
		t.roles = append(t.roles, r)
		t.byName.put(by, maphash.String(seed, b.Name), b.Name, roleRef(len(t.roles)))
	}
	base := Tenant{roleTable: t}
	if err := base.compile(0); err != nil {
		panic("projections: built-in roles: " + err.Error())
	}
	return base.roleTable
}

// A Role describes one role for a listing.
type Role struct {
	Name    string
	Builtin bool
	// Inherits, Allow and Deny define a custom role. For a built-in role, Allow
	// lists the permissions that the tenant added, and Deny the permissions
	// that it removed. The caller must not change the lists.
	Inherits    []string
	Allow, Deny []string
	// Effective is the set of permissions that the role gives, minus the
	// permissions of the ceiling.
	Effective permission.Set
}

// Role returns one role by its name.
func (t *Tenant) Role(name string) (Role, bool) {
	ref, ok := t.byName.get(maphash.String(t.seed, name), []byte(name))
	if !ok {
		return Role{}, false
	}
	return t.roleInfo(ref), true
}

func (t *Tenant) roleInfo(ref roleRef) Role {
	r := t.roles[ref-1]
	info := Role{Name: r.name, Builtin: r.builtin, Allow: r.allow, Deny: r.deny, Effective: t.compiled[ref-1].effective}
	for _, p := range r.parents {
		info.Inherits = append(info.Inherits, t.roleName(p))
	}
	return info
}

// Roles yields the tenant's roles: first the built-in ones, from the weakest
// to the strongest, then the custom ones by name.
func (t *Tenant) Roles() iter.Seq[Role] {
	refs := make([]roleRef, 0, len(t.roles))
	for i, r := range t.roles {
		if r != nil {
			refs = append(refs, roleRef(i+1))
		}
	}
	slices.SortStableFunc(refs, func(a, b roleRef) int {
		ra, rb := t.roles[a-1], t.roles[b-1]
		switch {
		case ra.builtin && rb.builtin:
			return int(a) - int(b)
		case ra.builtin:
			return -1
		case rb.builtin:
			return 1
		}
		return strings.Compare(ra.name, rb.name)
	})
	return func(yield func(Role) bool) {
		for _, ref := range refs {
			if !yield(t.roleInfo(ref)) {
				return
			}
		}
	}
}

func (t *Tenant) roleName(ref roleRef) string { return t.roles[ref-1].name }

// roleNamed returns a role's number.
func (t *Tenant) roleNamed(name string) (roleRef, error) {
	ref, ok := t.byName.get(maphash.String(t.seed, name), []byte(name))
	if !ok {
		return 0, fmt.Errorf("no role %q", name)
	}
	return ref, nil
}

// RoleUses counts the references to a role: roles that inherit from it, domains
// whose default role it is, and members that hold it as their primary or a
// secondary role.
func (t *Tenant) RoleUses(name string) (roles, domains, members int) {
	ref, err := t.roleNamed(name)
	if err != nil {
		return 0, 0, 0
	}
	for _, r := range t.roles {
		if r != nil && slices.Contains(r.parents, ref) {
			roles++
		}
	}
	for _, p := range t.hosts.all() {
		if p.kind != Domain {
			continue
		}
		if p.defaultRole == ref {
			domains++
		}
		if int(ref) <= len(p.domain.uses) {
			members += int(p.domain.uses[ref-1])
		}
	}
	return roles, domains, members
}

// RoleHolder returns the JID of one member that holds a role, as its primary or
// a secondary role.
func (t *Tenant) RoleHolder(name string) (jid string, ok bool) {
	ref, err := t.roleNamed(name)
	if err != nil {
		return "", false
	}
	for _, d := range t.domainList() {
		if int(ref) > len(d.uses) || d.uses[ref-1] == 0 {
			continue
		}
		for m := range d.members.all() {
			if m.holds(ref) {
				return string(m.local) + "@" + d.name, true
			}
		}
	}
	return "", false
}

// RoleCount is the number of the tenant's custom roles.
func (t *Tenant) RoleCount() int { return t.byName.len - len(permission.BuiltinRoles()) }

// applyRole folds the events about a role.
func (ch *change) applyRole(e events.Event) error {
	switch e := e.(type) {
	case events.RoleDefined:
		return ch.defineRole(e)
	case events.RoleRemoved:
		return ch.removeRole(e.Name)
	case events.BuiltinRoleAdjusted:
		return ch.adjustRole(e)
	}
	return errUnknown
}

// defineRole creates or replaces a custom role.
func (ch *change) defineRole(e events.RoleDefined) error {
	t := ch.tenant
	if e.Name == "" || permission.IsReserved(e.Name) {
		return fmt.Errorf("%q is not a custom role's name", e.Name)
	}
	r := &role{name: strings.Clone(e.Name), allow: kept(e.Allow), deny: kept(e.Deny)}
	for _, name := range e.Inherits {
		parent, err := t.roleNamed(name)
		if err != nil {
			return err
		}
		r.parents = append(r.parents, parent)
	}
	t.roles = slices.Clone(t.roles)
	ch.recompile = true
	hash := maphash.String(t.seed, e.Name)
	if ref, ok := t.byName.get(hash, []byte(e.Name)); ok {
		t.roles[ref-1] = r
		return nil
	}
	free := slices.Index(t.roles, nil)
	if free < 0 {
		if free = len(t.roles); free >= maxRoles {
			return errors.New("too many roles")
		}
		t.roles = append(t.roles, nil)
	}
	t.roles[free] = r
	t.byName.put(ch.by, hash, r.name, roleRef(free+1))
	return nil
}

// removeRole removes a role and frees its number. The role must not be in use:
// otherwise a remaining reference would refer to the next role with the same
// number.
func (ch *change) removeRole(name string) error {
	t := ch.tenant
	ref, err := t.roleNamed(name)
	if err != nil {
		return err
	}
	if t.roles[ref-1].builtin {
		return fmt.Errorf("role %q is built in", name)
	}
	if r, d, m := t.RoleUses(name); r+d+m > 0 {
		return fmt.Errorf("role %q is in use", name)
	}
	t.roles = slices.Clone(t.roles)
	t.roles[ref-1] = nil
	t.byName.remove(ch.by, maphash.String(t.seed, name), name)
	ch.recompile = true
	return nil
}

// adjustRole replaces the permissions that the tenant adds to a built-in role
// and removes from it.
func (ch *change) adjustRole(e events.BuiltinRoleAdjusted) error {
	t := ch.tenant
	ref, err := t.roleNamed(e.Name)
	if err != nil {
		return err
	}
	r := *t.roles[ref-1]
	if !r.builtin {
		return fmt.Errorf("role %q is not built in", e.Name)
	}
	r.allow, r.deny = kept(e.Add), kept(e.Remove)
	t.roles = slices.Clone(t.roles)
	t.roles[ref-1] = &r
	ch.recompile = true
	return nil
}

// maskOf returns the permissions of a list that are in the catalogue.
func maskOf(names []string) permission.Set {
	var s permission.Set
	for _, name := range names {
		if p, ok := permission.ByName(name); ok {
			s = s.With(p)
		}
	}
	return s
}

// answers are the permissions that a role grants (yes) and denies (no), by its
// own table or by inheritance. The role is silent on all other permissions.
type answers struct {
	yes, no permission.Set
	state   uint8
}

// The states of a role while a table is compiled.
const (
	unseen uint8 = iota
	underWay
	done
)

// resets are the permissions whose loss revokes the sessions of a role. If these
// sessions continued, the XMPP server would still treat them as available, or as
// sessions that receive messages.
const resets = permission.Set(1<<permission.MessagesRead | 1<<permission.PresenceWrite)

// compile computes the masks of all roles. It revokes the sessions of each role
// that has lost one of resets since the last compile.
func (t *Tenant) compile(at events.Position) error {
	memo := make([]answers, len(t.roles))
	compiled := make([]compiledRole, len(t.roles))
	for i, r := range t.roles {
		if r == nil {
			continue
		}
		if err := t.resolve(roleRef(i+1), memo); err != nil {
			return err
		}
		c := compiledRole{name: r.name, effective: memo[i].yes.Minus(t.ceilingMask)}
		if i < len(t.compiled) && t.compiled[i].name == r.name {
			c.revokedAt = t.compiled[i].revokedAt
			if t.compiled[i].effective.Minus(c.effective)&resets != 0 {
				c.revokedAt = at
			}
		}
		compiled[i] = c
	}
	t.compiled = compiled
	return nil
}

// resolve computes one role's answers. The role's own table comes first, then
// its parents from left to right, each with all that it inherits; the first
// answer wins. A parent's answers are the same for every child, so each role
// is resolved only once.
func (t *Tenant) resolve(ref roleRef, memo []answers) error {
	m, r := &memo[ref-1], t.roles[ref-1]
	switch m.state {
	case done:
		return nil
	case underWay:
		return fmt.Errorf("role %q inherits from itself", r.name)
	}
	m.state = underWay
	m.no = maskOf(r.deny)
	m.yes = (maskOf(r.allow) | r.gives).Minus(m.no)
	for _, p := range r.parents {
		if err := t.resolve(p, memo); err != nil {
			return err
		}
		said := m.yes | m.no
		m.yes |= memo[p-1].yes.Minus(said)
		m.no |= memo[p-1].no.Minus(said)
	}
	m.state = done
	return nil
}
