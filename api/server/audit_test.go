package server_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/api/server"
)

// records is an Auditor that keeps the records in memory.
type records struct {
	mu    sync.Mutex
	lines []record
	// breaks reports whether a record cannot be written; nil: all can.
	breaks func(record) bool
}

// A record is one decoded record of a call.
type record struct {
	Time, Phase, Call, Actor, Scope, Source, Method, Path, Operation, Command string
	CommandID                                                                 string `json:"command_id"`
	Tenant, Session, Reason                                                   string
	Position                                                                  uint64
	Enforced                                                                  string
	Status                                                                    int
	Code                                                                      string
	Micros                                                                    int64

	durable bool
}

func (r *records) Append(line []byte, durable bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var rec record
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&rec); err != nil || bytes.ContainsAny(line, "\n\r") {
		return errors.Join(errors.New("a record is not one line of JSON"), err)
	}
	rec.durable = durable
	if r.breaks != nil && r.breaks(rec) {
		return errors.New("no space left on device")
	}
	r.lines = append(r.lines, rec)
	return nil
}

// since returns the records after the first n.
func (r *records) since(n int) []record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]record{}, r.lines[n:]...)
}

func (r *records) breakAt(breaks func(record) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.breaks = breaks
}

// TestEveryCallIsRecorded checks that a read has one record and a change has two. The
// first record of a change is durable. The record of a refused call has its code.
func TestEveryCallIsRecorded(t *testing.T) {
	r := start(t, nil)
	n := len(r.audit.since(0))
	r.do(t, "acme", api.TenantCreate{DisplayName: "secret name"})
	r.get(t, "/v1/tenants/acme?limit=secret")
	r.get(t, "/v1/nothing")
	list := r.audit.since(n)
	if len(list) != 4 {
		t.Fatalf("%d records: %+v", len(list), list)
	}
	intent, result := list[0], list[1]
	if intent.Phase != "intent" || !intent.durable || intent.Status != 0 || intent.Command != "tenant.create" || len(intent.CommandID) != 32 ||
		intent.Actor != "operator:local" || intent.Scope != "operator" || !strings.HasPrefix(intent.Source, "unix") ||
		intent.Path != "/v1/tenants/acme/commands/tenant.create" || intent.Operation != "tenantCreate" {
		t.Errorf("intent: %+v", intent)
	}
	if result.Phase != "result" || result.Call != intent.Call || result.CommandID != intent.CommandID || result.Status != 200 || result.Time < intent.Time {
		t.Errorf("result: %+v", result)
	}
	if c := list[2]; c.Phase != "call" || c.Status != 400 || c.Code != "bad_request" || c.Call == intent.Call {
		t.Errorf("refused read: %+v", c)
	}
	if c := list[3]; c.Status != 404 || c.Path != "/v1/nothing" {
		t.Errorf("nothing there: %+v", c)
	}
	for _, rec := range list {
		if strings.Contains(rec.Path+rec.Method, "secret") {
			t.Errorf("a query or body is recorded: %+v", rec)
		}
	}
}

// TestUnrecordedIsRefused checks calls whose records cannot be written. A change
// without its intent is not made, and a read without its record is refused. A change
// that was made is answered even if its result cannot be recorded.
func TestUnrecordedIsRefused(t *testing.T) {
	r := start(t, nil)
	r.do(t, "acme", api.TenantCreate{DisplayName: "before"})
	r.audit.breakAt(func(rec record) bool { return true })
	for _, c := range []api.Command{api.TenantRename{DisplayName: "after"}, api.TenantRemove{}} {
		_, err := r.client.Do(t.Context(), "acme", c, api.CommandMeta{})
		if e, ok := errors.AsType[*api.Error](err); !ok || e.Code != api.CodeUnavailable || strings.Contains(e.Text, "device") {
			t.Errorf("%s: %v", c.Command(), err)
		}
	}
	if status, body := r.get(t, "/v1/tenants/acme"); status != http.StatusServiceUnavailable || strings.Contains(body, "before") {
		t.Errorf("an unrecorded read: %d %s", status, body)
	}
	r.audit.breakAt(nil)
	if tenant, err := r.client.Tenant(t.Context(), "acme"); err != nil || tenant.Name != "before" || tenant.Version != 1 {
		t.Errorf("afterwards: %+v, %v", tenant, err)
	}
	r.audit.breakAt(func(rec record) bool { return rec.Phase == "result" })
	if result := r.do(t, "acme", api.TenantRename{DisplayName: "after"}); !result.Changed {
		t.Errorf("made, but its result not recorded: %+v", result)
	}
}

// TestHostileRecords checks that no address in a path can break the line of a record.
func TestHostileRecords(t *testing.T) {
	r := start(t, nil)
	for _, hostile := range []string{"a\nb@x.test", "a\r\n{\"phase\":\"call\"}", "\u2028\u202e", "\xff\x00", `"},{"a":"`, strings.Repeat("x", 9000)} {
		n := len(r.audit.since(0))
		r.get(t, "/v1/tenants/acme/members/"+url.PathEscape(hostile))
		list := r.audit.since(n) // Append refuses a record of several lines
		if len(list) != 1 || len(list[0].Path) > 5000 {
			t.Errorf("%q: %+v", hostile, list)
		}
	}
}

// TestScopes sends a request to every route as every kind of caller. A caller without
// the scope always gets the same answer and changes nothing, and no answer names the
// other tenant.
func TestScopes(t *testing.T) {
	r := start(t, nil)
	r.do(t, "bravo", bravo())
	r.do(t, "own", acme())
	ids := strings.NewReplacer("{tenant}", "own", "{domain}", "bravo.test", "{role}", "bravo:role", "{session}", "s-bravo", "{jid}", url.PathEscape("bob@bravo.test"))
	const refused = `{"error":{"code":"forbidden","text":"you may not see or change this"}}` + "\n"
	before := r.node.View().Position()
	for _, l := range server.Lines() {
		for _, c := range []struct {
			name     string
			operator bool
			tenant   string
			write    bool
			scopes   string
		}{
			{"nobody", false, "", false, ""},
			{"operator", true, "", false, "operator,tenant read,tenant write,any"},
			{"own reader", false, "own", false, "tenant read,any"},
			{"own writer", false, "own", true, "tenant read,tenant write,any"},
			{"other reader", false, "bravo", false, "any"},
			{"other writer", false, "bravo", true, "any"},
		} {
			actor := c.name
			if c.name == "nobody" {
				actor = ""
			}
			for _, method := range []string{l.Method, "PATCH"} {
				// The body is not JSON, so that a permitted request changes nothing.
				q := httptest.NewRequest(method, ids.Replace(l.Path), strings.NewReader("{"))
				answer := httptest.NewRecorder()
				r.server.ServeHTTP(answer, q.WithContext(server.WithCaller(t.Context(), actor, c.operator, c.tenant, c.write)))
				allowed := c.scopes != "" && strings.Contains(","+c.scopes+",", ","+l.Scope+",")
				body := answer.Body.String()
				switch {
				case allowed && answer.Code == http.StatusForbidden:
					t.Errorf("%s %s as %s: %s", method, l.Path, c.name, body)
				case actor == "" && answer.Code != http.StatusForbidden:
					t.Errorf("%s %s as nobody: %d %s", method, l.Path, answer.Code, body)
				case !allowed && actor != "" && (answer.Code != http.StatusForbidden || body != refused || answer.Header().Get("Allow") != ""):
					t.Errorf("%s %s as %s: %d %s", method, l.Path, c.name, answer.Code, body)
				}
				if !c.operator && strings.Contains(body, "secret") {
					t.Errorf("%s %s as %s shows data of the other tenant: %s", method, l.Path, c.name, body)
				}
			}
		}
	}
	for path, want := range map[string]int{"/v1/nothing": 404, "/v1/tenants/own/commands/none": 403, "/v1//status": 404, "/v1/tenants/../log": 404} {
		q := httptest.NewRequest("POST", "/", nil)
		q.URL.Path = path
		answer := httptest.NewRecorder()
		r.server.ServeHTTP(answer, q.WithContext(server.WithCaller(t.Context(), "x", false, "bravo", true)))
		if answer.Code != want {
			t.Errorf("%s: %d, want %d", path, answer.Code, want)
		}
	}
	if after := r.node.View().Position(); after != before {
		t.Errorf("something was changed: position %d, was %d", after, before)
	}
}

// TestWriterIsCheckedTwice checks that a tenant's writer changes its tenant under its
// own name. Package tenants also refuses a command that the table of routes would
// already have refused.
func TestWriterIsCheckedTwice(t *testing.T) {
	r := start(t, nil)
	r.do(t, "own", acme())
	q := httptest.NewRequest("POST", "/v1/tenants/own/commands/tenant.rename", strings.NewReader(`{"args":{"display_name":"new"}}`))
	q.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	r.server.ServeHTTP(answer, q.WithContext(server.WithCaller(t.Context(), "token:x", false, "own", true)))
	if answer.Code != http.StatusOK {
		t.Fatalf("%d %s", answer.Code, answer.Body)
	}
	tail, err := r.client.Log(t.Context(), api.LogQuery{Tenant: "own", Limit: 1})
	if err != nil || tail.Entries[0].Actor != "token:x" {
		t.Errorf("%+v, %v", tail, err)
	}
}
