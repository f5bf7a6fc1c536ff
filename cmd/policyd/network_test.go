package main

import (
	"context"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/internal/daemon/daemontest"
)

// writeCertificate writes a new certificate for 127.0.0.1 and returns a pool that
// trusts it. One of its two hours is over.
func writeCertificate(t *testing.T, cert, key string) *x509.CertPool {
	t.Helper()
	return writeCertificateOf(t, cert, key, time.Hour, time.Hour)
}

// writeCertificateOf is like writeCertificate. The certificate became valid age ago
// and expires after left.
func writeCertificateOf(t *testing.T, cert, key string, age, left time.Duration) *x509.CertPool {
	t.Helper()
	return daemontest.WriteCertificate(t, cert, key, age, left, "127.0.0.1")
}

// TestAdminNetwork: a client with a token administers over TLS. SIGHUP reloads the
// certificate and opens the files of records again. The records hold every call
// and no secret.
func TestAdminNetwork(t *testing.T) {
	c := testConfig(t)
	dir := t.TempDir()
	c.Admin.Listen, c.Admin.Cert, c.Admin.Key = freePort(t), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	roots := writeCertificate(t, c.Admin.Cert, c.Admin.Key)
	begin(t, c)
	token, id, hash := api.NewToken()
	local := api.NewClient(c.Admin.Socket)
	defer local.Close()
	if _, err := local.Do(t.Context(), "", api.TokenCreate{ID: id, Label: "test", Scope: "operator", Hash: hash}, api.CommandMeta{}); err != nil {
		t.Fatal(err)
	}
	ask := func(roots *x509.CertPool) error {
		client, err := api.NewRemoteClient("https://"+c.Admin.Listen, token, roots)
		if err != nil {
			return err
		}
		defer client.Close()
		_, err = client.Status(t.Context())
		return err
	}
	if err := ask(roots); err != nil {
		t.Fatal(err)
	}
	plain, err := api.NewRemoteClient("http://"+c.Admin.Listen, token, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := plain.Status(t.Context()); err == nil {
		t.Error("the admin port answers without TLS")
	}

	renewed := writeCertificate(t, c.Admin.Cert, c.Admin.Key)
	for _, file := range []string{c.adminCalls(), c.journal()} {
		if err := os.Rename(file, file+".1"); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if exists(c.adminCalls()) && exists(c.journal()) && ask(renewed) == nil {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("after SIGHUP: %v", ask(renewed))
		}
	}
	if ask(roots) == nil {
		t.Error("the old certificate is still in use")
	}
	for file, want := range map[string]string{c.adminCalls() + ".1": `"actor":"operator:local"`, c.adminCalls(): `"actor":"token:` + id + `"`} {
		text, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(text), want) || strings.Contains(string(text), token[len(token)-64:]) {
			t.Errorf("%s: %v\n%s", file, err, text)
		}
	}
}

// TestAdminShares: the admin port closes a connection beyond the share of its
// address. Other addresses can still connect, and a closed connection makes room.
func TestAdminShares(t *testing.T) {
	c := testConfig(t)
	c.Admin.Listen = "127.0.0.1:0"
	l, err := listenAdmin(c)
	if err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(20*time.Second, func() { _ = l.Close() })
	defer late.Stop()
	defer l.Close()
	dial := func(from string) net.Conn {
		t.Helper()
		conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	// accept accepts the next connection that the listener does not close. It must
	// be ours.
	accept := func(ours net.Conn) net.Conn {
		t.Helper()
		theirs, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { theirs.Close() })
		if got, want := theirs.RemoteAddr().String(), ours.LocalAddr().String(); got != want {
			t.Fatalf("a connection from %s was accepted, want %s", got, want)
		}
		return theirs
	}
	for range maxAdminConnsOf {
		accept(dial("127.0.0.1"))
	}
	for range 2 {
		tooMany := dial("127.0.0.1")
		accept(dial("127.0.0.2"))
		if _, err := tooMany.Read(make([]byte, 1)); err == nil {
			t.Error("an address has more connections than its share")
		}
	}
	for range maxAdminConnsOf + 5 {
		theirs := accept(dial("127.0.0.3")) // each connection is closed before the next
		theirs.Close()
		theirs.Close() // twice counts once
	}
}
