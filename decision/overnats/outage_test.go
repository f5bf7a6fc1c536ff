package overnats

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-im/postern/decision"
)

// newSeed makes a key and a file with its seed.
func newSeed(t *testing.T) (public, path string) {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	if public, err = pair.PublicKey(); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "seed")
	if err := os.WriteFile(path, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	return public, path
}

// startServer starts a real server with the given options.
func startServer(t *testing.T, o *server.Options) string {
	t.Helper()
	o.Host, o.Port, o.ServerName = "127.0.0.1", -1, "postern"
	o.NoSigs, o.NoLog, o.NoSystemAccount, o.StoreDir = true, true, true, t.TempDir()
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	if !s.ReadyForConnections(5 * time.Second) {
		t.Fatal("NATS is not ready")
	}
	t.Cleanup(func() { stopNATS(s) })
	return "nats://" + s.Addr().String()
}

// TestOutages checks that within seconds after an outage begins the log has its
// cause and a remedy, and the metric has the same cause.
func TestOutages(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	unused := "nats://" + free.Addr().String()
	free.Close()
	web := httptest.NewTLSServer(nil)
	t.Cleanup(web.Close)
	pool := x509.NewCertPool()
	pool.AddCert(web.Certificate())
	trusting := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	secure := func() *server.Options {
		return &server.Options{TLS: true, TLSTimeout: 2, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: web.TLS.Certificates}}
	}
	known, knownSeed := newSeed(t)
	_, otherSeed := newSeed(t)
	named := func() *server.Options {
		rights := GatewayRights("gw1")
		return &server.Options{Nkeys: []*server.NkeyUser{{Nkey: known, Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: rights.Publish}, Subscribe: &server.SubjectPermission{Allow: rights.Subscribe},
		}}}}
	}
	for cause, c := range map[string]struct {
		connect ConnectConfig
		gateway string
		node    *decision.State // the state of a node that announces itself but answers nothing; nil: no node
	}{
		"connection refused":      {connect: ConnectConfig{URLs: []string{unused}}},
		"no NATS server":          {connect: ConnectConfig{URLs: []string{"nats://" + silent(t)}, ServerName: "postern"}},
		"another NATS server":     {connect: ConnectConfig{URLs: []string{startServer(t, &server.Options{})}, ServerName: "example"}},
		"unknown key":             {connect: ConnectConfig{URLs: []string{startServer(t, named())}, ServerName: "postern", SeedFile: otherSeed}},
		"key of another id":       {connect: ConnectConfig{URLs: []string{startServer(t, named())}, ServerName: "postern", SeedFile: knownSeed}, gateway: "gw2"},
		"certificate not trusted": {connect: ConnectConfig{URLs: []string{startServer(t, secure())}}}, // no ca at all
		"certificate of another name": {connect: ConnectConfig{
			URLs: []string{strings.Replace(startServer(t, secure()), "127.0.0.1", "localhost", 1)}, TLS: trusting,
		}},
		"no TLS there":          {connect: ConnectConfig{URLs: []string{startServer(t, &server.Options{})}, TLS: trusting}},
		"name not found":        {connect: ConnectConfig{URLs: []string{"nats://nowhere.invalid:4222"}, TLS: trusting}},
		"no policy node":        {connect: ConnectConfig{URLs: []string{startServer(t, named())}, SeedFile: knownSeed}},
		"policy node not ready": {connect: ConnectConfig{URLs: []string{startServer(t, &server.Options{})}}, node: &decision.State{}},
		"no answer":             {connect: ConnectConfig{URLs: []string{startServer(t, &server.Options{})}}, node: &decision.State{Ready: true}},
	} {
		t.Run(cause, func(t *testing.T) {
			t.Parallel()
			lines, metrics, link := new(logBuffer), prometheus.NewRegistry(), new(Link)
			c.connect.Logger, c.connect.Link = quiet(), link
			conn, err := Connect(c.connect)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if c.gateway == "" {
				c.gateway = "gw1"
			}
			a, err := New(Config{Links: []LinkConfig{{Conn: conn, Link: link}}, Gateway: c.gateway, Logger: slog.New(slog.NewTextHandler(lines, nil)), Metrics: metrics})
			if err != nil {
				t.Fatal(err)
			}
			if c.node != nil {
				running(t, func(ctx context.Context) error { return announceOnly(ctx, t, c.connect.URLs, c.node.Ready) })
			}
			stop := running(t, a.Run)
			want := fmt.Sprintf("level=ERROR msg=%q gateway=%s cause=%q", "no policy node answers: nothing passes", c.gateway, cause)
			eventually(t, func() bool {
				return strings.Contains(lines.String(), want) && metric(t, metrics, "postern_asker_outage", cause) == 1
			})
			stop()
			if got := lines.String(); !strings.Contains(got, "remedy=") {
				t.Errorf("no remedy: %s", got)
			}
			if t.Failed() {
				t.Log(lines.String())
			}
		})
	}
}

// silent listens and closes every connection. It returns its address.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// announceOnly announces a node that answers nothing.
func announceOnly(ctx context.Context, t *testing.T, urls []string, ready bool) error {
	conn, err := Connect(ConnectConfig{URLs: urls, Logger: quiet()})
	if err != nil {
		return err
	}
	defer conn.Close()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		a := decision.Announcement{Node: "n1", Boot: 1, Ready: ready, At: decision.Mark{LogID: "log"}}
		_ = conn.Publish(announceSubject, decision.AppendAnnouncement(nil, &a))
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	return nil
}

// TestNoAnswerNeedsAQuestion checks that a node that has just become ready is not
// reported as silent before it has left a message unanswered. The outage continues
// meanwhile.
func TestNoAnswerNeedsAQuestion(t *testing.T) {
	now := 1000 * time.Second
	c := newCore(now, 1, 1, decision.NewChallenges(1, now))
	a := &Asker{core: c, clock: func() time.Duration { return now }}
	announce := func(boot uint64, ready bool) {
		c.announced(now, 0, &decision.Announcement{Node: "n1", Boot: boot, Ready: ready, At: decision.Mark{LogID: "log"}})
	}
	expect := func(when, want string) {
		t.Helper()
		if got := a.trouble().cause; got != want || !c.out {
			t.Errorf("%s: cause %q, outage %t, want %q in an outage", when, got, c.out, want)
		}
	}
	silent := func() { // the node answers no ping
		c.tick(now)
		now += tryFor
		c.tick(now)
	}
	c.connection(now, 0, true)
	announce(1, false)
	silent()
	expect("not ready", "policy node not ready")
	announce(1, true)
	expect("just ready", "")
	now += time.Millisecond
	silent()
	silent()
	expect("silent", "no answer")
	announce(2, true)
	expect("restarted", "")
	silent()
	silent()
	expect("silent again", "no answer")
	c.connection(now, 0, false)
	now += time.Millisecond
	c.connection(now, 0, true)
	expect("connected again", "")
	for range 10 {
		announce(2, true)
		silent()
	}
	expect("silent after that", "no answer")

	begin := time.Unix(1e9, 0)
	lines := new(logBuffer)
	r := reporter{logger: slog.New(slog.NewTextHandler(lines, nil))}
	r.said, r.since, r.cause = begin, begin, "policy node not ready"
	if got := r.look(begin.Add(time.Hour), true, begin, func() trouble { return trouble{} }); got != "policy node not ready" || lines.String() != "" {
		t.Errorf("without a cause: cause %q, wrote %q", got, lines.String())
	}
}

// TestReporterAwaitsTheFirstProof checks that silent nodes are reported only after three
// seconds before the first answer, and after a second later on.
func TestReporterAwaitsTheFirstProof(t *testing.T) {
	lines := new(logBuffer)
	r := reporter{logger: slog.New(slog.NewTextHandler(lines, nil)), out: "out", over: "over"}
	begin := time.Unix(1e9, 0)
	silent := func() trouble { return trouble{cause: noAnswer} }
	look := func(after time.Duration, out bool, since time.Duration, want string) {
		t.Helper()
		if got := r.look(begin.Add(after), out, begin.Add(since), silent); got != want {
			t.Errorf("after %v: cause %q, want %q", after, got, want)
		}
	}
	look(2900*time.Millisecond, true, 0, "")
	look(3*time.Second, true, 0, noAnswer)
	look(4*time.Second, false, 0, "")
	look(10*time.Second, true, 9*time.Second, noAnswer)

	r = reporter{logger: r.logger, out: "out", over: "over"}
	if cause := r.look(begin.Add(time.Second), true, begin, func() trouble { return trouble{cause: "unknown key"} }); cause != "unknown key" {
		t.Errorf("another cause waits: %q", cause)
	}
}

// TestReporter checks that an outage is logged after a second, every minute, and
// when its cause changes. Its end is logged once, with its duration.
func TestReporter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines := new(logBuffer)
		plain := &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}
		r := reporter{logger: slog.New(slog.NewTextHandler(lines, plain)), out: "out", over: "over", args: []any{"gateway", "gw1"}}
		begin := time.Now()
		cause := "a"
		at := func(seconds int, out bool, want string) {
			t.Helper()
			lines.buf.Reset()
			now := begin.Add(time.Duration(seconds) * time.Second)
			r.look(now, out, begin, func() trouble { return trouble{cause: cause, remedy: "mend", err: errors.New("x")} })
			if got := lines.String(); got != want {
				t.Errorf("at %d s wrote %q, want %q", seconds, got, want)
			}
		}
		at(0, true, "")
		at(1, true, "level=ERROR msg=out gateway=gw1 cause=a for=1s remedy=mend error=x\n")
		at(2, true, "")
		at(60, true, "")
		at(61, true, "level=ERROR msg=out gateway=gw1 cause=a for=1m1s remedy=mend error=x\n")
		cause = "b"
		at(61, true, "")
		at(62, true, "level=ERROR msg=out gateway=gw1 cause=b for=1m2s remedy=mend error=x\n")
		at(70, false, "level=INFO msg=over gateway=gw1 after=1m10s\n")
		at(71, false, "")
		begin = begin.Add(100 * time.Second)
		at(0, true, "") // the outage ends before it is logged
		at(0, false, "")
	})
}
