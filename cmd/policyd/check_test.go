package main

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/internal/daemon/daemontest"
)

// checkOf runs --check with settings, and returns its exit status and output.
func checkOf(t *testing.T, init bool, settings map[string]string) (int, string) {
	t.Helper()
	var environ []string
	for name, value := range settings {
		environ = append(environ, envPrefix+name+"="+value)
	}
	var out bytes.Buffer
	status := checkAll("", environ, init).Print(&out, "policyd")
	return status, out.String()
}

// TestCheck: --check prints a line for each fault that would prevent policyd from
// starting. It changes nothing, with or without a data folder.
func TestCheck(t *testing.T) {
	top, err := os.MkdirTemp("", "policyd") // t.TempDir can be too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(top) })
	in := func(name string) string { return filepath.Join(top, name) }
	good := map[string]string{
		"DATA": in("new/data"), "ADMIN_SOCKET": in("run/policyd.sock"),
		"ADMIN_LISTEN": freePort(t), "NATS_LISTEN": "0.0.0.0:4222", "LISTEN_HTTP": freePort(t),
		"ADMIN_CERT": in("good.crt"), "ADMIN_KEY": in("good.key"), "NATS_CERT": in("good.crt"), "NATS_KEY": in("good.key"),
	}
	writeCertificate(t, in("good.crt"), in("good.key"))
	writeCertificateOf(t, in("old.crt"), in("old.key"), 2*time.Hour, -time.Hour)
	writeCertificateOf(t, in("soon.crt"), in("soon.key"), 1000*time.Hour, time.Hour)
	if err := os.Chmod(in("soon.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	check := func(init bool, status int, settings map[string]string, want ...string) {
		t.Helper()
		all := maps.Clone(good)
		maps.Copy(all, settings)
		before := daemontest.Snapshot(t, top)
		got, text := checkOf(t, init, all)
		if after := daemontest.Snapshot(t, top); !maps.Equal(before, after) {
			t.Errorf("it changed the folder: %v", after)
		}
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		if text == "" {
			lines = nil
		}
		if got != status || len(lines) != len(want) {
			t.Errorf("status %d, want %d, and %d lines:\n%s", got, status, len(want), text)
		}
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("no line about %q:\n%s", w, text)
			}
		}
	}
	check(false, 0, nil)
	check(false, 0, map[string]string{"ADMIN_CERT": in("soon.crt"), "ADMIN_KEY": in("soon.key")},
		"warning: admin: "+in("soon.crt")+": a certificate expires soon", "warning: admin: key: "+in("soon.key"))
	check(false, 0, map[string]string{"ADMIN_CERT": in("old.crt"), "ADMIN_KEY": in("old.key")},
		"warning: admin: "+in("old.crt")+": a certificate has expired")
	check(false, 1, map[string]string{"NATS_LISTN": "x"}, "is not the name of a setting")
	// All faults at once.
	if err := os.MkdirAll(in("open"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(in("file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	check(false, 1, map[string]string{
		"ID": "No.1", "SNAPSHOTS_EVERY": "0", "DATA": in("file/data"), "ADMIN_SOCKET": in("open/policyd.sock"),
		"ADMIN_LISTEN": "192.0.2.1:9524", "ADMIN_CERT": in("old.crt"), "ADMIN_KEY": in("old.key"),
		"NATS_CERT": "", "NATS_KEY": "", "LISTEN_HTTP": "127.0.0.1:http-",
	},
		"error: id", "error: snapshots", "error: data: ", "mode 0755", "admin: listen: 192.0.2.1:9524", "a certificate has expired",
		"off loopback a certificate and its key are required", "listen: http: ")
	// External NATS servers.
	check(false, 1, map[string]string{"NATS_URLS": "nats://192.0.2.1:4222,nats://127.0.0.1:4222", "NATS_SEED_FILE": in("missing")},
		"without TLS it must be on loopback", "seed file: open "+in("missing"))
	// While policyd runs, and after it has run.
	c := testConfig(t)
	c.Data, c.Admin.Socket, c.NATS.Listen = good["DATA"], good["ADMIN_SOCKET"], freePort(t)
	stop := begin(t, c)
	running := map[string]string{"NATS_GATEWAYS": "gw1,gw2", "NATS_LISTEN": c.NATS.Listen, "LISTEN_HTTP": c.Listen.HTTP}
	all := maps.Clone(good)
	maps.Copy(all, running)
	if status, text := checkOf(t, false, all); status != 0 || text != "" {
		t.Errorf("beside a running policyd: %d\n%s", status, text)
	}
	if get(c, "/readyz") != "ok\n" {
		t.Error("the running policyd is harmed")
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	check(false, 0, running)
	check(true, 1, running, "start without --init")
	if err := os.Chmod(c.gatewaySeed("gw1"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.gatewaySeed("gw2"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	remove(t, c.logDir())
	check(false, 1, running, "gw1.nkey: others may read it", "key of gateway gw2", "not a new installation")
	remove(t, c.natsDir(), c.adminCalls(), c.journal())
	check(false, 0, running)
}
