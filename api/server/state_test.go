package server_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/api/server"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/tenants"
)

// A lagging runner reaches its only position late. It reports an enforcement when a
// time has passed.
type lagging struct {
	broken
	reached  <-chan struct{} // closed when the View includes every position
	enforced tenants.Enforcement
	after    time.Duration
}

func (l lagging) Await(ctx context.Context, p events.Position) (*projections.View, error) {
	select {
	case <-l.reached:
		return l.view, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (l lagging) Enforced(ctx context.Context, p events.Position) (tenants.Enforcement, error) {
	select {
	case <-time.After(l.after):
		return l.enforced, nil
	case <-ctx.Done():
		return tenants.Enforcement{Position: p, Nodes: l.enforced.Nodes[:1]}, nil
	}
}

// ask makes one request to a server, as an operator or as a tenant's reader.
func ask(t *testing.T, s *server.Server, operator bool, path string) (int, string) {
	t.Helper()
	ctx := server.WithCaller(t.Context(), "operator:test", true, "", false)
	if !operator {
		ctx = server.WithCaller(t.Context(), "token:test", false, "acme", false)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

// TestAtLeast: a read waits until the node's state includes the position that the
// client requires. After two seconds the answer is that the node is behind.
func TestAtLeast(t *testing.T) {
	for _, c := range []struct {
		name   string
		query  string
		reach  time.Duration
		took   time.Duration
		status int
		text   string
	}{
		{"not asked for", "", time.Hour, 0, 200, `"position":0`},
		{"there", "?at_least=7", 0, 0, 200, `"position":0`},
		{"soon there", "?at_least=7", time.Second, time.Second, 200, `"position":0`},
		{"too late", "?at_least=7", 3 * time.Second, 2 * time.Second, 503, `"code":"behind","text":"this node does not have position 7 yet`},
		{"no position", "?at_least=0", 0, 0, 400, "at_least must be a number from 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reached := make(chan struct{})
				time.AfterFunc(c.reach, func() { close(reached) })
				if c.reach == 0 {
					synctest.Wait()
				}
				s, err := server.New(server.Config{Runner: lagging{broken: broken{view: projections.New()}, reached: reached}})
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				status, text := ask(t, s, true, "/v1/tenants"+c.query)
				if status != c.status || !strings.Contains(text, c.text) || time.Since(began) != c.took {
					t.Errorf("%d %s after %v", status, text, time.Since(began))
				}
			})
		})
	}
}

// TestEveryReadHasAtLeast: the position can be required of every route that reads, and
// of no route that changes something.
func TestEveryReadHasAtLeast(t *testing.T) {
	var doc struct {
		Paths map[string]map[string]struct {
			Parameters []struct{ Name string }
		}
	}
	if err := json.Unmarshal(server.OpenAPI, &doc); err != nil {
		t.Fatal(err)
	}
	for _, l := range server.Lines() {
		has := false
		for _, p := range doc.Paths[l.Path][strings.ToLower(l.Method)].Parameters {
			has = has || p.Name == "at_least"
		}
		if has == l.Changes {
			t.Errorf("%s: at_least is described: %v", l.Name, has)
		}
	}
}

// TestEnforced asks for the enforcement of a position that two nodes report at once
// and a third one after three seconds.
func TestEnforced(t *testing.T) {
	for _, c := range []struct {
		name     string
		operator bool
		query    string
		how      tenants.How
		took     time.Duration
		status   int
		want     string
	}{
		{"reported", true, "?position=9&wait=25", tenants.Reported, 3 * time.Second, 200, `{"position":9,"enforced":true,"by":"reported","took_micros":3000000,"margin_micros":1000000,"nodes":[{"node":"n1","reported":true,"took_micros":0},{"node":"n2","reported":true,"took_micros":3000000}]}`},
		{"by the bound", true, "?position=9&wait=25", tenants.Bounded, 3 * time.Second, 200, `{"position":9,"enforced":true,"by":"bound","took_micros":3000000,"margin_micros":1000000,"nodes":[{"node":"n1","reported":true,"took_micros":0},{"node":"n2","reported":true,"took_micros":3000000}]}`},
		{"a tenant sees no nodes", false, "?position=9&wait=25", tenants.Reported, 3 * time.Second, 200, `{"position":9,"enforced":true,"by":"reported","took_micros":3000000,"margin_micros":1000000,"nodes":[]}`},
		{"not in time", true, "?position=9&wait=2", tenants.Reported, 2 * time.Second, 200, `{"position":9,"enforced":false,"by":"pending","took_micros":0,"margin_micros":0,"nodes":[{"node":"n1","reported":true,"took_micros":0}]}`},
		{"without waiting", true, "?position=9", tenants.Reported, 0, 200, `{"position":9,"enforced":false,"by":"pending","took_micros":0,"margin_micros":0,"nodes":[{"node":"n1","reported":true,"took_micros":0}]}`},
		{"no position", true, "?wait=2", tenants.Reported, 0, 400, `{"error":{"code":"bad_request","text":"position is missing: give the position of a result"}}`},
		{"too long", true, "?position=9&wait=26", tenants.Reported, 0, 400, `{"error":{"code":"bad_request","text":"wait must be a number from 1 to 25"}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reached := make(chan struct{})
				close(reached)
				audit := new(records)
				s, err := server.New(server.Config{Audit: audit, Runner: lagging{broken{view: projections.New()}, reached, tenants.Enforcement{
					Position: 9, How: c.how, Took: 3 * time.Second, Margin: time.Second,
					Nodes: []tenants.Report{{Node: "n1", Reported: true}, {Node: "n2", Reported: true, Took: 3 * time.Second}},
				}, 3 * time.Second}})
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				status, text := ask(t, s, c.operator, "/v1/enforced"+c.query)
				if status != c.status || text != c.want+"\n" || time.Since(began) != c.took {
					t.Errorf("%d %s after %v", status, text, time.Since(began))
				}
				rec := audit.since(0)[0]
				if status == http.StatusOK && (rec.Position != 9 || !strings.Contains(text, `"by":"`+rec.Enforced+`"`)) {
					t.Errorf("recorded as %+v", rec)
				}
			})
		})
	}
}

// TestEnforcedAlone: at a node without a cluster, a change is enforced at once, and the
// result of the command says that it takes something away.
func TestEnforcedAlone(t *testing.T) {
	r := start(t, nil)
	if created := r.do(t, "acme", acme()); created.TakesAway {
		t.Errorf("a creation: %+v", created)
	}
	suspended := r.do(t, "acme", api.MemberSuspend{JID: "bob@alpha.test"})
	if !suspended.TakesAway {
		t.Errorf("a suspension: %+v", suspended)
	}
	e, err := r.client.Enforced(t.Context(), suspended.Position, api.MaxWait)
	if err != nil || !e.Enforced || e.By != "alone" || e.MarginMicros != 1_000_000 || len(e.Nodes) != 0 {
		t.Errorf("%+v, %v", e, err)
	}
}

// TestNotFresh: a node that has lost its cluster answers a token with nothing but the
// results of commands, which are checked at the head of the log. It answers the local
// socket.
func TestNotFresh(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	for _, l := range server.Lines() {
		h := s.house(t)
		s.readyFor(t, &h, l)
		at := h.at(l)
		if l.Name == "tenantCreate" {
			at = strings.Replace(at, h.id, "new"+h.id, 1)
		}
		s.stale.Store(true)
		before := len(s.lobby.ended)
		got := s.visit(t, visitor{token: s.tokens["operator"], over: "tls"}, l.Method, at, h.body(t, l))
		if refused := got.status == http.StatusServiceUnavailable && strings.Contains(got.body, `"code":"not_fresh"`); refused != (l.Command == "") {
			t.Errorf("%s with a token: %d %s", l.Name, got.status, got.body)
		}
		if len(s.lobby.ended) != before {
			t.Errorf("%s ended a session", l.Name)
		}
		if l.Command == "" {
			if got := s.visit(t, visitor{over: "unix"}, l.Method, at, h.body(t, l)); got.status != http.StatusOK {
				t.Errorf("%s over the socket: %d %s", l.Name, got.status, got.body)
			}
		}
		s.stale.Store(false)
	}
}
