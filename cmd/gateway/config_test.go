package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
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
		{"[log]\nformat = \"xml\"", "format"},
		{"[certificates]\ndirectory = \"\"", "no directory"},
	} {
		if _, err := load(t, c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want %q", c.text, err, c.want)
		}
	}
}

func TestRoots(t *testing.T) {
	if c, err := roots(""); c != nil || err != nil {
		t.Error("no file:", c, err)
	}
	file := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(file, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := roots(file); err == nil {
		t.Error("a file without certificates is no error")
	}
}
