package prosody

import (
	"fmt"
	"slices"

	lua "github.com/yuin/gopher-lua"
)

// byAddress reports whether a module counts or blocks clients by their
// addresses, or is told them by the log for that purpose.
func byAddress(module string) bool {
	switch module {
	case "limit_auth", "c2s_conn_throttle", "c2s_limit_ip", "auth_throttle", "ipcheck", "dnsbl", "geoip", "fail2ban", "log_auth", "muc_ban_ip":
		return true
	}
	return false
}

// known reports whether a module has a part in what is imported or told.
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

// module tells of a module that has a counterpart, an effect behind a gateway,
// or is a way around it.
func (m *mapping) module(host, name string) {
	where := host
	if host == global {
		where = m.config.place[global+"\x00modules_enabled"]
	}
	switch name {
	case "restrict_xmpp":
		m.find(Info, where, "mod_restrict_xmpp does what the gateway does now, in part: unload it once only gateways reach Prosody", "")
	case "bosh", "websocket":
		m.find(Changed, where, "mod_"+name+" is a way in beside the gateway, which speaks c2s only", "unload it, or close its port to clients")
	case "register", "register_ibr", "invites_register", "register_limits", "block_registrations":
		m.find(Info, where, "mod_"+name+": the gateway offers no registration before log-in", "")
	case "sasl2", "sasl2_bind2", "sasl2_fast", "sasl2_sm", "client_certs", "auth_ccert", "sasl_oauthbearer":
		m.find(Info, where, "mod_"+name+": the gateway relays SCRAM and PLAIN only", "")
	case "admin_adhoc", "adhoc":
		m.find(Info, where, "mod_"+name+": commands ask for xmpp:account:write, and then Prosody's own permissions", "")
	case "firewall":
		m.find(Changed, where, "mod_firewall goes on with its rules in Prosody, which Postern does not know and does not explain; a rule that asks for a client's address or country sees the gateway's, unless a PROXY header names it", m.sendAddress())
	case "host_guard", "block_strangers", "block_outgoing":
		m.find(Changed, where, "mod_"+name+" goes on keeping accounts and domains apart in Prosody by lists of its own, which Postern does not know and does not explain", "say the same with roles, or keep the module")
	case "audit", "audit_auth", "audit_user_accounts", "lastlog2":
		m.find(Info, where, "mod_"+name+" records the address of the client, which behind a gateway is the gateway's, unless a PROXY header names it", m.sendAddress())
	default:
		if byAddress(name) {
			m.find(Changed, where, "mod_"+name+" goes by the address of the client, and behind a gateway sees the gateway's, unless a PROXY header names the client's: what it counts or blocks for one, it does for all", m.sendAddress()+", or unload it")
		}
	}
}

// sendAddress is how Prosody learns clients' addresses from a gateway.
func (m *mapping) sendAddress() string {
	if len(m.proxied()) > 0 {
		return "have the gateway use a port of mod_net_proxy: a [[domain.backend]] with proxy = true"
	}
	return "load mod_net_proxy and set proxy = true on each [[domain.backend]], with a port of that module"
}

// proxied are the ports at which mod_net_proxy wants a PROXY header and gives
// clients to c2s, in their order.
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

// header tells of ports that want a PROXY header before anything else.
func (m *mapping) header() {
	c := m.config
	if !slices.Contains(c.modules(global), "net_proxy") && !m.loadedAnywhere("net_proxy") {
		return
	}
	where := c.at(global, "proxy_port_mappings")
	if where == "" {
		where = c.place[global+"\x00modules_enabled"]
	}
	const text = "mod_net_proxy wants a PROXY header on its ports and hears nobody who sends none"
	if ports := m.proxied(); len(ports) > 0 {
		m.find(Changed, where, fmt.Sprintf("%s: the files' backends name port %s, with proxy = true", text, ports[0]), "name the gateways' addresses in proxy_trusted_proxies")
		return
	}
	m.find(Changed, where, text+"; none of them is c2s by proxy_port_mappings", "set proxy = true on each [[domain.backend]] with such a port, and on no other")
}

// authentication tells of how a host checks passwords, if that is not Prosody's
// own way.
func (m *mapping) authentication(host string) {
	c := m.config
	where, kind := c.at(host, "authentication"), c.get(host, "authentication").String()
	switch {
	case m.anonymous(host):
		m.find(Lost, host, "anonymous log-in: the gateway relays no ANONYMOUS log-in, so nobody gets into "+host+" through it", "")
	case m.ownPasswords(host):
	case kind == "insecure":
		m.find(Changed, where, "authentication is \"insecure\": any password opens any account, those of admins too, and so through the gateway", "change it before anything else")
	case kind == "oauth_external" || kind == "token" || kind == "ccert" || kind == "oauthbearer" || kind == "jwt":
		m.find(Changed, where, fmt.Sprintf("authentication is %s: the gateway relays SCRAM and PLAIN only, so clients that come with a token or a certificate cannot log in through it", show(kind)), "")
	default:
		m.find(Changed, where, fmt.Sprintf("authentication is %s: which accounts there are, and which are disabled, is that module's to say and not known here; clients log in through the gateway if it takes SCRAM or PLAIN", show(kind)), "try it through a gateway; policyctl member suspend")
	}
}
