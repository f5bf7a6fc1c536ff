package prosody

import (
	"fmt"
	"slices"

	lua "github.com/yuin/gopher-lua"
)

// byAddress reports whether a module counts or blocks clients by their
// addresses, or writes addresses to the log for that purpose.
func byAddress(module string) bool {
	switch module {
	case "limit_auth", "c2s_conn_throttle", "c2s_limit_ip", "auth_throttle", "ipcheck", "dnsbl", "geoip", "fail2ban", "log_auth", "muc_ban_ip":
		return true
	}
	return false
}

// known reports whether a module affects the imported policy or the findings.
func known(module string) bool {
	switch module {
	case "restrict_xmpp", "restrict_federation", "isolate_host", "net_proxy", "bosh", "websocket", "register", "register_ibr",
		"invites_register", "register_limits", "block_registrations", "sasl2", "sasl2_bind2", "sasl2_fast", "sasl2_sm", "client_certs",
		"auth_ccert", "sasl_oauthbearer", "admin_adhoc", "adhoc", "firewall", "host_guard", "block_strangers", "block_outgoing",
		"audit", "audit_auth", "audit_user_accounts", "lastlog2":
		return true
	}
	return byAddress(module)
}

// module records a finding about a module that has a counterpart here, changes
// its effect behind a gateway, or lets clients bypass the gateway.
func (m *mapping) module(host, name string) {
	where := host
	if host == global {
		where = m.config.place[global+"\x00modules_enabled"]
	}
	switch name {
	case "restrict_xmpp":
		m.find(Info, where, "mod_restrict_xmpp does a part of what the gateway does: unload it as soon as only gateways can reach Prosody", "")
	case "bosh", "websocket":
		m.find(Changed, where, "mod_"+name+" lets clients bypass the gateway, which supports c2s only", "unload it, or close its port to clients")
	case "register", "register_ibr", "invites_register", "register_limits", "block_registrations":
		m.find(Info, where, "mod_"+name+": the gateway offers no registration before log-in", "")
	case "sasl2", "sasl2_bind2", "sasl2_fast", "sasl2_sm", "client_certs", "auth_ccert", "sasl_oauthbearer":
		m.find(Info, where, "mod_"+name+": the gateway relays SCRAM and PLAIN only", "")
	case "admin_adhoc", "adhoc":
		m.find(Info, where, "mod_"+name+": commands need xmpp:account:write here, and Prosody's own permissions there", "")
	case "firewall":
		m.find(Changed, where, "mod_firewall still applies its rules in Prosody, which Postern does not know and cannot explain; a rule about the client's address or country sees the gateway's address, unless a PROXY header names the client's", m.sendAddress())
	case "host_guard", "block_strangers", "block_outgoing":
		m.find(Changed, where, "mod_"+name+" still separates accounts and domains in Prosody by its own lists, which Postern does not know and cannot explain", "express the lists as roles, or keep the module")
	case "audit", "audit_auth", "audit_user_accounts", "lastlog2":
		m.find(Info, where, "mod_"+name+" records the address of the client; behind a gateway it records the gateway's, unless a PROXY header names the client's", m.sendAddress())
	default:
		if byAddress(name) {
			m.find(Changed, where, "mod_"+name+" acts on the address of the client; behind a gateway it sees the gateway's, unless a PROXY header names the client's, and then counts and blocks all clients as one", m.sendAddress()+", or unload it")
		}
	}
}

// sendAddress returns the advice on how Prosody learns the clients' addresses
// behind a gateway.
func (m *mapping) sendAddress() string {
	if len(m.proxied()) > 0 {
		return "let the gateway connect to a port of mod_net_proxy: a [[domain.backend]] with proxy = true"
	}
	return "load mod_net_proxy and set proxy = true on each [[domain.backend]], with a port of that module"
}

// proxied returns the ports at which mod_net_proxy expects a PROXY header and
// passes clients to c2s, sorted.
func (m *mapping) proxied() (ports []string) {
	c := m.config
	if !slices.Contains(c.modules(global), "net_proxy") && !m.loadedAnywhere("net_proxy") {
		return nil
	}
	if t, ok := c.own(global, "proxy_port_mappings").(*lua.LTable); ok {
		t.ForEach(func(k, v lua.LValue) {
			if v.String() == "c2s" {
				ports = append(ports, k.String())
			}
		})
	}
	slices.Sort(ports)
	return ports
}

// header records a finding about ports that expect a PROXY header.
func (m *mapping) header() {
	c := m.config
	if !slices.Contains(c.modules(global), "net_proxy") && !m.loadedAnywhere("net_proxy") {
		return
	}
	where := c.at(global, "proxy_port_mappings")
	if where == "" {
		where = c.place[global+"\x00modules_enabled"]
	}
	const text = "mod_net_proxy expects a PROXY header on its ports and refuses connections without one"
	if ports := m.proxied(); len(ports) > 0 {
		m.find(Changed, where, fmt.Sprintf("%s: the backends in the files use port %s, with proxy = true", text, ports[0]), "list the gateways' addresses in proxy_trusted_proxies")
		return
	}
	m.find(Changed, where, text+"; proxy_port_mappings maps none of them to c2s", "set proxy = true on each [[domain.backend]] with such a port, and on no other")
}

// authentication records a finding about a host that does not use Prosody's own
// passwords.
func (m *mapping) authentication(host string) {
	c := m.config
	where, kind := c.at(host, "authentication"), c.get(host, "authentication").String()
	switch {
	case m.anonymous(host):
		m.find(Lost, host, "anonymous log-in: the gateway does not relay ANONYMOUS, so nobody can log in to "+host+" through it", "")
	case m.ownPasswords(host):
	case kind == "insecure":
		m.find(Changed, where, "authentication is \"insecure\": any password opens any account, even an admin's, also through the gateway", "change it before anything else")
	case kind == "oauth_external" || kind == "token" || kind == "ccert" || kind == "oauthbearer" || kind == "jwt":
		m.find(Changed, where, fmt.Sprintf("authentication is %s: the gateway relays SCRAM and PLAIN only, so clients cannot log in through it with a token or a certificate", show(kind)), "")
	default:
		m.find(Changed, where, fmt.Sprintf("authentication is %s: only that module knows which accounts exist and which are disabled; clients can log in through the gateway if the module supports SCRAM or PLAIN", show(kind)), "try it through a gateway; policyctl member suspend")
	}
}
