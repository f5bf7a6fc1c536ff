package prosody

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/tenants"
)

// A role is one of a host's roles. says holds the permissions that the role
// itself gives or denies. For all others, the roles in inherits decide.
type role struct {
	name     string // its name in Postern
	custom   bool
	inherits []string
	says     map[string]bool
}

// A registry holds the roles of one host by their names in Prosody, as
// mod_authz_internal registers them.
type registry struct {
	roles map[string]*role
	order []string
}

// registry registers the roles of a host.
func (m *mapping) registry(host string) *registry {
	c := m.config
	r := &registry{roles: map[string]*role{}}
	for _, b := range permission.BuiltinRoles() {
		r.roles[b.Name] = &role{name: b.Name, says: map[string]bool{}}
	}
	where := c.at(host, "custom_roles")
	items := list(c.get(host, "custom_roles"))
	if v := c.get(host, "custom_roles"); v != lua.LNil && v.Type() != lua.LTTable {
		m.find(Lost, where, "custom_roles is a "+v.Type().String()+", not a list: Prosody registers nothing", "")
	} else if v != lua.LNil && len(items) == 0 && named(v) {
		m.find(Lost, where, "custom_roles does not contain a list of roles: Prosody registers nothing", "write custom_roles = { { name = … } }")
	}
	for i, item := range items {
		m.register(r, host, where, i+1, item)
	}
	m.adjust(r, host, "add_permissions", true)
	m.adjust(r, host, "remove_permissions", false)
	m.isolate(r, host)
	return r
}

// named reports whether a table has any keys.
func named(v lua.LValue) bool {
	t, ok := v.(*lua.LTable)
	if !ok {
		return false
	}
	k, _ := t.Next(lua.LNil)
	return k != lua.LNil
}

func (m *mapping) register(r *registry, host, where string, n int, item lua.LValue) {
	t, ok := item.(*lua.LTable)
	name, isText := lua.LValue(lua.LNil), false
	if ok {
		name = t.RawGetString("name")
		_, isText = name.(lua.LString)
	}
	if !isText {
		m.find(Lost, where, fmt.Sprintf("custom role %d has no name: Prosody does not register it", n), "")
		return
	}
	given := name.String()
	if r.roles[given] != nil {
		m.find(Lost, where, fmt.Sprintf("custom role %s is already registered: Prosody keeps the first definition and ignores this one", show(given)), "")
		return
	}
	role := &role{custom: true, says: map[string]bool{}}
	parents := t.RawGetString("inherits")
	if parents != lua.LNil && parents.Type() != lua.LTTable {
		m.find(Lost, where, fmt.Sprintf("custom role %s: inherits is not a list, so Prosody does not register the role; accounts with it get no permissions", show(given)), "")
		return
	}
	for _, p := range list(parents) {
		parent := r.roles[p.String()]
		if p.Type() != lua.LTString || parent == nil {
			m.find(Lost, where, fmt.Sprintf("custom role %s inherits from %s, which is not registered at that point: Prosody does not register the role; accounts with it get no permissions", show(given), show(p.String())), "define the parent first, or correct its name")
			return
		}
		if !slices.Contains(role.inherits, parent.name) {
			role.inherits = append(role.inherits, parent.name)
		}
	}
	// Prosody's own code iterates over these values as lists. A text then
	// counts as an empty list; a value of another type prevents the
	// registration of the role.
	for _, option := range []string{"permissions", "allow", "deny"} {
		v := t.RawGetString(option)
		if v == lua.LNil || v == lua.LFalse || v.Type() == lua.LTTable || option != "permissions" && v.Type() == lua.LTString {
			continue
		}
		m.find(Lost, where, fmt.Sprintf("custom role %s: %s is a %s, so Prosody does not register the role; accounts with it get no permissions", show(given), option, v.Type()), "")
		return
	}
	if p, ok := t.RawGetString("permissions").(*lua.LTable); ok {
		p.ForEach(func(k, v lua.LValue) { role.says[k.String()] = v == lua.LTrue })
	}
	for _, o := range []struct {
		option string
		value  bool
	}{{"allow", true}, {"deny", false}} {
		v := t.RawGetString(o.option)
		if v.Type() == lua.LTString {
			m.find(Changed, where, fmt.Sprintf("custom role %s: %s is not a list: Prosody ignores it, and so does Postern", show(given), o.option), "")
		}
		for _, p := range list(v) {
			role.says[p.String()] = o.value
		}
	}
	role.name = m.roleName(r, where, given)
	r.roles[given] = role
	r.order = append(r.order, given)
}

// roleName returns a role's name in Postern: its name in Prosody if that name is
// valid here.
func (m *mapping) roleName(r *registry, where, given string) string {
	if tenants.CheckRoleName(given) == nil && !permission.IsReserved(given) && given != nothing {
		return given
	}
	name := "custom:" + strings.TrimPrefix(given, permission.ReservedPrefix)
	name = strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune(":._-", c) {
			return c
		}
		return '-'
	}, name)
	name = name[:min(len(name), tenants.MaxRoleName-4)]
	base := name
	taken := func(name string) bool {
		for _, o := range r.roles {
			if o.name == name {
				return true
			}
		}
		return false
	}
	for n := 2; taken(name); n++ {
		name = fmt.Sprintf("%s-%d", base, n)
	}
	m.find(Changed, where, fmt.Sprintf("the name of role %s is not valid in Postern: it is called %s here", show(given), show(name)), "")
	return name
}

// adjust applies add_permissions or remove_permissions to built-in and custom
// roles. A later entry wins.
func (m *mapping) adjust(r *registry, host, option string, value bool) {
	where := m.config.at(host, option)
	t, ok := m.config.get(host, option).(*lua.LTable)
	if !ok {
		if v := m.config.get(host, option); v != lua.LNil && m.fault == nil {
			m.fault = fmt.Errorf("%s: %s is a %s, not a table of roles: because of it, Prosody has no roles at all on %s; correct it first", where, option, v.Type(), host)
		}
		return
	}
	keys := map[string]lua.LValue{}
	t.ForEach(func(k, v lua.LValue) { keys[k.String()] = v })
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		role := r.roles[name]
		if role == nil {
			m.find(Lost, where, fmt.Sprintf("%s names role %s, which is not registered on %s: Prosody ignores it", option, show(name), host), "")
			continue
		}
		switch keys[name].Type() {
		case lua.LTTable:
		case lua.LTString:
			m.find(Changed, where, fmt.Sprintf("%s of role %s is not a list: Prosody ignores it, and so does Postern", option, show(name)), "")
		default:
			if m.fault == nil {
				m.fault = fmt.Errorf("%s: %s of role %s is a %s, not a list: because of it, Prosody has no roles at all on %s; correct it first", where, option, show(name), keys[name].Type(), host)
			}
		}
		for _, p := range list(keys[name]) {
			role.says[p.String()] = value
		}
		if role.custom && len(list(keys[name])) > 0 {
			m.find(Info, where, fmt.Sprintf("%s of custom role %s is now part of its definition", option, show(name)), "")
		}
	}
}

// isolate expresses the modules that isolate a host as permissions.
func (m *mapping) isolate(r *registry, host string) {
	modules := m.config.modules(host)
	federate := permission.Federate.Name()
	restricted, isolated := slices.Contains(modules, "restrict_federation"), slices.Contains(modules, "isolate_host")
	if !restricted && !isolated {
		return
	}
	guest := r.roles[permission.Guest].says[federate] // a permission denied to guest is not inherited
	_, registered := r.roles[permission.Registered].says[federate]
	if !guest && !registered {
		r.roles[permission.Registered].says[federate] = false
		m.find(Changed, host, "mod_restrict_federation or mod_isolate_host keeps accounts from reaching other domains: "+federate+" is removed from "+permission.Registered, "give it to the roles that should have it")
	}
	if isolated && (guest || registered) {
		m.find(Changed, host, "the permission "+federate+" is imported as configured; a version of mod_isolate_host that does not know this permission isolates everyone except admins", "check which version is loaded, and remove "+federate+" from prosody:registered if it is an old one")
	}
	if _, said := r.roles[permission.Admin].says[federate]; isolated && !restricted && !said {
		r.roles[permission.Admin].says[federate] = true
	}
	if restricted {
		m.find(Changed, host, "mod_restrict_federation lets accounts without "+federate+" enable push at other domains and answer requests from there; here both need it", "declare the push service: policyctl service add")
	}
	if !isolated {
		return
	}
	if m.config.get(host, "isolate_except_domains") != lua.LNil || m.config.get(host, "isolate_except_users") != lua.LNil {
		where := m.config.at(host, "isolate_except_domains")
		if where == "" {
			where = m.config.at(host, "isolate_except_users")
		}
		m.find(Lost, where, "the exceptions of mod_isolate_host have no counterpart: those accounts and domains are isolated too", "")
	}
}

// permissions splits the permissions that a role gives or denies itself into
// allow and deny, in the order of Postern's lists.
func (m *mapping) permissions(where string, r *role) (allow, deny []string) {
	names := slices.SortedFunc(maps.Keys(r.says), func(a, b string) int {
		x, knownX := permission.ByName(a)
		y, knownY := permission.ByName(b)
		switch {
		case knownX && knownY:
			return int(x) - int(y)
		case knownX != knownY && knownX:
			return -1
		case knownX != knownY:
			return 1
		}
		return strings.Compare(a, b)
	})
	for _, name := range names {
		switch _, known := permission.ByName(name); {
		case strings.ContainsAny(name, "*?"):
			m.find(Lost, where, fmt.Sprintf("role %s: %s is not a wildcard; it has no effect in Prosody or here, and is left out", show(r.name), show(name)), "name each permission")
			continue
		case permission.CheckName(name) != nil:
			m.find(Lost, where, fmt.Sprintf("role %s: no stanza asks for %s in Postern, and the name is not valid here: left out", show(r.name), show(name)), "")
			continue
		case permission.Misspelt(name) && modulesOwn(name):
			m.find(Info, where, fmt.Sprintf("role %s: %s is a name of mod_restrict_xmpp that no stanza asks for in Postern: left out", show(r.name), show(name)), "")
			continue
		case permission.Misspelt(name):
			m.find(Changed, where, fmt.Sprintf("role %s: no stanza asks for %s, in Prosody or here: left out", show(r.name), show(name)), "is it misspelt? `policyctl permissions` lists all")
			continue
		case !known:
			m.find(Info, where, fmt.Sprintf("role %s: %s is kept; Postern does not enforce it, but Prosody's module does", show(r.name), show(name)), "")
		}
		if r.says[name] {
			allow = append(allow, name)
		} else {
			deny = append(deny, name)
		}
	}
	return allow, deny
}

// modulesOwn reports whether a name is in the documentation or code of
// mod_restrict_xmpp but not in Postern's catalogue.
func modulesOwn(name string) bool {
	switch name {
	case "xmpp:account:disco:write", "xmpp:account:presence:read", "xmpp:account:storage:read", "xmpp:account:storage:write",
		"xmpp:account:carbons:read", "xmpp:account:carbons:write":
		return true
	}
	return false
}

// say looks a permission up as Prosody does: first in the role itself, then in
// its parents from left to right.
func (r *registry) say(name, perm string) (value, said bool) {
	for _, role := range r.roles {
		if role.name != name {
			continue
		}
		if v, ok := role.says[perm]; ok {
			return v, true
		}
		for _, parent := range role.inherits {
			if v, ok := r.say(parent, perm); ok {
				return v, true
			}
		}
		if !role.custom {
			for _, b := range permission.BuiltinRoles() {
				if b.Name != name {
					continue
				}
				if p, ok := permission.ByName(perm); ok && b.Gives.Has(p) {
					return true, true
				}
				if b.Inherits != "" {
					return r.say(b.Inherits, perm)
				}
			}
		}
	}
	return false, false
}

// gives returns the permissions of a role, by its name in Prosody. A role that
// is not registered gives none.
func (r *registry) gives(given string) (s permission.Set) {
	role := r.roles[given]
	if role == nil {
		return 0
	}
	for p := range permission.All() {
		if v, _ := r.say(role.name, p.Name()); v {
			s = s.With(p)
		}
	}
	return s
}

// differ returns the first difference between the roles of two hosts, or "".
func (r *registry) differ(o *registry) string {
	for _, name := range slices.Sorted(maps.Keys(r.roles)) {
		a, b := r.roles[name], o.roles[name]
		switch {
		case b == nil:
			return fmt.Sprintf("only the first has role %s", show(name))
		case !slices.Equal(a.inherits, b.inherits):
			return fmt.Sprintf("role %s has other parents", show(name))
		case !maps.Equal(a.says, b.says):
			return fmt.Sprintf("role %s allows or denies other permissions", show(name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(o.roles)) {
		if r.roles[name] == nil {
			return fmt.Sprintf("only the second has role %s", show(name))
		}
	}
	return ""
}

// show quotes a name from the configuration, shortened if it is long.
func show(s string) string {
	if len(s) > 80 {
		s = strings.ToValidUTF8(s[:80], "") + "…"
	}
	return fmt.Sprintf("%q", s)
}
