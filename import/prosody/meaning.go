package prosody

import (
	"fmt"
	"slices"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/tenants"
)

// An ApartError says that a host's accounts are kept from another host, so that
// one tenant, whose domains reach each other, cannot hold both.
type ApartError struct{ Host, Other string }

func (e *ApartError) Error() string {
	return fmt.Sprintf("mod_isolate_host keeps accounts of %s from %s; domains of one tenant reach each other: use --per-host for a tenant of each host", e.Host, e.Other)
}

// apart refuses to put hosts into one tenant of which one is isolated.
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
// domain of the same server: its own sub-domains of one label more, and
// exceptions.
func (m *mapping) reaches(host, domain string) bool {
	if !slices.Contains(m.config.modules(host), "isolate_host") {
		return true
	}
	for _, section := range []string{global, host} { // the option is inherited
		if slices.ContainsFunc(items(m.config.own(section, "isolate_except_domains")), func(v lua.LValue) bool { return v.String() == domain }) {
			return true
		}
	}
	_, parent, _ := strings.Cut(domain, ".")
	return parent == host
}

// shared takes from custom roles of all hosts what they may not have inherited.
// Prosody resolves the names of their parents once and keeps the outcome in the
// option itself: the roles of every host inherit from those of whichever was
// loaded first. They get what they would get from any.
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
		m.fault = fmt.Errorf("%s: custom_roles of all hosts, and more than %d hosts with permissions of their own: which inherit from which depends on the order they are loaded in; define custom_roles in each VirtualHost", c.at(global, "custom_roles"), maxShared)
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
					m.find(Changed, c.at(global, "custom_roles"), fmt.Sprintf("custom roles of all hosts inherit, in Prosody, from the roles of whichever host was loaded first; role %s of %s does not get %s, which it would not inherit from %s", show(role.name), host, p.Name(), h),
						"define custom_roles in each VirtualHost")
				}
			}
		}
	}
	if len(m.findings) == before && len(c.virtualHosts())+len(c.components()) > 1 && m.loadedAnywhere("restrict_xmpp") {
		m.find(Changed, c.at(global, "custom_roles"), "custom roles of all hosts inherit, in Prosody, from the roles of whichever host was loaded first, be it a component or one without mod_restrict_xmpp, where they give less; here from those of their own host", "define custom_roles in each VirtualHost")
	}
}

// maxShared bounds the hosts whose roles are compared.
const maxShared = 200

func (m *mapping) loadedAnywhere(module string) bool {
	return slices.ContainsFunc(m.config.virtualHosts(), func(h string) bool { return slices.Contains(m.config.modules(h), module) })
}

// loaded splits hosts by whether they load a module.
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

// take takes from registered accounts what they get in Postern and
// mod_restrict_xmpp gives to nobody, if it is loaded.
func (m *mapping) take(r *registry, hosts []string) (taken []string) {
	if with, _ := m.loaded(hosts, "restrict_xmpp"); len(with) == 0 {
		return nil
	}
	for _, p := range []permission.Permission{permission.LegacyStorageRead, permission.LegacyStorageWrite, permission.AccountRead, permission.AccountWrite} {
		given := r.roles[permission.Guest].says[p.Name()] // and so inherited
		if _, said := r.roles[permission.Registered].says[p.Name()]; !given && !said {
			r.roles[permission.Registered].says[p.Name()] = false
			taken = append(taken, p.Name())
		}
	}
	return taken
}

// unmended takes the same and tells of it.
func (m *mapping) unmended(r *registry, hosts []string) {
	taken := m.take(r, hosts)
	if len(taken) == 0 {
		return
	}
	with, without := m.loaded(hosts, "restrict_xmpp")
	text := "mod_restrict_xmpp gives " + strings.Join(taken, ", ") + " to nobody, so " + permission.Registered + " does not have them; Postern asks for them wherever account management is addressed, the server's domain included"
	if len(without) > 0 {
		text += "; " + some(without) + ", without the module, too"
	}
	m.find(Changed, some(with), text, "give them back to "+permission.Registered+" for push, password changes, session lists and private storage")
}

// some names hosts, not all if they are many.
func some(hosts []string) string {
	if len(hosts) > 5 {
		return fmt.Sprintf("%s and %d more", strings.Join(hosts[:5], ", "), len(hosts)-5)
	}
	return strings.Join(hosts, ", ")
}

// What mod_restrict_xmpp asks for nowhere, though it gives or documents it, or
// does not know.
const unasked = permission.Set(1<<permission.MessagesWrite | 1<<permission.OMEMORead | 1<<permission.OMEMOWrite |
	1<<permission.HistoryWrite | 1<<permission.RequestsRead | 1<<permission.RequestsWrite)

// meaning tells of each role what it holds back here and not in Prosody.
func (m *mapping) meaning(t *tenants.CreateTenant, r *registry, hosts []string) {
	with, without := m.loaded(hosts, "restrict_xmpp")
	for _, name := range r.order {
		m.enforced(r, name, with)
	}
	m.binding(t, r, without)
}

// enforced tells of a custom role's permissions on hosts with
// mod_restrict_xmpp, which asks for some of them nowhere, for others in part.
func (m *mapping) enforced(r *registry, name string, with []string) {
	if len(with) == 0 {
		return
	}
	role, where := r.roles[name], m.config.at(with[0], "custom_roles")
	gives := r.gives(name)
	lacks := permission.Everything.Minus(gives)
	const fix = "inherit from a built-in role, or allow what is meant"
	if s := lacks & unasked; s != 0 {
		m.find(Changed, where, fmt.Sprintf("role %s does not give %s: Prosody enforces none of them, Postern does", show(role.name), names(s)), fix)
	}
	if s := lacks.Minus(unasked); s != 0 {
		m.find(Changed, where, fmt.Sprintf("role %s does not give %s: Prosody asks for them in part only, Postern for what comes in, what is addressed to others, and every node and address of the account too", show(role.name), names(s)), "docs/PERMISSIONS.md says what asks for each")
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
		m.find(Changed, where, fmt.Sprintf("role %s gives %s, and not the same of xmpp:account:pep: Prosody's module asks pep for every PEP node, its documentation and Postern ask for the node's own, so the role reaches bookmarks, avatars, vCards and keys in PEP here", show(role.name), names(nodes)), "take them from the role if that is not meant")
	}
}

// binding tells of hosts without mod_restrict_xmpp, where roles hold nothing
// back in Prosody.
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
	why := "on " + some(without) + ", without mod_restrict_xmpp, no role holds anything back in Prosody"
	if asked != 0 {
		why += " but " + permission.Federate.Name()
	}
	var idle []string
	for _, name := range append(builtinNames(), r.order...) {
		role := r.roles[name]
		lacks := permission.Everything.Minus(r.gives(name)).Minus(asked)
		switch {
		case lacks == 0:
		case !role.custom && !used[role.name] && len(role.says) == 0:
			idle = append(idle, show(role.name)+" holds back "+names(lacks))
		default:
			m.find(Changed, where, fmt.Sprintf("role %s holds back %s here; %s", show(role.name), names(lacks), why), "allow what shall stay as it was")
		}
	}
	if len(idle) > 0 {
		m.find(Info, where, why+"; here roles that nobody has do: "+strings.Join(idle, "; "), "")
	}
}

func builtinNames() (all []string) {
	for _, b := range permission.BuiltinRoles() {
		all = append(all, b.Name)
	}
	return all
}

func names(s permission.Set) string { return strings.Join(s.Names(), ", ") }
