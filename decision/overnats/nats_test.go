package overnats

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/internal/boottime"
	"github.com/postern-im/postern/xmpp/stanza"
)

// startNATS starts a real server on loopback. Port -1 means any free port.
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
	connected(t, conn)
	return conn
}

func oneLink(conn *nats.Conn) []LinkConfig { return []LinkConfig{{Name: "nats", Conn: conn}} }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// A decider answers each question with a verdict whose position is the question's
// id, so that a test can match verdicts and questions.
type decider struct {
	state  atomic.Pointer[decision.State]
	status atomic.Int32
	asked  atomic.Int64
	before func(*decision.Batch) // called first, unless it is nil
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
	r.Status, r.At, r.Proven = decision.Status(d.status.Load()), s.At, b.Challenge
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

// running starts run, and waits for its end when the test ends.
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
	a, err := New(Config{Links: oneLink(connect(t, s)), Gateway: "gw1", Logger: quiet()})
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

// askOne asks the question with the given id and checks that the verdict belongs
// to it.
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
	begin := boottime.Now()
	if err := askOne(t, a, 1, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	qs, vs := []decision.Question{question(2), question(3)}, make([]decision.Verdict, 2)
	if err := a.Ask(t.Context(), qs, vs, time.Second); err != nil {
		t.Fatal(err)
	}
	for i, v := range vs {
		if v.Position != qs[i].ID || v.LogID != "log" || v.AskedAt < begin || !v.Fresh(boottime.Now()) {
			t.Errorf("question %d: %+v", qs[i].ID, v)
		}
	}
	admission, err := a.Admit(t.Context(), "alpha.test")
	if err != nil || !admission.Known || admission.Domain != "alpha.test" || admission.LogID != "log" || !admission.Fresh(boottime.Now()) {
		t.Errorf("admit: %+v, %v", admission, err)
	}
	opening, err := a.Open(t.Context(), qs[0].Session)
	if err != nil || !opening.Allowed || opening.Position != 10 || opening.LogID != "log" || !opening.Fresh(boottime.Now()) {
		t.Errorf("open: %+v, %v", opening, err)
	}
	if since, out := a.Available(); out {
		t.Errorf("out since %v", since)
	}
}

func TestNodeDownAndUp(t *testing.T) {
	s := startNATS(t, -1)
	a := startAsker(t, s)
	if err := askOne(t, a, 1, 300*time.Millisecond); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("without a node: %v", err)
	}
	for round := range uint64(3) {
		_, stop := startResponder(t, s, "n1", newDecider())
		if err := askOne(t, a, 2, 5*time.Second); err != nil {
			t.Fatalf("round %d, with a node: %v", round, err)
		}
		stop()
		begin := time.Now()
		if err := askOne(t, a, 3, time.Second); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("round %d, the node has gone: %v", round, err)
		}
		if took := time.Since(begin); took > 3*time.Second {
			t.Errorf("round %d: failed after %v", round, took)
		}
		if _, out := a.Available(); !out {
			t.Errorf("round %d: no node, and available", round)
		}
		begin = time.Now()
		if err := askOne(t, a, 4, time.Second); !errors.Is(err, ErrUnavailable) || time.Since(begin) > 500*time.Millisecond {
			t.Errorf("round %d: into a long outage: %v after %v", round, err, time.Since(begin))
		}
	}
}

// TestHungNode checks that callers rarely wait for a node that receives requests
// but does not answer, while another node works.
func TestHungNode(t *testing.T) {
	s := startNATS(t, -1)
	a := startAsker(t, s)
	hang := make(chan struct{})
	hung := newDecider()
	hung.before = func(*decision.Batch) { <-hang }
	startResponder(t, s, "good", newDecider())
	startResponder(t, s, "hung", hung)
	t.Cleanup(func() { close(hang) }) // before the cleanup that waits for the responder
	until(t, a, func(c *core) bool { return len(c.nodes) == 2 })
	var slow, worst time.Duration
	for i := range uint64(300) {
		begin := time.Now()
		if err := askOne(t, a, i, 5*time.Second); err != nil {
			t.Fatal(err)
		}
		took := time.Since(begin)
		worst = max(worst, took)
		if took >= hedgeAfter {
			slow += took
		}
	}
	// The node may be asked again a few times, but not by each question.
	if slow > 5*tryFor {
		t.Errorf("%v were spent waiting for the hung node, %v at worst", slow, worst)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.core.counts.hedges == 0 {
		t.Error("no message was hedged, so the hung node was never asked")
	}
}

// until waits until the core is in a certain state.
func until(t testing.TB, a *Asker, ok func(*core) bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		a.mu.Lock()
		done := ok(a.core)
		a.mu.Unlock()
		if done {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the core did not reach the state in time")
		}
	}
}

// TestNATSRestarted checks that a question asked while NATS is stopped is answered
// after NATS has started again.
func TestNATSRestarted(t *testing.T) {
	s := startNATS(t, -1)
	port := s.Addr().(*net.TCPAddr).Port
	a := startAsker(t, s)
	startResponder(t, s, "n1", newDecider())
	for round := range uint64(3) {
		if err := askOne(t, a, 1, 5*time.Second); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		stopNATS(s)
		if err := askOne(t, a, 2, 300*time.Millisecond); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("round %d, without NATS: %v", round, err)
		}
		answer := make(chan error, 1)
		go func() { answer <- askOne(t, a, 3, 10*time.Second) }()
		until(t, a, func(c *core) bool { return c.pending == 1 })
		s = startNATS(t, port)
		if err := <-answer; err != nil {
			t.Fatalf("round %d, NATS is back: %v", round, err)
		}
	}
}

func TestBehindAndNotFresh(t *testing.T) {
	s := startNATS(t, -1)
	a := startAsker(t, s)
	d := newDecider()
	startResponder(t, s, "n1", d)
	if err := askOne(t, a, 1, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	// Another node announces a newer position that this node has not reached.
	ahead := newDecider()
	ahead.state.Store(&decision.State{At: decision.Mark{LogID: "log", Position: 11}, Ready: true})
	_, stop := startResponder(t, s, "n2", ahead)
	until(t, a, func(c *core) bool { return c.newest.Position == 11 })
	for i := range uint64(20) {
		if err := askOne(t, a, i, 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if n := d.asked.Load(); n > 22 {
		t.Errorf("the node that is behind was asked %d times", n)
	}
	stop()
	if err := askOne(t, a, 2, 500*time.Millisecond); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a node that is behind answered: %v", err)
	}
	d.state.Store(&decision.State{At: decision.Mark{LogID: "log", Position: 11}, Ready: true})
	if err := askOne(t, a, 3, 5*time.Second); err != nil {
		t.Errorf("after it has caught up: %v", err)
	}
	d.status.Store(int32(decision.StatusNotFresh))
	if err := askOne(t, a, 4, 500*time.Millisecond); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a node that is not fresh answered: %v", err)
	}
	d.status.Store(int32(decision.StatusOK))
	if err := askOne(t, a, 5, 5*time.Second); err != nil {
		t.Errorf("after it has become fresh again: %v", err)
	}
}

// TestLyingNode checks that invalid replies are not used as answers and do not
// stop the Asker.
func TestLyingNode(t *testing.T) {
	s := startNATS(t, -1)
	a := startAsker(t, s)
	liar := connect(t, s)
	var lie atomic.Int64
	sub, err := liar.QueueSubscribe(askSubject("", "*"), firstQueue, func(m *nats.Msg) {
		var b decision.Batch
		if err := decision.DecodeBatch(m.Data, &b); err != nil {
			t.Errorf("the batch cannot be read: %v", err)
			return
		}
		r := decision.Reply{ReplyHead: decision.ReplyHead{ID: b.ID, Node: "liar", At: decision.Mark{LogID: "log", Position: 1}}}
		for range b.Requests {
			r.Results = append(r.Results, decision.Result{Kind: decision.Ask, Verdict: decision.Verdict{Effect: decision.Pass, Position: 1}})
		}
		var out []byte
		switch lie.Add(1) % 6 {
		case 0:
			out = []byte("garbage")
		case 1: // nothing at all
		case 2:
			r.ID++
			out = decision.AppendReply(nil, &r)
		case 3:
			r.Results = append(r.Results, decision.Result{Kind: decision.Ask, Verdict: decision.Verdict{Effect: decision.Pass}})
			out = decision.AppendReply(nil, &r)
		case 4:
			out = append(decision.AppendReply(nil, &r), 0)
		case 5:
			r.Results = r.Results[:0]
			out = decision.AppendReply(nil, &r)
			if len(b.Requests) == 0 {
				out = nil // this would be a correct reply to a ping, so send none
			}
		}
		if err := m.Respond(out); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(5) {
		if err := askOne(t, a, i, 700*time.Millisecond); !errors.Is(err, ErrUnavailable) {
			t.Errorf("question %d: %v", i, err)
		}
	}
	if lie.Load() < 6 {
		t.Errorf("only %d false replies were sent", lie.Load())
	}
	if err := sub.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	startResponder(t, s, "n1", newDecider())
	if err := askOne(t, a, 9, 5*time.Second); err != nil {
		t.Errorf("an honest node: %v", err)
	}
}

// TestBadRequest checks that a question that makes the node panic fails alone.
func TestBadRequest(t *testing.T) {
	s := startNATS(t, -1)
	a := startAsker(t, s)
	d := newDecider()
	const poison = 66
	d.before = func(b *decision.Batch) {
		for i := range b.Requests {
			if b.Requests[i].Question.ID == poison {
				panic("cannot decide")
			}
		}
	}
	startResponder(t, s, "n1", d)
	var wg sync.WaitGroup
	for i := range uint64(200) {
		wg.Go(func() {
			err := askOne(t, a, i, 10*time.Second)
			if i == poison && !errors.Is(err, ErrBadRequest) || i != poison && err != nil {
				t.Errorf("question %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	// A question that the node cannot decode fails in the same way.
	q := question(1)
	q.Session.Tenant = []byte("Not A Tenant")
	vs := make([]decision.Verdict, 1)
	if err := a.Ask(t.Context(), []decision.Question{q}, vs, time.Second); !errors.Is(err, ErrBadRequest) || vs[0].Effect != decision.Undecided {
		t.Errorf("an unreadable question: %v, %+v", err, vs[0])
	}
	if err := askOne(t, a, 1, time.Second); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestManyCallers(t *testing.T) {
	s := startNATS(t, -1)
	a := startAsker(t, s)
	d := newDecider()
	startResponder(t, s, "n1", d)
	startResponder(t, s, "n2", d)
	var wg sync.WaitGroup
	for caller := range uint64(256) {
		wg.Go(func() {
			for i := range uint64(40) {
				if err := askOne(t, a, caller<<32|i, 30*time.Second); err != nil {
					t.Errorf("caller %d, question %d: %v", caller, i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.core.counts
	if c.requests != 256*40 || c.messages*2 > c.requests {
		t.Errorf("%d requests in %d messages", c.requests, c.messages)
	}
}

// TestGracefulStop checks that no request is missed when one of two nodes stops.
func TestGracefulStop(t *testing.T) {
	s := startNATS(t, -1)
	a := startAsker(t, s)
	startResponder(t, s, "stays", newDecider())
	_, stop := startResponder(t, s, "goes", newDecider())
	until(t, a, func(c *core) bool { return len(c.nodes) == 2 })
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := uint64(0); ctx.Err() == nil; i++ {
				if err := askOne(t, a, i, 5*time.Second); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	before := misses(a)
	stop()
	until(t, a, func(c *core) bool { n := c.node("goes"); return n == nil || !n.ready })
	cancel()
	wg.Wait()
	if n := misses(a) - before; n > 0 {
		t.Errorf("%d messages were missed", n)
	}
}

func misses(a *Asker) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.core.counts.misses
}

// TestNoOtherName checks that a gateway's batch is answered only if the batch and
// its reply subject name this gateway.
func TestNoOtherName(t *testing.T) {
	s := startNATS(t, -1)
	d := newDecider()
	startResponder(t, s, "n1", d)
	if err := askOne(t, startAsker(t, s), 1, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, s)
	inbox, err := conn.SubscribeSync(replyPrefix + ">")
	if err != nil {
		t.Fatal(err)
	}
	q := question(1)
	batch := func(gateway string) []byte {
		return decision.AppendQuestion(decision.AppendBatch(nil, &decision.BatchHead{Gateway: gateway, ID: 7}, 1), &q)
	}
	asked := d.asked.Load()
	for _, m := range []struct{ subject, reply, claims string }{
		{"postern.ask.n1.gw1", "postern.reply.gw1.x.1", "gw2"},
		{"postern.ask.n1.gw1", "postern.reply.gw2.x.1", "gw1"},
		{"postern.ask.n1.gw1", "postern.reply.gw1x.1", "gw1"},
		{"postern.ask.n1.gw1", "postern.nodes", "gw1"},
		{"postern.first.gw1", "postern.reply.gw1.x.1", "gw2"},
		{"postern.first.gw1", "postern.reply.gw2.x.1", "gw2"},
	} {
		if err := conn.PublishRequest(m.subject, m.reply, batch(m.claims)); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.Publish("postern.ask.n1.gw1", batch("gw1")); err != nil {
		t.Fatal(err)
	}
	if err := conn.PublishRequest("postern.first.gw1", "postern.reply.gw1.x.last", batch("gw1")); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := inbox.NextMsg(5 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var r decision.Reply
		if err := decision.DecodeReply(m.Data, &r); err != nil {
			t.Fatal(err)
		}
		if m.Subject == "postern.reply.gw1.x.last" {
			break
		}
		if r.Status == decision.StatusOK {
			t.Errorf("answered on %s", m.Subject)
		}
	}
	if n := d.asked.Load() - asked; n != 1 {
		t.Errorf("%d questions were decided, want 1", n)
	}
}

func TestRevocationsAreHeard(t *testing.T) {
	s := startNATS(t, -1)
	heard := make(chan decision.Revocation, 10)
	a, err := New(Config{Links: oneLink(connect(t, s)), Gateway: "gw1", Logger: quiet(), OnRevocation: func(e decision.Revocation) { heard <- e }})
	if err != nil {
		t.Fatal(err)
	}
	running(t, a.Run)
	r, _ := startResponder(t, s, "n1", newDecider())
	if err := askOne(t, a, 1, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	// Revocations of a node that was unknown until now may have been missed. The
	// Asker learns of the node from its announcement, which may arrive after the
	// answer above.
	if got, missed := <-heard, (decision.Revocation{LogID: "log", Position: 10}); got != missed {
		t.Errorf("after the announcement of a new node, got %+v", got)
	}
	stranger := connect(t, s)
	if err := stranger.Publish(revocationSubject, []byte("garbage")); err != nil {
		t.Fatal(err)
	}
	want := decision.Revocation{Tenant: "acme", Account: "bob@alpha.test", Position: 12, LogID: "log"}
	if err := r.Notify(want); err != nil {
		t.Fatal(err)
	}
	if got := <-heard; got != want {
		t.Errorf("got %+v", got)
	}
	until(t, a, func(c *core) bool { return c.newest == decision.Mark{LogID: "log", Position: 12} })
}

func TestEndOfRun(t *testing.T) {
	s := startNATS(t, -1)
	a, err := New(Config{Links: oneLink(connect(t, s)), Gateway: "gw1", Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	if err := askOne(t, a, 1, 10*time.Millisecond); !errors.Is(err, ErrUnavailable) {
		t.Errorf("before Run: %v", err)
	}
	stop := running(t, a.Run)
	waiting := make(chan error, 1)
	go func() { waiting <- askOne(t, a, 1, time.Minute) }()
	until(t, a, func(c *core) bool { return c.pending == 1 })
	gone, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		left <- a.Ask(gone, []decision.Question{question(2)}, make([]decision.Verdict, 1), time.Minute)
	}()
	until(t, a, func(c *core) bool { return c.pending == 2 })
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled call: %v", err)
	}
	stop()
	if err := <-waiting; !errors.Is(err, ErrClosed) {
		t.Errorf("a waiting call: %v", err)
	}
	if err := askOne(t, a, 1, time.Minute); !errors.Is(err, ErrClosed) {
		t.Errorf("after Run: %v", err)
	}
	if _, err := a.Admit(t.Context(), "alpha.test"); !errors.Is(err, ErrClosed) {
		t.Errorf("admit after Run: %v", err)
	}
}

func TestIDsAreTokens(t *testing.T) {
	s := startNATS(t, -1)
	conn := connect(t, s)
	for _, id := range []string{"", "*", ">", "a.b", "A", "a b", "a-b", "\x00", "é", "012345678901234567890123456789012"} {
		if _, err := New(Config{Links: oneLink(conn), Gateway: id}); err == nil {
			t.Errorf("a gateway of id %q", id)
		}
		if _, err := NewResponder(ResponderConfig{Conn: conn, Node: id, Decider: newDecider()}); err == nil {
			t.Errorf("a node of id %q", id)
		}
	}
}
