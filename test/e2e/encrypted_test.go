//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/postern-im/postern/test/e2e/backend"
	"github.com/postern-im/postern/test/e2e/client"
	"github.com/postern-im/postern/test/e2e/installation"
)

// encryptedPolicy is a tenant whose servers are reached with STARTTLS and with
// direct TLS. The servers' certificate does not name the domains of
// mistakenPolicy.
const (
	encryptedPolicy = `tenant = "encrypted"
[[domain]]
name = "alpha.test"
services = ["muc.alpha.test", "pubsub.alpha.test", "upload.alpha.test"]
backend = [{ address = "@STARTTLS@", security = "starttls" }]
[[domain]]
name = "beta.test"
services = ["muc.beta.test", "pubsub.beta.test", "upload.beta.test"]
backend = [{ address = "@TLS@", security = "tls" }]
`
	mistakenPolicy = `tenant = "mistaken"
[[domain]]
name = "delta.test"
backend = [{ address = "@STARTTLS@", security = "starttls" }]
[[domain]]
name = "epsilon.test"
backend = [{ address = "@TLS@", security = "tls" }]
`
)

// An encrypted is an installation that reaches its server with TLS.
type encrypted struct {
	target
	in            *installation.Installation
	starttls, tls *tap // in front of the server's two ports
}

// newEncrypted starts an installation in front of a server that it reaches with
// TLS. settings are added to the gateway's configuration.
func newEncrypted(t *testing.T, kind backend.Kind, settings string) *encrypted {
	t.Helper()
	server := shared.servers[kind]
	e := &encrypted{starttls: newTap(t, server.StartTLSAddr()), tls: newTap(t, server.DirectTLSAddr())}
	fill := strings.NewReplacer("@STARTTLS@", e.starttls.listener.Addr().String(), "@TLS@", e.tls.listener.Addr().String())
	var err error
	e.in, err = installPolicies(server, installation.Config{GatewaySettings: settings},
		fill.Replace(encryptedPolicy), fill.Replace(mistakenPolicy))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.in.Stop(); err != nil {
			t.Error(err)
		}
	})
	e.target = target{
		name: "encrypted gateway before " + string(kind), server: server,
		startTLS: e.in.StartTLS, directTLS: e.in.DirectTLS, caFile: server.CAFile(),
	}
	return e
}

// TestEncryptedBackend reaches the servers with STARTTLS and direct TLS. A
// server whose certificate does not verify gets no bytes of a client.
func TestEncryptedBackend(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			trusting := newEncrypted(t, kind, fmt.Sprintf("[backend]\nroots = %q\n", shared.servers[kind].CAFile()))
			for _, mechanism := range mechanisms {
				t.Run(mechanism, func(t *testing.T) {
					exchangeEncrypted(t, trusting, func(c *client.Config) { c.Mechanism = mechanism })
				})
			}
			t.Run("could bind", func(t *testing.T) {
				exchangeEncrypted(t, trusting, func(c *client.Config) { c.CouldBind = true })
			})
			t.Run("real clients", func(t *testing.T) {
				for _, p := range programs {
					t.Run(p.name, func(t *testing.T) { smoke(t, trusting.target, p, client.StartTLS, "SCRAM-SHA-1") })
				}
			})
			t.Run("certificate for others", func(t *testing.T) {
				wantUnverified(t, trusting, "delta.test", trusting.starttls, "not delta.test")
				wantUnverified(t, trusting, "epsilon.test", trusting.tls, "not epsilon.test")
			})
			t.Run("unknown authority", func(t *testing.T) {
				wary := newEncrypted(t, kind, "") // trusts the system's authorities only
				wantUnverified(t, wary, "alpha.test", wary.starttls, "unknown authority")
				wantUnverified(t, wary, "beta.test", wary.tls, "unknown authority")
			})
		})
	}
}

// exchangeEncrypted sends messages in both directions between an account behind
// a STARTTLS leg and one behind a direct TLS leg. choose changes how they log
// in.
func exchangeEncrypted(t *testing.T, e *encrypted, choose func(*client.Config)) {
	ctx := waiting(t)
	connect := func(domain string, security client.Security) (*client.Client, string) {
		a := newAccount(t, e.server, "user", domain)
		config := e.clientConfig(t, a, security)
		choose(&config)
		c := login(ctx, t, config)
		send(ctx, t, c, "<presence/>")
		return c, a.password
	}
	alice, first := connect("alpha.test", client.StartTLS)
	bob, second := connect("beta.test", client.DirectTLS)
	for _, way := range [][2]*client.Client{{alice, bob}, {bob, alice}} {
		from, to := way[0], way[1]
		mark := unique("mark")
		send(ctx, t, from, "<message type='chat' to='"+to.JID+"'><body>"+mark+"</body></message>")
		m, err := to.Expect(ctx, client.HasBody(mark))
		if err != nil {
			t.Fatal(err)
		}
		if m.Attr("from") != from.JID {
			t.Errorf("from %s, want %s", m.Attr("from"), from.JID)
		}
	}
	wantEncrypted(t, e.starttls, true, first, "mark-", "<auth")
	wantEncrypted(t, e.tls, false, second, "mark-", "<auth")
}

// tlsRecord begins a TLS handshake record of any version (RFC 8446 section 5.1).
const tlsRecord = "\x16\x03"

// wantEncrypted expects that every connection through a tap changed to TLS,
// after <starttls/> or at once, and that none of the words was sent in the
// clear.
func wantEncrypted(t *testing.T, p *tap, starttls bool, words ...string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.legs) == 0 {
		t.Error("no connection to the server")
	}
	for _, l := range p.legs {
		clear, _, found := strings.Cut(string(l.up), tlsRecord)
		if !found || starttls != strings.HasSuffix(clear, "<starttls xmlns='"+client.NSTLS+"'/>") || !starttls && clear != "" {
			t.Errorf("no TLS after %q", clear)
		}
		for _, word := range words {
			if bytes.Contains(l.up, []byte(word)) || bytes.Contains(l.down, []byte(word)) {
				t.Errorf("%q is sent in the clear", word)
			}
		}
	}
}

// wantUnverified expects that a client of a domain is told that its server
// cannot be reached, and that the gateway's log names the server and the cause.
// The server gets no bytes but those that set up TLS.
func wantUnverified(t *testing.T, e *encrypted, domain string, p *tap, why string) {
	t.Helper()
	ctx := waiting(t)
	config := e.clientConfig(t, account{jid: "nobody@" + domain, password: "secret"}, client.DirectTLS)
	_, err := client.Login(ctx, config)
	if err == nil || !strings.Contains(err.Error(), "remote-connection-failed") {
		t.Errorf("a client of %s gets %v", domain, err)
	}
	server := p.listener.Addr().String()
	err = e.in.Gateway.WaitFor(ctx, func(context.Context) error {
		return logged(e.in.GatewayLog(), "connection not bound", server, "certificate", why)
	})
	if err != nil {
		t.Errorf("%s: %v", domain, err)
	}
	wantEncrypted(t, p, p == e.starttls, "<auth")
}

// logged looks in a JSON log for a line with this message whose error has all
// the words.
func logged(file, msg string, words ...string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var last string
	for line := range strings.Lines(string(text)) {
		var entry struct{ Msg, Err string }
		if json.Unmarshal([]byte(line), &entry) != nil || entry.Msg != msg {
			continue
		}
		last = entry.Err
		found := true
		for _, word := range words {
			found = found && strings.Contains(entry.Err, word)
		}
		if found {
			return nil
		}
	}
	return errors.New("no such line; the last one with this message: " + last)
}
