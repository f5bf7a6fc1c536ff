//go:build e2e

package e2e

import (
	"errors"
	"strings"
	"testing"

	"github.com/postern-im/postern/test/e2e/client"
)

// TestBackends validates the test harness: every client works with every server
// directly. A later failure is therefore the gateway's.
func TestBackends(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			tg := direct(shared.servers[kind])
			t.Run("clients", func(t *testing.T) { smokeMatrix(t, tg) })
			t.Run("wrong password", func(t *testing.T) { wrongPasswordFails(t, tg) })
			t.Run("test client", func(t *testing.T) { testClientLogsIn(t, tg) })
			t.Run("domains", func(t *testing.T) { domainsReachEachOther(t, tg) })
			t.Run("services", func(t *testing.T) { servicesAnswer(t, tg) })
		})
	}
}

// wrongPasswordFails shows that a client's report can be a failure.
func wrongPasswordFails(t *testing.T, tg target) {
	for _, p := range programs {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			a := newAccount(t, tg.server, p.name, "alpha.test")
			a.password = "wrong"
			results, _, failed := runProgram(t, tg, p, a, client.StartTLS, "SCRAM-SHA-1")
			if len(results) == 0 || results[0].Step != "login" || results[0].OK || failed == nil {
				t.Errorf("got %+v, status %v", results, failed)
			}
		})
	}
}

func testClientLogsIn(t *testing.T, tg target) {
	a := newAccount(t, tg.server, "raw", "alpha.test")
	for _, security := range securities {
		for _, mechanism := range mechanisms {
			t.Run(string(security)+"/"+mechanism, func(t *testing.T) {
				ctx := waiting(t)
				config := tg.clientConfig(t, a, security)
				config.Mechanism = mechanism
				config.Resource = unique("r")
				c := login(ctx, t, config)
				if want := a.jid + "/" + config.Resource; c.JID != want {
					t.Errorf("bound %s, want %s", c.JID, want)
				}
				if !c.TLS().HandshakeComplete {
					t.Error("no TLS")
				}
				if err := c.Send(ctx, "<presence/>"); err != nil {
					t.Fatal(err)
				}
				before, err := c.Fence(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if len(before) == 0 || before[0].Attr("from") != c.JID || !before[0].Stanza("presence") {
					t.Errorf("own presence is not the first of %v", before)
				}
				if err := c.Logout(ctx); err != nil {
					t.Error(err)
				}

				config.Password += "x"
				_, err = client.Login(ctx, config)
				if refused, ok := errors.AsType[*client.SASLError](err); !ok || refused.Condition != "not-authorized" {
					t.Errorf("wrong password: %v", err)
				}
			})
		}
	}
}

// domainsReachEachOther shows that the domains of a server deliver to each
// other without federation, and to no other domain.
func domainsReachEachOther(t *testing.T, tg target) {
	ctx := waiting(t)
	sender := login(ctx, t, tg.clientConfig(t, newAccount(t, tg.server, "sender", "alpha.test"), client.StartTLS))
	for _, domain := range domains {
		receiver := login(ctx, t, tg.clientConfig(t, newAccount(t, tg.server, "receiver", domain), client.DirectTLS))
		if err := receiver.Send(ctx, "<presence/>"); err != nil {
			t.Fatal(err)
		}
		if _, err := receiver.Fence(ctx); err != nil {
			t.Fatal(err)
		}
		err := sender.Send(ctx, "<message type='chat' to='"+receiver.Bare()+"'><body>to "+domain+"</body></message>")
		if err != nil {
			t.Fatal(err)
		}
		m, err := receiver.Expect(ctx, client.HasBody("to "+domain))
		if err != nil {
			t.Fatal(err)
		}
		if m.Attr("from") != sender.JID {
			t.Errorf("%s: from %s, want %s", domain, m.Attr("from"), sender.JID)
		}
	}
	answer, err := sender.Query(ctx, "get", "elsewhere.test", "<ping xmlns='urn:xmpp:ping'/>")
	if err != nil {
		t.Fatal(err)
	}
	if answer.Attr("type") != "error" {
		t.Errorf("a domain that no server has answers %s", answer)
	}
}

// servicesAnswer shows that each domain has its components, and that accounts
// have the features that the permission table names.
func servicesAnswer(t *testing.T, tg target) {
	const disco = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
	for _, domain := range domains {
		ctx := waiting(t)
		a := newAccount(t, tg.server, "user", domain)
		c := login(ctx, t, tg.clientConfig(t, a, client.StartTLS))
		for to, feature := range map[string]string{
			"muc." + domain:    "http://jabber.org/protocol/muc",
			"pubsub." + domain: "http://jabber.org/protocol/pubsub#publish",
			"upload." + domain: "urn:xmpp:http:upload:0",
			c.Bare():           "http://jabber.org/protocol/pubsub#publish",
		} {
			info, err := c.Query(ctx, "get", to, disco)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(info.Raw, feature) {
				t.Errorf("%s does not have %s: %s", to, feature, info)
			}
		}
		for name, request := range map[string][2]string{
			"roster":      {"get", "<query xmlns='jabber:iq:roster'/>"},
			"private XML": {"get", "<query xmlns='jabber:iq:private'><storage xmlns='u:notes'/></query>"},
			"archive":     {"set", "<query xmlns='urn:xmpp:mam:2'/>"},
			"preferences": {"get", "<prefs xmlns='urn:xmpp:mam:2'/>"},
			"carbons":     {"set", "<enable xmlns='urn:xmpp:carbons:2'/>"},
			"blocklist":   {"get", "<blocklist xmlns='urn:xmpp:blocking'/>"},
			"push":        {"set", "<enable xmlns='urn:xmpp:push:0' jid='push." + domain + "' node='n'/>"},
			"password": {"set", "<query xmlns='jabber:iq:register'><username>" + strings.Split(a.jid, "@")[0] +
				"</username><password>new</password></query>"},
		} {
			to := ""
			if name == "password" {
				to = domain
			}
			answer, err := c.Query(ctx, request[0], to, request[1])
			if err != nil {
				t.Fatal(err)
			}
			if answer.Attr("type") != "result" {
				t.Errorf("%s of %s: %s", name, domain, answer)
			}
		}
		for name, request := range map[string]string{
			"version":       "<query xmlns='jabber:iq:version'/>",
			"time":          "<time xmlns='urn:xmpp:time'/>",
			"last activity": "<query xmlns='jabber:iq:last'/>",
			"ping":          "<ping xmlns='urn:xmpp:ping'/>",
			"disco":         disco,
		} {
			answer, err := c.Query(ctx, "get", domain, request)
			if err != nil {
				t.Fatal(err)
			}
			if answer.Attr("type") != "result" {
				t.Errorf("%s of %s: %s", name, domain, answer)
			}
		}
	}
}
