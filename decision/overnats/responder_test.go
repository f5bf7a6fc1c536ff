package overnats

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-im/postern/decision"
)

// A peer speaks the wire to nodes as a gateway or as another node, without an Asker.
type peer struct {
	t       testing.TB
	conn    *nats.Conn
	replies *nats.Subscription
}

func newPeer(t testing.TB, s *server.Server) *peer {
	t.Helper()
	p := &peer{t: t, conn: connect(t, s)}
	p.replies = p.hear(replyPrefix + ">")
	return p
}

// hear subscribes to a subject. The subscription is in force when hear returns.
func (p *peer) hear(subject string) *nats.Subscription {
	p.t.Helper()
	s, err := p.conn.SubscribeSync(subject)
	if err == nil {
		err = p.conn.Flush()
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

func (p *peer) publish(subject string, msg []byte) {
	p.t.Helper()
	if err := p.conn.Publish(subject, msg); err != nil {
		p.t.Fatal(err)
	}
}

// send sends a batch to node n1 as gateway gw1.
func (p *peer) send(msg []byte) {
	p.t.Helper()
	if err := p.conn.PublishRequest(askSubject("n1", "gw1"), replyPrefix+"gw1.x.1", msg); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) reply() decision.Reply {
	p.t.Helper()
	m, err := p.replies.NextMsg(5 * time.Second)
	if err != nil {
		p.t.Fatal(err)
	}
	var r decision.Reply
	if err := decision.DecodeReply(m.Data, &r); err != nil {
		p.t.Fatal(err)
	}
	return r
}

// batch encodes a batch of gateway gw1 with one question. Without a challenge it is
// of Wire1.
func batch(id, challenge uint64) []byte {
	head := decision.BatchHead{Gateway: "gw1", ID: id, Challenge: challenge, Wire: decision.Wire1}
	if challenge != decision.NoChallenge {
		head.Wire = decision.Wire2
	}
	q := question(id)
	return decision.AppendQuestion(decision.AppendBatch(nil, &head, 1), &q)
}

const aChallenge = 1<<61 + 5

// serve runs node n1 until the end of the test, or stop.
func serve(t testing.TB, s *server.Server, cfg ResponderConfig) (r *Responder, stop func()) {
	t.Helper()
	cfg.Conn, cfg.Node = connect(t, s), "n1"
	if cfg.Logger == nil {
		cfg.Logger = quiet()
	}
	if cfg.Decider == nil {
		cfg.Decider = newDecider()
	}
	r, err := NewResponder(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r, running(t, r.Serve)
}

// TestResponderAnswersInTheBatchsWire checks that a node reads every version,
// answers in the version of the batch, and says so if it cannot read the version.
func TestResponderAnswersInTheBatchsWire(t *testing.T) {
	s := startNATS(t, -1)
	p := newPeer(t, s)
	announced := p.hear(nodePrefix + "*")
	serve(t, s, ResponderConfig{Level: 29})
	m, err := announced.NextMsg(5 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var a decision.Announcement
	if err := decision.DecodeExtended(m.Data, &a); err != nil || m.Subject != "postern.node.n1" || a.Node != "n1" || !a.Ready || a.Wire != decision.NewestWire || a.Level != 29 {
		t.Errorf("announced on %s: %+v, %v", m.Subject, a, err)
	}
	for range 2 { // a worker reuses its memory, so nothing of the reply before may be left
		p.send(batch(7, aChallenge))
		if r := p.reply(); r.Wire != decision.Wire2 || r.Status != decision.StatusOK || r.ID != 7 || r.Proven != aChallenge || len(r.Results) != 1 {
			t.Errorf("the answer in Wire2 is %+v", r)
		}
		p.send(batch(8, decision.NoChallenge))
		if r := p.reply(); r.Wire != decision.Wire1 || r.Status != decision.StatusOK || r.ID != 8 || len(r.Results) != 1 {
			t.Errorf("the answer in Wire1 is %+v", r)
		}
		p.send([]byte("\xff\x03gw1\x0c and more that this version cannot read"))
		if r := p.reply(); r.Wire != decision.NewestWire || r.Status != decision.StatusVersion || r.ID != 12 || len(r.Results) != 0 {
			t.Errorf("the answer to a newer version is %+v", r)
		}
		p.send([]byte("\xff\x03gw2\x0c in another gateway's name"))
		if r := p.reply(); r.Status != decision.StatusBad {
			t.Errorf("the answer to a newer version of another gateway is %+v", r)
		}
		p.send([]byte("no batch"))
		if r := p.reply(); r.Wire != decision.Wire1 || r.Status != decision.StatusBad {
			t.Errorf("the answer to no batch is %+v", r)
		}
	}
}

// unproven is a Decider that forgets to prove its state.
type unproven struct{ *decider }

func (d unproven) Answer(b *decision.Batch, r *decision.Reply) {
	d.decider.Answer(b, r)
	r.Proven = decision.NoChallenge
}

// TestResponderWantsAProof checks that no answer without a proof leaves a node.
func TestResponderWantsAProof(t *testing.T) {
	s := startNATS(t, -1)
	p := newPeer(t, s)
	serve(t, s, ResponderConfig{Decider: unproven{newDecider()}})
	p.connected()
	p.send(batch(7, aChallenge))
	if r := p.reply(); r.Status != decision.StatusBad || len(r.Results) != 0 {
		t.Errorf("%+v", r)
	}
}

// connected waits until node n1 announces that it is ready.
func (p *peer) connected() {
	p.t.Helper()
	p.await(func(a *decision.Announcement) bool { return a.Ready })
}

// await waits for an announcement of node n1.
func (p *peer) await(ok func(*decision.Announcement) bool) {
	p.t.Helper()
	sub := p.hear(nodePrefix + "n1")
	defer sub.Unsubscribe() //nolint:errcheck // the connection ends with the test
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		m, err := sub.NextMsg(5 * time.Second)
		var a decision.Announcement
		if err != nil || decision.DecodeExtended(m.Data, &a) != nil {
			p.t.Fatalf("announcement: %v", err)
		}
		if ok(&a) {
			return
		}
	}
	p.t.Fatal("node n1 does not announce this")
}

// TestResponderBusy checks that a batch which has waited too long for a worker is
// not decided, and that a gateway of Wire1 is answered nevertheless.
func TestResponderBusy(t *testing.T) {
	s := startNATS(t, -1)
	p := newPeer(t, s)
	d := newDecider()
	entered, leave := make(chan bool), make(chan bool)
	d.before = func(*decision.Batch) {
		select {
		case entered <- true:
		case <-t.Context().Done(): // the test has failed
			return
		}
		select {
		case <-leave:
		case <-t.Context().Done():
		}
	}
	serve(t, s, ResponderConfig{Decider: d, Workers: 1})
	p.connected()
	p.send(batch(1, aChallenge))
	<-entered
	for _, msg := range [][]byte{batch(2, aChallenge), batch(3, aChallenge), batch(4, decision.NoChallenge)} {
		p.send(msg)
	}
	if err := p.conn.Flush(); err != nil {
		t.Fatal(err)
	}
	<-time.After(50 * time.Millisecond) // until the node has received them
	leave <- true
	<-entered // the worker has counted the messages behind the second
	<-time.After(2 * busyAfter)
	leave <- true
	<-entered // the third did not come so far
	leave <- true
	want := []struct {
		id     uint64
		status decision.Status
		wire   decision.Wire
	}{
		{1, decision.StatusOK, decision.Wire2}, {2, decision.StatusOK, decision.Wire2},
		{3, decision.StatusBusy, decision.Wire2}, {4, decision.StatusOK, decision.Wire1},
	}
	for _, w := range want {
		if r := p.reply(); r.ID != w.id || r.Status != w.status || r.Wire != w.wire || r.Status != decision.StatusOK && len(r.Results) != 0 {
			t.Errorf("got %+v, want %+v", r, w)
		}
	}
}

func TestQueueAge(t *testing.T) {
	var q queueAge
	at := time.Unix(1e9, 0)
	for i, c := range []struct {
		after time.Duration // since the message before
		left  int
		want  time.Duration
	}{
		{0, 0, 0},
		{time.Hour, 2, 0}, // an empty queue has no age
		{3 * time.Millisecond, 4, 3 * time.Millisecond},
		{4 * time.Millisecond, 5, 7 * time.Millisecond},
		{time.Millisecond, 5, 0}, // it may have come later, so the messages are counted again
		{9 * time.Millisecond, 9, 9 * time.Millisecond},
	} {
		at = at.Add(c.after)
		if got := q.took(at, c.left); got != c.want {
			t.Errorf("message %d has waited %v, want %v", i, got, c.want)
		}
	}
}

// challenges collects what OnChallenge is told.
type challenges struct {
	mu    sync.Mutex
	heard []uint64
	by    []string
}

func (c *challenges) hear(gateway string, challenge uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by, c.heard = append(c.by, gateway), append(c.heard, challenge)
}

// TestChallengesAreHeard checks that a node hears the challenges of gateways, except
// of two gateways with one id, and ignores messages that are no challenges.
func TestChallengesAreHeard(t *testing.T) {
	s := startNATS(t, -1)
	p := newPeer(t, s)
	var heard challenges
	serve(t, s, ResponderConfig{OnChallenge: heard.hear, Duplicate: func(g string) bool { return g == "gw2" }})
	p.connected()
	p.publish("postern.challenge.gw1", decision.AppendChallenge(nil, aChallenge))
	p.publish("postern.challenge.gw2", decision.AppendChallenge(nil, aChallenge+1))
	p.publish("postern.challenge.gw1", []byte("no challenge"))
	p.publish("postern.challenge.GW-1", decision.AppendChallenge(nil, aChallenge+2))
	p.publish("postern.challenge.gw3", decision.AppendChallenge(nil, aChallenge+3))
	deadline := time.After(5 * time.Second)
	for {
		heard.mu.Lock()
		by, all := strings.Join(heard.by, " "), heard.heard
		heard.mu.Unlock()
		if len(all) == 2 {
			if by != "gw1 gw3" || all[0] != aChallenge || all[1] != aChallenge+3 {
				t.Errorf("heard %v of %s", all, by)
			}
			return
		}
		select {
		case <-deadline:
			t.Fatalf("heard %v of %s", all, by)
		case <-time.After(time.Millisecond):
		}
	}
}

// TestDuplicateGatewayIsNotAnswered checks that a node proves nothing to two
// gateways with one id, and that gateways of Wire1 are answered as before.
func TestDuplicateGatewayIsNotAnswered(t *testing.T) {
	s := startNATS(t, -1)
	p := newPeer(t, s)
	d, err := NewSessionDirectory(connect(t, s), "n1", nil, quiet())
	if err != nil {
		t.Fatal(err)
	}
	running(t, d.Run)
	registry := prometheus.NewRegistry()
	if err := d.Register(registry); err != nil {
		t.Fatal(err)
	}
	decider := newDecider()
	serve(t, s, ResponderConfig{Decider: decider, Duplicate: d.Duplicate})
	p.connected()
	p.send(batch(1, aChallenge))
	if r := p.reply(); r.Status != decision.StatusOK {
		t.Fatalf("before: %+v", r)
	}
	for _, run := range []uint64{1, 2, 1} {
		p.publish("postern.gateways.gw1", announcement(here, run))
	}
	deadline := time.After(5 * time.Second)
	for !d.Duplicate("gw1") {
		select {
		case <-deadline:
			t.Fatal("two gateways with one id were not noticed")
		case <-time.After(time.Millisecond):
		}
	}
	if n := gathered(t, registry)["postern_gateway_duplicates"]; n != 1 || d.Duplicate("gw2") {
		t.Errorf("%v ids are used twice", n)
	}
	asked := decider.asked.Load()
	p.send(batch(2, aChallenge))
	if r := p.reply(); r.Status != decision.StatusNotFresh || r.Wire != decision.Wire2 || decider.asked.Load() != asked {
		t.Errorf("%+v", r)
	}
	p.send(batch(3, decision.NoChallenge))
	if r := p.reply(); r.Status != decision.StatusOK {
		t.Errorf("a gateway of Wire1: %+v", r)
	}
}

// TestOldGatewayAtACluster checks that a node of a cluster answers a gateway of Wire1
// that it is not fresh, and that the log then says which side must be upgraded. A gateway
// of Wire2 asks in Wire1 too until it has heard a node, and is not named.
func TestOldGatewayAtACluster(t *testing.T) {
	s := startNATS(t, -1)
	p := newPeer(t, s)
	var log logLines
	decider := newDecider()
	r, _ := serve(t, s, ResponderConfig{Decider: decider, Oldest: decision.Wire2, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	p.connected()
	ask := func(id uint64) {
		t.Helper()
		p.send(batch(id, decision.NoChallenge))
		if r := p.reply(); r.Status != decision.StatusNotFresh || r.Wire != decision.Wire1 {
			t.Fatalf("%+v", r)
		}
	}
	long := func() {
		r.old.mu.Lock()
		defer r.old.mu.Unlock()
		r.old.since["gw1"] = r.old.since["gw1"].Add(-oldAfter)
	}
	const text = "upgrade this gateway"
	ask(1)
	r.old.challenged("gw1")
	ask(2)
	if strings.Contains(log.String(), text) {
		t.Error("a gateway that has just started, or sends challenges, is named as old")
	}
	long()
	ask(3)
	if !strings.Contains(log.String(), text) || !strings.Contains(log.String(), "gw1") {
		t.Errorf("the old gateway is not named: %s", log.String())
	}
	p.send(batch(4, aChallenge))
	if r := p.reply(); r.Status != decision.StatusOK || decider.asked.Load() != 1 {
		t.Errorf("a gateway of Wire2: %+v, asked %d", r, decider.asked.Load())
	}
}

// logLines is a log that a test reads while it is written.
type logLines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// TestTwoNodesWithOneID checks that two nodes with one id notice each other, name
// both in their logs, say that they are not ready, and answer nothing until one of
// them has stopped.
func TestTwoNodesWithOneID(t *testing.T) {
	s := startNATS(t, -1)
	p := newPeer(t, s)
	var log logLines
	d := newDecider()
	one, _ := serve(t, s, ResponderConfig{Decider: d, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	p.connected()
	if err := one.Ready(); err != nil {
		t.Errorf("alone: %v", err)
	}
	two, stop := serve(t, s, ResponderConfig{})
	refusing := map[uint64]bool{}
	p.await(func(a *decision.Announcement) bool {
		if !a.Ready {
			refusing[a.Boot] = true
		}
		return refusing[one.boot] && refusing[two.boot]
	})
	for _, want := range []string{"another process uses the id", "node=n1", "this_boot=", "other_boot="} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in the log:\n%s", want, log.String())
		}
	}
	asked := d.asked.Load()
	for _, msg := range [][]byte{batch(5, aChallenge), batch(6, decision.NoChallenge)} {
		p.send(msg)
		for range 2 { // both nodes answer
			if r := p.reply(); r.Status != decision.StatusNotFresh {
				t.Errorf("%+v", r)
			}
		}
	}
	if n := d.asked.Load(); n != asked {
		t.Errorf("%d questions were decided", n-asked)
	}
	stop()
	p.await(func(a *decision.Announcement) bool { return a.Ready && a.Boot == one.boot })
	p.send(batch(7, aChallenge))
	if r := p.reply(); r.Status != decision.StatusOK {
		t.Errorf("after the other has stopped: %+v", r)
	}
}
