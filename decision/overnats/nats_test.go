package overnats

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/xmpp/stanza"
)

// startNATS starts a real server on loopback; port -1 is any.
func startNATS(t testing.TB, port int) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: port, ServerName: "test", NoSigs: true, NoLog: true, NoSystemAccount: true, StoreDir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	if !s.ReadyForConnections(5 * time.Second) {
		t.Fatal("NATS is not ready")
	}
	t.Cleanup(func() { stopNATS(s) })
	return s
}

func stopNATS(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

func connect(t testing.TB, s *server.Server) *nats.Conn {
	t.Helper()
	conn, err := Connect(ConnectConfig{URLs: []string{s.ClientURL()}, ServerName: "test", Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// A decider answers each question with its own id as position, so that a
// verdict tells which question it is for.
type decider struct {
	state  atomic.Pointer[decision.State]
	status atomic.Int32
	asked  atomic.Int64
	before func(*decision.Batch) // called first, where not nil
}

func newDecider() *decider {
	d := new(decider)
	d.state.Store(&decision.State{At: decision.Mark{LogID: "log", Position: 10}, Ready: true})
	return d
}

func (d *decider) State() decision.State { return *d.state.Load() }

func (d *decider) Answer(b *decision.Batch, r *decision.Reply) {
	if d.before != nil {
		d.before(b)
	}
	d.asked.Add(int64(len(b.Requests)))
	s := d.State()
	r.Status, r.At = decision.Status(d.status.Load()), s.At
	if b.AtLeast.LogID == s.At.LogID && b.AtLeast.Position > s.At.Position {
		r.Status = decision.StatusBehind
	}
	for i := range b.Requests {
		q := &b.Requests[i]
		res := decision.Result{Kind: q.Kind}
		switch q.Kind {
		case decision.Ask:
			res.Verdict = decision.Verdict{Effect: decision.Pass, Position: q.Question.ID}
		case decision.Admit:
			res.Admission = decision.Admission{Known: true, Tenant: "acme", Domain: string(q.Domain), Position: s.At.Position}
		case decision.Open:
			res.Opening = decision.Opening{Allowed: true, Position: s.At.Position}
		}
		r.Results = append(r.Results, res)
	}
}

// running starts run and has the test's end wait for it.
func running(t testing.TB, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func startAsker(t testing.TB, s *server.Server) *Asker {
	t.Helper()
	a, err := New(Config{Conn: connect(t, s), Gateway: "gw1", Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	running(t, a.Run)
	return a
}

func startResponder(t testing.TB, s *server.Server, id string, d Decider) (r *Responder, stop func()) {
	t.Helper()
	r, err := NewResponder(ResponderConfig{Conn: connect(t, s), Node: id, Decider: d, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	return r, running(t, r.Serve)
}

func question(id uint64) decision.Question {
	return decision.Question{
		ID: id,
		Session: decision.Session{
			ID: []byte("s1"), Tenant: []byte("acme"), Account: []byte("bob@alpha.test"), Resource: []byte("phone"), Opened: 9,
		},
		Desc: stanza.Descriptor{
			Kind: stanza.Message, Type: stanza.Chat, Marks: stanza.HasContent, ID: []byte("m1"), HasID: true,
			Payloads: []stanza.Part{{Space: stanza.Client, Local: []byte("body")}},
		},
	}
}

// askOne asks question id and checks that the verdict is its own.
func askOne(t testing.TB, a *Asker, id uint64, hold time.Duration) error {
	t.Helper()
	qs, vs := []decision.Question{question(id)}, make([]decision.Verdict, 1)
	err := a.Ask(t.Context(), qs, vs, hold)
	switch {
	case err == nil && (vs[0].Effect != decision.Pass || vs[0].Position != id):
		t.Errorf("question %d got the verdict %+v", id, vs[0])
	case err != nil && vs[0].Effect != decision.Undecided:
		t.Errorf("question %d got %v and the verdict %+v", id, err, vs[0])
	}
	return err
}

func TestAskAdmitOpen(t *testing.T) {
	s := startNATS(t, -1)
	a := startAsker(t, s)
	startResponder(t, s, "n1", newDecider())
	begin := time.Now()
	if err := askOne(t, a, 1, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	qs, vs := []decision.Question{question(2), question(3)}, make([]decision.Verdict, 2)
	if err := a.Ask(t.Context(), qs, vs, time.Second); err != nil {
		t.Fatal(err)
	}
	for i, v := range vs {
		if v.Position != qs[i].ID || v.LogID != "log" || v.AskedAt.Before(begin) || v.AskedAt.After(time.Now()) {
			t.Errorf("question %d: %+v", qs[i].ID, v)
		}
	}
	admission, err := a.Admit(t.Context(), "alpha.test")
	if err != nil || !admission.Known || admission.Domain != "alpha.test" || admission.LogID != "log" {
		t.Errorf("admit: %+v, %v", admission, err)
	}
	opening, err := a.Open(t.Context(), qs[0].Session)
	if err != nil || opening != (decision.Opening{Allowed: true, Position: 10, LogID: "log"}) {
		t.Errorf("open: %+v, %v", opening, err)
	}
	if since, out := a.Available(); out {
		t.Errorf("out since %v", since)
	}
}
