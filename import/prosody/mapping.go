package prosody

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/tenants"
	"github.com/postern-im/postern/xmpp/jid"
)

// nothing is a role without permissions. Accounts get it if Prosody gives them
// no role, or if their role cannot be read.
const nothing = "imported:nothing"

// A mapping turns a configuration and a store into tenants.
type mapping struct {
	config   *config
	data     fs.FS
	options  Options
	folder   map[string]bool // hosts that have a folder in data
	findings []Finding
	seen     map[Finding]bool
	fault    error
}

// find adds a finding unless it exists.
func (m *mapping) find(kind Kind, where, text, fix string) {
	f := Finding{kind, where, text, fix}
	if m.seen == nil {
		m.seen = map[Finding]bool{}
	}
	if !m.seen[f] {
		m.seen[f] = true
		m.findings = append(m.findings, f)
	}
}

// A member is an account with settings of its own.
type member struct {
	role      string
	secondary []string
	suspended bool
	damaged   bool // its stored data cannot be read: it gets the role nothing
}

// tenant returns the command that creates a tenant from hosts with the same
// roles.
func (m *mapping) tenant(hosts []string) (*tenants.CreateTenant, error) {
	t := &tenants.CreateTenant{}
	first := m.registry(hosts[0])
	for _, h := range hosts[1:] {
		if text := first.differ(m.registry(h)); text != "" {
			return nil, &DifferError{hosts[0], h, text}
		}
	}
	if err := m.apart(hosts); err != nil {
		return nil, err
	}
	m.unmended(first, hosts)
	m.shared(first, hosts[0])
	where := m.config.at(hosts[0], "custom_roles")
	for _, b := range permission.BuiltinRoles() {
		add, remove := m.permissions(m.config.at(hosts[0], "add_permissions"), first.roles[b.Name])
		if len(add)+len(remove) > 0 {
			t.BuiltinRoles = append(t.BuiltinRoles, tenants.AdjustRole{Role: b.Name, Add: add, Remove: remove})
		}
	}
	for _, name := range first.order {
		r := first.roles[name]
		allow, deny := m.permissions(where, r)
		t.Roles = append(t.Roles, tenants.DefineRole{Role: r.name, Inherits: r.inherits, Allow: allow, Deny: deny})
	}
	backends, needNothing := m.backends(), false
	for _, h := range hosts {
		needNothing = m.domain(t, first, h, backends) || needNothing
	}
	if needNothing {
		t.Roles = append(t.Roles, tenants.DefineRole{Role: nothing})
	}
	m.services(t, hosts)
	m.meaning(t, first, hosts)
	return t, m.fault
}

// domain adds a host with its accounts. It reports whether anything needs the
// role nothing.
func (m *mapping) domain(t *tenants.CreateTenant, r *registry, host string, backends []events.Backend) (needNothing bool) {
	c := m.config
	byDefault := permission.Registered
	if m.anonymous(host) {
		byDefault = permission.Guest
	}
	if v := c.get(host, "default_user_role"); v != lua.LNil {
		if items := list(v); len(items) > 0 {
			v = items[0]
		}
		byDefault = v.String()
	}
	name, ok := nothing, false
	if role := r.roles[byDefault]; role != nil {
		name, ok = role.name, true
	}
	if !ok {
		needNothing = true
		m.find(Changed, c.at(host, "default_user_role"), fmt.Sprintf("the default role %s is not registered: accounts of %s without a role have no role in Prosody, and get no permissions here", show(byDefault), host), "")
	}
	v := m.readable(host)
	if foreign := c.authorizes(host); !v.known && (m.data != nil || foreign) && !m.options.DefaultForUnread {
		name, needNothing = nothing, true
	}
	t.Domains = append(t.Domains, tenants.AddDomain{Domain: host, DefaultRole: name, Backends: backends})
	return m.members(t, r, host, v, byDefault) || needNothing
}

// members adds the accounts of a host that have settings of their own.
func (m *mapping) members(t *tenants.CreateTenant, r *registry, host string, v view, byDefault string) (needNothing bool) {
	byName := map[string]*member{}
	of := func(user string) (p *member, bare string) {
		bare, err := jid.Bare(user + "@" + host)
		if err != nil {
			m.find(Lost, host, fmt.Sprintf("account %s: %v; it cannot log in through a gateway", show(user+"@"+host), err), "")
			return nil, ""
		}
		if local, _, _ := strings.Cut(bare, "@"); local != user {
			m.find(Lost, host, fmt.Sprintf("account %s: nobody can log in by that name, because its prepared form is %s: left out", show(user+"@"+host), show(bare)), "")
			return nil, ""
		}
		if byName[bare] == nil {
			byName[bare] = &member{}
		}
		return byName[bare], bare
	}
	accounts := m.accounts(host, v, r, byDefault)
	users := slices.Sorted(maps.Keys(accounts))
	for _, user := range users {
		if a := accounts[user]; a.role != "" || len(a.secondary) > 0 || a.damaged {
			if p, bare := of(user); p != nil {
				p.damaged = p.damaged || a.damaged
				needNothing = m.member(p, bare, a, r) || needNothing
			}
		}
	}
	if !m.config.authorizes(host) {
		m.admins(host, of)
	}
	for _, user := range users {
		a := accounts[user]
		if !a.damaged && !a.disabled {
			continue
		}
		p, bare := of(user)
		if p == nil {
			continue
		}
		if a.disabled {
			p.suspended = true
			m.find(Info, bare, "the account is disabled in Prosody: it is suspended here", "")
			if !m.ownPasswords(host) {
				m.find(Changed, host, "accounts that the files mark as disabled are suspended here; with authentication by "+show(m.config.get(host, "authentication").String())+" Prosody may let them in", "policyctl member resume")
			}
		}
		if p.damaged { // the role nothing takes precedence, even over admins
			p.role, p.secondary, needNothing = nothing, nil, true
		}
	}
	for bare, p := range byName {
		s := tenants.SetMemberRoles{JID: bare, Role: p.role, Secondary: p.secondary}
		if p.suspended {
			s.Suspended = &p.suspended
		}
		t.Members = append(t.Members, s)
	}
	return needNothing
}

// member gives an account its stored roles.
func (m *mapping) member(p *member, bare string, a *account, r *registry) (needNothing bool) {
	switch role := r.roles[a.role]; {
	case a.role != "" && role == nil:
		p.role, needNothing = nothing, true
		m.find(Changed, bare, fmt.Sprintf("its role %s is not registered: it has no role in Prosody, and gets no permissions here", show(a.role)), "")
	case role != nil:
		p.role = role.name
	}
	for _, name := range a.secondary {
		switch role := r.roles[name]; {
		case role == nil:
			m.find(Lost, bare, fmt.Sprintf("its secondary role %s is not registered: left out", show(name)), "")
		case len(p.secondary) == tenants.MaxSecondary:
			m.find(Lost, bare, fmt.Sprintf("its secondary role %s is one too many: at most %d", show(name), tenants.MaxSecondary), "")
		case !slices.Contains(p.secondary, role.name):
			p.secondary = append(p.secondary, role.name)
		}
	}
	return needNothing
}

// authorizes reports whether a module other than Prosody's own decides the
// roles of a host.
func (c *config) authorizes(host string) bool {
	v := c.get(host, "authorization")
	return v != lua.LNil && v.String() != "internal"
}

// admins gives a role to the accounts that the option admins names. This role
// takes precedence over stored roles: prosody:operator for the global option,
// prosody:admin for the option of a host.
func (m *mapping) admins(host string, of func(user string) (*member, string)) {
	hosts := m.config.virtualHosts()
	for _, s := range []struct{ section, role string }{{host, permission.Admin}, {global, permission.Operator}} {
		where := m.config.place[s.section+"\x00admins"]
		v := m.config.own(s.section, "admins")
		items := list(v)
		if v.Type() == lua.LTString {
			items = []lua.LValue{v}
		}
		for _, item := range items {
			bare, err := jid.Bare(item.String())
			user, domain, _ := strings.Cut(bare, "@")
			switch {
			case err != nil:
				m.find(Lost, where, fmt.Sprintf("admin %s is not the address of an account: left out", show(item.String())), "")
			case domain != host && (s.section != global || !slices.Contains(hosts, domain)):
				m.find(Lost, where, fmt.Sprintf("admin %s belongs to another host: the role of an account is valid only in the account's own domain", show(bare)), "")
			case domain == host:
				switch p, bare := of(user); {
				case p == nil:
				case p.damaged:
					m.find(Changed, where, fmt.Sprintf("%s is an admin, but gets no permissions here, because its stored data cannot be read", bare), "check whose account it is, then: policyctl member set-role")
				default:
					m.find(Info, where, fmt.Sprintf("%s gets %s, because it is an admin", bare, s.role), "")
					p.role = s.role
					p.secondary = slices.DeleteFunc(p.secondary, func(r string) bool { return r == s.role })
				}
			}
		}
	}
}

// services adds each component to the tenant that has the host of the component.
func (m *mapping) services(t *tenants.CreateTenant, hosts []string) {
	for _, c := range m.config.components() {
		owner := ""
		for _, h := range m.config.virtualHosts() {
			if parent := m.config.own(c, "parent_host"); parent.String() == h || parent == lua.LNil && strings.HasSuffix(c, "."+h) && len(h) > len(owner) {
				owner = h
			}
		}
		if owner == "" && len(hosts) == len(m.config.virtualHosts()) {
			owner = hosts[0]
		}
		switch {
		case owner == "":
			m.find(Lost, c, "component "+c+" belongs to no host by its name: left out; it counts as remote", "policyctl service add")
		case slices.Contains(hosts, owner) && !m.reaches(owner, c):
			m.find(Lost, c, fmt.Sprintf("mod_isolate_host does not let accounts of %s reach %s: left out; it counts as remote", owner, c), "policyctl service add")
		case slices.Contains(hosts, owner):
			t.Services = append(t.Services, tenants.AddService{Service: c})
		}
	}
}

// backends returns the address at which a gateway on the same machine reaches
// the server. It returns none if the configuration leaves the address unclear.
func (m *mapping) backends() []events.Backend {
	port, here := "5222", true
	for _, option := range []string{"interfaces", "c2s_interfaces"} {
		if v := m.config.own(global, option); v != lua.LNil {
			here = slices.ContainsFunc(items(v), func(v lua.LValue) bool {
				return slices.Contains([]string{"*", "0.0.0.0", "127.0.0.1"}, v.String())
			})
		}
	}
	if v := m.config.own(global, "c2s_ports"); v != lua.LNil {
		port = ""
		if ports := items(v); len(ports) > 0 {
			port = ports[0].String()
		}
	}
	proxied := m.proxied()
	if len(proxied) > 0 { // the port where the server sees the clients' addresses
		port = proxied[0]
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || !here {
		m.find(Lost, m.config.at(global, "c2s_ports"), "c2s_ports and c2s_interfaces do not show where a gateway reaches the server: the files contain no backend", "add one to each domain: [[domain.backend]] with address and security")
		return nil
	}
	return []events.Backend{{Address: "127.0.0.1:" + port, Security: events.SecurityNone, Proxy: len(proxied) > 0}}
}

// items returns the items of an option that may be a list or a single value.
func items(v lua.LValue) []lua.LValue {
	if v.Type() == lua.LTTable {
		return list(v)
	}
	return []lua.LValue{v}
}

// general records the findings that concern all hosts.
func (m *mapping) general() {
	c := m.config
	m.find(Info, "", "prosody:guest gets xmpp:requests:read/write, which only Postern knows; Prosody does not check requests to others", "remove it from prosody:guest if guests should not send such requests")
	m.find(Info, "", "mod_restrict_xmpp checks neither incoming stanzas nor messages to local accounts; Postern checks both", "")
	m.find(Info, "", "Prosody's c2s, BOSH and WebSocket ports must be reachable by gateways only: bind c2s to loopback (c2s_interfaces = { \"127.0.0.1\" }), allow plain log-in there (c2s_require_encryption = false, allow_unencrypted_plain_auth = true), and let the gateway listen instead", "")
	if m.data == nil {
		m.find(Changed, "", "stored roles and disabled accounts were not read: an account with a stored role in Prosody gets the default role here", "give the data directory with --data")
	}
	all := append([]string{global}, c.virtualHosts()...)
	for _, h := range all {
		for _, name := range c.modules(h) {
			if h != global && slices.Contains(c.modules(global), name) {
				continue
			}
			m.module(h, name)
		}
	}
	for _, h := range c.components() {
		for _, v := range list(c.own(h, "modules_enabled")) {
			if name := v.String(); byAddress(name) {
				m.module(h, name)
			}
		}
	}
	for _, h := range c.virtualHosts() {
		m.authentication(h)
	}
	m.header()
	for _, h := range c.order {
		if h != global && !c.enabled(h) {
			m.find(Info, h, "the host is disabled: left out", "")
		}
	}
	for _, h := range c.components() {
		for _, option := range []string{"custom_roles", "add_permissions", "remove_permissions", "default_user_role", "host_user_role", "server_user_role", "public_user_role", "admins"} {
			if c.own(h, option) != lua.LNil {
				m.find(Lost, c.at(h, option), fmt.Sprintf("%s of component %s: a component has no roles of its own in Postern; the component still enforces the option", option, h), "")
			}
		}
	}
}
