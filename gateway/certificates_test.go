package gateway_test

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/gateway"
	"github.com/postern-im/postern/internal/daemon/daemontest"
)

// writeCert writes a certificate for names, and its private key.
func writeCert(t *testing.T, certFile, keyFile string, names ...string) {
	t.Helper()
	daemontest.WriteCertificate(t, certFile, keyFile, time.Minute, time.Hour, names...)
}

// names returns the first DNS name in cert.
func certOf(cert *tls.Certificate) string {
	if cert == nil {
		return ""
	}
	return cert.Leaf.DNSNames[0]
}

func TestCertificates(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	writeCert(t, in("a.test.crt"), in("a.test.key"), "xmpp.a.test")
	writeCert(t, in("b.test/fullchain.pem"), in("b.test/privkey.pem"), "b.test", "*.b.test")
	writeCert(t, in("*.c.test.crt"), in("*.c.test.key"), "star.c.test")
	writeCert(t, in("xn--bcher-kva.test.crt"), in("xn--bcher-kva.test.key"), "xn--bcher-kva.test")
	c := gateway.NewCertificates(dir, false)
	if n, err := c.Load(); n != 4 || err != nil {
		t.Fatal(n, err)
	}
	for domain, want := range map[string]string{
		"a.test": "xmpp.a.test", "xmpp.a.test": "xmpp.a.test", "x.a.test": "",
		"b.test": "b.test", "x.b.test": "b.test", "x.y.b.test": "",
		"x.c.test": "star.c.test", "c.test": "", "bücher.test": "xn--bcher-kva.test", "d.test": "",
	} {
		if got := certOf(c.For(domain)); got != want {
			t.Errorf("%s: certificate of %q, want %q", domain, got, want)
		}
	}

	// A reload adds new certificates, keeps those whose files have become
	// unreadable, and drops those whose files have been removed.
	old := c.For("a.test")
	if err := os.WriteFile(in("a.test.key"), []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(in("*.c.test.crt")); err != nil {
		t.Fatal(err)
	}
	writeCert(t, in("b.test/fullchain.pem"), in("b.test/privkey.pem"), "b.test")
	if n, err := c.Load(); n != 3 || err == nil || !strings.Contains(err.Error(), "a.test.crt") {
		t.Error(n, err)
	}
	if c.For("a.test") != old || c.For("x.b.test") != nil || c.For("b.test") == nil || c.For("x.c.test") != nil {
		t.Error("reload")
	}
	if _, err := gateway.NewCertificates(in("none"), false).Load(); err == nil {
		t.Error("no error for a missing directory")
	}
}

func TestSelfSigned(t *testing.T) {
	c := gateway.NewCertificates("", true)
	cert := c.For("bücher.test")
	if cert == nil || c.For("bücher.test") != cert {
		t.Fatal("not made, or made twice")
	}
	if err := cert.Leaf.VerifyHostname("xn--bcher-kva.test"); err != nil {
		t.Error(err)
	}
	made := 0
	for i := range 1000 {
		if c.For(strings.Repeat("a", i%60+1)+"."+strings.Repeat("b", i/60+1)+".test") != nil {
			made++
		}
	}
	if made >= 1000 {
		t.Error("no bound on certificates made")
	}
	if gateway.NewCertificates("", false).For("a.test") != nil {
		t.Error("a certificate was made without selfSigned")
	}
}
