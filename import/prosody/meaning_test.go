package prosody

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"
)

// TestApart checks that hosts which mod_isolate_host separates are not put into
// one tenant, and that a service which the module separates from a host is not
// given to the tenant of that host.
func TestApart(t *testing.T) {
	const isolated = "modules_enabled = { 'isolate_host' } VirtualHost 'b.test'\n"
	var apart *ApartError
	if _, _, err := imported(t, isolated+"VirtualHost 'a.test'", nil); !errors.As(err, &apart) || apart.Host != "b.test" || apart.Other != "a.test" {
		t.Error(err)
	}
	if _, _, err := imported(t, "isolate_except_domains = { 'a.test', 'b.test' } "+isolated+"VirtualHost 'a.test'", nil); err != nil {
		t.Error(err)
	}
	findings, policy, err := imported(t, isolated+"Component 'rooms.b.test' 'muc'\nComponent 'far.rooms.b.test' 'muc'\nComponent 'gate.example' 'muc'", nil)
	if err != nil || !strings.Contains(policy, `services = ["rooms.b.test"]`) || !has(findings, "lost: far.rooms.b.test: ") || !has(findings, "lost: gate.example: ") {
		t.Errorf("%v\n%s\n%s", err, strings.Join(findings, "\n"), policy)
	}
}

// TestKnownModules checks that known is true exactly for the modules that cause
// a finding or affect roles, so that a variable with the name of such a module
// counts as deciding.
func TestKnownModules(t *testing.T) {
	quiet, err := evaluate(t.Context(), Source{Config: fstest.MapFS{"c.lua": {Data: []byte("VirtualHost 'a.test'")}}, File: "c.lua"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"limit_auth", "c2s_conn_throttle", "ipcheck", "muc_ban_ip", "firewall", "host_guard", "audit", "lastlog2", "bosh",
		"websocket", "register", "sasl2", "admin_adhoc", "restrict_xmpp", "roster", "mam", "limits", "carbons"} {
		m := &mapping{config: quiet}
		m.module("a.test", name)
		if told := len(m.findings) > 0; told != known(name) {
			t.Errorf("mod_%s: told of: %t, known: %t", name, told, known(name))
		}
	}
	for _, name := range []string{"restrict_federation", "isolate_host", "net_proxy"} {
		if !known(name) {
			t.Errorf("mod_%s is not known", name)
		}
	}
	findings, _, err := imported(t, "modules_enabled = { os.getenv('MORE'), os.getenv('OTHER') and 'mam' } VirtualHost 'a.test'", nil)
	if err != nil || !has(findings, "changed: ", "variable MORE is read") || has(findings, "changed: ", "variable OTHER is read") {
		t.Error(err, strings.Join(findings, "\n"))
	}
}

// TestSpelling checks that the folder of a host has Prosody's spelling of its
// name, and that two spellings of one domain are refused, because they are two
// hosts in Prosody.
func TestSpelling(t *testing.T) {
	data := fstest.MapFS{"xn%2d%2dbcher%2dkva%2etest/account_roles/a.dat": {Data: []byte(`return { ["_default"] = "prosody:guest"; };`)}}
	_, policy, err := imported(t, "VirtualHost 'XN--bcher-kva.test'", func(s *Source) { s.Data = data })
	if err != nil || !strings.Contains(policy, "jid = \"a@bücher.test\"\nrole = \"prosody:guest\"") {
		t.Errorf("%v\n%s", err, policy)
	}
	if _, _, err = imported(t, "VirtualHost 'xn--bcher-kva.test'\nVirtualHost 'bücher.test'", nil); err == nil || !strings.Contains(err.Error(), "c.lua:2: VirtualHost") {
		t.Error(err)
	}
}
