//go:build e2e

package e2e

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/test/e2e/backend"
	"github.com/postern-im/postern/test/e2e/client"
	"github.com/postern-im/postern/test/e2e/installation"
)

// A ground is an installation and a server for one test, with a forwarder
// between them, and a bystander whose session no test input may harm.
type ground struct {
	server    *backend.Server
	forwarder *forwarder
	in        *installation.Installation
	tg        target
	bystander *client.Client
}

func newGround(ctx context.Context, t *testing.T, kind backend.Kind) *ground {
	t.Helper()
	dir := filepath.Join(t.TempDir(), string(kind))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	server, err := backend.Start(ctx, backend.Config{Kind: kind, Dir: dir, Domains: domains})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	g := &ground{server: server, forwarder: newForwarder(t, server.Addr())}
	if g.in, err = newInstallation(server, g.forwarder.addr(), ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.in.Stop(); err != nil {
			t.Error(err)
		}
	})
	g.tg = target{name: "gateway", server: server, startTLS: g.in.StartTLS, directTLS: g.in.DirectTLS, caFile: server.CAFile()}
	g.bystander = login(ctx, t, g.tg.clientConfig(t, newAccount(t, server, "bystander", "alpha.test"), client.StartTLS))
	return g
}

// metric returns the value of a metric of the gateway.
func (g *ground) metric(ctx context.Context, t *testing.T, name string) float64 {
	t.Helper()
	text, err := g.in.Metrics(ctx, g.in.GatewayHTTP)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			value, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				t.Fatal(err)
			}
			return value
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// settled waits until the gateway has at most as many goroutines and
// descriptors as before.
func (g *ground) settled(ctx context.Context, t *testing.T, goroutines, descriptors float64) {
	t.Helper()
	// The scrape's own connection may be counted too, or an idle one be
	// missing.
	const scrape = 2
	err := g.in.Gateway.WaitFor(ctx, func(ctx context.Context) error {
		n, fds := g.metric(ctx, t, "go_goroutines"), g.metric(ctx, t, "process_open_fds")
		if n > goroutines+2*scrape || fds > descriptors+scrape {
			return fmt.Errorf("%v goroutines (before: %v), %v descriptors (before: %v)", n, goroutines, fds, descriptors)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// unharmed checks that the bystander's session still works.
func (g *ground) unharmed(ctx context.Context, t *testing.T) {
	t.Helper()
	mark := unique("mark")
	send(ctx, t, g.bystander, "<message to='"+g.bystander.JID+"'><body>"+mark+"</body></message>")
	if _, err := g.bystander.Expect(ctx, client.HasBody(mark)); err != nil {
		t.Errorf("the bystander: %v", err)
	}
}

// TestBadInput sends the gateway input that it must refuse. Each gets the right
// error, harms no other session, and leaves nothing behind.
func TestBadInput(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			ctx := waiting(t)
			g := newGround(ctx, t, kind)
			goroutines, descriptors := g.metric(ctx, t, "go_goroutines"), g.metric(ctx, t, "process_open_fds")
			t.Run("cases", func(t *testing.T) {
				for name, test := range badInputs {
					t.Run(name, func(t *testing.T) {
						t.Parallel()
						test(waiting(t), t, g)
					})
				}
			})
			g.unharmed(ctx, t)
			g.settled(ctx, t, goroutines, descriptors)
			g.backendFailures(ctx, t)
			g.policyFailures(ctx, t)
			g.settled(ctx, t, goroutines, descriptors)
		})
	}
}

const streamHeader = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0' to='alpha.test'>"

// converse writes text to a connection and returns everything that the gateway
// sends until it closes the connection.
func converse(ctx context.Context, t *testing.T, conn net.Conn, text string) string {
	t.Helper()
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = io.WriteString(conn, text) // the gateway may close before it has read everything
	said, err := io.ReadAll(conn)
	if ctx.Err() != nil {
		t.Fatalf("the gateway does not close the connection: %v; it sent %q", err, said)
	}
	return string(said)
}

func (g *ground) dial(ctx context.Context, t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func (g *ground) dialTLS(ctx context.Context, t *testing.T, protocols ...string) (net.Conn, error) {
	t.Helper()
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: g.tg.roots(t), ServerName: "alpha.test", NextProtos: protocols}}
	return dialer.DialContext(ctx, "tcp", g.tg.directTLS)
}

func (g *ground) securely(ctx context.Context, t *testing.T, text string) string {
	t.Helper()
	conn, err := g.dialTLS(ctx, t, "xmpp-client")
	if err != nil {
		t.Fatal(err)
	}
	return converse(ctx, t, conn, text)
}

func wantSaid(t *testing.T, said string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(said, w) {
			t.Errorf("the gateway sent no %s: %q", w, said)
		}
	}
	if strings.Contains(said, "<success") || strings.Contains(said, "urn:ietf:params:xml:ns:xmpp-bind") {
		t.Errorf("the gateway let the client in: %q", said)
	}
}

// plain is a SASL PLAIN message.
func plain(authzid, authcid, password string) string {
	return "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" +
		base64.StdEncoding.EncodeToString([]byte(authzid+"\x00"+authcid+"\x00"+password)) + "</auth>"
}

var badInputs = map[string]func(context.Context, *testing.T, *ground){
	"no TLS": func(ctx context.Context, t *testing.T, g *ground) {
		a := newAccount(t, g.server, "bad", "alpha.test")
		local, _, _ := strings.Cut(a.jid, "@")
		wantSaid(t, converse(ctx, t, g.dial(ctx, t, g.tg.startTLS), streamHeader+plain("", local, a.password)), "<stream:error>", "</stream:stream>")
	},
	"not XMPP at all": func(ctx context.Context, t *testing.T, g *ground) {
		wantSaid(t, converse(ctx, t, g.dial(ctx, t, g.tg.startTLS), "GET / HTTP/1.1\r\n\r\n"), "<stream:error>", "not-well-formed")
	},
	"bytes after starttls": func(ctx context.Context, t *testing.T, g *ground) {
		said := converse(ctx, t, g.dial(ctx, t, g.tg.startTLS), streamHeader+"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"+streamHeader)
		wantSaid(t, said, "<stream:error>")
		if strings.Contains(said, "<proceed") {
			t.Errorf("the gateway continued: %q", said)
		}
	},
	"8 KiB before authentication": func(ctx context.Context, t *testing.T, g *ground) {
		wantSaid(t, g.securely(ctx, t, streamHeader+"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>"+strings.Repeat("A", 9<<10)), "policy-violation")
	},
	"8 KiB of header": func(ctx context.Context, t *testing.T, g *ground) {
		wantSaid(t, converse(ctx, t, g.dial(ctx, t, g.tg.startTLS), "<stream:stream id='"+strings.Repeat("A", 9<<10)), "policy-violation")
	},
	"slow negotiation": func(ctx context.Context, t *testing.T, g *ground) {
		began := time.Now()
		wantSaid(t, converse(ctx, t, g.dial(ctx, t, g.tg.startTLS), "<stream:str"))
		wantSaid(t, g.securely(ctx, t, streamHeader))
		if took := time.Since(began); took > time.Minute {
			t.Errorf("the gateway waited %v", took)
		}
	},
	"slow handshake": func(ctx context.Context, t *testing.T, g *ground) {
		wantSaid(t, converse(ctx, t, g.dial(ctx, t, g.tg.directTLS), "\x16\x03"))
	},
	"another protocol by ALPN": func(ctx context.Context, t *testing.T, g *ground) {
		if conn, err := g.dialTLS(ctx, t, "h2"); err == nil {
			conn.Close()
			t.Error("the gateway agreed to h2")
		}
	},
	"unknown host": func(ctx context.Context, t *testing.T, g *ground) {
		wantSaid(t, converse(ctx, t, g.dial(ctx, t, g.tg.startTLS), strings.Replace(streamHeader, "alpha.test", "nowhere.test", 1)), "host-unknown")
	},
	"host of an odd form": func(ctx context.Context, t *testing.T, g *ground) {
		wantSaid(t, converse(ctx, t, g.dial(ctx, t, g.tg.startTLS), strings.Replace(streamHeader, "alpha.test", "a..b", 1)), "<stream:error>")
	},
	"wrong password": func(ctx context.Context, t *testing.T, g *ground) {
		a := newAccount(t, g.server, "bad", "alpha.test")
		local, _, _ := strings.Cut(a.jid, "@")
		for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-1"} {
			config := g.tg.clientConfig(t, a, client.StartTLS)
			config.Password, config.Mechanism = "wrong", mechanism
			if _, err := client.Login(ctx, config); err == nil || !strings.Contains(err.Error(), "not-authorized") {
				t.Errorf("%s: %v, want not-authorized", mechanism, err)
			}
		}
		wrong := plain("", local, "wrong")
		wantSaid(t, g.securely(ctx, t, streamHeader+wrong+wrong+wrong+wrong), "not-authorized", "<stream:error>")
	},
	"authzid of another user": func(ctx context.Context, t *testing.T, g *ground) {
		a, victim := newAccount(t, g.server, "bad", "alpha.test"), newAccount(t, g.server, "victim", "alpha.test")
		local, _, _ := strings.Cut(a.jid, "@")
		other, _, _ := strings.Cut(victim.jid, "@")
		for _, authzid := range []string{victim.jid, other, strings.ToUpper(victim.jid), a.jid + "/r", "alpha.test"} {
			c, err := client.Dial(ctx, g.tg.clientConfig(t, a, client.DirectTLS))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			send(ctx, t, c, plain(authzid, local, a.password))
			answer, err := c.Next(ctx)
			if err != nil || !answer.Is(client.NSSASL, "failure") || !strings.Contains(string(answer.Raw), "invalid-authzid") {
				t.Errorf("authzid %q: %s, %v", authzid, answer.Raw, err)
			}
		}
	},
	"SCRAM with another's authzid and with channel binding": func(ctx context.Context, t *testing.T, g *ground) {
		a := newAccount(t, g.server, "bad", "alpha.test")
		local, _, _ := strings.Cut(a.jid, "@")
		for _, first := range []string{"n,a=victim@alpha.test,", "p=tls-exporter,,", "x,,", "n,"} {
			c, err := client.Dial(ctx, g.tg.clientConfig(t, a, client.DirectTLS))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			send(ctx, t, c, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>"+
				base64.StdEncoding.EncodeToString([]byte(first+"n="+local+",r=abcdefgh"))+"</auth>")
			answer, err := c.Next(ctx)
			if err != nil || !answer.Is(client.NSSASL, "failure") {
				t.Errorf("%q: %s, %v", first, answer.Raw, err)
			}
		}
	},
	"mechanism not offered": func(ctx context.Context, t *testing.T, g *ground) {
		for _, mechanism := range []string{"EXTERNAL", "X-OAUTH2", "ANONYMOUS", "SCRAM-SHA-1-PLUS", ""} {
			wantSaid(t, g.securely(ctx, t, streamHeader+"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='"+mechanism+"'>AAAA</auth></stream:stream>"), "invalid-mechanism")
		}
	},
	"stanza before authentication": func(ctx context.Context, t *testing.T, g *ground) {
		wantSaid(t, g.securely(ctx, t, streamHeader+"<message to='x@alpha.test'><body>x</body></message>"), "not-authorized")
	},
	"stanza before the bind result": func(ctx context.Context, t *testing.T, g *ground) {
		a := newAccount(t, g.server, "bad", "alpha.test")
		c, err := client.Dial(ctx, g.tg.clientConfig(t, a, client.DirectTLS))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Authenticate(ctx); err != nil {
			t.Fatal(err)
		}
		send(ctx, t, c, "<message to='"+g.bystander.JID+"'><body>early</body></message>")
		if e, err := c.Next(ctx); err != nil || !client.IsStreamError(e) || e.Condition() != "not-authorized" {
			t.Errorf("got %s, %v", e.Raw, err)
		}
	},
	"oversize, too deep, unknown": func(ctx context.Context, t *testing.T, g *ground) {
		a := newAccount(t, g.server, "bad", "alpha.test")
		for xml, want := range map[string]string{
			"<message><body>" + strings.Repeat("x", 257<<10) + "</body></message>":           "policy-violation",
			"<message>" + strings.Repeat("<a xmlns='u:a'>", 100):                             "policy-violation",
			"<message>" + strings.Repeat("<a/>", 2000) + "</message>":                        "policy-violation",
			"<r xmlns='urn:xmpp:sm:3'/>":                                                     "unsupported-stanza-type",
			"<compress xmlns='http://jabber.org/protocol/compress'/>":                        "unsupported-stanza-type",
			"<message from='somebody@alpha.test' to='x@alpha.test'><body>x</body></message>": "invalid-from",
		} {
			c := login(ctx, t, g.tg.clientConfig(t, a, client.DirectTLS))
			if got := (&smuggler{}).outcome(ctx, t, c, xml); got != want && got != "closed" {
				t.Errorf("%.60s: %s, want %s", xml, got, want)
			}
		}
	},
	"iq with two children": func(ctx context.Context, t *testing.T, g *ground) {
		c := login(ctx, t, g.tg.clientConfig(t, newAccount(t, g.server, "bad", "alpha.test"), client.DirectTLS))
		answer, err := c.Query(ctx, "get", "", "<query xmlns='jabber:iq:roster'/><query xmlns='jabber:iq:roster'/>")
		if err != nil || answer.Condition() != "bad-request" {
			t.Errorf("got %s, %v", answer.Raw, err)
		}
		if _, err := c.Fence(ctx); err != nil {
			t.Errorf("the session must continue: %v", err)
		}
	},
	"client vanishes": func(ctx context.Context, t *testing.T, g *ground) {
		a := newAccount(t, g.server, "bad", "alpha.test")
		for range 5 {
			c := login(ctx, t, g.tg.clientConfig(t, a, client.StartTLS))
			send(ctx, t, c, "<presence/><message to='"+c.JID+"'><body>")
			c.Vanish()
			conn := g.dial(ctx, t, g.tg.startTLS)
			conn.Close()
		}
	},
}

// backendFailures cuts a stanza of the backend in two, and takes the backend
// down.
func (g *ground) backendFailures(ctx context.Context, t *testing.T) {
	victim := login(ctx, t, g.tg.clientConfig(t, newAccount(t, g.server, "victim", "alpha.test"), client.StartTLS))
	g.forwarder.cutNext()
	send(ctx, t, victim, "<message to='"+victim.JID+"'><body>cut</body></message>")
	for {
		e, err := victim.Next(ctx)
		if err != nil {
			t.Errorf("the stream ended without an error: %v", err)
			break
		}
		if client.IsStreamError(e) {
			break
		}
		if e.Body() != "" {
			t.Errorf("half a stanza arrived: %s", e.Raw)
		}
	}
	g.forwarder.setDown(true)
	account := newAccount(t, g.server, "late", "alpha.test")
	_, err := client.Login(ctx, g.tg.clientConfig(t, account, client.StartTLS))
	if err == nil || !strings.Contains(err.Error(), "remote-connection-failed") {
		t.Errorf("login with the backend down: %v, want remote-connection-failed", err)
	}
	g.forwarder.setDown(false)
	g.forwarder.mend()
	login(ctx, t, g.tg.clientConfig(t, account, client.StartTLS))
	g.bystander = login(ctx, t, g.tg.clientConfig(t, newAccount(t, g.server, "bystander", "alpha.test"), client.StartTLS))
	g.unharmed(ctx, t)
}

// policyFailures kills policyd, with the NATS server in it, and starts it
// again.
func (g *ground) policyFailures(ctx context.Context, t *testing.T) {
	send(ctx, t, g.bystander, "<presence/>")
	if _, err := g.bystander.Fence(ctx); err != nil {
		t.Fatal(err)
	}
	friend := login(ctx, t, direct(g.server).clientConfig(t, newAccount(t, g.server, "friend", "alpha.test"), client.StartTLS))
	if err := g.in.Policyd.Kill(); err != nil {
		t.Fatal(err)
	}
	mark := unique("mark")
	send(ctx, t, friend, "<message type='chat' to='"+g.bystander.JID+"'><body>"+mark+"</body></message>")
	for i := range 3 {
		began := time.Now()
		send(ctx, t, g.bystander, "<message type='chat' id='out' to='"+friend.JID+"'><body>"+mark+"</body></message>")
		e, err := g.bystander.Expect(ctx, func(e client.Element) bool { return e.Attr("id") == "out" || e.Body() == mark })
		if err != nil {
			t.Fatal(err)
		}
		if e.Condition() != "internal-server-error" || !strings.Contains(string(e.Raw), "Access control is temporarily unavailable") || !strings.Contains(string(e.Raw), "wait") {
			t.Errorf("while policyd is down: %s", e.Raw)
		}
		t.Logf("stanza %d was refused after %v", i+1, time.Since(began))
	}
	if seen, err := friend.Fence(ctx); err != nil || len(seen) > 0 {
		t.Errorf("a stanza passed while policyd was down: %v, %v", seen, err)
	}
	if err := g.in.StartPolicyd(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := g.bystander.Expect(ctx, client.HasBody(mark)); err != nil {
		t.Errorf("the message that the server sent during the outage: %v", err)
	}
	err := g.in.Gateway.WaitFor(ctx, func(ctx context.Context) error {
		answer, err := g.bystander.Query(ctx, "get", "", "<query xmlns='jabber:iq:roster'/>")
		if err == nil && answer.Attr("type") != "result" {
			err = fmt.Errorf("still refused: %s", answer.Raw)
		}
		return err
	})
	if err != nil {
		t.Errorf("the session is not served again by itself: %v", err)
	}
	g.unharmed(ctx, t)
}
