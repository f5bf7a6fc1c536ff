//go:build e2e

package e2e

import (
	"context"
	"strings"
	"testing"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/test/e2e/client"
)

// TestSharedService enables push at a vendor's domain, which belongs to no
// tenant, for an account whose role does not give xmpp:federate. It checks the
// server's behaviour: whether a push reaches the vendor.
func TestSharedService(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			ctx, s := waiting(t), newSite(t, kind)
			s.do(ctx, t, "other", api.TenantRemove{}) // now gamma.test is the vendor's
			vendor := s.peer(ctx, t, "push", "gamma.test")
			bob := s.peer(ctx, t, "bob", "alpha.test")
			role := unique("lab:inside")
			s.allBut(ctx, t, role, "xmpp:federate")
			me := s.subject(ctx, t, s.member(ctx, t, "inside", role))
			other := s.subject(ctx, t, s.member(ctx, t, "other", role))

			wantDenied(ctx, t, me, "xmpp:federate", enablePush(vendor.c.JID, "early"))
			s.policyctl(ctx, t, "service", "add", "--shared", "Gamma.test", "--reason", "push of the app")
			if out := s.policyctl(ctx, t, "service", "list", "-t", "lab"); !strings.Contains(out, "gamma.test (shared)") {
				t.Errorf("the tenant's services: %s", out)
			}
			if out := s.policyctl(ctx, t, "log"); !strings.Contains(out, "shared service added gamma.test") {
				t.Errorf("the log: %s", out)
			}
			// Sharing applies to that exact name only.
			wantDenied(ctx, t, me, "xmpp:federate", enablePush("muc.gamma.test", "n"))
			node := unique("node")
			wantResult(ctx, t, me, "set", "", payloadOf(enablePush(vendor.c.JID, node)))
			// The server sends a push for a message to an account without a
			// session.
			if err := me.Logout(ctx); err != nil {
				t.Fatal(err)
			}
			bob.send(ctx, t, "<message type='chat' id='m1' to='"+me.account.jid+"'><body>wake up</body></message>")
			push, err := vendor.await(ctx, isPush)
			if err != nil {
				t.Fatalf("no push: %v", err)
			}
			if !strings.Contains(push.Raw, node) {
				t.Errorf("the push is of another node: %s", push)
			}
			// Once no longer shared, the service is remote for the next stanza
			// of an open session.
			s.policyctl(ctx, t, "service", "remove", "--shared", "gamma.test", "--yes")
			wantDenied(ctx, t, other, "xmpp:federate", enablePush(vendor.c.JID, "late"))
			if err := other.Logout(ctx); err != nil {
				t.Fatal(err)
			}
			bob.send(ctx, t, "<message type='chat' id='m2' to='"+other.account.jid+"'><body>wake up</body></message>")
			bob.fence(ctx, t)
			vendor.fence(ctx, t)
			if vendor.has(func(e client.Element) bool {
				return isPush(e) && (strings.Contains(e.Raw, "early") || strings.Contains(e.Raw, "late"))
			}) {
				t.Error("a push came that was not enabled")
			}
		})
	}
}

// policyctl runs policyctl and returns its output.
func (s *site) policyctl(ctx context.Context, t *testing.T, args ...string) string {
	t.Helper()
	out, err := s.in.Policyctl(ctx, "", args...)
	if err != nil {
		t.Fatalf("policyctl %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// enablePush asks the account's server for pushes (XEP-0357 section 5).
func enablePush(jid, node string) string {
	return "<iq type='set'><enable xmlns='urn:xmpp:push:0' jid='" + client.Escape(jid) + "' node='" + node + "'/></iq>"
}

// payloadOf returns the payload of an iq set.
func payloadOf(iq string) string {
	return strings.TrimSuffix(strings.TrimPrefix(iq, "<iq type='set'>"), "</iq>")
}

// isPush reports whether an element is a push from a server (XEP-0357 section
// 7).
func isPush(e client.Element) bool {
	return e.Stanza("iq") && e.Attr("type") == "set" && strings.Contains(e.Raw, "urn:xmpp:push:0")
}
