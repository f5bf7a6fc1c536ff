package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/decision/overnats"
	"github.com/postern-im/postern/internal/daemon"
	"github.com/postern-im/postern/xmpp/jid"
	"github.com/postern-im/postern/xmpp/stanza"
)

// TestMain finds leaked goroutines. Pebble leaks one when it cannot open a log, for
// example because another process has it; policyd exits then anyway.
func TestMain(m *testing.M) {
	if os.Getenv(killVariable) != "" {
		os.Exit(runKillable())
	}
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/cockroachdb/pebble/v2/vfs.(*diskHealthCheckingFS).startTickerLocked.func1"))
}

// freePort returns an address with a free port. The port is a random one below those
// that Linux gives to outgoing connections. Otherwise another program's connection
// could take the port before the node listens.
func freePort(t *testing.T) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(20000)))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("found no free port")
	return ""
}

func testConfig(t *testing.T) *config {
	t.Helper()
	c := defaults()
	c.Data = filepath.Join(t.TempDir(), "data")
	// t.TempDir can be too long for a socket's path.
	dir, err := os.MkdirTemp("", "policyd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c.Admin.Socket = filepath.Join(dir, "run", "policyd.sock")
	c.NATS.Listen = freePort(t)
	c.Listen.HTTP = freePort(t)
	c.NATS.Gateways = []string{"gw1", "gw2"}
	c.Log.Level = slog.LevelError + 4 // silence
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	return c
}

// begin runs policyd until stop or the test's end.
func begin(t *testing.T, c *config) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx, c, false) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for get(c, "/readyz") != "ok\n" {
		select {
		case <-tick.C:
		case err := <-done:
			done <- err
			t.Fatalf("policyd ended: %v", err)
		case <-deadline:
			t.Fatalf("policyd is not ready: %s", get(c, "/readyz"))
		}
	}
	return stop
}

func get(c *config, path string) string {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	r, err := client.Get("http://" + c.Listen.HTTP + path)
	if err != nil {
		return err.Error()
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// gateway returns a running Asker with the key of a gateway.
func gateway(t *testing.T, c *config, id string) *overnats.Asker {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	verify, err := daemon.Roots(c.NATS.Cert)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := overnats.Connect(overnats.ConnectConfig{
		URLs: []string{"nats://" + c.NATS.Listen}, ServerName: c.NATS.ServerName, SeedFile: c.gatewaySeed(id), TLS: verify, Logger: quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	a, err := overnats.New(overnats.Config{Links: []overnats.LinkConfig{{Conn: conn}}, Gateway: id, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		conn.Close()
	})
	return a
}

// admin changes tenant acme as the operator.
func admin(t *testing.T, c *config, cmd api.Command) {
	t.Helper()
	client := api.NewClient(c.Admin.Socket)
	defer client.Close()
	if r, err := client.Do(t.Context(), "acme", cmd, api.CommandMeta{}); err != nil || !r.Changed {
		t.Fatalf("%s: %+v, %v", cmd.Command(), r, err)
	}
}

func chat(t *testing.T, opened uint64) []decision.Question {
	t.Helper()
	to, err := jid.Split([]byte("carol@alpha.test"))
	if err != nil {
		t.Fatal(err)
	}
	return []decision.Question{{
		ID:      1,
		Session: decision.Session{ID: []byte("s1"), Tenant: []byte("acme"), Account: []byte("bob@alpha.test"), Resource: []byte("phone"), Opened: opened},
		Desc: stanza.Descriptor{
			Kind: stanza.Message, Type: stanza.Chat, Marks: stanza.HasContent, ID: []byte("m1"), HasID: true, To: to,
			Payloads: []stanza.Part{{Space: stanza.Client, Local: []byte("body")}},
		},
	}}
}

// TestFromCommandToVerdict: an operator's command changes the verdicts that a
// gateway gets, before and after a restart.
func TestFromCommandToVerdict(t *testing.T) {
	c := testConfig(t)
	stop := begin(t, c)
	a := gateway(t, c, "gw1")
	if admission, err := a.Admit(t.Context(), "alpha.test"); err != nil || admission.Known {
		t.Fatalf("before the tenant is created: %+v, %v", admission, err)
	}
	admin(t, c, api.TenantCreate{
		Domains: []api.DomainAdd{{Domain: "alpha.test", Backends: []api.Backend{{Address: "127.0.0.1:15222", Security: "none"}}}},
	})
	admission, err := a.Admit(t.Context(), "alpha.test")
	if err != nil || !admission.Known || admission.Tenant != "acme" || len(admission.Backends) != 1 {
		t.Fatalf("admission %+v, %v", admission, err)
	}
	qs, vs := chat(t, 0), make([]decision.Verdict, 1)
	opening, err := a.Open(t.Context(), qs[0].Session)
	if err != nil || !opening.Allowed {
		t.Fatalf("opening %+v, %v", opening, err)
	}
	ask := func(opened uint64) decision.Verdict {
		t.Helper()
		qs := chat(t, opened)
		qs[0].Session.OpenedLog = []byte(admission.LogID)
		if err := a.Ask(t.Context(), qs, vs, 10*time.Second); err != nil {
			t.Fatal(err)
		}
		return vs[0]
	}
	if v := ask(admission.Position); v.Effect != decision.Pass {
		t.Errorf("by default a member may chat: %+v", v)
	}
	admin(t, c, api.RoleAdjust{Role: "prosody:registered", Remove: []string{"xmpp:account:messages:write"}})
	if v := ask(admission.Position); v.Effect != decision.Refuse || v.Permission != "xmpp:account:messages:write" {
		t.Errorf("after the permission was removed: %+v", v)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(c.Admin.Socket); !os.IsNotExist(err) {
		t.Errorf("the socket is left behind: %v", err)
	}
	begin(t, c)
	if v := ask(admission.Position); v.Effect != decision.Refuse {
		t.Errorf("after a restart: %+v", v)
	}
	records, err := os.ReadFile(c.journal())
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(records), `"msg":"verdict"`); n != 3 {
		t.Errorf("%d verdicts were recorded, want 3", n)
	}
	if m := get(c, "/metrics"); !strings.Contains(m, `postern_node_verdicts_total{effect="refuse"} 1`) {
		t.Error("the metrics do not count verdicts")
	}
	if m := get(c, "/metrics"); !strings.Contains(m, "postern_census_inquiries_total") {
		t.Error("the metrics do not count queries about sessions")
	}
}

// TestTLS: a gateway asks over TLS. A gateway with the key of another id gets no
// answer.
func TestTLS(t *testing.T) {
	c := testConfig(t)
	s := httptest.NewTLSServer(nil) // for its certificate for 127.0.0.1
	s.Close()
	cert := s.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c.NATS.Cert, c.NATS.Key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]pem.Block{
		c.NATS.Cert: {Type: "CERTIFICATE", Bytes: cert.Certificate[0]},
		c.NATS.Key:  {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(&block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	begin(t, c)
	for _, id := range []string{"gw1", "gw2"} {
		if _, err := gateway(t, c, id).Admit(t.Context(), "alpha.test"); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	// The key of gw2 has no right to receive the replies for gw1.
	if err := os.Rename(c.gatewaySeed("gw2"), c.gatewaySeed("gw1")); err != nil {
		t.Fatal(err)
	}
	impostor := gateway(t, c, "gw1")
	err = impostor.Ask(t.Context(), chat(t, 0), make([]decision.Verdict, 1), time.Second)
	if !errors.Is(err, overnats.ErrUnavailable) {
		t.Errorf("gw1 with the key of gw2: %v", err)
	}
}

// TestRefusals: policyd does not start if a port, file or folder that it needs is
// in use or unusable.
func TestRefusals(t *testing.T) {
	c := testConfig(t)
	begin(t, c)
	for want, spoil := range map[string]func(*config){
		"address already in use": func(o *config) { o.NATS.Listen = c.NATS.Listen },
		"metrics and health":     func(o *config) { o.Listen.HTTP = c.Listen.HTTP },
		"admin socket":           func(o *config) { o.Admin.Socket = c.Admin.Socket },
		"one policyd at a time":  func(o *config) { o.Data = c.Data },
		"may read":               func(o *config) { openSeed(t, o) },
		"certificate":            func(o *config) { o.NATS.Cert = "missing.pem" },
	} {
		other := testConfig(t)
		spoil(other)
		if err := run(t.Context(), other, want == "may read"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error about %q, got %v", want, err)
		}
	}
	if got := get(c, "/readyz"); got != "ok\n" {
		t.Errorf("the first policyd is not ready any more: %s", got)
	}
}

// openSeed writes a key file that other users may read.
func openSeed(t *testing.T, c *config) {
	t.Helper()
	if err := os.MkdirAll(c.natsDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.gatewaySeed("gw1"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestConfigRefused(t *testing.T) {
	for want, environ := range map[string]string{
		"id":                "ID=Node.1",
		"data":              "DATA=",
		"socket":            "ADMIN_SOCKET=",
		"server_name":       "NATS_SERVER_NAME=",
		"distinct":          "NATS_GATEWAYS=gw1,gw1",
		"a-z":               "NATS_GATEWAYS=gw.*",
		"seed_file":         "NATS_URLS=nats://127.0.0.1:1",
		"loopback":          "LISTEN_HTTP=0.0.0.0:9523",
		"snapshots":         "SNAPSHOTS_EVERY=0",
		"format":            "LOG_FORMAT=xml",
		"in clear":          "ADMIN_LISTEN=0.0.0.0:9524",
		"neither":           "ADMIN_CERT=cert.pem",
		"name of a setting": "NATS_LISTN=x",
	} {
		if _, err := loadConfig("", []string{envPrefix + environ}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: want an error about %q, got %v", environ, want, err)
		}
	}
	if _, err := loadConfig("", nil); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}
