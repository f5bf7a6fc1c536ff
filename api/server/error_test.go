package server_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/api/server"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/tenants"
)

func asError(err error, e **api.Error) bool { return errors.As(err, e) }

// TestRefusedRequests checks the status, the code and the text of the answer to each
// kind of bad request.
func TestRefusedRequests(t *testing.T) {
	r := start(t, nil)
	r.do(t, "acme", acme())
	const command = "/v1/tenants/acme/commands/"
	const js = "application/json"
	for _, c := range []struct {
		name, method, path, contentType, body string
		status                                int
		code                                  api.Code
		text                                  string
	}{
		{"no such address", "GET", "/v1/nothing", "", "", 404, api.CodeNotFound, "nothing at this path"},
		{"no version", "GET", "/tenants", "", "", 404, api.CodeNotFound, "nothing at this path"},
		{"wrong method on a read", "DELETE", "/v1/tenants/acme", "", "", 405, api.CodeMethod, "GET only"},
		{"wrong method on a command", "GET", command + "tenant.remove", "", "", 405, api.CodeMethod, "POST only"},
		{"HEAD", "PUT", "/v1/status", js, "{}", 405, api.CodeMethod, "GET only"},
		{"no such tenant", "GET", "/v1/tenants/nobody", "", "", 404, api.CodeNotFound, `no tenant "nobody"`},
		{"no such domain", "GET", "/v1/tenants/acme/domains/gamma.test", "", "", 404, api.CodeNotFound, `no domain "gamma.test"`},
		{"no such role", "GET", "/v1/tenants/acme/roles/x", "", "", 404, api.CodeNotFound, `no role "x"`},
		{"no such account's domain", "GET", "/v1/tenants/acme/members/a@gamma.test", "", "", 404, api.CodeNotFound, "gamma.test"},
		{"no account", "GET", "/v1/tenants/acme/members/alpha.test", "", "", 422, api.CodeInvalid, "not an account's address"},
		{"no domain name", "GET", "/v1/owners/a%20b", "", "", 422, api.CodeInvalid, "is not a domain"},
		{"nobody's domain", "GET", "/v1/owners/gamma.test", "", "", 404, api.CodeNotFound, "belongs to no tenant"},
		{"unknown query", "GET", "/v1/tenants?at=1", "", "", 400, api.CodeBadRequest, `unknown query parameter "at"`},
		{"unknown query on a command", "POST", command + "tenant.suspend?dry=1", js, "{}", 400, api.CodeBadRequest, `unknown query parameter "dry"`},
		{"query twice", "GET", "/v1/tenants?limit=1&limit=2", "", "", 400, api.CodeBadRequest, "is given twice"},
		{"query not readable", "GET", "/v1/tenants?limit=%zz", "", "", 400, api.CodeBadRequest, "cannot be parsed"},
		{"limit of nothing", "GET", "/v1/tenants?limit=0", "", "", 400, api.CodeBadRequest, "limit must be"},
		{"limit over the bound", "GET", "/v1/tenants/acme/members?limit=10001", "", "", 400, api.CodeBadRequest, "limit must be"},
		{"limit over the log's bound", "GET", "/v1/log?limit=1001", "", "", 400, api.CodeBadRequest, "limit must be"},
		{"no position", "GET", "/v1/log?after=-1", "", "", 400, api.CodeBadRequest, "after must be a number"},
		{"no such command", "POST", command + "tenant.explode", js, "{}", 404, api.CodeNotFound, `no command "tenant.explode"`},
		{"no JSON", "POST", command + "tenant.suspend", "text/plain", "{}", 415, api.CodeMediaType, "application/json"},
		{"no body", "POST", command + "tenant.suspend", js, "", 400, api.CodeBadRequest, "not complete"},
		{"unknown field", "POST", command + "tenant.suspend", js, `{"actor":"root"}`, 400, api.CodeBadRequest, `unknown field "actor"`},
		{"unknown argument", "POST", command + "tenant.suspend", js, `{"args":{"id":"acme"}}`, 400, api.CodeBadRequest, `args: unknown field "id"`},
		{"argument of another type", "POST", command + "domain.add", js, `{"args":{"domain":["x"]}}`, 400, api.CodeBadRequest, `field "domain"`},
		{"arguments twice", "POST", command + "domain.add", js, `{"args":{"domain":"x"},"args":{}}`, 400, api.CodeBadRequest, "is given twice"},
		{"too large", "POST", command + "tenant.rename", js, `{"args":{"display_name":"` + strings.Repeat("x", server.MaxRequest) + `"}}`, 413, api.CodeTooLarge, "larger than"},
		{"unknown word", "POST", command + "tenant.set-presence", js, `{"args":{"presence_without_messages":"drop"}}`, 422, api.CodeInvalid, "one of clamp, refuse"},
		{"refused", "POST", command + "domain.add", js, `{"args":{"domain":"alpha.test"}}`, 409, api.CodeExists, "alpha.test"},
		{"in use", "POST", command + "role.remove", js, `{"args":{"role":"lab:kiosk"}}`, 409, api.CodeInUse, "bob@alpha.test"},
		{"another version", "POST", command + "tenant.suspend", js, `{"if_version":9}`, 409, api.CodeConflict, "version 1, not 9"},
		{"bad command id", "POST", command + "tenant.suspend", js, `{"command_id":"a b"}`, 422, api.CodeInvalid, "command id"},
		{"no explainer", "POST", "/v1/tenants/acme/explain", js, `{"account":"bob@alpha.test","stanza":"<x/>"}`, 503, api.CodeUnavailable, "cannot explain stanzas"},
		{"nothing to explain", "POST", "/v1/tenants/acme/explain", js, `{"account":"bob@alpha.test"}`, 422, api.CodeInvalid, "either a stanza or a permission"},
		{"two to explain", "POST", "/v1/tenants/acme/explain", js, `{"account":"bob@alpha.test","stanza":"<x/>","permission":"a:b"}`, 422, api.CodeInvalid, "either a stanza or a permission"},
		{"no permission's name", "POST", "/v1/tenants/acme/explain", js, `{"account":"bob@alpha.test","permission":"xmpp:*"}`, 422, api.CodeInvalid, "no wildcards"},
		{"no direction", "POST", "/v1/tenants/acme/explain", js, `{"account":"bob@alpha.test","stanza":"<x/>","direction":"up"}`, 422, api.CodeInvalid, "out or in"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, body := r.raw(t, c.method, c.path, c.contentType, c.body)
			if status != c.status || !strings.Contains(body, fmt.Sprintf(`"code":%q`, c.code)) {
				t.Errorf("status %d, want %d %s: %s", status, c.status, c.code, body)
			}
			if !strings.Contains(strings.ReplaceAll(body, `\"`, `"`), c.text) {
				t.Errorf("the answer does not say %q: %s", c.text, body)
			}
		})
	}
	if tenant, err := r.client.Tenant(t.Context(), "acme"); err != nil || tenant.Version != 1 {
		t.Errorf("a refused request changed something: %+v, %v", tenant, err)
	}
}

// TestDetailsNameTheField checks that each reason of a refusal has the path of a
// field as it is in the request.
func TestDetailsNameTheField(t *testing.T) {
	r := start(t, nil)
	create := acme()
	create.DisplayName = "a\nb"
	create.Ceiling = []string{"xmpp:federate", "*"}
	create.Domains[1].Backends = []api.Backend{{Address: "nowhere", Security: "tls"}}
	create.Services = append(create.Services, "alpha.test")
	create.Roles = append(create.Roles, api.RoleDefine{Role: "x", Inherits: []string{"prosody:guest", "unknown"}})
	create.BuiltinRoles = append(create.BuiltinRoles, api.RoleAdjust{Role: "nobody"})
	create.Members = append(create.Members, api.MemberSet{JID: "x@elsewhere.test"})
	_, err := r.client.Do(t.Context(), "acme", create, api.CommandMeta{})
	var e *api.Error
	if !errors.As(err, &e) {
		t.Fatalf("accepted: %v", err)
	}
	var fields []string
	for _, d := range e.Details {
		fields = append(fields, d.Field)
		if d.Code == "" || !strings.Contains(e.Text, d.Text) {
			t.Errorf("detail: %+v", d)
		}
	}
	want := []string{"display_name", "ceiling[1]", "builtin_roles[1].role", "roles[1].inherits[1]", "domains[1].backends[0].address", "services[1]", "members[1].jid"}
	if fmt.Sprint(fields) != fmt.Sprint(want) {
		t.Errorf("fields %v\nwant   %v", fields, want)
	}
}

// A broken runner fails every command with an error.
type broken struct {
	view *projections.View
	err  error
}

func (b broken) View() *projections.View { return b.view }
func (b broken) Execute(context.Context, tenants.Command) (tenants.Result, error) {
	return tenants.Result{}, b.err
}

// Await waits for ctx if the View does not include the position.
func (b broken) Await(ctx context.Context, p events.Position) (*projections.View, error) {
	if b.view != nil && b.view.Position() >= p {
		return b.view, nil
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

func (b broken) Enforced(context.Context, events.Position) (tenants.Enforcement, error) {
	return tenants.Enforcement{}, b.err
}

// TestErrorsOfTheNode checks that an *api.Error of the node is passed on. Any other
// error means that the outcome is unknown, and its text is not shown.
func TestErrorsOfTheNode(t *testing.T) {
	for _, c := range []struct {
		name   string
		runner broken
		status int
		code   api.Code
	}{
		{"unclear", broken{projections.New(), errors.New("disk /var/secret is full")}, 504, api.CodeUnknown},
		{"timed out", broken{projections.New(), context.DeadlineExceeded}, 504, api.CodeUnknown},
		{"said plainly", broken{projections.New(), fmt.Errorf("secret: %w", &api.Error{Code: api.CodeBusy, Text: "come back"})}, 429, api.CodeBusy},
		{"refused without a reason", broken{projections.New(), tenants.Errors{}}, 504, api.CodeUnknown},
		{"no view", broken{nil, nil}, 503, api.CodeUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := serve(t, c.runner)
			path, method, body := "/v1/tenants/acme/commands/tenant.suspend", http.MethodPost, `{"command_id":"abc"}`
			if c.runner.view == nil {
				path, method, body = "/v1/status", http.MethodGet, ""
			}
			status, answer := r.raw(t, method, path, "application/json", body)
			if status != c.status || !strings.Contains(answer, string(c.code)) {
				t.Errorf("status %d, want %d %s: %s", status, c.status, c.code, answer)
			}
			if strings.Contains(answer, "secret") {
				t.Errorf("the answer shows the internal error: %s", answer)
			}
			if c.code == api.CodeUnknown && !strings.Contains(answer, "abc") {
				t.Errorf("the answer does not name the command's id: %s", answer)
			}
		})
	}
}

// A slow runner blocks every command until it is released.
type slow struct {
	broken
	begun   chan struct{}
	release chan struct{}
}

func (s slow) Execute(context.Context, tenants.Command) (tenants.Result, error) {
	s.begun <- struct{}{}
	<-s.release
	return tenants.Result{}, nil
}

// TestTooManyRequests checks that a request over the bound is refused as busy, and
// that the next one succeeds when there is room again.
func TestTooManyRequests(t *testing.T) {
	s := slow{broken{view: projections.New()}, make(chan struct{}), make(chan struct{})}
	r := serve(t, s)
	client := api.NewClient(r.socket)
	defer client.Close()
	var wg sync.WaitGroup
	for range server.MaxRunning {
		wg.Go(func() {
			if _, err := client.Do(t.Context(), "acme", api.TenantSuspend{}, api.CommandMeta{}); err != nil {
				t.Error(err)
			}
		})
	}
	for range server.MaxRunning {
		<-s.begun
	}
	_, err := client.Status(t.Context())
	if e := new(api.Error); !asError(err, &e) || e.Code != api.CodeBusy {
		t.Errorf("one more than the bound: %v", err)
	}
	close(s.release)
	wg.Wait()
	if _, err := client.Status(t.Context()); err != nil {
		t.Errorf("once there is room: %v", err)
	}
}
