package server_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/api/server"
	audit "github.com/postern-im/postern/audit/jsonl"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/node"
	"github.com/postern-im/postern/projections"
)

// within bounds every wait of a test. It is never reached unless the test fails.
const within = 30 * time.Second

// nothing discards the records of verdicts, because these tests ask for no decision.
type nothing struct{}

func (nothing) Ready() error                { return nil }
func (nothing) Record([]audit.Record) error { return nil }

// A workshop is a Worker that accepts every operation and never makes progress. The
// operations themselves are tested in cmd/policyd.
type workshop struct{}

func (workshop) Start(q api.WorkRequest) (api.Work, error) {
	return api.Work{ID: "1", Kind: q.Kind, State: api.WorkRunning}, nil
}

func (workshop) Work() api.Work { return api.Work{State: api.WorkNone} }

// A running is a policy node with its log on disk and its API on a socket.
type running struct {
	node   *node.Node
	server *server.Server
	audit  *records
	lobby  *lobby
	client *api.Client
	socket string
	// stale makes the node one that has lost its cluster.
	stale *atomic.Bool
	// stop stops the API and then the node. The end of the test calls it, too.
	stop func()
}

// start runs a node until the test ends.
func start(t *testing.T, explain server.Explainer) *running {
	t.Helper()
	dir, err := os.MkdirTemp("", "api")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	r := startIn(t, dir, explain, func(l server.Log) server.Log { return l })
	described(t, r.server)
	return r
}

// startIn runs a node on the log in a folder. shown wraps the log for the API.
func startIn(t testing.TB, dir string, explain server.Explainer, shown func(server.Log) server.Log) *running {
	t.Helper()
	log, err := eventlog.Open(eventlog.Config{Dir: filepath.Join(dir, "log")})
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	n, err := node.New(node.Config{ID: "test", Log: log, LogID: log.LogID(), Recorder: nothing{}, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	audit, lobby, stale := new(records), new(lobby), new(atomic.Bool)
	fresh := func() error {
		if stale.Load() {
			return errors.New("cut off")
		}
		return nil
	}
	remove := func(_ context.Context, name string) (api.ClusterRemoved, error) {
		return api.ClusterRemoved{Node: name, Removed: []string{name + "-00000000"}, Left: []string{}}, nil
	}
	diff := func(_ context.Context, name string) (server.Difference, error) {
		return server.Difference{Common: 2, Own: server.Side{Node: "test", Position: 2}, Other: server.Side{Node: name, Position: 4, Only: []*events.Commit{{
			Position: 3, Tenant: "acme", TenantVersion: 1, Time: time.Unix(1, 0).UTC(), Actor: "operator:root", CommandID: "one", Events: []events.Event{events.RoleDefined{Name: "lab:kiosk"}},
		}}}}, nil
	}
	admin, err := server.New(server.Config{Node: "test", Fresh: fresh, RemoveNode: remove, DiffNode: diff, Runner: n, Log: shown(log), Explain: explain, Audit: audit, Gateways: lobby, Work: workshop{}, LogID: log.LogID(), Version: "test", Started: time.Unix(0, 0), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "run", "policyd.sock")
	l, err := server.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	nodeDone, apiDone := make(chan error, 1), make(chan error, 1)
	go func() { nodeDone <- n.Run(ctx) }()
	go func() { apiDone <- admin.Serve(ctx, l) }()
	client := api.NewClient(socket)
	stop := sync.OnceFunc(func() {
		client.Close()
		cancel()
		for _, done := range []chan error{apiDone, nodeDone} {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	r := &running{n, admin, audit, lobby, client, socket, stale, stop}
	r.await(t)
	return r
}

// serve runs the API without a node, on a Runner.
func serve(t *testing.T, runner server.Runner) *running {
	t.Helper()
	dir, err := os.MkdirTemp("", "api")
	if err != nil {
		t.Fatal(err)
	}
	admin, err := server.New(server.Config{Runner: runner})
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	l, err := server.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- admin.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	return &running{socket: socket}
}

// await waits until the node has a View of its log.
func (r *running) await(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	for {
		_, err := r.client.Status(ctx)
		if e, ok := errors.AsType[*api.Error](err); ok && e.Code == api.CodeUnavailable {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
}

// do sends a command that must succeed.
func (r *running) do(t *testing.T, tenant string, c api.Command) api.Result {
	t.Helper()
	result, err := r.client.Do(t.Context(), tenant, c, api.CommandMeta{})
	if err != nil {
		t.Fatalf("%s %s: %v", tenant, c.Command(), err)
	}
	return result
}

func acme() api.TenantCreate {
	return api.TenantCreate{
		DisplayName: "ACME Ltd",
		Ceiling:     []string{"xmpp:account:write"},
		Domains: []api.DomainAdd{
			{Domain: "Alpha.test", DefaultRole: "prosody:guest", Backends: []api.Backend{{Address: "127.0.0.1:15222", Security: "none"}}},
			{Domain: "beta.test"},
		},
		Services:     []string{"rooms.alpha.test"},
		Roles:        []api.RoleDefine{{Role: "lab:kiosk", Inherits: []string{"prosody:guest"}, Allow: []string{"xmpp:federate", "lab:print"}, Deny: []string{"xmpp:account:contacts:write"}}},
		BuiltinRoles: []api.RoleAdjust{{Role: "prosody:member", Add: []string{"lab:scan"}, Remove: []string{"xmpp:federate"}}},
		Members:      []api.MemberSet{{JID: "Bob@alpha.test", Role: "lab:kiosk", Secondary: []string{"prosody:member"}}},
	}
}

func TestCommandsAndReads(t *testing.T) {
	r := start(t, nil)
	ctx := t.Context()
	result, err := r.client.Do(ctx, "acme", acme(), api.CommandMeta{ID: "create-1", Reason: "a new customer"})
	if err != nil {
		t.Fatal(err)
	}
	if !result.Changed || result.Position != 1 || result.TenantVersion != 1 || result.CommandID != "create-1" {
		t.Errorf("create: %+v", result)
	}
	again, err := r.client.Do(ctx, "acme", acme(), api.CommandMeta{ID: "create-1"})
	if err != nil || again.Position != 1 || !again.Changed {
		t.Errorf("the same id again: %+v, %v", again, err)
	}
	noop := r.do(t, "acme", api.TenantRename{DisplayName: "ACME Ltd"})
	if noop.Changed || noop.Position != 1 || noop.TenantVersion != 1 || len(noop.CommandID) != 32 {
		t.Errorf("no-op: %+v", noop)
	}

	tenant, err := r.client.Tenant(ctx, "acme")
	if err != nil {
		t.Fatal(err)
	}
	if tenant.Name != "ACME Ltd" || len(tenant.DomainList) != 2 || tenant.DomainList[0].Domain != "alpha.test" ||
		!slices.Equal(tenant.DomainList[0].Backends, []api.Backend{{Address: "127.0.0.1:15222", Security: "none"}}) ||
		!slices.Equal(tenant.ServiceList, []string{"rooms.alpha.test"}) || !slices.Equal(tenant.Ceiling, []string{"xmpp:account:write"}) ||
		!slices.Equal(tenant.CustomRoles, []string{"lab:kiosk"}) || tenant.PresenceWithoutMessages != "clamp" || tenant.AuditAddresses != "full" {
		t.Errorf("tenant: %+v", tenant)
	}

	role, err := r.client.Role(ctx, "acme", "lab:kiosk")
	if err != nil {
		t.Fatal(err)
	}
	if role.Builtin || !slices.Contains(role.Effective, "lab:print") || !slices.Contains(role.Effective, "xmpp:federate") ||
		slices.Contains(role.Effective, "xmpp:account:contacts:write") || role.UsedByMembers != 1 {
		t.Errorf("role: %+v", role)
	}
	member, err := r.client.Role(ctx, "acme", "prosody:member")
	if err != nil || !slices.Equal(member.Add, []string{"lab:scan"}) || !slices.Equal(member.Remove, []string{"xmpp:federate"}) || len(member.Allow) != 0 {
		t.Errorf("built-in role: %+v, %v", member, err)
	}

	bob, err := r.client.Member(ctx, "acme", "BOB@Alpha.test")
	if err != nil {
		t.Fatal(err)
	}
	if bob.JID != "bob@alpha.test" || bob.Member.Role != "lab:kiosk" || !bob.Listed || !slices.Equal(bob.Secondary, []string{"prosody:member"}) || bob.TenantVersion != 1 {
		t.Errorf("member: %+v", bob)
	}
	carol, err := r.client.Member(ctx, "acme", "carol@alpha.test")
	if err != nil || carol.Listed || carol.Member.Role != "" || carol.ActsAs != "prosody:guest" {
		t.Errorf("account without an entry: %+v, %v", carol, err)
	}
	owner, err := r.client.Owner(ctx, "Rooms.alpha.test.")
	if err != nil || owner.Tenant != "acme" || owner.Kind != "service" || owner.Domain != "rooms.alpha.test" {
		t.Errorf("owner: %+v, %v", owner, err)
	}
	status, err := r.client.Status(ctx)
	if err != nil || status.Tenants != 1 || status.Domains != 2 || status.Members != 1 || status.Position != 1 || status.LogID == "" {
		t.Errorf("status: %+v, %v", status, err)
	}
}

func TestPermissionsSayWhy(t *testing.T) {
	r := start(t, nil)
	r.do(t, "acme", acme())
	list, err := r.client.Member(t.Context(), "acme", "bob@alpha.test")
	if err != nil {
		t.Fatal(err)
	}
	why := map[string]string{}
	for _, p := range list.Permissions {
		var steps []string
		for _, s := range p.Steps {
			steps = append(steps, strings.TrimSpace(s.Role+" "+s.Answer))
		}
		why[p.Permission] = strings.Join(steps, ", ")
	}
	for name, want := range map[string]string{
		"xmpp:federate":               "lab:kiosk allows",
		"xmpp:account:contacts:write": "lab:kiosk denies",
		"xmpp:account:messages:read":  "lab:kiosk silent, prosody:guest gives",
		"xmpp:account:read":           "lab:kiosk silent, prosody:guest silent, nobody",
		"lab:print":                   "lab:kiosk allows",
	} {
		if why[name] != want {
			t.Errorf("%s: %q, want %q", name, why[name], want)
		}
	}
	if list.Permissions[0].Permission != "xmpp:federate" || len(list.Permissions) != 26 {
		t.Errorf("%d permissions, the first %q", len(list.Permissions), list.Permissions[0].Permission)
	}
	r.do(t, "acme", api.TenantSuspend{})
	r.do(t, "acme", api.DomainSuspend{Domain: "alpha.test"})
	r.do(t, "acme", api.MemberSuspend{JID: "bob@alpha.test"})
	if list, err = r.client.Member(t.Context(), "acme", "bob@alpha.test"); err != nil || !slices.Equal(list.BarredBy, []string{"tenant", "domain", "member"}) {
		t.Errorf("barred by %v, %v", list.BarredBy, err)
	}
}

func TestPages(t *testing.T) {
	r := start(t, nil)
	create := api.TenantCreate{Domains: []api.DomainAdd{{Domain: "alpha.test"}}}
	for _, local := range strings.Split("abcdefg", "") {
		create.Members = append(create.Members, api.MemberSet{JID: local + "@alpha.test", Role: "prosody:guest"})
	}
	r.do(t, "acme", create)
	r.do(t, "beta", api.TenantCreate{})
	r.do(t, "delta", api.TenantCreate{})

	var members []string
	for after, more := "", true; more && len(members) < 100; {
		page, err := r.client.Members(t.Context(), "acme", after, 3)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range page.Members {
			members = append(members, m.JID[:1])
		}
		after, more = page.Next, page.Next != ""
	}
	if got := strings.Join(members, ""); got != "abcdefg" {
		t.Errorf("members by pages: %s", got)
	}
	first, err := r.client.Tenants(t.Context(), "", 2)
	if err != nil || len(first.Tenants) != 2 || first.Next != "beta" {
		t.Fatalf("first page: %+v, %v", first, err)
	}
	last, err := r.client.Tenants(t.Context(), first.Next, 2)
	if err != nil || len(last.Tenants) != 1 || last.Tenants[0].ID != "delta" || last.Next != "" {
		t.Errorf("last page: %+v, %v", last, err)
	}
}

func TestLogTail(t *testing.T) {
	r := start(t, nil)
	r.do(t, "acme", api.TenantCreate{Domains: []api.DomainAdd{{Domain: "alpha.test"}}})
	r.do(t, "beta", api.TenantCreate{})
	for i := range 20 {
		tenant := "beta"
		if i%10 == 0 {
			tenant = "acme"
		}
		r.do(t, tenant, api.TenantRename{DisplayName: strings.Repeat("x", i+1)})
	}
	positions := func(tail api.LogTail, err error) (list []uint64) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range tail.Entries {
			list = append(list, e.Position)
		}
		return list
	}
	for _, c := range []struct {
		name   string
		tenant string
		limit  int
		want   []uint64
	}{
		{"all", "", 3, []uint64{20, 21, 22}},
		{"a tenant's, far back", "acme", 2, []uint64{3, 13}},
		{"a tenant's, fewer than asked", "acme", 4, []uint64{1, 3, 13}},
		{"a tenant's, dense", "beta", 4, []uint64{19, 20, 21, 22}},
	} {
		if got := positions(r.client.Log(t.Context(), api.LogQuery{Tenant: c.tenant, Limit: c.limit})); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if got := positions(r.client.Log(t.Context(), api.LogQuery{Tenant: "acme", After: new(uint64(1)), Limit: 1})); !slices.Equal(got, []uint64{3}) {
		t.Errorf("after 1: %v", got)
	}
	if got := positions(r.client.Log(t.Context(), api.LogQuery{After: new(uint64(22)), Limit: 10})); len(got) != 0 {
		t.Errorf("after the last: %v", got)
	}
	tail, err := r.client.Log(t.Context(), api.LogQuery{Tenant: "acme", Limit: 3})
	if err != nil {
		t.Fatal(err)
	}
	e := tail.Entries[0]
	if e.Actor != "operator:local" || e.Tenant != "acme" || e.TenantVersion != 1 || len(e.Events) != 2 ||
		e.Events[1].What != "domain added alpha.test default-role prosody:registered" {
		t.Errorf("entry: %+v", e)
	}
}

func TestExplain(t *testing.T) {
	var asked api.ExplainRequest
	r := start(t, func(_ context.Context, v *projections.View, tenant string, q api.ExplainRequest) (server.Explained, error) {
		asked = q
		if tenant != "acme" || v.Position() != 1 {
			return server.Explained{}, errors.New("another tenant or View")
		}
		return server.Explained{Effect: "refuse", Row: "a row", Asked: []string{"xmpp:federate", "xmpp:account:read"}, Missing: []string{"xmpp:account:read"}}, nil
	})
	r.do(t, "acme", acme())
	reply, err := r.client.Explain(t.Context(), "acme", api.ExplainRequest{Account: "BOB@alpha.test", Stanza: "<x/>"})
	if err != nil {
		t.Fatal(err)
	}
	if asked.Account != "bob@alpha.test" || asked.Direction != "out" {
		t.Errorf("asked: %+v", asked)
	}
	if reply.Effect != "refuse" || reply.Role != "lab:kiosk" || len(reply.Permissions) != 2 || !reply.Permissions[0].Granted ||
		reply.Permissions[1].Granted || !slices.Equal(reply.Missing, []string{"xmpp:account:read"}) || reply.Position != 1 {
		t.Errorf("reply: %+v", reply)
	}
	reply, err = r.client.Explain(t.Context(), "acme", api.ExplainRequest{Account: "bob@alpha.test", Permission: "lab:print"})
	if err != nil || len(reply.Permissions) != 1 || !reply.Permissions[0].Granted || len(reply.Missing) != 0 || reply.Effect != "" {
		t.Errorf("permission: %+v, %v", reply, err)
	}
}

// TestServeEnds checks that Serve closes idle connections, and connections with an
// incomplete request, when it stops.
func TestServeEnds(t *testing.T) {
	t.Parallel() // it waits for stopTime
	r := start(t, nil)
	var conns []net.Conn
	for _, text := range []string{"", "POST /v1/tenants/acme/commands/tenant.create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n"} {
		conn, err := net.Dial("unix", r.socket)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	// The server asks for the body, so the request is in progress.
	if line, err := bufio.NewReader(conns[1]).ReadString('\n'); err != nil || !strings.Contains(line, "100") {
		t.Fatalf("%q, %v", line, err)
	}
	r.stop()
	for i, conn := range conns {
		if err := conn.SetReadDeadline(time.Now().Add(within)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("connection %d is still open", i)
		}
	}
	if _, err := os.Stat(r.socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}
