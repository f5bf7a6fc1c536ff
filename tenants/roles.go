package tenants

import (
	"fmt"
	"slices"
	"strings"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/projections"
)

// The commands on a role.
type (
	// DefineRole creates or replaces a custom role.
	DefineRole struct {
		Role     string
		Inherits []string
		Allow    []string
		Deny     []string
	}
	// AdjustRole replaces the permissions that the tenant adds to a built-in
	// role and removes from it.
	AdjustRole struct {
		Role   string
		Add    []string
		Remove []string
	}
	// RemoveRole removes a custom role that is not in use.
	RemoveRole struct{ Role string }
)

// Name is the command's name.
func (DefineRole) Name() string { return "role.define" }
func (AdjustRole) Name() string { return "role.adjust" }
func (RemoveRole) Name() string { return "role.remove" }

// roleCommands are the commands on a role.
func roleCommands() []Entry {
	return []Entry{
		{Zero: DefineRole{}, Makes: events.RoleDefined{}},
		{Zero: AdjustRole{}, Makes: events.BuiltinRoleAdjusted{}},
		{Zero: RemoveRole{}, Makes: events.RoleRemoved{}},
	}
}

func (c DefineRole) check(p *checker) {
	before := p.failures
	switch err := CheckRoleName(c.Role); {
	case err != nil:
		p.fail(Invalid, "role", "%v", err)
	case permission.IsBuiltin(c.Role):
		p.fail(Invalid, "role", "role %s is built in: it is adjusted (add, remove), not defined", quote(c.Role))
	case permission.IsReserved(c.Role):
		p.fail(Invalid, "role", "role name %s: names that begin with %q are reserved for the built-in roles", quote(c.Role), permission.ReservedPrefix)
	}
	ok := p.parents(c.Role, c.Inherits)
	p.permissions("allow", c.Allow)
	p.permissions("deny", c.Deny)
	if !ok || p.failed(before) {
		return
	}
	old, exists := p.tenant.Role(c.Role)
	if !exists && p.tenant.RoleCount() >= MaxRoles {
		p.fail(Conflict, "role", "the tenant already has %d custom roles, the maximum", MaxRoles)
	}
	p.descent(c)
	p.overlap("allow", c.Role, c.Allow, c.Deny)
	if exists && slices.Equal(old.Inherits, c.Inherits) && slices.Equal(old.Allow, c.Allow) && slices.Equal(old.Deny, c.Deny) {
		return
	}
	if !p.failed(before) {
		p.emit(events.RoleDefined{Name: c.Role, Inherits: slices.Clone(c.Inherits), Allow: slices.Clone(c.Allow), Deny: slices.Clone(c.Deny)})
	}
}

// parents checks a list of parents, except for chains, which descent checks.
func (p *checker) parents(role string, names []string) bool {
	if len(names) > MaxParents {
		p.fail(Invalid, "inherits", "%d parents: at most %d", len(names), MaxParents)
		return false
	}
	ok := true
	for i, name := range names {
		at := fmt.Sprintf("inherits[%d]", i)
		if name == role {
			p.fail(Conflict, at, "role %s would inherit from itself", quote(role))
			ok = false
			continue
		}
		ok = p.role(at, name) && ok
		p.once(at, "parent", names[:i], name)
	}
	return ok
}

// overlap warns of permissions in both lists: deny wins, so allow has no effect.
func (p *checker) overlap(field, role string, allow, deny []string) {
	for i, name := range allow {
		if slices.Contains(deny, name) {
			p.warn(fmt.Sprintf("%s[%d]", field, i), "role %q both allows and denies %q: the denial wins", role, name)
		}
	}
}

// descent refuses a role that would inherit from itself, or that would make a
// chain of inheritance longer than MaxDepth.
func (p *checker) descent(c DefineRole) {
	d := descent{inherits: map[string][]string{}, depth: map[string]int{}}
	for r := range p.tenant.Roles() {
		d.inherits[r.Name] = r.Inherits
	}
	d.inherits[c.Role] = c.Inherits
	for i, parent := range c.Inherits {
		if way := d.way(parent, c.Role); way != nil {
			p.fail(Conflict, fmt.Sprintf("inherits[%d]", i), "role %s would inherit from itself: %s", quote(c.Role), chain(append([]string{c.Role}, way...)))
			return
		}
	}
	for name := range d.inherits {
		if d.of(name) > MaxDepth {
			p.fail(Conflict, "inherits", "role %s would make a chain of inheritance of more than %d roles", quote(c.Role), MaxDepth)
			return
		}
	}
}

// chain formats a chain of inheritance, shortened if it is long.
func chain(names []string) string {
	const most = 8
	if len(names) > most {
		names = slices.Concat(names[:most/2], []string{"…"}, names[len(names)-most/2:])
	}
	return strings.Join(names, " → ")
}

// descent is the graph of inheritance between roles.
type descent struct {
	inherits map[string][]string // the parents of each role
	depth    map[string]int      // results of descent.of
}

// way returns a chain of inheritance from one role to another, or nil if there
// is none. It visits each role only once, because a second visit would have
// the same result.
func (d *descent) way(from, to string) []string {
	var backwards []string
	seen := map[string]bool{}
	var visit func(string) bool
	visit = func(name string) bool {
		if seen[name] {
			return false
		}
		seen[name] = true
		if name == to || slices.ContainsFunc(d.inherits[name], visit) {
			backwards = append(backwards, name)
			return true
		}
		return false
	}
	if !visit(from) {
		return nil
	}
	slices.Reverse(backwards)
	return backwards
}

// of returns the number of roles in the longest chain from a role through its
// ancestors. The caller has checked that no role inherits from itself.
func (d *descent) of(name string) int {
	if n := d.depth[name]; n > 0 {
		return n
	}
	n := 0
	for _, parent := range d.inherits[name] {
		n = max(n, d.of(parent))
	}
	d.depth[name] = n + 1
	return n + 1
}

func (c AdjustRole) check(p *checker) {
	before := p.failures
	if !permission.IsBuiltin(c.Role) {
		if _, exists := p.tenant.Role(c.Role); exists {
			p.fail(Invalid, "role", "role %s is the tenant's own: it is defined (inherits, allow, deny), not adjusted", quote(c.Role))
		} else {
			p.fail(NotFound, "role", "there is no built-in role %s: they are %s", quote(c.Role), strings.Join(builtinNames(), ", "))
		}
	}
	p.permissions("add", c.Add)
	p.permissions("remove", c.Remove)
	p.overlap("add", c.Role, c.Add, c.Remove)
	if p.failed(before) {
		return
	}
	if old, _ := p.tenant.Role(c.Role); !slices.Equal(old.Allow, c.Add) || !slices.Equal(old.Deny, c.Remove) {
		p.emit(events.BuiltinRoleAdjusted{Name: c.Role, Add: slices.Clone(c.Add), Remove: slices.Clone(c.Remove)})
	}
}

func builtinNames() []string {
	var names []string
	for _, b := range permission.BuiltinRoles() {
		names = append(names, b.Name)
	}
	return names
}

func (c RemoveRole) check(p *checker) {
	r, ok := p.tenant.Role(c.Role)
	switch {
	case !ok:
		p.fail(NotFound, "role", "there is no role %s", quote(c.Role))
	case r.Builtin:
		p.fail(Invalid, "role", "role %s is built in: it cannot be removed; adjust it instead", quote(c.Role))
	default:
		if user := userOf(p.tenant, c.Role); user != "" {
			p.fail(InUse, "role", "role %s is in use: %s", quote(c.Role), user)
			return
		}
		p.emit(events.RoleRemoved{Name: c.Role})
	}
}

// userOf describes one use of a role; empty if the role is not in use.
func userOf(t *projections.Tenant, role string) string {
	roles, domains, members := t.RoleUses(role)
	switch {
	case roles > 0:
		for r := range t.Roles() {
			if slices.Contains(r.Inherits, role) {
				return fmt.Sprintf("role %s inherits from it; redefine that first", quote(r.Name))
			}
		}
	case domains > 0:
		for d := range t.Domains() {
			if d.DefaultRole == role {
				return fmt.Sprintf("it is the default role of domain %s; set another there first", quote(d.Name))
			}
		}
	case members > 0:
		holder, _ := t.RoleHolder(role)
		return fmt.Sprintf("member %s has it; set another role there first", quote(holder))
	}
	return ""
}
