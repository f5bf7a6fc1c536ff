package overnats

import (
	"context"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/postern-im/postern/decision"
)

// startLinks runs an Asker with a link to each URL until the test ends.
func startLinks(t *testing.T, cfg Config, urls ...string) *Asker {
	t.Helper()
	for _, url := range urls {
		link := new(Link)
		conn, err := Connect(ConnectConfig{URLs: []string{url}, ServerName: "test", Logger: quiet(), Link: link})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Close)
		cfg.Links = append(cfg.Links, LinkConfig{Name: url, Conn: conn, Link: link})
	}
	cfg.Gateway = "gw1"
	if cfg.Logger == nil {
		cfg.Logger = quiet()
	}
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	running(t, a.Run)
	return a
}

// TestTwoServers checks that a gateway works while one of two servers is stopped,
// and uses the server again after it has started.
func TestTwoServers(t *testing.T) {
	t.Parallel()
	s1, s2 := startNATS(t, -1), startNATS(t, -1)
	port := s1.Addr().(*net.TCPAddr).Port
	lines := new(logBuffer)
	a := startLinks(t, Config{Logger: slog.New(slog.NewTextHandler(lines, nil))}, s1.ClientURL(), s2.ClientURL())
	startResponder(t, s1, "n1", newDecider())
	startResponder(t, s2, "n2", newDecider())
	both := func(c *core) bool {
		return len(c.nodes) == 2 && !slices.ContainsFunc(c.links, func(l *link) bool { return !l.connected })
	}
	until(t, a, both)
	if err := askOne(t, a, 1, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	for round := range uint64(2) {
		stopNATS(s1)
		for i := range uint64(100) {
			if err := askOne(t, a, i, 5*time.Second); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			if _, out := a.Available(); out {
				t.Fatalf("round %d: an outage, although a node answers", round)
			}
		}
		if round == 0 { // the link is named as down
			eventually(t, func() bool {
				return strings.Contains(lines.String(), `level=WARN msg="a link is down: the policy nodes behind it are not asked" gateway=gw1 link=`+s1.ClientURL())
			})
		}
		s1 = startNATS(t, port)
		until(t, a, both)
	}
}

// TestTwoLinksToOneServer checks that a gateway that reaches the same nodes over two
// links hears each revocation once and is asked once about its sessions.
func TestTwoLinksToOneServer(t *testing.T) {
	s := startNATS(t, -1)
	heard := make(chan decision.Revocation, 100)
	a := startLinks(t, Config{OnRevocation: func(e decision.Revocation) {
		if e.Tenant != "" {
			heard <- e
		}
	}}, s.ClientURL(), s.ClientURL())
	r, _ := startResponder(t, s, "n1", newDecider())
	until(t, a, func(c *core) bool { return len(c.nodes) == 1 && len(c.nodes[0].paths) == 2 })
	first := decision.Revocation{Tenant: "acme", Account: "bob@alpha.test", Position: 12, LogID: "log"}
	last := decision.Revocation{Tenant: "acme", Position: 13, LogID: "log"}
	for _, e := range []decision.Revocation{first, first, last} {
		if err := r.Notify(e); err != nil {
			t.Fatal(err)
		}
	}
	if got := []decision.Revocation{<-heard, <-heard}; !slices.Equal(got, []decision.Revocation{first, last}) {
		t.Errorf("heard %+v", got)
	}

	var mu sync.Mutex
	asked := 0
	reporter := &SessionReporter{Links: a.cfg.Links, Gateway: "gw1", Sessions: func(*decision.SessionQuery) decision.SessionReply {
		mu.Lock()
		defer mu.Unlock()
		asked++
		return decision.SessionReply{}
	}}
	running(t, reporter.Serve)
	node := connect(t, s)
	replies, err := node.SubscribeSync(reportPrefix + "n1.gw1")
	if err != nil {
		t.Fatal(err)
	}
	q := decision.SessionQuery{ID: 1, Limit: 1}
	eventually(t, func() bool { // both links may not be subscribed yet
		q.ID++
		if err := node.Publish(queryPrefix+"gw1.n1", decision.AppendSessionQuery(nil, &q)); err != nil {
			t.Fatal(err)
		}
		_, err := replies.NextMsg(100 * time.Millisecond)
		return err == nil
	})
	if _, err := replies.NextMsg(200 * time.Millisecond); err == nil {
		t.Error("a query was answered twice")
	}
}

// A gate forwards connections to a server until it is shut. Then it keeps the
// connections open and forwards nothing, like a host that hangs.
type gate struct {
	net.Listener
	mu   sync.Mutex // guards the fields below
	shut bool
	cond *sync.Cond
}

// openGate returns a gate to a server.
func openGate(t *testing.T, s *server.Server) *gate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{Listener: l}
	g.cond = sync.NewCond(&g.mu)
	var wg sync.WaitGroup
	var conns []net.Conn
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", s.Addr().String())
			if err != nil {
				in.Close()
				continue
			}
			g.mu.Lock()
			conns = append(conns, in, out)
			g.mu.Unlock()
			wg.Go(func() { g.forward(in, out) })
			wg.Go(func() { g.forward(out, in) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		g.set(false)
		g.mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		g.mu.Unlock()
		wg.Wait()
	})
	return g
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
	g.cond.Broadcast()
}

func (g *gate) forward(to io.WriteCloser, from io.ReadCloser) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		g.mu.Lock()
		for g.shut {
			g.cond.Wait()
		}
		g.mu.Unlock()
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

// TestStuckServer checks that a server that hangs costs a hedge and no more, until
// the NATS client finds it lost, and afterwards.
func TestStuckServer(t *testing.T) {
	t.Parallel()
	s1, s2 := startNATS(t, -1), startNATS(t, -1)
	g := openGate(t, s1)
	a := startLinks(t, Config{}, "nats://"+g.Addr().String(), s2.ClientURL())
	startResponder(t, s1, "n1", newDecider())
	startResponder(t, s2, "n2", newDecider())
	until(t, a, func(c *core) bool { return len(c.nodes) == 2 })
	g.set(true)
	var slow time.Duration
	deadline := time.After(20 * time.Second)
	for i := uint64(0); ; i++ {
		begin := time.Now()
		if err := askOne(t, a, i, 5*time.Second); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took >= hedgeAfter {
			slow += took
		}
		if _, out := a.Available(); out {
			t.Fatal("an outage, although a node answers")
		}
		a.mu.Lock()
		lost := !a.core.links[0].connected
		a.mu.Unlock()
		if lost {
			break
		}
		select {
		case <-deadline:
			t.Fatal("the hung connection is not found lost")
		default:
		}
	}
	// Each message to the hung server costs a hedge, and it gets few.
	if slow > 5*tryFor {
		t.Errorf("%v were spent waiting for the hung server", slow)
	}
	g.set(false)
	until(t, a, func(c *core) bool { return c.links[0].connected && len(c.nodes) == 2 })
}

// TestStuckPublish checks that a connection whose methods block does not delay the
// other link.
func TestStuckPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good := answer(time.Millisecond)
		w := onWires(t, 2, func(w *wire, link int, reply string, msg []byte) error {
			if link == 0 {
				<-time.After(2 * time.Second)
				return nats.ErrConnectionClosed
			}
			return good(w, reply, msg)
		})
		begin := time.Now()
		for i := range uint64(1000) {
			asked := time.Now()
			if err := askOne(t, w.Asker, i, 5*time.Second); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(asked); took > tryFor+100*time.Millisecond {
				t.Errorf("question %d took %v", i, took)
			}
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("1000 questions took %v", took)
		}
	})
}

// TestRoomForSessions checks that clients that want to enter wait for room while
// the questions of sessions still find it.
func TestRoomForSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := onWire(t, silence)
		qs := make([]decision.Question, maxEntering)
		for i := range qs {
			qs[i] = question(uint64(i))
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = w.Ask(ctx, qs, make([]decision.Verdict, len(qs)), time.Hour) })
		synctest.Wait()
		entering, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		wg.Go(func() { _, _ = w.Admit(entering, "alpha.test") })
		wg.Go(func() { _ = askOne(t, w.Asker, 1, time.Second) })
		synctest.Wait()
		w.mu.Lock()
		if n := w.core.pending; n != maxEntering+1 {
			t.Errorf("%d requests are queued, want %d", n, maxEntering+1)
		}
		w.mu.Unlock()
		cancel()
		wg.Wait()
	})
}

// TestChallenges checks that a gateway publishes its challenge over a link on which
// it hears a node that reads challenges, and over no other.
func TestChallenges(t *testing.T) {
	t.Parallel()
	s1, s2 := startNATS(t, -1), startNATS(t, -1)
	startLinks(t, Config{}, s1.ClientURL(), s2.ClientURL())
	newer, old := connect(t, s1), connect(t, s2)
	challenges, err := newer.SubscribeSync(challengePrefix + "gw1")
	if err != nil {
		t.Fatal(err)
	}
	none, err := old.SubscribeSync(challengePrefix + "gw1")
	if err != nil {
		t.Fatal(err)
	}
	n := decision.Announcement{Node: "n1", Boot: 1, Ready: true, Wire: decision.Wire2, At: decision.Mark{LogID: "log"}}
	var last uint64
	got := 0
	eventually(t, func() bool {
		_ = newer.Publish(nodePrefix+"n1", decision.AppendExtended(nil, &n))
		_ = old.Publish(announceSubject, decision.AppendAnnouncement(nil, &n))
		m, err := challenges.NextMsg(100 * time.Millisecond)
		if err != nil {
			return false
		}
		c, err := decision.DecodeChallenge(m.Data)
		if err != nil || last != 0 && (!decision.SameRun(last, c) || c <= last) {
			t.Errorf("challenge %d after %d: %v", c, last, err)
		}
		last = c
		got++
		return got == 3
	})
	if _, err := none.NextMsg(10 * time.Millisecond); err == nil {
		t.Error("a challenge was published to a node that does not read it")
	}
}

// TestOlderPolicyd checks that a gateway works with policyd of the version before,
// which grants it fewer subjects, and does not report them as a wrong key.
func TestOlderPolicyd(t *testing.T) {
	known, seed := newSeed(t)
	rights := GatewayRights("gw1")
	newer := func(subject string) bool {
		return strings.HasPrefix(subject, nodePrefix) || strings.HasPrefix(subject, challengePrefix)
	}
	nodeKey, nodeSeed := newSeed(t)
	url := startServer(t, &server.Options{Nkeys: []*server.NkeyUser{
		{Nkey: known, Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: slices.DeleteFunc(rights.Publish, newer)},
			Subscribe: &server.SubjectPermission{Allow: slices.DeleteFunc(rights.Subscribe, newer)},
		}},
		{Nkey: nodeKey},
	}})
	link := new(Link)
	conn, err := Connect(ConnectConfig{URLs: []string{url}, SeedFile: seed, Logger: quiet(), Link: link})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	a, err := New(Config{Links: []LinkConfig{{Conn: conn, Link: link}}, Gateway: "gw1", Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	stop := running(t, a.Run)
	defer stop()
	node, err := Connect(ConnectConfig{URLs: []string{url}, SeedFile: nodeSeed, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	connected(t, node)
	r, err := NewResponder(ResponderConfig{Conn: node, Node: "n1", Decider: newDecider(), Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer running(t, r.Serve)()
	if err := askOne(t, a, 1, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := conn.FlushTimeout(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	if _, denied := link.state(); denied != nil {
		t.Errorf("reported as denied: %v", denied)
	}
	until(t, a, func(c *core) bool { return c.node("n1") != nil })
	// The node's newer announcement is not granted to the gateway.
	a.mu.Lock()
	defer a.mu.Unlock()
	if w := a.core.node("n1").wire; w != decision.Wire1 {
		t.Errorf("the node is asked in wire %d", w)
	}
}

// TestProvenOverNATS checks that a node is asked in the newest version once it has
// announced it, and that its answers are proven by the batch's challenge.
func TestProvenOverNATS(t *testing.T) {
	s := startNATS(t, -1)
	a := startAsker(t, s)
	startResponder(t, s, "n1", newDecider())
	until(t, a, func(c *core) bool { n := c.node("n1"); return n != nil && n.wire == decision.Wire2 })
	vs := make([]decision.Verdict, 1)
	if err := a.Ask(t.Context(), []decision.Question{question(1)}, vs, time.Second); err != nil {
		t.Fatal(err)
	}
	if age := vs[0].AskedAt - vs[0].ProvenAt; age < 0 || age >= time.Millisecond {
		t.Errorf("proven %v before it was asked", age)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.core.counts; c.unproven > 0 || c.version > 0 {
		t.Errorf("%d answers without proof, %d without a version", c.unproven, c.version)
	}
}
