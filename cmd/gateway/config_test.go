package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func load(t *testing.T, text string, environ ...string) (*config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gateway.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return loadConfig(path, environ)
}

func TestConfig(t *testing.T) {
	c, err := load(t, `
id = "gw1"
[listen]
starttls = ["127.0.0.1:15222", "[::1]:15222"]
http = "localhost:0"
[certificates]
self_signed = true
[nats]
urls = ["nats://127.0.0.1:14222"]
`, "POSTERN_GATEWAY_CONFIG=x", "POSTERN_GATEWAY_LISTEN_DIRECT_TLS=:1,:2", "POSTERN_GATEWAY_NATS_SERVER_NAME=postern")
	if err != nil {
		t.Fatal(err)
	}
	if c.ID != "gw1" || len(c.Listen.STARTTLS) != 2 || len(c.Listen.DirectTLS) != 2 || c.NATS.ServerName != "postern" ||
		!c.Certificates.SelfSigned || c.Limits.PerAddress != 64 {
		t.Errorf("%+v", c)
	}
	if _, err := loadConfig("", nil); err != nil {
		t.Errorf("defaults alone: %v", err)
	}
}

func TestConfigErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"[listen]\nport = 5222", "2:1: unknown key listen.port"},
		{"[listen]\nstarttls = []\ndirect_tls = []", "no address"},
		{"[listen]\nhttp = \":9522\"", "loopback"},
		{"[limits]\nconnections = 0", "positive"},
		{"[limits]\nper_address = -1", "positive"},
		{"[limits]\nunauthenticated = 0", "positive"},
		{"[limits]\nstanzas = 0", "positive"},
		{"[limits]\nstanza_burst = 0", "positive"},
		{"[limits]\nrate = 1000", "in time"},
		{"[limits]\nburst = 1000", "in time"},
		{"[limits]\nsessions_per_account = 0", "positive"},
		{"[limits]\nlogin_failures = 0", "positive"},
		{"[limits]\nlogin_failures_per_address = 0", "positive"},
		{"[proxy]\ntrusted = ['10.0.0.1']", "not a network"},
		{"[proxy]\ntrusted = ['10.0.0.1/8']", "not a network"},
		{"[proxy]\ntrusted = ['::ffff:10.0.0.0/104']", "not a network"},
		{"[proxy]\ntrusted = ['']", "not a network"},
		{"[proxy]\ntrusted = ['0.0.0.0/0']", "not a network"},
		{"[nats]\nurls = ['nats://h1:1', 'nats://h2:1', 'nats://h3:1', 'nats://h4:1', 'nats://h5:1', 'nats://h6:1', 'nats://h7:1', 'nats://h8:1', 'nats://h9:1']", "at most 8"},
		{"[nats]\nurls = ['nats://h1:1', 'nats://h2:1', 'nats://h1:1']", "entry 3 repeats"},
		{"[log]\nformat = \"xml\"", "format"},
		{"[certificates]\ndirectory = \"\"", "no directory"},
		{"id = \"Gate.1\"\n[limits]\nconnections = 0", "a-z"},
	} {
		if _, err := load(t, c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want %q", c.text, err, c.want)
		}
	}
}

// TestBuildOpensAllOrNothing: if a port is in use, the gateway does not start,
// and it closes the ports that it has opened.
func TestBuildOpensAllOrNothing(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c := defaults()
	c.Certificates.Directory, c.Certificates.SelfSigned = "", true
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.Listen.STARTTLS = []string{free.Addr().String()}
	_ = free.Close()
	c.Listen.DirectTLS = []string{taken.Addr().String()}
	c.Listen.HTTP = ""
	if _, err := build(c); err == nil {
		t.Fatal("no error for a port in use")
	}
	again, err := net.Listen("tcp", c.Listen.STARTTLS[0])
	if err != nil {
		t.Fatalf("a port was left open: %v", err)
	}
	_ = again.Close()
}

// TestServeWithoutPolicy: without a NATS server the gateway starts, is live but
// not ready, and stops when its context ends.
func TestServeWithoutPolicy(t *testing.T) {
	defer goleak.VerifyNone(t)
	c := defaults()
	c.Certificates.Directory, c.Certificates.SelfSigned = "", true
	c.Listen.STARTTLS, c.Listen.DirectTLS = []string{"127.0.0.1:0"}, nil
	c.Listen.HTTP = "127.0.0.1:0"
	c.NATS.URLs = []string{"nats://127.0.0.1:1", "nats://127.0.0.1:2"}
	p, err := build(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.serve(ctx) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	for path, want := range map[string]int{"/livez": 200, "/readyz": 503, "/metrics": 200, "/": 404} {
		r, err := client.Get("http://" + p.health.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(r.Body)
		_ = r.Body.Close()
		if r.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, r.Status, want)
		}
		for _, want := range []string{"postern_gateway_sessions 0", `postern_gateway_links_connected{link="nats://127.0.0.1:2"} 0`} {
			if path == "/metrics" && !strings.Contains(string(body), want) {
				t.Errorf("no %s in the metrics: %s", want, body)
			}
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	p.disconnect()
}
