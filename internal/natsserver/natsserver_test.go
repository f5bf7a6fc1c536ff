package natsserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/postern-im/postern/internal/daemon/daemontest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func config(t *testing.T, users ...User) Config {
	t.Helper()
	return Config{
		Listen: "127.0.0.1:0", ServerName: "postern", StoreDir: t.TempDir(), Users: users,
		Logger: slog.New(slog.DiscardHandler),
	}
}

// start makes a server and runs it until the test ends.
func start(t *testing.T, cfg Config) *Server {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, s)
}

// run runs a server until the test ends.
func run(t *testing.T, s *Server) *Server {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-s.Ready():
	case err := <-done:
		t.Fatal(err)
	}
	return s
}

// user creates a seed and a user with permissions for a few subjects.
func user(t *testing.T, publish, subscribe []string) (User, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "seed")
	public, err := EnsureSeed(path)
	if err != nil {
		t.Fatal(err)
	}
	return User{PublicKey: public, Publish: publish, Subscribe: subscribe}, path
}

func dial(t *testing.T, s *Server, seed string, options ...nats.Option) (*nats.Conn, chan error) {
	t.Helper()
	problems := make(chan error, 10)
	options = append(options, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { problems <- err }))
	if seed != "" {
		options = append(options, auth(t, seed))
	}
	conn, err := nats.Connect("nats://"+s.Addr().String(), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn, problems
}

// auth returns the option that authenticates with a seed file.
func auth(t *testing.T, seed string) nats.Option {
	t.Helper()
	option, err := nats.NkeyOptionFromSeed(seed)
	if err != nil {
		t.Fatal(err)
	}
	return option
}

// secured returns the option to connect by TLS to a server of certificate.
func secured(pool *x509.CertPool) nats.Option {
	return nats.Secure(&tls.Config{RootCAs: pool, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13})
}

func TestRights(t *testing.T) {
	asker, askerSeed := user(t, []string{"ask.*"}, []string{"reply.gw1.>"})
	other, otherSeed := user(t, []string{"reply.>"}, []string{"ask.n1"})
	s := start(t, config(t, asker, other))
	gw, problems := dial(t, s, askerSeed)
	node, _ := dial(t, s, otherSeed)
	if gw.ConnectedServerName() != "postern" {
		t.Errorf("the server is %q", gw.ConnectedServerName())
	}
	in, err := node.SubscribeSync("ask.n1")
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := gw.Publish("ask.n1", []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if m, err := in.NextMsg(5 * time.Second); err != nil || string(m.Data) != "hello" {
		t.Fatalf("got %v, %v", m, err)
	}
	for _, forbidden := range []func() error{
		func() error { return gw.Publish("reply.gw1.x", nil) },
		func() error { return gw.Publish("ask.n1.more", nil) },
		func() error { _, err := gw.SubscribeSync("reply.gw2.>"); return err },
		func() error { _, err := gw.SubscribeSync("ask.n1"); return err },
		func() error { _, err := gw.SubscribeSync(">"); return err },
	} {
		if err := forbidden(); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-problems:
			if !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("got %v, want a permission violation", err)
			}
		case <-time.After(5 * time.Second):
			t.Error("something forbidden was done in silence")
		}
	}
}

func TestStrangersAreRefused(t *testing.T) {
	known, _ := user(t, []string{"x"}, []string{"x"})
	_, strangerSeed := user(t, nil, nil)
	inside, insideSeed := user(t, []string{"x"}, []string{"x"})
	inside.InProcess = true
	mute, muteSeed := user(t, nil, nil)
	s := start(t, config(t, known, inside, mute))
	url := "nats://" + s.Addr().String()
	for name, seed := range map[string]string{"no key": "", "an unknown key": strangerSeed, "a key for inside": insideSeed} {
		var options []nats.Option
		if seed != "" {
			auth, err := nats.NkeyOptionFromSeed(seed)
			if err != nil {
				t.Fatal(err)
			}
			options = append(options, auth)
		}
		conn, err := nats.Connect(url, options...)
		if err == nil {
			conn.Close()
			t.Errorf("%s: connected", name)
		} else if !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s: %v", name, err)
		}
	}
	conn, _ := dial(t, s, insideSeed, nats.InProcessServer(s))
	if err := conn.Flush(); err != nil {
		t.Errorf("inside: %v", err)
	}
	// A user without any permission may do nothing, not everything.
	silent, problems := dial(t, s, muteSeed)
	if err := silent.Publish("x", nil); err != nil {
		t.Fatal(err)
	}
	select {
	case <-problems:
	case <-time.After(5 * time.Second):
		t.Error("a user without rights published")
	}
}

// TestTLS checks that a server with a certificate refuses connections without
// TLS.
func TestTLS(t *testing.T) {
	certFile, keyFile, pool := certificate(t)
	u, seed := user(t, []string{"x"}, []string{"x"})
	cfg := config(t, u)
	cfg.CertFile, cfg.KeyFile = certFile, keyFile
	s := start(t, cfg)
	conn, _ := dial(t, s, seed, secured(pool))
	state, err := conn.TLSConnectionState()
	if err != nil || state.Version != tls.VersionTLS13 {
		t.Errorf("version %x, %v", state.Version, err)
	}
	auth, err := nats.NkeyOptionFromSeed(seed)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	if _, err := raw.Write([]byte("CONNECT {\"verbose\":true}\r\nPING\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := raw.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if said, _ := io.ReadAll(raw); strings.Contains(string(said), "PONG") || strings.Contains(string(said), "+OK") {
		t.Errorf("without TLS it said %q", said)
	}
	if c, err := nats.Connect("nats://"+s.Addr().String(), auth, nats.Secure(&tls.Config{ServerName: "127.0.0.1"})); err == nil {
		c.Close()
		t.Error("an unknown certificate was trusted")
	}
}

// TestReload: new connections get the certificate that was read last, and open ones
// stay. Files that cannot be read change nothing.
func TestReload(t *testing.T) {
	certFile, keyFile := filepath.Join(t.TempDir(), "cert"), filepath.Join(t.TempDir(), "key")
	first := daemontest.WriteCertificate(t, certFile, keyFile, time.Hour, time.Hour, "127.0.0.1")
	u, seed := user(t, []string{"x"}, []string{"x"})
	cfg := config(t, u)
	cfg.CertFile, cfg.KeyFile = certFile, keyFile
	s := start(t, cfg)
	open, _ := dial(t, s, seed, secured(first))

	second := daemontest.WriteCertificate(t, certFile, keyFile, time.Hour, 2*time.Hour, "127.0.0.1")
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	renewed, _ := dial(t, s, seed, secured(second))
	for _, c := range []*nats.Conn{open, renewed} {
		if err := c.FlushTimeout(10 * time.Second); err != nil {
			t.Error(err)
		}
	}
	if left := time.Until(s.Certificate().NotAfter); left < time.Hour {
		t.Errorf("the certificate is still the first one: %v left", left)
	}
	if err := os.WriteFile(certFile, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(); err == nil {
		t.Error("a broken file was taken")
	}
	dial(t, s, seed, secured(second))
	// Users are replaced without a change of the certificate.
	if err := s.SetUsers([]User{u}); err != nil {
		t.Fatal(err)
	}
	dial(t, s, seed, secured(second))
}

// certificate writes the test certificate of net/http for 127.0.0.1.
func certificate(t *testing.T) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	cert := s.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: cert.Certificate[0]},
		keyFile:  {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(&block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool = x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return certFile, keyFile, pool
}

func TestPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	u, _ := user(t, nil, nil)
	cfg := config(t, u)
	cfg.Listen = l.Addr().String()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "address already in use") || !strings.Contains(err.Error(), cfg.Listen) {
		t.Errorf("a taken port: %v", err)
	}
}

func TestConfigRefused(t *testing.T) {
	u, _ := user(t, nil, nil)
	for want, spoil := range map[string]func(*Config){
		"required":        func(c *Config) { c.Listen = "0.0.0.0:0" },
		"IP address":      func(c *Config) { c.Listen = "example.test:4222" },
		"missing port":    func(c *Config) { c.Listen = "127.0.0.1" },
		"port":            func(c *Config) { c.Listen = "127.0.0.1:99999" },
		"server name":     func(c *Config) { c.ServerName = "" },
		"store directory": func(c *Config) { c.StoreDir = "" },
		"no users":        func(c *Config) { c.Users = nil },
		"public user key": func(c *Config) { c.Users = []User{{PublicKey: "SUAxxx"}} },
		"certificate":     func(c *Config) { c.CertFile = "missing.pem" },
	} {
		cfg := config(t, u)
		spoil(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error about %q, got %v", want, err)
		}
	}
}

func TestSeed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gw1.nkey")
	first, err := EnsureSeed(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := EnsureSeed(path)
	if err != nil || again != first {
		t.Errorf("the second time %q, %v; the first %q", again, err, first)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := EnsureSeed(path); err == nil {
		t.Error("a seed others may read was taken")
	}
	if err := os.WriteFile(path+"2", []byte("not a seed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := EnsureSeed(path + "2"); err == nil || strings.Contains(err.Error(), "not a seed") {
		t.Errorf("a file that holds no seed: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".seed-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestRefusals checks what is reported: address and key of a client that cannot
// authenticate, and key and subject of a client without permission, whatever
// name the client chose.
func TestRefusals(t *testing.T) {
	known, knownSeed := user(t, []string{"ask.gw1"}, []string{"reply.gw1.>"})
	stranger, strangeSeed := user(t, nil, nil)
	heard := make(chan Refusal, 10)
	cfg := config(t, known)
	cfg.OnRefused = func(r Refusal) { heard <- r }
	s := start(t, cfg)
	expect := func(want Refusal) {
		t.Helper()
		want.From = "127.0.0.1"
		select {
		case got := <-heard:
			if got != want {
				t.Errorf("heard %+v, want %+v", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("heard nothing, want %+v", want)
		}
	}
	auth, err := nats.NkeyOptionFromSeed(strangeSeed)
	if err != nil {
		t.Fatal(err)
	}
	name := nats.Name(`a" - "$G/nkey:` + stranger.PublicKey + `" - Publish Violation - Subject "x"`)
	for want, options := range map[string][]nats.Option{"": {name}, stranger.PublicKey: {name, auth}} {
		if _, err := nats.Connect("nats://"+s.Addr().String(), options...); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("connect: %v", err)
		}
		expect(Refusal{Key: want})
	}
	conn, _ := dial(t, s, knownSeed, name)
	if err := conn.Publish("ask.gw2", nil); err != nil {
		t.Fatal(err)
	}
	expect(Refusal{Key: known.PublicKey, Subject: "ask.gw2"})
	if _, err := conn.SubscribeSync("reply.gw2.>"); err != nil {
		t.Fatal(err)
	}
	expect(Refusal{Key: known.PublicKey, Subject: "reply.gw2.>"})
}
