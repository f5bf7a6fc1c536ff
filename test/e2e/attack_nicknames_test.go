//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/postern-im/postern/test/e2e/client"
)

// emptyResource: if a server prepares a resource to nothing, it takes the full
// JID for the bare one. Presence to that JID would be presence of the account,
// with a priority that no rule has checked.
func emptyResource(ctx context.Context, t *testing.T, s *site) {
	bob := s.peer(ctx, t, "bob", "alpha.test")
	me := without(ctx, t, s, "messages:read")
	isSent(ctx, t, me, "<presence><priority>-1</priority></presence>")
	pep := without(ctx, t, s, "pep:read")
	for _, resource := range []string{"\u00AD", "\u200B\u2060", "\uFE0F", "\uFEFF"} {
		t.Run(fmt.Sprintf("%+q", resource), func(t *testing.T) {
			before := me.leg.passed()
			came := isSent(ctx, t, me, "<presence to='ME/"+resource+"'><priority>5</priority></presence>")
			if !slices.ContainsFunc(came, func(e client.Element) bool { return e.Stanza("presence") && e.Condition() == "jid-malformed" }) {
				t.Errorf("the presence is not refused: %v", came)
			}
			wantForwarded(t, me.leg.upSince(before))
			wantUndelivered(ctx, t, bob, me)
			e, err := pep.Query(ctx, "get", pep.account.jid+"/"+resource, "<query xmlns='http://jabber.org/protocol/disco#items' node='x#y'/>")
			if err != nil || e.Condition() != "jid-malformed" {
				t.Errorf("the node's items: %s, %v", e, err)
			}
		})
	}
}

// odd are nicknames and resources that people use and that at least one of the
// servers changes.
var odd = []string{
	"\U0001F434", "\u0E19\u0E49\u0E33", "\uFB01\u2026\u2122", "\u2460 \u00BD \u00B4", "\uFF21\uFF22", "\uFF76\uFF85",
	"soft\u00ADhyphen", "\u2764\uFE0F", "\U0001F468\u200D\U0001F469\u200D\U0001F467", "two  spaces", "a/b", "a@b", "it's & <ok>",
	" lead", "trail ", "\u202Eright", "e\u0301", "\u212Aelvin", "\u1160", "\u3164",
}

// nicknames: the room shows an occupant that joins through the gateway exactly
// like one that joins directly, whatever the nickname is.
func nicknames(ctx context.Context, t *testing.T, s *site) {
	role := unique("lab:without")
	s.allBut(ctx, t, role, "xmpp:account:contacts:read") // presence from a joined room needs no permission
	me := s.subject(ctx, t, s.member(ctx, t, "nick", role))
	config := direct(s.server).clientConfig(t, newAccount(t, s.server, "direct", "alpha.test"), client.DirectTLS)
	config.Mechanism = "PLAIN"
	other := login(ctx, t, config)
	for _, nick := range odd {
		t.Run(fmt.Sprintf("%+q", nick), func(t *testing.T) {
			sees := func(c *client.Client) []string {
				room := unique("room") + "@muc.alpha.test"
				e := joinRoom(ctx, t, c, room, nick)
				seen := []string{e.Attr("type"), e.Condition(), strings.TrimPrefix(e.Attr("from"), room+"/")}
				if e.Attr("type") != "error" {
					said := say(ctx, t, c, room, "hi")
					seen = append(seen, strings.TrimPrefix(said.Attr("from"), room+"/"))
				}
				return seen
			}
			if got, want := sees(me.Client), sees(other); !slices.Equal(got, want) {
				t.Errorf("through the gateway: %q, direct: %q", got, want)
			}
		})
	}
}

// leaveChangedNick: a session that leaves a room gets the room's answer, even
// if the room knows it by another form of the nickname.
func leaveChangedNick(ctx context.Context, t *testing.T, s *site) {
	me := without(ctx, t, s, "contacts:read")
	bob := s.peer(ctx, t, "bob", "alpha.test")
	for _, nick := range odd {
		room := unique("room") + "@muc.alpha.test"
		bob.send(ctx, t, "<presence to='"+room+"/bob'>"+joinMUC+"</presence>") // bob keeps the room in existence
		bob.awaitPresence(ctx, t, "", room+"/bob")
		if joined := joinRoom(ctx, t, me.Client, room, nick); joined.Attr("type") == "error" {
			continue
		}
		send(ctx, t, me.Client, "<presence type='unavailable' to='"+client.Escape(room+"/"+nick)+"'/>")
		came, err := me.FenceAt(ctx, room)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(came, func(e client.Element) bool {
			return e.Stanza("presence") && e.Attr("type") == "unavailable" && strings.HasPrefix(e.Attr("from"), room+"/")
		}) {
			t.Errorf("%+q: the session is not told that it has left: %v", nick, came)
		}
	}
}

// resources: a bind through the gateway gives the same resource as a bind
// directly at the server.
func resources(ctx context.Context, t *testing.T, s *site) {
	bob := s.peer(ctx, t, "bob", "alpha.test")
	binds := func(tg target, a account, resource string) (*client.Client, string) {
		config := tg.clientConfig(t, a, client.DirectTLS)
		config.Mechanism, config.Resource = "PLAIN", resource
		c, err := client.Login(ctx, config)
		if err != nil {
			if !strings.Contains(err.Error(), "<bad-request ") {
				t.Errorf("the bind of %q: %v", resource, err)
			}
			return nil, "error"
		}
		t.Cleanup(func() { _ = c.Close() })
		return c, strings.TrimPrefix(c.JID, a.jid+"/")
	}
	for _, resource := range append([]string{"\U0001F4F1 phone"}, odd...) {
		t.Run(fmt.Sprintf("%+q", resource), func(t *testing.T) {
			a := newAccount(t, s.server, "resource", "alpha.test")
			c, got := binds(s.target, a, resource)
			straight, want := binds(direct(s.server), newAccount(t, s.server, "resource", "alpha.test"), resource)
			_, again := binds(direct(s.server), newAccount(t, s.server, "resource", "alpha.test"), resource)
			random := want != again // the server generates one
			if (c == nil) != (straight == nil) || got != want && !random {
				t.Fatalf("through the gateway: %q, direct: %q", got, want)
			}
			if c == nil {
				return
			}
			mark := unique("mark")
			bob.send(ctx, t, "<message type='chat' to='"+client.Escape(c.JID)+"'><body>"+mark+"</body></message>")
			if e, err := c.Expect(ctx, client.HasBody(mark)); err != nil || e.Attr("to") != c.JID {
				t.Errorf("message to %q: %s, %v", c.JID, e, err)
			}
			id := unique("ping")
			send(ctx, t, c, "<message type='chat' id='"+id+"' from='"+client.Escape(c.JID)+"' to='"+bob.c.JID+"'><body>"+id+"</body></message>")
			if e, err := bob.await(ctx, client.HasBody(id)); err != nil || e.Attr("from") != c.JID {
				t.Errorf("message from %q: %s, %v", c.JID, e, err)
			}
		})
	}
}
