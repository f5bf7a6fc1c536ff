//go:build e2e

package e2e

import (
	"context"
	"strings"
	"testing"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/test/e2e/client"
)

// presences are forms of available presence that ask for messages:read, because
// at least one server may take their priority for non-negative.
var presences = []string{
	"<presence/>",
	"<presence to='ME'/>",
	"<presence><priority>5</priority></presence>",
	"<presence><priority>0</priority></presence>",
	"<presence><priority>-0</priority></presence>",
	"<presence><priority> -1</priority></presence>",
	"<presence><priority>-129</priority></presence>",
	"<presence><priority>-1</priority><priority>5</priority></presence>",
	"<presence><priority>5</priority><priority>-1</priority></presence>",
	"<presence><priority>-<b/>1</priority></presence>",
	"<presence><priority xmlns='urn:x'>-1</priority></presence>",
	"<presence><priority>-1</priority><priority xmlns='urn:x'>5</priority></presence>",
	"<presence><show>chat</show><status>here</status><priority>127</priority></presence>",
}

// testPresence shows that, for a session that may not receive messages, no form
// of presence makes a server deliver messages to the bare JID. This holds
// whether the tenant clamps or refuses such presence.
func testPresence(t *testing.T, s *site) {
	ctx := waiting(t)
	const denied = "xmpp:account:messages:read"
	for _, tenant := range []struct{ id, domain, mode string }{
		{"lab", "alpha.test", "clamp"},
		{"other", "gamma.test", "refuse"},
	} {
		t.Run(tenant.mode, func(t *testing.T) {
			s.do(ctx, t, tenant.id, api.TenantSetPresence{PresenceWithoutMessages: tenant.mode})
			s.do(ctx, t, tenant.id, api.RoleDefine{Role: "deaf", Allow: everything(), Deny: []string{denied}})
			s.do(ctx, t, tenant.id, api.RoleDefine{Role: "hearing", Allow: everything()})
			bob := s.peer(ctx, t, "bob", tenant.domain)
			deaf := newAccount(t, s.server, "deaf", tenant.domain)
			s.do(ctx, t, tenant.id, api.MemberSet{JID: deaf.jid, Role: "deaf"})
			hearing := newAccount(t, s.server, "hearing", tenant.domain)
			s.do(ctx, t, tenant.id, api.MemberSet{JID: hearing.jid, Role: "hearing"})
			for _, presence := range presences {
				t.Run(presence, func(t *testing.T) {
					me := s.subject(ctx, t, deaf)
					came := isSent(ctx, t, me, presence)
					if tenant.mode == "refuse" {
						wantPriorityRefused(t, came)
					}
					wantUndelivered(ctx, t, bob, me)
					// Presence that the session may send does not change that.
					isSent(ctx, t, me, "<presence><priority>-1</priority></presence>")
					wantUndelivered(ctx, t, bob, me)
					_ = me.Close()
				})
			}
			me := s.subject(ctx, t, hearing)
			isSent(ctx, t, me, "<presence/>")
			mark := toBare(ctx, t, bob, me)
			if err := me.leg.sent(ctx, mark); err != nil {
				t.Fatal(err)
			}
			if _, err := me.Expect(ctx, client.HasBody(mark)); err != nil {
				t.Error(err)
			}
		})
	}
}

// isSent sends presence, with the session's bare JID in place of ME. It returns
// everything that came until the server had handled it.
func isSent(ctx context.Context, t *testing.T, me *subject, presence string) []client.Element {
	t.Helper()
	send(ctx, t, me.Client, strings.ReplaceAll(presence, "ME", me.account.jid))
	return me.fence(ctx, t)
}

// toBare sends a message to a session's bare JID and returns its text.
func toBare(ctx context.Context, t *testing.T, from *peer, to *subject) string {
	t.Helper()
	mark := unique("mark")
	from.send(ctx, t, "<message type='chat' to='"+to.account.jid+"'><body>"+mark+"</body></message>")
	from.fence(ctx, t)
	return mark
}

// wantUndelivered expects that the server itself does not deliver a message to
// the bare JID to this session.
func wantUndelivered(ctx context.Context, t *testing.T, from *peer, to *subject) {
	t.Helper()
	mark := toBare(ctx, t, from, to)
	to.fence(ctx, t)
	if down := to.leg.downSince(0); strings.Contains(down, mark) {
		t.Errorf("the server delivers a message to the bare JID: %q", down)
	}
}

func wantPriorityRefused(t *testing.T, came []client.Element) {
	t.Helper()
	const text = "You do not have permission to receive messages (use presence priority -1)"
	for _, e := range came {
		failure := e.Child(client.NSClient, "error")
		if e.Stanza("presence") && e.Condition() == "forbidden" && failure.Child(client.NSStanza, "text").Text == text &&
			failure.Child("urn:postern:denied:0", "denied").Attr("permission") == "xmpp:account:messages:read" {
			return
		}
	}
	t.Errorf("the presence is not refused: %v", came)
}
