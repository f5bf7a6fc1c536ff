package prosody

import (
	"fmt"
	"slices"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/tenants"
)

// An ApartError reports that accounts of one host may not reach another host.
// One tenant cannot hold both, because the domains of a tenant can reach each
// other.
type ApartError struct{ Host, Other string }

func (e *ApartError) Error() string {
	return fmt.Sprintf("mod_isolate_host does not let accounts of %s reach %s, but the domains of one tenant can reach each other: use --per-host to create one tenant per host", e.Host, e.Other)
}

// apart returns an error if one of the hosts is isolated from another.
func (m *mapping) apart(hosts []string) error {
	for _, h := range hosts {
		for _, other := range hosts {
			if h != other && !m.reaches(h, other) {
				return &ApartError{h, other}
			}
		}
	}
	return nil
}

// reaches reports whether mod_isolate_host lets all accounts of a host reach a
// domain of the same server: a direct sub-domain of the host, or an exception.
func (m *mapping) reaches(host, domain string) bool {
	if !slices.Contains(m.config.modules(host), "isolate_host") {
		return true
	}
	for _, section := range []string{global, host} { // a host inherits the global option
		if slices.ContainsFunc(items(m.config.own(section, "isolate_except_domains")), func(v lua.LValue) bool { return v.String() == domain }) {
			return true
		}
	}
	_, parent, _ := strings.Cut(domain, ".")
	return parent == host
}

// shared removes from global custom roles the permissions that they may not
// inherit in Prosody. Prosody resolves the parents of such a role once, for the
// host that is loaded first, and stores the result in the option. The roles of
// all other hosts then inherit from the roles of that host. Therefore a role
// keeps only the permissions that it would inherit on every host.
func (m *mapping) shared(r *registry, host string) {
	c := m.config
	if c.own(host, "custom_roles") != lua.LNil || !slices.ContainsFunc(r.order, func(name string) bool { return len(r.roles[name].inherits) > 0 }) {
		return
	}
	var adjusted []string
	for _, h := range c.virtualHosts() {
		if h != host && c.own(h, "custom_roles") == lua.LNil && (c.own(h, "add_permissions") != lua.LNil || c.own(h, "remove_permissions") != lua.LNil ||
			c.own(host, "add_permissions") != lua.LNil || c.own(host, "remove_permissions") != lua.LNil) {
			adjusted = append(adjusted, h)
		}
	}
	if len(adjusted) > maxShared && m.fault == nil {
		m.fault = fmt.Errorf("%s: custom_roles is global, and more than %d hosts have permissions of their own: in Prosody the inherited permissions depend on the order in which hosts are loaded; define custom_roles in each VirtualHost", c.at(global, "custom_roles"), maxShared)
		return
	}
	before := len(m.findings)
	for _, h := range adjusted {
		other := m.registry(h)
		m.take(other, []string{h})
		for _, name := range r.order {
			role := r.roles[name]
			if other.roles[name] == nil {
				continue
			}
			for p := range permission.All() {
				if _, own := role.says[p.Name()]; own {
					continue
				}
				here, _ := r.say(role.name, p.Name())
				if there, _ := other.say(other.roles[name].name, p.Name()); here && !there {
					role.says[p.Name()] = false
					m.find(Changed, c.at(global, "custom_roles"), fmt.Sprintf("in Prosody, global custom roles inherit from the roles of the host that was loaded first; role %s of %s does not get %s here, because it would not inherit it from %s", show(role.name), host, p.Name(), h),
						"define custom_roles in each VirtualHost")
				}
			}
		}
	}
	if len(m.findings) == before && len(c.virtualHosts())+len(c.components()) > 1 && m.loadedAnywhere("restrict_xmpp") {
		m.find(Changed, c.at(global, "custom_roles"), "in Prosody, global custom roles inherit from the roles of the host that was loaded first, which may be a component or a host without mod_restrict_xmpp and then gives less; here they inherit from the roles of their own host", "define custom_roles in each VirtualHost")
	}
}

// maxShared bounds the number of hosts whose roles are compared.
const maxShared = 200

func (m *mapping) loadedAnywhere(module string) bool {
	return slices.ContainsFunc(m.config.virtualHosts(), func(h string) bool { return slices.Contains(m.config.modules(h), module) })
}

// loaded splits hosts into those that load a module and those that do not.
func (m *mapping) loaded(hosts []string, module string) (with, without []string) {
	for _, h := range hosts {
		if slices.Contains(m.config.modules(h), module) {
			with = append(with, h)
		} else {
			without = append(without, h)
		}
	}
	return with, without
}

// take removes from registered accounts the permissions that Postern gives them
// and that mod_restrict_xmpp, if loaded, gives to nobody.
func (m *mapping) take(r *registry, hosts []string) (taken []string) {
	if with, _ := m.loaded(hosts, "restrict_xmpp"); len(with) == 0 {
		return nil
	}
	for _, p := range []permission.Permission{permission.LegacyStorageRead, permission.LegacyStorageWrite, permission.AccountRead, permission.AccountWrite} {
		given := r.roles[permission.Guest].says[p.Name()] // registered inherits it from guest
		if _, said := r.roles[permission.Registered].says[p.Name()]; !given && !said {
			r.roles[permission.Registered].says[p.Name()] = false
			taken = append(taken, p.Name())
		}
	}
	return taken
}

// unmended calls take and records a finding about it.
func (m *mapping) unmended(r *registry, hosts []string) {
	taken := m.take(r, hosts)
	if len(taken) == 0 {
		return
	}
	with, without := m.loaded(hosts, "restrict_xmpp")
	text := "mod_restrict_xmpp gives " + strings.Join(taken, ", ") + " to nobody, so " + permission.Registered + " does not have them here; Postern asks for them for all account management, including requests to the server's domain"
	if len(without) > 0 {
		text += "; the role also applies on " + some(without) + ", without the module"
	}
	m.find(Changed, some(with), text, "give them to "+permission.Registered+" for push, password changes, session lists and private storage")
}

// some lists hosts, shortened if there are many.
func some(hosts []string) string {
	if len(hosts) > 5 {
		return fmt.Sprintf("%s and %d more", strings.Join(hosts[:5], ", "), len(hosts)-5)
	}
	return strings.Join(hosts, ", ")
}

// unasked are the permissions that mod_restrict_xmpp never asks for: it gives or
// documents some of them, and does not know the others.
const unasked = permission.Set(1<<permission.MessagesWrite | 1<<permission.OMEMORead | 1<<permission.OMEMOWrite |
	1<<permission.HistoryWrite | 1<<permission.RequestsRead | 1<<permission.RequestsWrite)

// meaning records findings about each role: the permissions that the role lacks
// and whose absence restricts it here but not in Prosody.
func (m *mapping) meaning(t *tenants.CreateTenant, r *registry, hosts []string) {
	with, without := m.loaded(hosts, "restrict_xmpp")
	for _, name := range r.order {
		m.enforced(r, name, with)
	}
	m.binding(t, r, without)
}

// enforced records findings about a custom role on hosts with
// mod_restrict_xmpp, which never asks for some permissions and asks for others
// only in some cases.
func (m *mapping) enforced(r *registry, name string, with []string) {
	if len(with) == 0 {
		return
	}
	role, where := r.roles[name], m.config.at(with[0], "custom_roles")
	gives := r.gives(name)
	lacks := permission.Everything.Minus(gives)
	const fix = "inherit from a built-in role, or allow the permissions that the role needs"
	if s := lacks & unasked; s != 0 {
		m.find(Changed, where, fmt.Sprintf("role %s does not give %s: Prosody enforces none of them, but Postern does", show(role.name), names(s)), fix)
	}
	if s := lacks.Minus(unasked); s != 0 {
		m.find(Changed, where, fmt.Sprintf("role %s does not give %s: Prosody asks for them in some cases only; Postern also asks for them for incoming stanzas, for stanzas to others, and for every node and address of the account", show(role.name), names(s)), "docs/PERMISSIONS.md lists the stanzas that ask for each")
	}
	var nodes permission.Set
	for _, pair := range []struct {
		pep   permission.Permission
		nodes permission.Set
	}{
		{permission.PEPRead, permission.Of(permission.BookmarksRead, permission.ProfileRead, permission.OMEMORead)},
		{permission.PEPWrite, permission.Of(permission.BookmarksWrite, permission.ProfileWrite, permission.OMEMOWrite)},
	} {
		if !gives.Has(pair.pep) {
			nodes |= gives & pair.nodes
		}
	}
	if nodes != 0 {
		m.find(Changed, where, fmt.Sprintf("role %s gives %s but not the matching xmpp:account:pep permission. Prosody's module asks for pep for every PEP node; its documentation and Postern ask for the permission of the node itself. Here the role therefore has access to bookmarks, avatars, vCards and keys in PEP", show(role.name), names(nodes)), "remove them from the role if it should not have that access")
	}
}

// binding records findings about hosts without mod_restrict_xmpp, where Prosody
// does not enforce roles.
func (m *mapping) binding(t *tenants.CreateTenant, r *registry, without []string) {
	if len(without) == 0 {
		return
	}
	asked := permission.Of(permission.Federate)
	for _, h := range without {
		if modules := m.config.modules(h); !slices.Contains(modules, "restrict_federation") && !slices.Contains(modules, "isolate_host") {
			asked = 0
		}
	}
	used := map[string]bool{}
	for _, d := range t.Domains {
		used[d.DefaultRole] = true
	}
	for _, member := range t.Members {
		used[member.Role] = true
		for _, role := range member.Secondary {
			used[role] = true
		}
	}
	where := m.config.place[global+"\x00modules_enabled"]
	if len(without) < len(m.config.virtualHosts()) || where == "" {
		where = without[0]
	}
	why := "on " + some(without) + ", without mod_restrict_xmpp, Prosody does not enforce any role"
	if asked != 0 {
		why += ", except for " + permission.Federate.Name()
	}
	var idle []string
	for _, name := range append(builtinNames(), r.order...) {
		role := r.roles[name]
		lacks := permission.Everything.Minus(r.gives(name)).Minus(asked)
		switch {
		case lacks == 0:
		case !role.custom && !used[role.name] && len(role.says) == 0:
			idle = append(idle, show(role.name)+" lacks "+names(lacks))
		default:
			m.find(Changed, where, fmt.Sprintf("role %s lacks %s here; %s", show(role.name), names(lacks), why), "allow the permissions that should stay available")
		}
	}
	if len(idle) > 0 {
		m.find(Info, where, why+"; here these unused roles are enforced too: "+strings.Join(idle, "; "), "")
	}
}

func builtinNames() (all []string) {
	for _, b := range permission.BuiltinRoles() {
		all = append(all, b.Name)
	}
	return all
}

func names(s permission.Set) string { return strings.Join(s.Names(), ", ") }
