package server_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/api/server"
)

// A lobby answers in place of the gateways. Its answers match the query unless lies
// is set.
type lobby struct {
	mu       sync.Mutex
	sessions []api.Session
	missing  []string
	lies     bool // it answers every query with all sessions
	err      error
	ended    []string
	asked    func(server.SessionQuery)
	present  []server.Presence
}

func (l *lobby) has(s ...api.Session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sessions = append(l.sessions, s...)
}

// Presence implements server.Gateways.
func (l *lobby) Presence() []server.Presence {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.present
}

// Sessions implements server.Gateways.
func (l *lobby) Sessions(_ context.Context, q server.SessionQuery) (server.SessionsFound, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asked != nil {
		l.asked(q)
	}
	if l.err != nil {
		return server.SessionsFound{}, l.err
	}
	found := server.SessionsFound{Missing: l.missing}
	for _, s := range l.sessions {
		_, domain, _ := strings.Cut(s.Account, "@")
		matches := (q.Tenant == "" || q.Tenant == s.Tenant) && (q.Domain == "" || q.Domain == domain) &&
			(q.Account == "" || q.Account == s.Account) && (q.Session == "" || q.Session == s.ID) &&
			(q.Gateway == "" || q.Gateway == s.Gateway) && s.Tenant+s.Account > q.After
		if !matches && !l.lies {
			continue
		}
		if len(found.Sessions) == q.Limit {
			last := found.Sessions[q.Limit-1]
			found.Next = last.Tenant + last.Account
			break
		}
		found.Sessions = append(found.Sessions, s)
		if q.End {
			l.ended = append(l.ended, s.ID)
		}
	}
	return found, nil
}

func live(tenant, account, id, remote string) api.Session {
	return api.Session{
		ID: id, Gateway: "gw1", Tenant: tenant, Account: account, Resource: "r", Remote: remote, Mechanism: "PLAIN",
		Since: time.Unix(1, 0).UTC(), Active: time.Unix(2, 0).UTC(),
	}
}

func idsOf(list []api.Session) (ids []string) {
	for _, s := range list {
		ids = append(ids, s.ID)
	}
	return ids
}

func wantCode(t *testing.T, what string, err error, want api.Code) *api.Error {
	t.Helper()
	e, ok := errors.AsType[*api.Error](err)
	if !ok || e.Code != want {
		t.Errorf("%s: %v, want %s", what, err, want)
		return &api.Error{}
	}
	return e
}

// TestSessionsAreTheirTenants checks that the path of a tenant shows and ends only
// sessions of this tenant. The id of another tenant's session is like an unknown id.
func TestSessionsAreTheirTenants(t *testing.T) {
	r := start(t, nil)
	r.do(t, "acme", acme())
	r.do(t, "bravo", bravo())
	r.lobby.has(
		live("acme", "ann@alpha.test", "s1", "x"), live("acme", "bob@alpha.test", "s2", "x"), live("acme", "cat@alpha.test", "s3", "x"),
		live("bravo", "bob@bravo.test", "s4", "x"),
	)
	ctx := t.Context()
	for _, q := range []struct {
		tenant string
		filter api.SessionFilter
		want   string
	}{
		{"", api.SessionFilter{}, "s1 s2 s3 s4"},
		{"acme", api.SessionFilter{}, "s1 s2 s3"},
		{"acme", api.SessionFilter{Account: "BOB@alpha.test"}, "s2"},
		{"acme", api.SessionFilter{Domain: "ALPHA.test"}, "s1 s2 s3"},
		{"acme", api.SessionFilter{Gateway: "gw2"}, ""},
		{"bravo", api.SessionFilter{}, "s4"},
		{"", api.SessionFilter{Domain: "bravo.test"}, "s4"},
	} {
		for _, limit := range []int{0, 1, 2} {
			var got []string
			for after := ""; ; {
				list, err := r.client.Sessions(ctx, q.tenant, q.filter, after, limit)
				if err != nil {
					t.Fatalf("%+v: %v", q, err)
				}
				got = append(got, idsOf(list.Sessions)...)
				if after = list.Next; after == "" {
					break
				}
			}
			if strings.Join(got, " ") != q.want {
				t.Errorf("%+v in pages of %d: %v", q, limit, got)
			}
		}
	}
	_, err := r.client.Sessions(ctx, "acme", api.SessionFilter{Account: "bob@bravo.test"}, "", 0)
	wantCode(t, "another tenant's account", err, api.CodeNotFound)
	_, err = r.client.Sessions(ctx, "acme", api.SessionFilter{Domain: "bravo.test"}, "", 0)
	wantCode(t, "another tenant's domain", err, api.CodeNotFound)
	_, err = r.client.Sessions(ctx, "none", api.SessionFilter{}, "", 0)
	wantCode(t, "no tenant", err, api.CodeNotFound)

	// The answer for another tenant's session is the same as for an unknown session.
	for _, id := range []string{"s4", "s9", strings.Repeat("x", 65), "a b"} {
		_, err := r.client.Session(ctx, "acme", id)
		text := wantCode(t, "show "+id, err, api.CodeNotFound).Text
		if want := "tenant \"acme\" has no live session \"" + id + "\""; text != want {
			t.Errorf("%q, want %q", text, want)
		}
		_, err = r.client.EndSession(ctx, "acme", id, api.SessionEnd{})
		wantCode(t, "end "+id, err, api.CodeNotFound)
	}
	if len(r.lobby.ended) != 0 {
		t.Fatalf("ended: %v", r.lobby.ended)
	}
	if s, err := r.client.Session(ctx, "", "s4"); err != nil || s.Session.Account != "bob@bravo.test" {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := r.client.EndSession(ctx, "acme", "s2", api.SessionEnd{}); err != nil || s.Session.ID != "s2" || !slices.Equal(r.lobby.ended, []string{"s2"}) {
		t.Errorf("%+v, %v, ended %v", s, err, r.lobby.ended)
	}
}

// TestSessionsWithoutAll checks that the answer names a missing gateway. A session
// that is not found is then unavailable, and the outcome of ending it is unknown.
func TestSessionsWithoutAll(t *testing.T) {
	r := start(t, nil)
	r.do(t, "acme", acme())
	r.lobby.has(live("acme", "bob@alpha.test", "s1", "x"))
	r.lobby.missing = []string{"gw2"}
	list, err := r.client.Sessions(t.Context(), "acme", api.SessionFilter{}, "", 0)
	if err != nil || len(list.Sessions) != 1 || !slices.Equal(list.Missing, []string{"gw2"}) {
		t.Errorf("%+v, %v", list, err)
	}
	_, err = r.client.Session(t.Context(), "acme", "s2")
	if e := wantCode(t, "show", err, api.CodeUnavailable); !strings.Contains(e.Text, "gw2") {
		t.Error(e.Text)
	}
	_, err = r.client.EndSession(t.Context(), "acme", "s2", api.SessionEnd{})
	if e := wantCode(t, "end", err, api.CodeUnknown); !strings.Contains(e.Text, "gw2") {
		t.Error(e.Text)
	}
	if _, err := r.client.EndSession(t.Context(), "acme", "s1", api.SessionEnd{}); err != nil {
		t.Error(err)
	}
	r.lobby.err = &api.Error{Code: api.CodeBusy, Text: "busy"}
	_, err = r.client.EndSession(t.Context(), "acme", "s1", api.SessionEnd{})
	wantCode(t, "nobody asked", err, api.CodeBusy)
}

// TestSessionsOfLiars checks a gateway that reports a session with a wrong tenant or
// account. The session is dropped, and the gateway is listed as missing.
func TestSessionsOfLiars(t *testing.T) {
	r := start(t, nil)
	r.do(t, "acme", acme())
	r.do(t, "bravo", bravo())
	r.lobby.lies = true
	for name, lie := range map[string]api.Session{
		"another's account":     live("acme", "bob@bravo.test", "s9", "secret"),
		"another tenant":        live("bravo", "bob@alpha.test", "s9", "secret"),
		"another's session":     live("bravo", "bob@bravo.test", "s9", "secret"),
		"nobody's account":      live("acme", "bob@nowhere.test", "s9", "secret"),
		"a service":             live("acme", "bob@rooms.alpha.test", "s9", "secret"),
		"no account":            live("acme", "alpha.test", "s9", "secret"),
		"not a prepared one":    live("acme", "BOB@alpha.test", "s9", "secret"),
		"a resource in account": live("acme", "bob@alpha.test/x", "s9", "secret"),
	} {
		t.Run(name, func(t *testing.T) {
			r.lobby.sessions = []api.Session{lie}
			for _, path := range []string{"/v1/tenants/acme/sessions", "/v1/tenants/acme/sessions/s9"} {
				if status, body := r.get(t, path); strings.Contains(body, "secret") || !strings.Contains(body, "gw1") ||
					status != map[bool]int{true: http.StatusServiceUnavailable, false: http.StatusOK}[strings.HasSuffix(path, "s9")] {
					t.Errorf("%s: %d %s", path, status, body)
				}
			}
			_, err := r.client.EndSession(t.Context(), "acme", "s9", api.SessionEnd{})
			wantCode(t, "end", err, api.CodeUnknown)
		})
	}
}

// TestEndIsRecorded checks that the intent to end a session is durable before any
// gateway is asked. If it cannot be recorded, no gateway is asked.
func TestEndIsRecorded(t *testing.T) {
	r := start(t, nil)
	r.do(t, "acme", acme())
	r.lobby.has(live("acme", "bob@alpha.test", "s1", "x"))
	for _, tenant := range []string{"acme", ""} {
		n, atAsking := len(r.audit.since(0)), 0
		r.lobby.asked = func(server.SessionQuery) { atAsking = len(r.audit.since(n)) }
		if _, err := r.client.EndSession(t.Context(), tenant, "s1", api.SessionEnd{Reason: "stolen phone"}); err != nil {
			t.Fatal(err)
		}
		list := r.audit.since(n)
		if len(list) != 2 || atAsking != 1 {
			t.Fatalf("%d records, %d when gateways were asked", len(list), atAsking)
		}
		if i := list[0]; i.Phase != "intent" || !i.durable || i.Tenant != tenant || i.Session != "s1" || i.Reason != "stolen phone" || i.Actor != "operator:local" {
			t.Errorf("intent: %+v", i)
		}
		if e := list[1]; e.Phase != "result" || e.Tenant != "acme" || e.Session != "s1" || e.Status != http.StatusOK || e.Call != list[0].Call {
			t.Errorf("result: %+v", e)
		}
	}
	asked := false
	r.lobby.asked = func(server.SessionQuery) { asked = true }
	r.audit.breakAt(func(rec record) bool { return rec.Phase == "intent" })
	_, err := r.client.EndSession(t.Context(), "acme", "s1", api.SessionEnd{})
	if wantCode(t, "unrecorded", err, api.CodeUnavailable); asked {
		t.Error("gateways were asked without a record")
	}
	r.audit.breakAt(nil)
	for _, reason := range []string{strings.Repeat("x", 513), "a\nb"} {
		_, err := r.client.EndSession(t.Context(), "acme", "s1", api.SessionEnd{Reason: reason})
		if wantCode(t, "reason", err, api.CodeInvalid); asked {
			t.Error("gateways were asked")
		}
	}
}

// TestSessionQueries checks that an invalid query is refused before any gateway is
// asked.
func TestSessionQueries(t *testing.T) {
	r := start(t, nil)
	r.do(t, "acme", acme())
	r.lobby.asked = func(q server.SessionQuery) { t.Errorf("asked: %+v", q) }
	for query, want := range map[string]int{
		"limit=0": 400, "limit=201": 400, "after=%21": 400, "gateway=" + strings.Repeat("x", 33): 400,
		"account=" + url.QueryEscape("alpha.test/x"): 422, "domain=" + url.QueryEscape("a b"): 422, "tenant=bravo": 400,
	} {
		if status, body := r.get(t, "/v1/tenants/acme/sessions?"+query); status != want {
			t.Errorf("%s: %d %s", query, status, body)
		}
	}
}
