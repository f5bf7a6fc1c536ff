package main

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestCertificatesExpire: policyd logs at the start and after SIGHUP that the
// certificate of a port expires soon, and a metric has the expiry times.
func TestCertificatesExpire(t *testing.T) {
	c := testConfig(t)
	dir := t.TempDir()
	c.Admin.Listen, c.Admin.Cert, c.Admin.Key = freePort(t), filepath.Join(dir, "admin.crt"), filepath.Join(dir, "admin.key")
	c.NATS.Cert, c.NATS.Key = filepath.Join(dir, "nats.crt"), filepath.Join(dir, "nats.key")
	writeCertificateOf(t, c.Admin.Cert, c.Admin.Key, 3*time.Hour, time.Hour)
	writeCertificateOf(t, c.NATS.Cert, c.NATS.Key, 100*24*time.Hour, 24*time.Hour)
	p := startProcess(t, c)
	eventually(t, "policyd to be ready", func() bool { return get(c, "/readyz") == "ok\n" })
	metric := func(of string) string {
		_, value, _ := strings.Cut(get(c, "/metrics"), `postern_policyd_certificate_expiry_seconds{of="`+of+`"} `)
		value, _, _ = strings.Cut(value, "\n")
		return value
	}
	if metric("nats") == "" || metric("admin") == "" {
		t.Errorf("metrics: %q, %q", metric("nats"), metric("admin"))
	}
	before := metric("admin")
	writeCertificateOf(t, c.Admin.Cert, c.Admin.Key, time.Hour, -time.Minute)
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new certificate", func() bool { return metric("admin") != before })
	if code := p.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit status %d", code)
	}
	for _, want := range []string{
		`level=WARN msg="a certificate expires soon" of=admin file=` + c.Admin.Cert,
		`level=ERROR msg="a certificate expires soon" of=nats file=` + c.NATS.Cert,
		`level=INFO msg="a new certificate is in use" of=admin file=` + c.Admin.Cert,
		`level=ERROR msg="a certificate has expired" of=admin file=` + c.Admin.Cert,
	} {
		if out := p.stderr.String(); !strings.Contains(out, want) {
			t.Errorf("not logged: %s\n%s", want, out)
		}
	}
	if strings.Contains(p.stderr.String(), `"a new certificate is in use" of=nats`) {
		t.Error("the certificate for gateways has not changed")
	}
}
