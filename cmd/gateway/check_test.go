package main

import (
	"bytes"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/postern-im/postern/internal/daemon/daemontest"
)

// writeCert writes a certificate for a name, and its key. The certificate expires
// after left.
func writeCert(t *testing.T, dir, file, name string, left time.Duration) {
	t.Helper()
	daemontest.WriteCertificate(t, filepath.Join(dir, file+".crt"), filepath.Join(dir, file+".key"), 100*24*time.Hour, left, name)
}

// TestCheck: --check prints a line for each fault that would prevent the gateway
// from serving, and changes nothing.
func TestCheck(t *testing.T) {
	top := t.TempDir()
	certs, empty := filepath.Join(top, "certs"), filepath.Join(top, "empty")
	for _, dir := range []string{certs, empty} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	writeCert(t, certs, "a.test", "a.test", 90*24*time.Hour)
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	seedFile, openSeed := filepath.Join(top, "gateway.nkey"), filepath.Join(top, "open.nkey")
	for file, mode := range map[string]fs.FileMode{seedFile: 0o600, openSeed: 0o644} {
		if err := os.WriteFile(file, seed, mode); err != nil {
			t.Fatal(err)
		}
	}
	good := map[string]string{
		"LISTEN_STARTTLS": "127.0.0.1:5222,[::1]:5222", "LISTEN_DIRECT_TLS": ":5223",
		"CERTIFICATES_DIRECTORY": certs, "NATS_SEED_FILE": seedFile,
	}
	check := func(status int, settings map[string]string, want ...string) {
		t.Helper()
		all := maps.Clone(good)
		maps.Copy(all, settings)
		var environ []string
		for name, value := range all {
			environ = append(environ, envPrefix+name+"="+value)
		}
		before := daemontest.Snapshot(t, top)
		var out bytes.Buffer
		got := checkAll("", environ).Print(&out, "gateway")
		if after := daemontest.Snapshot(t, top); !maps.Equal(before, after) {
			t.Errorf("it changed the folder: %v", after)
		}
		if text := out.String(); got != status || strings.Count(text, "\n") != len(want) {
			t.Errorf("status %d, want %d, and %d lines:\n%s", got, status, len(want), text)
		}
		for _, w := range want {
			if !strings.Contains(out.String(), w) {
				t.Errorf("no line about %q:\n%s", w, out.String())
			}
		}
	}
	check(0, nil)
	check(0, map[string]string{"CERTIFICATES_DIRECTORY": "", "CERTIFICATES_SELF_SIGNED": "true", "NATS_SEED_FILE": ""}, "warning: nats: no seed_file")
	check(1, map[string]string{"CERTIFICATES_DIRECTORY": empty}, "error: certificates: "+empty+" holds no certificate")
	check(1, map[string]string{
		"ID": "Gate.1", "LIMITS_CONNECTIONS": "0", "LISTEN_STARTTLS": "192.0.2.1:5222", "LISTEN_DIRECT_TLS": "nothing", "LISTEN_HTTP": "0.0.0.0:9522",
		"CERTIFICATES_DIRECTORY": filepath.Join(top, "missing"), "BACKEND_ROOTS": seedFile,
		"NATS_URLS": "nats://192.0.2.1:4222,nats://[::1]:4222", "NATS_SEED_FILE": openSeed,
	},
		"error: id ", "error: limits: ", "listen: starttls: 192.0.2.1:5222", "listen: direct_tls: ", "listen: http: 0.0.0.0:9522 is not on loopback",
		"certificates: open "+filepath.Join(top, "missing"), "backend: roots: "+seedFile, "without TLS it must be on loopback", "others may read it")
	check(1, map[string]string{"NATS_URLS": "nats://192.0.2.1:4222", "NATS_CA": filepath.Join(top, "missing.pem")}, "nats: ca: open")
	writeCert(t, certs, "b.test", "xmpp.b.test", 24*time.Hour)
	writeCert(t, certs, "c.test", "c.test", -time.Hour)
	check(0, nil, "warning: certificates: b.test: a certificate expires soon", "warning: certificates: b.test: a certificate is not for the domain",
		"warning: certificates: c.test: a certificate has expired")
	if err := os.WriteFile(filepath.Join(certs, "d.test.crt"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	writeCert(t, certs, "e.test", "e.test", 90*24*time.Hour)
	if err := os.Chmod(filepath.Join(certs, "e.test.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	check(1, nil, "warning: certificates: key: "+filepath.Join(certs, "e.test.key")+": every user may access it",
		"warning: certificates: b.test: a certificate expires soon", "warning: certificates: b.test: a certificate is not for the domain",
		"warning: certificates: c.test: a certificate has expired", "error: certificate "+filepath.Join(certs, "d.test.crt"))
}
