package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/postern-im/postern/api"
)

// A desk is a server that answers in the place of a node, and keeps the requests.
type desk struct {
	*httptest.Server
	mu     sync.Mutex // guards the field below
	heard  []string   // path and query, or path and command id
	answer func(w http.ResponseWriter)
}

func newDesk(t *testing.T, answer func(w http.ResponseWriter)) *desk {
	t.Helper()
	d := &desk{answer: answer}
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body api.CommandRequest
		if r.Method == http.MethodPost {
			if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
				t.Error(err)
			}
		}
		d.mu.Lock()
		d.heard = append(d.heard, strings.TrimSuffix(r.URL.RequestURI()+" "+body.CommandID, " "))
		d.mu.Unlock()
		d.answer(w)
	}))
	t.Cleanup(d.Close)
	return d
}

func (d *desk) take() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	heard := strings.Join(d.heard, ", ")
	d.heard = nil
	return heard
}

// The answers of a desk.
func works(w http.ResponseWriter) { fmt.Fprint(w, `{"position": 7, "changed": true}`) }
func refuses(code api.Code, status int) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(api.ErrorBody{Error: &api.Error{Code: code, Text: "it says " + string(code)}})
	}
}

// hangsUp closes the connection without an answer.
func hangsUp(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}

// closedPort returns an address on which nothing listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

// TestNextNode: a request goes to the next node if the first one cannot be reached or
// cannot answer it. A change is sent twice only as a command with the same id.
func TestNextNode(t *testing.T) {
	const status, command, end = "GET status", "POST command", "POST end of a session"
	for _, c := range []struct {
		name    string
		first   func(http.ResponseWriter) // nil: nothing listens
		request string
		second  func(http.ResponseWriter)
		asked   bool   // the second node is asked
		want    string // of the error
		unclear bool
	}{
		{"unreachable", nil, status, works, true, "", false},
		{"unreachable", nil, command, works, true, "", false},
		{"unreachable", nil, end, works, true, "", false},
		{"not caught up", refuses(api.CodeUnavailable, 503), status, works, true, "", false},
		{"not caught up", refuses(api.CodeUnavailable, 503), command, works, true, "", false},
		{"not caught up", refuses(api.CodeUnavailable, 503), end, works, true, "", false},
		{"behind", refuses(api.CodeBehind, 503), status, works, true, "", false},
		{"not fresh", refuses(api.CodeNotFresh, 503), end, works, true, "", false},
		{"hangs up", hangsUp, status, works, true, "", false},
		{"hangs up", hangsUp, command, works, true, "", false},
		{"hangs up", hangsUp, end, works, false, "EOF", true},
		{"busy", refuses(api.CodeBusy, 429), status, works, false, "it says busy", false},
		{"a refusal", refuses(api.CodeConflict, 409), command, works, false, "it says conflict", false},
		{"unknown", refuses(api.CodeUnknown, 504), command, works, false, "it says unknown", true},
		{"no node can", refuses(api.CodeNotFresh, 503), status, refuses(api.CodeUnavailable, 503), true, "it says unavailable", false},
		{"the second one is down", refuses(api.CodeUnavailable, 503), command, nil, true, "it says unavailable", false},
		{"both are down", nil, command, nil, true, "connection refused", true},
		{"the answer of the first one is lost", hangsUp, command, nil, true, "EOF", true},
		{"the answer of the first one is lost", hangsUp, command, refuses(api.CodeUnavailable, 503), true, "EOF; another node: it says unavailable", true},
		{"the answer of the first one is lost", hangsUp, command, refuses(api.CodeNotFound, 404), true, "EOF; another node: it says not_found", true},
		{"the answer of the first one is lost", hangsUp, status, refuses(api.CodeNotFound, 404), true, "it says not_found", false},
		{"the answer of the second one is lost", refuses(api.CodeUnavailable, 503), command, hangsUp, true, "EOF", true},
	} {
		t.Run(c.name+", "+c.request, func(t *testing.T) {
			var addresses []string
			var desks []*desk
			for _, answer := range []func(http.ResponseWriter){c.first, c.second} {
				if answer == nil {
					desks = append(desks, nil)
					addresses = append(addresses, closedPort(t))
					continue
				}
				d := newDesk(t, answer)
				desks, addresses = append(desks, d), append(addresses, d.URL)
			}
			token, _, _ := api.NewToken()
			client, err := api.NewRemoteClient(strings.Join(addresses, ", "), token, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			switch c.request {
			case status:
				_, err = client.Status(t.Context())
			case command:
				_, err = client.Do(t.Context(), "acme", api.TenantSuspend{}, api.CommandMeta{})
			case end:
				_, err = client.EndSession(t.Context(), "acme", "s1", api.SessionEnd{})
			}
			if (err == nil) != (c.want == "") || err != nil && !strings.HasSuffix(err.Error(), c.want) || api.Unclear(err) != c.unclear {
				t.Errorf("%v, unclear: %v", err, api.Unclear(err))
			}
			var heard []string
			for _, d := range desks {
				if d != nil {
					heard = append(heard, d.take())
				}
			}
			switch {
			case c.first != nil && heard[0] == "":
				t.Error("the first node was not asked")
			case c.second != nil && (heard[len(heard)-1] != "") != c.asked:
				t.Errorf("the second node heard %q", heard[len(heard)-1])
			case len(heard) == 2 && c.asked && heard[0] != heard[1]:
				t.Errorf("the nodes heard %q", heard)
			}
		})
	}
}

// TestNextNodeStays: the client stays with the node that has answered. Its reads at
// other nodes require the state to include its own commands; at a single node they do
// not, because older versions refuse the parameter.
func TestNextNodeStays(t *testing.T) {
	one, two := newDesk(t, works), newDesk(t, works)
	down := closedPort(t)
	token, _, _ := api.NewToken()
	client, err := api.NewRemoteClient(down+","+one.URL+","+two.URL, token, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx := t.Context()
	_, first := client.Status(ctx)
	_, second := client.Do(ctx, "acme", api.TenantSuspend{}, api.CommandMeta{ID: "x"})
	_, third := client.At("3").Tenant(ctx, "acme")
	_, fourth := client.AtLeast(9).Plan(ctx, "acme", api.TenantApply{})
	if err := errors.Join(first, second, third, fourth); err != nil {
		t.Error(err)
	}
	want := "/v1/status, /v1/tenants/acme/commands/tenant.suspend x, /v1/tenants/acme?at=3&at_least=7, /v1/tenants/acme/plan?at_least=9"
	if heard := one.take(); heard != want {
		t.Errorf("heard %s", heard)
	}
	one.CloseClientConnections()
	one.Close()
	if _, err := client.Status(ctx); err != nil {
		t.Error(err)
	}
	if heard := two.take(); heard != "/v1/status?at_least=7" {
		t.Errorf("the next node heard %s", heard)
	}
	single, err := api.NewRemoteClient(two.URL, token, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer single.Close()
	_, first = single.Do(ctx, "acme", api.TenantSuspend{}, api.CommandMeta{ID: "y"})
	_, second = single.Status(ctx)
	if heard := two.take(); errors.Join(first, second) != nil || heard != "/v1/tenants/acme/commands/tenant.suspend y, /v1/status" {
		t.Errorf("a single node heard %s", heard)
	}
}
