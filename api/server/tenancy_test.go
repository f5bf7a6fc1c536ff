package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/api/server"
	"github.com/postern-im/postern/tenants"
)

// bravo is the tenant that must stay hidden from other tenants. The texts that no
// test sends in a request contain the word secret.
func bravo() api.TenantCreate {
	return api.TenantCreate{
		DisplayName:  "secret name",
		Ceiling:      []string{"secret:ceiling"},
		Domains:      []api.DomainAdd{{Domain: "bravo.test", DefaultRole: "bravo:role", Backends: []api.Backend{{Address: "secret.test:5222", Security: "tls"}}}},
		Services:     []string{"rooms.bravo.test"},
		Roles:        []api.RoleDefine{{Role: "bravo:role", Inherits: []string{"prosody:guest"}, Allow: []string{"secret:allow"}}, {Role: "bravo:unused"}},
		BuiltinRoles: []api.RoleAdjust{{Role: "prosody:guest", Add: []string{"secret:add"}}},
		Members:      []api.MemberSet{{JID: "bob@bravo.test", Role: "prosody:admin", Secondary: []string{"bravo:role"}}},
	}
}

// attacks has each command of a tenant with the names of bravo. The commands are sent
// on the path of another tenant.
var attacks = map[string]api.Command{
	"tenant.apply": api.TenantApply{
		Domains: []api.DomainAdd{{Domain: "bravo.test"}}, Members: []api.MemberSet{{JID: "bob@bravo.test", Role: "bravo:role"}},
	},
	"tenant.create":              bravo(),
	"tenant.rename":              api.TenantRename{DisplayName: "x"},
	"tenant.suspend":             api.TenantSuspend{},
	"tenant.resume":              api.TenantResume{},
	"tenant.remove":              api.TenantRemove{},
	"tenant.set-ceiling":         api.TenantSetCeiling{Permissions: []string{"xmpp:federate"}},
	"tenant.set-limits":          api.TenantSetLimits{MaxSessions: 300},
	"tenant.set-presence":        api.TenantSetPresence{PresenceWithoutMessages: "refuse"},
	"tenant.set-audit-addresses": api.TenantSetAuditAddresses{AuditAddresses: "class"},
	"domain.add":                 api.DomainAdd{Domain: "bravo.test"},
	"domain.set-backends":        api.DomainSetBackends{Domain: "bravo.test", Backends: []api.Backend{{Address: "evil.test:5222", Security: "none"}}},
	"domain.set-default-role":    api.DomainSetDefaultRole{Domain: "bravo.test", Role: "prosody:operator"},
	"domain.suspend":             api.DomainSuspend{Domain: "bravo.test"},
	"domain.resume":              api.DomainResume{Domain: "bravo.test"},
	"domain.remove":              api.DomainRemove{Domain: "bravo.test"},
	"service.add":                api.ServiceAdd{Service: "rooms.bravo.test"},
	"service.remove":             api.ServiceRemove{Service: "rooms.bravo.test"},
	"role.define":                api.RoleDefine{Role: "bravo:role", Allow: []string{"xmpp:federate"}},
	"role.adjust":                api.RoleAdjust{Role: "prosody:guest", Remove: []string{"xmpp:account:messages:read"}},
	"role.remove":                api.RoleRemove{Role: "bravo:unused"},
	"member.set-role":            api.MemberSet{JID: "bob@bravo.test", Role: "prosody:operator"},
	"member.remove":              api.MemberRemove{JID: "bob@bravo.test"},
	"member.suspend":             api.MemberSuspend{JID: "bob@bravo.test"},
	"member.resume":              api.MemberResume{JID: "bob@bravo.test"},
	"member.end-sessions":        api.MemberEndSessions{JID: "bob@bravo.test"},
}

// ownAffair are the commands whose names every tenant has for itself. They succeed
// and affect only the tenant of the path.
var ownAffair = []string{
	"tenant.rename", "tenant.suspend", "tenant.resume", "tenant.remove", "tenant.set-ceiling", "tenant.set-limits",
	"tenant.set-presence", "tenant.set-audit-addresses", "role.define", "role.adjust",
}

// operatorReads are the paths outside any tenant, which only operators may read.
var operatorReads = []string{"/v1/tokens", "/v1/gateways", "/v1/log", "/v1/owners/{domain}", "/v1/status", "/v1/cluster", "/v1/cluster/nodes/{node}/diff", "/v1/tenants", "/v1/work", "/v1/sessions", "/v1/sessions/{session}"}

// TestCommandsMatchTheCatalogue checks that the API has exactly the commands of
// package tenants.
func TestCommandsMatchTheCatalogue(t *testing.T) {
	var want []string
	for _, e := range tenants.Catalogue() {
		want = append(want, e.Name)
	}
	slices.Sort(want)
	if got := server.CommandNames(); !slices.Equal(got, want) {
		t.Errorf("commands: %v\ncatalogue: %v", got, want)
	}
}

// TestCommandsKeepToTheirTenant sends each command on the path of one tenant with the
// names of another tenant.
func TestCommandsKeepToTheirTenant(t *testing.T) {
	r := start(t, nil)
	r.do(t, "bravo", bravo())
	before := r.everything(t, "bravo")
	for i, name := range server.CommandNames() {
		if strings.HasPrefix(name, "token.") || strings.HasPrefix(name, "shared-service.") || strings.HasPrefix(name, "gateway.") {
			continue // its path has no tenant
		}
		attack, ok := attacks[name]
		if !ok {
			t.Errorf("%s: attacks has no entry that names another tenant", name)
			continue
		}
		own := fmt.Sprintf("own-%d", i)
		r.do(t, own, api.TenantCreate{})
		_, err := r.client.Do(t.Context(), own, attack, api.CommandMeta{})
		if slices.Contains(ownAffair, name) != (err == nil) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s shows data of the other tenant: %v", name, err)
		}
		if after := r.everything(t, "bravo"); after != before {
			t.Errorf("%s changed the other tenant:\n%s\n%s", name, before, after)
			before = after
		}
	}
}

// TestReadsKeepToTheirTenant reads each path of one tenant with the names of another
// tenant.
func TestReadsKeepToTheirTenant(t *testing.T) {
	r := start(t, nil)
	r.do(t, "bravo", bravo())
	r.do(t, "own", acme())
	ids := map[string]string{"{domain}": "bravo.test", "{role}": "bravo:role", "{jid}": "bob@bravo.test", "{session}": "s-bravo"}
	r.lobby.has(live("bravo", "bob@bravo.test", "s-bravo", "secret"))
	for _, path := range server.ReadPaths() {
		below, ok := strings.CutPrefix(path, "/v1/tenants/{tenant}")
		if !ok {
			if !slices.Contains(operatorReads, path) {
				t.Errorf("%s is not below a tenant: add it to operatorReads", path)
			}
			continue
		}
		named := false
		for id, value := range ids {
			named = named || strings.Contains(below, id)
			below = strings.ReplaceAll(below, id, url.PathEscape(value))
		}
		if strings.HasSuffix(below, "/blame") {
			below += "?permission=secret:allow&at=2"
		}
		if strings.HasSuffix(below, "/diff") {
			below += "?from=1" // before both tenants existed
		}
		status, body := r.get(t, "/v1/tenants/own"+below)
		if want := map[bool]int{true: http.StatusNotFound, false: http.StatusOK}[named]; status != want {
			t.Errorf("%s: status %d, want %d: %s", path, status, want, body)
		}
		if strings.Contains(body, "secret") || !named && strings.Contains(body, "bravo") {
			t.Errorf("%s shows data of the other tenant: %s", path, body)
		}
	}
	_, err := r.client.Explain(t.Context(), "own", api.ExplainRequest{Account: "bob@bravo.test", Permission: "secret:allow"})
	if e := new(api.Error); !asError(err, &e) || e.Code != api.CodeNotFound {
		t.Errorf("explain of the other tenant's account: %v", err)
	}
}

var positions = regexp.MustCompile(`"position":\d+,?`)

// everything returns all that can be read of a tenant, without the position of the
// View.
func (r *running) everything(t *testing.T, tenant string) string {
	t.Helper()
	var all strings.Builder
	for _, path := range []string{"", "/domains", "/services", "/roles", "/members", "/members/bob@bravo.test", "/log"} {
		status, body := r.get(t, "/v1/tenants/"+tenant+path)
		if status != http.StatusOK {
			t.Fatalf("%s: status %d: %s", path, status, body)
		}
		all.WriteString(positions.ReplaceAllString(body, ""))
	}
	return all.String()
}

// raw sends a request without any change.
func (r *running) raw(t *testing.T, method, path, contentType, body string) (int, string) {
	t.Helper()
	client := &http.Client{Timeout: within, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", r.socket)
		},
	}}
	request, err := http.NewRequestWithContext(t.Context(), method, "http://x"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(text) {
		t.Errorf("%s %s is not answered with JSON: %q", method, path, text)
	}
	return answer.StatusCode, string(text)
}

func (r *running) get(t *testing.T, path string) (int, string) {
	t.Helper()
	return r.raw(t, http.MethodGet, path, "", "")
}
