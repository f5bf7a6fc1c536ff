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

// A roleRef is a role's number in its tenant, from 1; zero means none. Members
// and domains hold numbers, so a changed role touches none of them.
type roleRef uint16

// maxRoles is what a roleRef can count.
const maxRoles = 1<<16 - 2

// role is one role. Once made it never changes.
type role struct {
	name    string
	builtin bool
	gives   permission.Set // by default; built-in roles only
	parents []roleRef
	// allow and deny are its own table: for a built-in role what the tenant
	// adds and removes.
	allow, deny []string
}

// roleTable is a tenant's roles. A removed role leaves a free number, which
// the next new role takes: nothing refers to it any more.
type roleTable struct {
	compiled []compiledRole
	roles    []*role // nil: a free number
	byName   table[roleRef]
}

// compiledRole is what a decision needs of a role.
type compiledRole struct {
	name      string
	effective permission.Set // what the role gives, without the ceiling's
	revokedAt events.Position
}

// builtinRoleTable is what every tenant starts with.
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

// A Role is one role, as it is listed.
type Role struct {
	Name    string
	Builtin bool
	// Inherits, Allow and Deny define a custom role; for a built-in one Allow
	// is what the tenant added and Deny what it removed. Not to be changed.
	Inherits    []string
	Allow, Deny []string
	// Effective is what the role gives under the ceiling.
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

// Roles yields the tenant's roles: the built-in ones from the least to the
// most, then its own by name.
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

// roleNamed finds a role's number.
func (t *Tenant) roleNamed(name string) (roleRef, error) {
	ref, ok := t.byName.get(maphash.String(t.seed, name), []byte(name))
	if !ok {
		return 0, fmt.Errorf("no role %q", name)
	}
	return ref, nil
}

// RoleUses counts what refers to a role: roles that inherit from it, domains
// whose default role it is, and members that hold it, primary or secondary.
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
	for _, p := range t.places.all() {
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

// RoleHolder names one member that holds a role, primary or secondary.
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

// RoleCount is the number of the tenant's own roles.
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

// removeRole frees a role's number, which nothing may refer to: else it would
// come to mean another role.
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

// adjustRole replaces what the tenant adds to and removes from a built-in role.
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

// maskOf is the part of a list that stands in the catalogue.
func maskOf(names []string) permission.Set {
	var s permission.Set
	for _, name := range names {
		if p, ok := permission.ByName(name); ok {
			s = s.With(p)
		}
	}
	return s
}

// answers are the permissions a role answers for, itself or by inheritance.
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

// resets are the permissions whose loss ends a role's sessions: the server
// would go on treating them as what they no longer are.
const resets = permission.Set(1<<permission.MessagesRead | 1<<permission.PresenceWrite)

// compile works out the masks of all roles and ends the sessions of roles that
// lost one of resets since the last time.
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

// resolve works out one role's answers: its own table first, then its parents
// from left to right, each with all it inherits, the first answer winning.
// What a role answers does not depend on who asks, so each is resolved once.
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
