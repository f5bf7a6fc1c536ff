package node_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	audit "github.com/postern-im/postern/audit/jsonl"
	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/node"
	"github.com/postern-im/postern/tenants"
	"github.com/postern-im/postern/xmpp/jid"
	"github.com/postern-im/postern/xmpp/stanza"
)

// openLog opens a real log on a file system in memory.
func openLog(t testing.TB) *eventlog.Log {
	t.Helper()
	l, err := eventlog.Open(eventlog.Config{Dir: "log", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// A recorder counts records.
type recorder struct{ records atomic.Int64 }

func (*recorder) Ready() error { return nil }

func (r *recorder) Record(records []audit.Record) error {
	r.records.Add(int64(len(records)))
	return nil
}

// A rig is a running node.
type rig struct {
	*node.Node
	t           testing.TB
	recorder    *recorder
	revocations chan decision.Revocation
	stop        func() error
	done        chan error // the result of Run, until stop takes it
}

// start runs a node on a log until the end of the test or stop. The node uses the
// rig's recorder unless another one is given.
func start(t testing.TB, l node.Log, logID string, with ...node.Recorder) *rig {
	t.Helper()
	cfg := node.Config{Log: l, LogID: logID}
	if len(with) > 0 {
		cfg.Recorder = with[0]
	}
	return run(t, cfg)
}

// run runs a node until the end of the test or stop. The rig sets the fields that
// are missing in cfg, and receives the revocations.
func run(t testing.TB, cfg node.Config) *rig {
	t.Helper()
	r := &rig{t: t, recorder: new(recorder), revocations: make(chan decision.Revocation, 1024)}
	cfg.ID = "n1"
	cfg.OnRevocation = func(e decision.Revocation) {
		select {
		case r.revocations <- e:
		default: // the test does not read revocations
		}
	}
	if cfg.Recorder == nil {
		cfg.Recorder = r.recorder
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Metrics == nil {
		cfg.Metrics = prometheus.NewRegistry()
	}
	var err error
	if r.Node, err = node.New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.done = make(chan error, 1)
	go func() { r.done <- r.Run(ctx) }()
	r.stop = sync.OnceValue(func() error { cancel(); return <-r.done })
	t.Cleanup(func() { _ = r.stop() })
	return r
}

// ready waits until the node has folded its log.
func (r *rig) ready() *rig {
	r.t.Helper()
	until(r.t, "the node to be ready", func() bool { return r.Ready() == nil })
	return r
}

// until waits for a condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}

var operator = tenants.Actor{Name: "operator:root", Operator: true}

func command(tenant, id string, c tenants.Change) tenants.Command {
	return tenants.Command{Tenant: tenant, Actor: operator, ID: id, Change: c}
}

func (r *rig) do(tenant, id string, c tenants.Change) tenants.Result {
	r.t.Helper()
	result, err := r.Execute(context.Background(), command(tenant, id, c))
	if err != nil {
		r.t.Fatalf("%s %s: %v", id, c.Name(), err)
	}
	return result
}

// tenants creates the tenants acme and beta, with one domain each.
func (r *rig) tenants() {
	r.t.Helper()
	for _, id := range []string{"acme", "beta"} {
		r.do(id, "create", tenants.CreateTenant{
			Domains: []tenants.AddDomain{{
				Domain:   id + ".test",
				Backends: []events.Backend{{Address: "127.0.0.1:15222"}, {Address: "127.0.0.1:15223", Security: events.SecurityTLS, Proxy: true}},
			}},
			Roles: []tenants.DefineRole{{Role: "lab:mute", Inherits: []string{"prosody:registered"}, Deny: []string{"xmpp:account:messages:write"}}},
		})
	}
}

func chat(t testing.TB, tenant, account, to string, opened uint64) decision.Request {
	t.Helper()
	addr, err := jid.Split([]byte(to))
	if err != nil {
		t.Fatal(err)
	}
	return decision.Request{Kind: decision.Ask, Question: decision.Question{
		ID: 1,
		Session: decision.Session{
			ID: []byte("s1"), Tenant: []byte(tenant), Account: []byte(account), Resource: []byte("phone"), Opened: opened,
		},
		Desc: stanza.Descriptor{
			Kind: stanza.Message, Type: stanza.Chat, Marks: stanza.HasContent, ID: []byte("m1"), HasID: true, To: addr,
			Payloads: []stanza.Part{{Space: stanza.Client, Local: []byte("body")}},
		},
	}}
}

func (r *rig) answer(at decision.Mark, requests ...decision.Request) decision.Reply {
	var reply decision.Reply
	for i := range requests {
		if s := &requests[i].Question.Session; s.OpenedLog == nil {
			s.OpenedLog = []byte(r.State().At.LogID)
		}
	}
	r.Answer(&decision.Batch{BatchHead: decision.BatchHead{Gateway: "gw1", ID: 1, AtLeast: at}, Requests: requests}, &reply)
	return reply
}

func (r *rig) ask(tenant, account, to string, opened uint64) decision.Verdict {
	r.t.Helper()
	reply := r.answer(decision.Mark{}, chat(r.t, tenant, account, to, opened))
	if reply.Status != decision.StatusOK || len(reply.Results) != 1 {
		r.t.Fatalf("reply %+v", reply)
	}
	return reply.Results[0].Verdict
}

func (r *rig) admit(domain string) decision.Admission {
	r.t.Helper()
	reply := r.answer(decision.Mark{}, decision.Request{Kind: decision.Admit, Domain: []byte(domain)})
	return reply.Results[0].Admission
}

func (r *rig) open(tenant, account string) decision.Opening {
	r.t.Helper()
	reply := r.answer(decision.Mark{}, decision.Request{Kind: decision.Open, Session: decision.Session{
		ID: []byte("s1"), Tenant: []byte(tenant), Account: []byte(account), Resource: []byte("phone"),
	}})
	return reply.Results[0].Opening
}

func TestDecide(t *testing.T) {
	l := openLog(t)
	r := start(t, l, l.LogID()).ready()
	r.tenants()
	v := r.ask("acme", "bob@acme.test", "carol@acme.test", 2)
	if v.Effect != decision.Pass || v.LogID != l.LogID() || v.Position != 2 {
		t.Errorf("a chat message: %+v", v)
	}
	result := r.do("acme", "mute", tenants.SetMemberRoles{JID: "bob@acme.test", Role: "lab:mute"})
	if v = r.ask("acme", "bob@acme.test", "carol@acme.test", 2); v.Effect != decision.End {
		t.Errorf("a session opened before its account's role was changed: %+v", v)
	}
	v = r.ask("acme", "bob@acme.test", "carol@acme.test", uint64(result.Position))
	if v.Effect != decision.Refuse || v.Permission != "xmpp:account:messages:write" || v.Position != uint64(result.Position) {
		t.Errorf("a muted member: %+v", v)
	}
	// A session is judged by the tenant that it claims only if its account's domain
	// belongs to that tenant.
	for _, tenant := range []string{"beta", "nobody"} {
		if v := r.ask(tenant, "bob@acme.test", "carol@acme.test", 9); v.Effect != decision.End && v.Effect != decision.Refuse {
			t.Errorf("tenant %s: %+v", tenant, v)
		}
	}
	if n := r.recorder.records.Load(); n != 5 {
		t.Errorf("%d records were written, want 5", n)
	}
}

func TestAdmitAndOpen(t *testing.T) {
	l := openLog(t)
	r := start(t, l, l.LogID()).ready()
	r.tenants()
	want := []decision.Backend{{Address: "127.0.0.1:15222", Security: decision.Plain}, {Address: "127.0.0.1:15223", Security: decision.TLS, Proxy: true}}
	for _, name := range []string{"acme.test", "ACME.test", "acme.test."} {
		a := r.admit(name)
		if !a.Known || a.Tenant != "acme" || a.Domain != "acme.test" || !slices.Equal(a.Backends, want) || a.Position != 2 || a.LogID != l.LogID() {
			t.Errorf("%s: %+v", name, a)
		}
	}
	r.do("acme", "service", tenants.AddService{Service: "muc.acme.test"})
	r.do("acme", "empty", tenants.AddDomain{Domain: "empty.test"})
	for _, name := range []string{"", "nowhere.test", "muc.acme.test", "empty.test", "bob@acme.test", "acme.test/x", "\xff", strings.Repeat("a", 1100)} {
		if a := r.admit(name); a.Known || a.Tenant != "" {
			t.Errorf("%q: %+v", name, a)
		}
	}
	if o := r.open("acme", "bob@acme.test"); !o.Allowed || o.Position != 4 || o.LogID != l.LogID() {
		t.Errorf("open: %+v", o)
	}
	if r.open("beta", "bob@acme.test").Allowed || r.open("acme", "bob@muc.acme.test").Allowed || r.open("acme", "bob@nowhere.test").Allowed {
		t.Error("a session was opened for an account of another tenant")
	}
	r.do("acme", "limits", tenants.SetLimits{MaxSessions: 300})
	if a := r.admit("acme.test"); a.MaxSessions != 300 || r.admit("beta.test").MaxSessions != 0 {
		t.Errorf("limited: %+v", a)
	}
	steps := []struct {
		off, on tenants.Change
		member  bool // the change concerns only one account
	}{
		{tenants.SuspendTenant{}, tenants.ResumeTenant{}, false},
		{tenants.SuspendDomain{Domain: "acme.test"}, tenants.ResumeDomain{Domain: "acme.test"}, false},
		{tenants.SuspendMember{JID: "bob@acme.test"}, tenants.ResumeMember{JID: "bob@acme.test"}, true},
	}
	for i, s := range steps {
		r.do("acme", fmt.Sprintf("off%d", i), s.off)
		if r.admit("acme.test").Known != s.member || r.open("acme", "bob@acme.test").Allowed || r.open("acme", "eve@acme.test").Allowed != s.member {
			t.Errorf("%s: admission %+v", s.off.Name(), r.admit("acme.test"))
		}
		r.do("acme", fmt.Sprintf("on%d", i), s.on)
		if !r.admit("acme.test").Known || !r.open("acme", "bob@acme.test").Allowed {
			t.Errorf("%s did not undo %s", s.on.Name(), s.off.Name())
		}
	}
}

func TestAtLeast(t *testing.T) {
	l := openLog(t)
	r := start(t, l, l.LogID()).ready()
	r.tenants()
	for _, tt := range []struct {
		at   decision.Mark
		want decision.Status
	}{
		{decision.Mark{}, decision.StatusOK},
		{decision.Mark{LogID: l.LogID(), Position: 2}, decision.StatusOK},
		{decision.Mark{LogID: l.LogID(), Position: 3}, decision.StatusBehind},
		{decision.Mark{LogID: "another", Position: 3}, decision.StatusOK},
	} {
		reply := r.answer(tt.at, chat(t, "acme", "bob@acme.test", "carol@acme.test", 2))
		if reply.Status != tt.want || (len(reply.Results) == 1) != (tt.want == decision.StatusOK) {
			t.Errorf("at least %+v: status %d with %d results", tt.at, reply.Status, len(reply.Results))
		}
	}
}

func TestNothingBeforeRun(t *testing.T) {
	l := openLog(t)
	n, err := node.New(node.Config{ID: "n1", Log: l, LogID: l.LogID(), Recorder: new(recorder)})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Node: n, t: t}
	if reply := r.answer(decision.Mark{}, chat(t, "acme", "bob@acme.test", "carol@acme.test", 0)); reply.Status != decision.StatusNotFresh || len(reply.Results) > 0 {
		t.Errorf("reply %+v", reply)
	}
	if _, err := n.Execute(t.Context(), command("acme", "1", tenants.CreateTenant{})); !errors.Is(err, node.ErrNotReady) {
		t.Errorf("execute: %v", err)
	}
	if n.State().Ready || n.View() != nil {
		t.Error("a node without a View is ready")
	}
}

// TestUnfoldable: a commit that cannot be applied stops the node deciding, but not
// the process, whether it is in the log at the start or comes later.
func TestUnfoldable(t *testing.T) {
	l := openLog(t)
	r := start(t, l, l.LogID()).ready()
	r.tenants()
	bad := &events.Commit{Tenant: "ghost", TenantVersion: 1, Time: time.Now(), Actor: "x", CommandID: "x", Events: []events.Event{events.TenantSuspended{}}}
	if err := l.Append(t.Context(), 2, bad); err != nil {
		t.Fatal(err)
	}
	until(t, "the node to stop", func() bool { return r.Failure() != nil })
	if reply := r.answer(decision.Mark{}, chat(t, "acme", "bob@acme.test", "carol@acme.test", 2)); reply.Status != decision.StatusNotFresh {
		t.Errorf("reply %+v", reply)
	}
	if _, err := r.Execute(t.Context(), command("acme", "later", tenants.SuspendTenant{})); err == nil {
		t.Error("a command was run")
	}
	if err := r.stop(); err != nil {
		t.Errorf("run: %v", err)
	}
	again := start(t, l, l.LogID())
	until(t, "the second node to stop", func() bool { return again.Failure() != nil })
	if again.View() != nil {
		t.Error("the node has a View of a log that cannot be folded")
	}
}

func TestRevocations(t *testing.T) {
	l := openLog(t)
	r := start(t, l, l.LogID()).ready()
	r.tenants()
	bob := func(p uint64) []decision.Revocation {
		return []decision.Revocation{{Tenant: "acme", Account: "bob@acme.test", Position: p, LogID: l.LogID()}}
	}
	all := func(p uint64) []decision.Revocation {
		return []decision.Revocation{{Tenant: "acme", Position: p, LogID: l.LogID()}}
	}
	for i, tt := range []struct {
		change tenants.Change
		want   func(uint64) []decision.Revocation
	}{
		{tenants.SetMemberRoles{JID: "bob@acme.test", Role: "lab:mute"}, bob},
		{tenants.SuspendMember{JID: "bob@acme.test"}, bob},
		{tenants.ResumeMember{JID: "bob@acme.test"}, nil},
		{tenants.EndMemberSessions{JID: "bob@acme.test"}, bob},
		{tenants.RemoveMember{JID: "bob@acme.test"}, bob},
		{tenants.DefineRole{Role: "lab:mute", Deny: []string{"xmpp:account:messages:read"}}, all},
		{tenants.SetDomainDefaultRole{Domain: "acme.test", Role: "prosody:guest"}, all},
		{tenants.SetCeiling{Permissions: []string{"xmpp:federate"}}, all},
		{tenants.AddDomain{Domain: "more.test"}, nil},
		{tenants.SuspendTenant{}, all},
		{tenants.ResumeTenant{}, nil},
	} {
		for len(r.revocations) > 0 {
			<-r.revocations
		}
		result := r.do("acme", fmt.Sprint("c", i), tt.change)
		// The revocation of the next commit comes after all revocations of this one.
		r.do("beta", fmt.Sprint("mark", i), tenants.EndMemberSessions{JID: "mark@beta.test"})
		var got, want []decision.Revocation
		for e := range r.revocations {
			if e.Tenant == "beta" {
				break
			}
			got = append(got, e)
		}
		if tt.want != nil {
			want = tt.want(uint64(result.Position))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: revocations %+v, want %+v", tt.change.Name(), got, want)
		}
	}
}

// TestOpenedBeyondTheLog: a session that was opened at a position that the log does not
// have ends. The log has given up commits, and its next revocations may have lower
// positions than the session.
func TestOpenedBeyondTheLog(t *testing.T) {
	l := openLog(t)
	r := start(t, l, l.LogID()).ready()
	r.tenants()
	at := r.State().At.Position
	for opened, want := range map[uint64]decision.Effect{at - 1: decision.Pass, at: decision.Pass, at + 1: decision.End} {
		if v := r.ask("acme", "anna@acme.test", "ben@acme.test", opened); v.Effect != want {
			t.Errorf("opened at %d, the log is at %d: %+v", opened, at, v)
		}
	}
}

// TestOtherLog: a session that was opened under another log than the node's is
// ended, at any position. So is a session that names no log.
func TestOtherLog(t *testing.T) {
	l := openLog(t)
	r := start(t, l, l.LogID()).ready()
	r.tenants()
	for log, want := range map[string]decision.Effect{
		l.LogID():                          decision.Pass,
		"":                                 decision.End,
		"0123456789abcdef0123456789abcdef": decision.End,
	} {
		q := chat(t, "acme", "bob@acme.test", "carol@acme.test", r.State().At.Position)
		q.Question.Session.OpenedLog = []byte(log)
		reply := r.answer(decision.Mark{}, q)
		if reply.Status != decision.StatusOK || reply.Results[0].Verdict.Effect != want {
			t.Errorf("opened under %q: %+v, want %v", log, reply, want)
		}
	}
}
