package gateway_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-im/postern/gateway"
)

// TestNotices: there is a notice, with the domain, for a certificate that expires
// soon and for a certificate with wrong names. The metric has each expiry time.
func TestNotices(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	writeCert(t, in("good.test.crt"), in("good.test.key"), "other.test", "good.test")
	writeCert(t, in("a.good.test/fullchain.pem"), in("a.good.test/privkey.pem"), "*.good.test")
	writeCert(t, in("xn--bcher-kva.test.crt"), in("xn--bcher-kva.test.key"), "xn--bcher-kva.test")
	writeCert(t, in("*.wild.test.crt"), in("*.wild.test.key"), "*.wild.test")
	writeCert(t, in("bad.test.crt"), in("bad.test.key"), "xmpp.bad.test")
	writeCert(t, in("*.no.test.crt"), in("*.no.test.key"), "a.no.test")
	c := gateway.NewCertificates(dir, false)
	if n, err := c.Load(); n != 6 || err != nil {
		t.Fatal(n, err)
	}
	told := func(at time.Duration) (list []string) {
		for _, n := range c.Notices(time.Now().Add(at)) {
			list = append(list, fmt.Sprint(n.Level, " ", n.Domain, ": ", n.Message))
		}
		return list
	}
	const wrong = "a certificate is not for the domain its file is named for"
	if got, want := told(0), []string{"WARN *.no.test: " + wrong, "WARN bad.test: " + wrong}; !slices.Equal(got, want) {
		t.Errorf("notices: %q, want %q", got, want)
	}
	later := told(2 * time.Hour) // they are valid for one hour
	if len(later) != 8 || !slices.Contains(later, slog.LevelError.String()+" good.test: a certificate has expired") {
		t.Errorf("notices two hours later: %q", later)
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(c)
	families, err := metrics.Gather()
	if err != nil || len(families) != 1 || len(families[0].GetMetric()) != 6 {
		t.Fatalf("%v, %v", families, err)
	}
	for _, m := range families[0].GetMetric() {
		if end := time.Unix(int64(m.GetGauge().GetValue()), 0); time.Until(end) < 50*time.Minute || time.Until(end) > time.Hour {
			t.Errorf("%v ends at %v", m.GetLabel(), end)
		}
	}
}

// TestNoCertificates: loading a directory without a certificate is an error, and
// keeps the certificates loaded before.
func TestNoCertificates(t *testing.T) {
	dir := t.TempDir()
	c := gateway.NewCertificates(dir, false)
	if _, err := c.Load(); err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "DOMAIN.crt") {
		t.Errorf("an empty directory: %v", err)
	}
	file := filepath.Join(dir, "a.test.crt")
	writeCert(t, file, filepath.Join(dir, "a.test.key"), "a.test")
	if n, err := c.Load(); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Load(); n != 0 || err == nil || c.For("a.test") == nil {
		t.Errorf("emptied while in use: %d, %v, kept %v", n, err, c.For("a.test") != nil)
	}
	if n, err := gateway.NewCertificates(dir, true).Load(); n != 0 || err != nil {
		t.Errorf("self-signed: %d, %v", n, err)
	}
}
