package server_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/api/server"
	"github.com/postern-im/postern/projections"
)

// A stage is a node with its local socket, a port with TLS and a port without TLS on
// loopback. Its tenant bravo must stay hidden from all other tenants.
type stage struct {
	*running
	plain, secure string
	roots         *http.Transport // its TLS settings
	doc           *openapi3.T     // openapi.json, parsed
	described     map[string]bool // operations and statuses that were compared with doc
	tokens        map[string]string
	made          int // the number of tenants and client addresses made so far
}

// A house is a tenant that is made for one request. It has one object of each kind
// that a request can name, and tokens.
type house struct {
	id, read, write, spare string
	built                  uint64 // the position of its first commit
}

func newStage(t *testing.T) *stage {
	t.Helper()
	r := start(t, func(context.Context, *projections.View, string, api.ExplainRequest) (server.Explained, error) {
		return server.Explained{Effect: "pass", Row: "a row", Asked: []string{}, Missing: []string{}}, nil
	})
	s := &stage{running: r, described: map[string]bool{}, tokens: map[string]string{}}
	plain, _ := r.network(t, false)
	secure, roots := r.network(t, true)
	s.plain, s.secure, s.roots = plain, secure, &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	r.do(t, "bravo", bravo())
	r.lobby.has(live("bravo", "bob@bravo.test", "s-bravo", "secret"))
	s.tokens["other read"], _ = r.mint(t, "read", "bravo", 0)
	s.tokens["other write"], _ = r.mint(t, "write", "bravo", 0)
	s.tokens["operator"], _ = r.mint(t, "operator", "", 0)
	revoked, id := r.mint(t, "operator", "", 0)
	r.do(t, "", api.TokenRevoke{ID: id})
	unknown, _, _ := api.NewToken()
	s.tokens["revoked"], s.tokens["unknown"], s.tokens["malformed"] = revoked, unknown, "postern_"+unknown
	s.doc = committedOpenAPI(t)
	return s
}

// house makes a tenant with a read token and a write token.
func (s *stage) house(t *testing.T) house {
	t.Helper()
	h := s.hut(t)
	h.read, _ = s.mint(t, "read", h.id, 0)
	return h
}

// hut makes a tenant with a write token only.
func (s *stage) hut(t *testing.T) house {
	t.Helper()
	s.made++
	h := house{id: fmt.Sprintf("own%04d", s.made)}
	h.built = s.do(t, h.id, h.policy()).Position
	s.lobby.has(live(h.id, "bob@"+h.id+".test", "s-"+h.id, "x"))
	h.write, _ = s.mint(t, "write", h.id, 0)
	return h
}

func (h house) policy() api.TenantCreate {
	return api.TenantCreate{
		DisplayName: h.id,
		Domains:     []api.DomainAdd{{Domain: h.id + ".test"}, {Domain: "down." + h.id + ".test"}},
		Services:    []string{"rooms." + h.id + ".test"},
		Roles:       []api.RoleDefine{{Role: "lab:kiosk", Allow: []string{"xmpp:federate"}}, {Role: "lab:spare"}},
		Members:     []api.MemberSet{{JID: "bob@" + h.id + ".test", Role: "lab:kiosk"}, {JID: "eve@" + h.id + ".test", Role: "lab:kiosk"}},
	}
}

// readyFor makes the object that an operation removes: a token to revoke, a shared
// service or gateway to remove, or a suspension to undo. The suspension is made with the
// house's own token, because only an operator can undo an operator's.
func (s *stage) readyFor(t *testing.T, h *house, l server.Line) {
	t.Helper()
	if l.Name == "tokenRevoke" {
		_, h.spare = s.mint(t, "read", h.id, 0)
	}
	if l.Name == "sharedServiceRemove" {
		s.do(t, "", api.SharedServiceAdd{Service: "shared." + h.id + ".test"})
	}
	if l.Name == "gatewayRemove" {
		s.do(t, "", api.GatewayAdd{ID: "gw" + h.id, PublicKey: userKey()})
	}
	change := map[string]api.Command{"domainResume": api.DomainSuspend{Domain: "down." + h.id + ".test"}, "memberResume": api.MemberSuspend{JID: "eve@" + h.id + ".test"}}[l.Name]
	if change == nil {
		return
	}
	if _, err := remote(t, s.plain, h.write, nil).Do(t.Context(), h.id, change, api.CommandMeta{}); err != nil {
		t.Fatal(err)
	}
}

// changed returns the house's policy with one change that a tenant may make.
func (h house) changed() api.TenantApply {
	p := api.TenantApply(h.policy())
	p.Members[0].Role = "prosody:guest"
	return p
}

// requests returns a body for each operation, by the operation's name. In a new
// house, each of these requests causes a commit, except those in idle.
func (h house) requests() map[string]any {
	domain, bob, eve := h.id+".test", "bob@"+h.id+".test", "eve@"+h.id+".test"
	_, id, hash := api.NewToken()
	return map[string]any{
		"plan":                    h.changed(),
		"explain":                 api.ExplainRequest{Account: bob, Permission: "xmpp:federate"},
		"startWork":               api.WorkRequest{Kind: api.WorkVerify},
		"endSession":              api.SessionEnd{Reason: "why"},
		"endAnySession":           api.SessionEnd{Reason: "why"},
		"removeClusterNode":       api.ClusterRemove{Reason: "why"},
		"tenantApply":             h.changed(),
		"tenantCreate":            api.TenantCreate{DisplayName: "x"},
		"tenantRename":            api.TenantRename{DisplayName: "x"},
		"tenantSuspend":           api.TenantSuspend{},
		"tenantResume":            api.TenantResume{},
		"tenantRemove":            api.TenantRemove{},
		"tenantSetLimits":         api.TenantSetLimits{MaxSessions: 300},
		"tenantSetCeiling":        api.TenantSetCeiling{Permissions: []string{"xmpp:federate"}},
		"tenantSetPresence":       api.TenantSetPresence{PresenceWithoutMessages: "refuse"},
		"tenantSetAuditAddresses": api.TenantSetAuditAddresses{AuditAddresses: "class"},
		"domainAdd":               api.DomainAdd{Domain: "new." + domain},
		"domainSetBackends":       api.DomainSetBackends{Domain: domain, Backends: []api.Backend{{Address: "127.0.0.1:1", Security: "none"}}},
		"domainSetDefaultRole":    api.DomainSetDefaultRole{Domain: domain, Role: "prosody:guest"},
		"domainSuspend":           api.DomainSuspend{Domain: domain},
		"domainResume":            api.DomainResume{Domain: "down." + domain},
		"domainRemove":            api.DomainRemove{Domain: domain},
		"serviceAdd":              api.ServiceAdd{Service: "new-rooms." + domain},
		"serviceRemove":           api.ServiceRemove{Service: "rooms." + domain},
		"roleDefine":              api.RoleDefine{Role: "lab:new", Inherits: []string{"lab:spare"}},
		"roleAdjust":              api.RoleAdjust{Role: "prosody:guest", Add: []string{"xmpp:federate"}},
		"roleRemove":              api.RoleRemove{Role: "lab:spare"},
		"memberSetRole":           api.MemberSet{JID: bob, Role: "prosody:guest"},
		"memberRemove":            api.MemberRemove{JID: bob},
		"memberSuspend":           api.MemberSuspend{JID: bob},
		"memberResume":            api.MemberResume{JID: eve},
		"memberEndSessions":       api.MemberEndSessions{JID: bob},
		"tokenCreate":             api.TokenCreate{ID: id, Label: "x", Scope: "read", Tenant: h.id, Hash: hash},
		"tokenRevoke":             api.TokenRevoke{ID: h.spare},
		"sharedServiceAdd":        api.SharedServiceAdd{Service: "push." + domain},
		"sharedServiceRemove":     api.SharedServiceRemove{Service: "shared." + domain},
		"gatewayAdd":              api.GatewayAdd{ID: "new" + h.id, PublicKey: userKey()},
		"gatewayRemove":           api.GatewayRemove{ID: "gw" + h.id},
	}
}

// idle are the operations that cause no commit: a new house is not suspended, and
// the log records neither the end of a session, nor the removal of a node of the
// cluster, nor long operations.
var idle = []string{"tenantResume", "endSession", "endAnySession", "removeClusterNode", "startWork"}

// query returns the query of an operation; empty if the operation needs none.
func (h house) query(l server.Line) string {
	switch l.Name {
	case "blameMember", "blameRole":
		return "?permission=xmpp:federate"
	case "diff":
		return fmt.Sprint("?from=", h.built)
	case "enforced":
		return fmt.Sprint("?wait=1&position=", h.built)
	}
	return ""
}

// body returns the body of an operation in a house; empty if it has none.
func (h house) body(t *testing.T, l server.Line) string {
	t.Helper()
	if l.Request == nil {
		return ""
	}
	v, ok := h.requests()[l.Name]
	if !ok || reflect.TypeOf(v) != reflect.TypeOf(l.Request) {
		t.Fatalf("%s takes a %T: give it one that does something", l.Name, l.Request)
	}
	if l.Command != "" {
		v = map[string]any{"args": v, "reason": "why"}
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// at returns the path of an operation in a house, with its query.
func (h house) at(l server.Line) string {
	return strings.NewReplacer("{tenant}", h.id, "{domain}", h.id+".test", "{role}", "lab:kiosk", "{session}", "s-"+h.id, "{node}", "n3",
		"{jid}", url.PathEscape("bob@"+h.id+".test")).Replace(l.Path) + h.query(l)
}

// A visitor is a kind of caller that sends requests to the node.
type visitor struct {
	name, token string
	// over is "tls", "plain" or "unix".
	over string
	// host is the Host header; empty: the node's address.
	host string
	// may are the scopes that the visitor has in the house.
	may []string
}

// visitors returns all kinds of caller of a house. The callers that can change
// something come last, because each of them needs a house of its own.
func (s *stage) visitors(h house) []visitor {
	reads, writes := []string{"tenant read", "any"}, []string{"tenant read", "tenant write", "any"}
	all := append([]string{"operator"}, writes...)
	list := []visitor{
		{"own reader over TLS", h.read, "tls", "", reads},
		{"other reader", s.tokens["other read"], "tls", "", []string{"any"}},
		{"other writer", s.tokens["other write"], "tls", "", []string{"any"}},
		{"other writer in clear", s.tokens["other write"], "plain", "", []string{"any"}},
		{"operator by another name", s.tokens["operator"], "plain", "evil.example", nil},
		{"nobody in clear", "", "plain", "", nil},
	}
	for _, name := range []string{"", "unknown", "malformed", "revoked"} {
		list = append(list, visitor{"nobody: " + name, s.tokens[name], "tls", "", nil})
	}
	return append(list,
		visitor{"own writer over TLS", h.write, "tls", "", writes},
		visitor{"own writer in clear", h.write, "plain", "", writes},
		visitor{"operator over TLS", s.tokens["operator"], "tls", "", all},
		visitor{"operator in clear", s.tokens["operator"], "plain", "", all},
		visitor{"socket", "", "unix", "", all},
	)
}

// An answer is the node's answer to a request, with the records of the call.
type answer struct {
	status  int
	header  http.Header
	body    string
	records []record
}

// visit makes one request on a connection of its own. Each request comes from its
// own address, because an address with many failed authentications gets a shorter
// answer.
func (s *stage) visit(t *testing.T, v visitor, method, at, body string) answer {
	t.Helper()
	s.made++
	tr := s.roots.Clone()
	tr.DisableKeepAlives = true
	base, from := s.secure, net.IPv4(127, 0, byte(1+s.made/250), byte(1+s.made%250))
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}
	tr.DialContext = dialer.DialContext
	switch v.over {
	case "plain":
		base = s.plain
	case "unix":
		base = "http://x"
		tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", s.socket)
		}
	}
	q, err := http.NewRequestWithContext(t.Context(), method, base+at, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if q.Host = cmp.Or(v.host, q.Host); v.token != "" {
		q.Header.Set("Authorization", "Bearer "+v.token)
	}
	if body != "" {
		q.Header.Set("Content-Type", "application/json")
	}
	n := len(s.audit.since(0))
	client := &http.Client{Timeout: within, Transport: tr}
	res, err := client.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(text), s.audit.since(n)}
}

const (
	forbiddenBody = `{"error":{"code":"forbidden","text":"you may not see or change this"}}` + "\n"
	unknownBody   = `{"error":{"code":"unauthorized","text":"send a valid token: Authorization: Bearer postern_…"}}` + "\n"
	notHereBody   = `{"error":{"code":"forbidden","text":"without TLS, the host of the request must be a loopback address or localhost"}}` + "\n"
	atNodeBody    = `{"error":{"code":"forbidden","text":"this request is accepted over the node's local socket only"}}` + "\n"
)

// TestEveryRouteForEverybody makes a request to every route as every kind of caller,
// over the socket and both ports. A caller with the scope succeeds. Every other
// caller gets the same answer for all routes and changes nothing. No answer has data
// of another tenant, every call is recorded under the caller's name, and
// openapi.json describes every answer.
func TestEveryRouteForEverybody(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	secrets := s.secrets(t)
	for _, l := range server.Lines() {
		h := s.house(t)
		s.readyFor(t, &h, l)
		for i := range s.visitors(h) {
			v := s.visitors(h)[i]
			at, body := h.at(l), h.body(t, l)
			if l.Name == "tenantCreate" && slices.Contains(v.may, l.Scope) {
				at = strings.Replace(at, h.id, "new"+h.id, 1)
			}
			before := s.node.View().Position()
			got := s.visit(t, v, l.Method, at, body)
			grown := s.node.View().Position() - before
			name := fmt.Sprintf("%s %s as %s", l.Method, at, v.name)

			want, text := http.StatusOK, ""
			switch {
			case v.host != "":
				want, text = http.StatusForbidden, notHereBody
			case v.may == nil:
				want, text = http.StatusUnauthorized, unknownBody
			case !slices.Contains(v.may, l.Scope):
				want, text = http.StatusForbidden, forbiddenBody
			case l.Name == "startWork" && v.over != "unix":
				want, text = http.StatusForbidden, atNodeBody
			}
			if got.status != want || text != "" && got.body != text {
				t.Errorf("%s: %d %s", name, got.status, got.body)
			}
			wrote := want == http.StatusOK && l.Changes && !slices.Contains(idle, l.Name)
			if wrote != (grown == 1) || grown > 1 {
				t.Errorf("%s: %d commits", name, grown)
			}
			if !slices.Contains(v.may, "operator") {
				tells(t, name, got.body, secrets, strings.HasPrefix(v.name, "other"))
			}
			recorded(t, name, l, v, h, got)
			if described := fmt.Sprint(l.Name, got.status); !s.described[described] {
				s.holdToDescription(t, l, v, h, at, body, got)
				s.described[described] = true
			}
			if want == http.StatusOK && l.Changes {
				h = s.hut(t)
				s.readyFor(t, &h, l)
			}
		}
	}
}

// secrets matches everything of the tenant bravo that other tenants must not see:
// its names, and the times and positions of its commits.
func (s *stage) secrets(t *testing.T) (list []*regexp.Regexp) {
	t.Helper()
	tail, err := s.client.Log(t.Context(), api.LogQuery{Tenant: "bravo", Limit: 100})
	if err != nil || len(tail.Entries) == 0 {
		t.Fatal(tail, err)
	}
	list = append(list, regexp.MustCompile("(?i)bravo|secret"))
	for _, e := range tail.Entries {
		moment, err := e.Time.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, regexp.MustCompile(regexp.QuoteMeta(string(moment))), regexp.MustCompile(fmt.Sprintf(`position":%d\D`, e.Position)))
	}
	return list
}

// tells fails the test if an answer has secrets of bravo. Only /v1/self may name
// bravo, to bravo's own tokens.
func tells(t *testing.T, name, body string, secrets []*regexp.Regexp, ofBravo bool) {
	t.Helper()
	for _, secret := range secrets {
		if found := secret.FindString(body); found != "" && (!ofBravo || !strings.Contains(name, "/v1/self")) {
			t.Errorf("%s shows %q: %s", name, found, body)
		}
	}
}

// recorded checks the records of a call against its caller and request. There is one
// record, or two if a change was begun.
func recorded(t *testing.T, name string, l server.Line, v visitor, h house, got answer) {
	t.Helper()
	want := 1
	if l.Changes && (got.status == http.StatusOK || got.body == atNodeBody) {
		want = 2
	}
	if len(got.records) != want {
		t.Errorf("%s: %d records: %+v", name, len(got.records), got.records)
		return
	}
	id, _, _ := strings.Cut(strings.TrimPrefix(v.token, "postern_"), "_")
	actor := "token:" + id
	switch {
	case v.over == "unix":
		actor = "operator:local"
	case v.may == nil:
		actor = ""
	}
	for i, rec := range got.records {
		if rec.Actor != actor || rec.Method != l.Method || !strings.HasPrefix(name, rec.Method+" "+rec.Path) || rec.Source == "" ||
			(rec.Phase == "intent") != (i == 0 && want == 2) || rec.Phase != "intent" && rec.Status != got.status {
			t.Errorf("%s: recorded as %+v", name, rec)
		}
	}
}

// holdToDescription checks every answer, and the request if it succeeded, against
// openapi.json.
func (s *stage) holdToDescription(t *testing.T, l server.Line, v visitor, h house, at, body string, got answer) {
	t.Helper()
	q := httptest.NewRequest(l.Method, at, strings.NewReader(body))
	if body != "" {
		q.Header.Set("Content-Type", "application/json")
	}
	q.Pattern = l.Path
	for name, value := range map[string]string{"tenant": h.id, "domain": h.id + ".test", "role": "lab:kiosk", "session": "s-" + h.id, "node": "n3", "jid": "bob@" + h.id + ".test"} {
		q.SetPathValue(name, value)
	}
	w := httptest.NewRecorder()
	for name, values := range got.header {
		w.Header()[name] = values
	}
	w.Code, w.Body = got.status, bytes.NewBufferString(got.body)
	checkDescribed(t, s.doc, q, w)
}

// ownWords matches the parts of an answer that differ between any two requests.
var ownWords = regexp.MustCompile(`"(position|tenant_version|command_id|time|version)":("[^"]*"|\d+),?`)

// TestTakenIsLikeNothing checks that a tenant's token gets exactly the same answer
// for names of another tenant as for names that do not exist.
func TestTakenIsLikeNothing(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	bodies := map[string]any{
		"plan":       attacks["tenant.apply"],
		"explain":    api.ExplainRequest{Account: "bob@bravo.test", Permission: "secret:allow"},
		"endSession": api.SessionEnd{},
	}
	queries := map[string][]string{"listSessions": {"?account=bob@bravo.test", "?domain=bravo.test", "?gateway=bravo"}, "listMembers": {"?after=bob@bravo.test"}}
	services := api.TenantApply{Services: []string{"rooms.bravo.test"}}
	mixed := api.TenantApply{Domains: []api.DomainAdd{{Domain: "free.test"}, {Domain: "bravo.test"}}, Services: []string{"bravo.test"}}
	for _, l := range server.Lines() {
		if l.Scope == "operator" && l.Command == "" || l.Scope == "any" {
			continue // the route is for operators, who may see every tenant, or shows no tenant
		}
		var variants []any
		switch {
		case l.Command != "" && attacks[l.Command] != nil:
			variants = []any{map[string]any{"args": attacks[l.Command]}}
		case l.Command != "":
			continue // its path has no tenant
		case l.Request != nil:
			variants = []any{bodies[l.Name]}
		default:
			variants = []any{nil}
		}
		switch l.Name {
		case "tenantApply":
			variants = append(variants, map[string]any{"args": services}, map[string]any{"args": mixed})
		case "plan":
			variants = append(variants, services, mixed)
		}
		for _, v := range variants {
			body := ""
			if v != nil {
				text, err := json.Marshal(v)
				if err != nil {
					t.Fatal(err)
				}
				body = string(text)
			}
			for _, query := range append([]string{""}, queries[l.Name]...) {
				var said [2]string
				for i, name := range []string{"bravo", "nemoo"} {
					h := s.hut(t)
					at := strings.NewReplacer("{tenant}", h.id, "{domain}", "bravo.test", "{role}", "bravo:role", "{session}", "s-bravo",
						"{jid}", "bob@bravo.test").Replace(l.Path) + cmp.Or(query, h.query(l))
					got := s.visit(t, visitor{token: h.write, over: "tls"}, l.Method, strings.ReplaceAll(at, "bravo", name), strings.ReplaceAll(body, "bravo", name))
					text := strings.ReplaceAll(strings.ReplaceAll(got.body, h.id, "OWN"), name, "NAME")
					said[i] = fmt.Sprint(got.status, " ", ownWords.ReplaceAllString(text, ""))
				}
				if said[0] != said[1] {
					t.Errorf("%s%s %s\n is answered, of another tenant's, %s\nand of nobody's %s", l.Path, query, body, said[0], said[1])
				}
			}
		}
	}
}

// TestPastTellsNoOther checks that a tenant's state at the position of another
// tenant's commit does not show the time of that commit.
func TestPastTellsNoOther(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	h := s.house(t)
	tail, err := s.client.Log(t.Context(), api.LogQuery{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	// Make commits of other tenants between those of the house.
	s.do(t, "bravo", api.TenantRename{DisplayName: "secret other"})
	s.do(t, "bravo", api.TenantRename{DisplayName: "secret third"})
	s.do(t, h.id, api.TenantRename{DisplayName: "after"})
	foreign, err := s.client.Log(t.Context(), api.LogQuery{Tenant: "bravo", After: new(tail.Entries[len(tail.Entries)-1].Position), Limit: 10})
	if err != nil || len(foreign.Entries) != 2 {
		t.Fatal(foreign, err)
	}
	v := visitor{token: h.read, over: "tls"}
	for _, e := range foreign.Entries {
		moment, err := e.Time.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		after := url.QueryEscape(e.Time.Add(time.Nanosecond).Format(time.RFC3339Nano))
		for _, below := range []string{"?at=%s", "/diff?from=%s", "/log?since=%s"} {
			got := s.visit(t, v, http.MethodGet, "/v1/tenants/"+h.id+fmt.Sprintf(below, after), "")
			if got.status != http.StatusOK || strings.Contains(got.body, string(moment)) {
				t.Errorf("%s just behind another's commit: %s", below, got.body)
			}
		}
		for _, below := range []string{"?at=%d", "/members?at=%d", "/policy?at=%d", "/diff?from=%d", "/diff?from=1&to=%d", "/log?after=%d"} {
			got := s.visit(t, v, http.MethodGet, "/v1/tenants/"+h.id+fmt.Sprintf(below, e.Position), "")
			if got.status != http.StatusOK || strings.Contains(got.body, string(moment)) {
				t.Errorf("%s at another's commit shows its time: %s", below, got.body)
			}
		}
	}
}

// TestSpoiltBodies corrupts a valid body of every operation in many ways. Each
// corrupt body must be refused and must change nothing.
func TestSpoiltBodies(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	socket := visitor{over: "unix"}
	for _, l := range server.Lines() {
		if l.Request == nil {
			continue
		}
		h := s.hut(t)
		good := h.body(t, l)
		var fields map[string]json.RawMessage
		if err := json.Unmarshal([]byte(good), &fields); err != nil || len(fields) == 0 {
			t.Fatal(good, err)
		}
		var twice, shouted string
		for name, value := range fields {
			twice = fmt.Sprintf("{%q:%s,%s", name, value, good[1:])
			shouted = strings.Replace(good, name, strings.ToUpper(name), 1)
		}
		deep := strings.Repeat(`{"args":`, 9) + "1" + strings.Repeat("}", 9)
		before := s.node.View().Position()
		for what, body := range map[string]string{
			"unknown field": `{"zzz":1,` + good[1:], "unknown argument": `{"args":{"zzz":1}}`, "field twice": twice, "another case": shouted,
			"more behind": good + "{}", "rubbish behind": good + "x", "not UTF-8": "{\"\xff\":1," + good[1:], "half a pair": `{"reason":"\ud800"}`,
			"deep": deep, "very deep": strings.Repeat("[", 100_000), "null": "null", "null field": `{"reason":null}`, "list": "[" + good + "]", "text": `"x"`,
			"BOM": "\ufeff" + good, "cut off": good[:len(good)-1], "two names, one escaped": `{"reason":"a","reas\u006fn":"b"}`, "number": "1e999",
		} {
			got := s.visit(t, socket, l.Method, h.at(l), body)
			if got.status != http.StatusBadRequest || strings.Contains(got.body, "Go ") {
				t.Errorf("%s, %s: %d %s", l.Name, what, got.status, got.body)
			}
		}
		if now := s.node.View().Position(); now != before || len(s.lobby.ended) > 0 {
			t.Fatalf("%s: a corrupt body changed something: %d commits, ended %v", l.Name, now-before, s.lobby.ended)
		}
		for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/json2", "text/json"} {
			if status, body := s.raw(t, l.Method, h.at(l), kind, good); status != http.StatusUnsupportedMediaType {
				t.Errorf("%s as %q: %d %s", l.Name, kind, status, body)
			}
		}
		if now := s.node.View().Position(); now != before || len(s.lobby.ended) > 0 {
			t.Fatalf("%s: a body of another media type changed something", l.Name)
		}
	}
}

// TestOtherWaysIn checks that a tenant's token reaches no other tenant through
// unusual paths, methods or headers.
func TestOtherWaysIn(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	h := s.house(t)
	host := strings.TrimPrefix(s.plain, "http://")
	before := s.node.View().Position()
	send := func(token, line, headers string) (int, string) {
		t.Helper()
		n := len(s.audit.since(0))
		c, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(within)); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nConnection: close\r\n%s\r\n", line, host, token, headers); err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(c)
		if err != nil {
			t.Fatal(err)
		}
		var status int
		if _, err := fmt.Sscanf(string(text), "HTTP/1.1 %d", &status); err != nil {
			t.Fatalf("%s: %q", line, text)
		}
		// A request that is not valid HTTP is refused before it is recorded.
		if status != http.StatusBadRequest && status != http.StatusRequestHeaderFieldsTooLarge && status != http.StatusNotImplemented && len(s.audit.since(n)) != 1 {
			t.Errorf("%s: %d records", line, len(s.audit.since(n)))
		}
		return status, string(text)
	}
	own, other := "/v1/tenants/"+h.id, "/v1/tenants/bravo"
	for _, path := range []string{
		own + "/", own + "//members", "/" + own, own + "/../bravo", own + "/%2e%2e/bravo", own + "/%2E%2E/bravo/members", own + "%2F..%2Fbravo",
		own + "/..%2fbravo", own + "/.;/../bravo", "/v1/tenants/" + strings.ToUpper(h.id), "/V1/tenants/" + h.id, other + "%00", other + "/members/../../" + h.id,
		own + "%2fmembers", own + "/members%2f..%2f..%2fbravo", "/v1/./tenants/bravo", "/v1/tenants/" + h.id + ";bravo", "/v1/tenants/", "/v1/tenants",
		"/v1/status/", "//v1/status", "/%76%31/status", "/v1%2fstatus", "/v1/tenants/%62ravo", other, other + "/log", "http://" + host + other, "/v1/tenants/%E2%80%AE",
		"*", "/v1/tenants/" + h.id + "\\..\\bravo", "/v1/tenants/" + h.id + "/domains/..", "/v1/tenants/" + h.id + "/members/%2e%2e%2f%2e%2e%2fbravo",
	} {
		for _, method := range []string{"GET", "POST"} {
			status, text := send(h.write, method+" "+path, "Content-Length: 0\r\n")
			if status < 400 || status >= 500 || strings.Contains(text, "secret") || strings.Contains(text, "Location:") {
				t.Errorf("%s %s: %s", method, path, text)
			}
		}
	}
	for _, l := range server.Lines() {
		at := h.at(l)
		for _, method := range []string{"HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "get", "QUERY"} {
			target := at
			if status, text := send(h.write, method+" "+target, ""); status < 400 || status >= 500 {
				t.Errorf("%s %s: %s", method, at, text)
			}
		}
		if l.Method == http.MethodPost && l.Scope == "tenant write" {
			for _, header := range []string{"X-HTTP-Method-Override: POST", "X-Method-Override: POST", "X-HTTP-Method: POST"} {
				if status, text := send(h.write, "GET "+at, header+"\r\n"); status < 400 || status >= 500 {
					t.Errorf("GET %s with %s: %s", at, header, text)
				}
			}
		}
	}
	for _, query := range []string{"?tenant=bravo", "?tenant=bravo&tenant=" + h.id, "?at=1&at=2", "?at=1;at=2", "?%61t=1&at=2", "?at=%zz", "?AT=1"} {
		if status, text := send(h.read, "GET "+own+query, ""); status != http.StatusBadRequest {
			t.Errorf("%s: %s", query, text)
		}
	}
	for name, headers := range map[string]string{
		"huge": "X: " + strings.Repeat("x", 64<<10) + "\r\n", "many": strings.Repeat("X: x\r\n", 10_000),
		"two tokens": "Authorization: Bearer " + s.tokens["operator"] + "\r\n", "two hosts": "Host: evil.example\r\n", "both lengths": "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
		"two lengths": "Content-Length: 0\r\nContent-Length: 9\r\n", "strange coding": "Transfer-Encoding: gzip\r\n", "folded": "X: a\r\n b\r\n", "no name": ": x\r\n",
		"forwarded": "X-Forwarded-For: 127.0.0.1\r\nX-Original-URL: /v1/tenants/bravo\r\nX-Rewrite-URL: /v1/tenants/bravo\r\n",
	} {
		if _, text := send(h.read, "GET "+other, headers); strings.Contains(text, "secret") {
			t.Errorf("%s: %s", name, text)
		}
	}
	if now := s.node.View().Position(); now != before {
		t.Errorf("%d commits", now-before)
	}
}

// TestKnockingIsShort checks that a request without a valid token is answered at
// once, even if its body is not complete, and that its connection is closed.
func TestKnockingIsShort(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	host := strings.TrimPrefix(s.plain, "http://")
	for name, request := range map[string]string{
		"a body without end":   "POST /v1/tenants/bravo/plan HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		"a body not sent":      "POST /v1/tenants/bravo/plan HTTP/1.1\r\nHost: %s\r\nContent-Length: 100000\r\n\r\n{",
		"a body asked for":     "POST /v1/tenants/bravo/plan HTTP/1.1\r\nHost: %s\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n",
		"a connection to keep": "GET /v1/status HTTP/1.1\r\nHost: %s\r\nConnection: keep-alive\r\n\r\n",
		"another name":         "GET /v1/status HTTP/1.1\r\nHost: evil.example\r\nX: %s\r\n\r\n",
	} {
		c, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		// This is well below RequestTime and idleTime.
		if err := c.SetDeadline(time.Now().Add(within / 3)); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(c, request, host); err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(c)
		if err != nil || !strings.Contains(string(text), "\r\nConnection: close\r\n") {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}
