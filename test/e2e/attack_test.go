//go:build e2e

package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/test/e2e/backend"
	"github.com/postern-im/postern/test/e2e/client"
)

// An attack is a way around the permissions that once succeeded on the servers
// named, or a legitimate stanza that was once refused.
type attack struct {
	name string
	on   []backend.Kind // nil: both
	try  func(ctx context.Context, t *testing.T, s *site)
}

var attacks = []attack{
	{name: "MUC/Sub of a remote user", try: mucSub},
	{name: "MIX-PAM join of a remote channel", on: []backend.Kind{backend.Ejabberd}, try: mixPAM},
	{name: "directed presence to a contact", try: directedToContact},
	{name: "ad-hoc at another domain", try: adHocElsewhere},
	{name: "registration at another domain", try: registerElsewhere},
	{name: "many results to one request", try: manyResults},
	{name: "forged archive results", try: forgedArchive},
	{name: "channels in errors and harmless requests", try: channels},
	{name: "privacy list push", on: []backend.Kind{backend.Ejabberd}, try: privacyPush},
	{name: "disco of a node with a hash sign", try: discoHash},
	{name: "resource that servers read as empty", try: emptyResource},
	{name: "nicknames as the server takes them", try: nicknames},
	{name: "leaving by a nickname the server changes", try: leaveChangedNick},
	{name: "resources as the server takes them", try: resources},
	{name: "refused joins", try: refusedJoins},
	{name: "refused invitations", try: refusedInvitations},
	{name: "ping with contents to an occupant", try: fullPing},
	{name: "visitor who asks a deaf moderator to speak", try: askDeafModerator},
	{name: "occupant with an invisible nickname", try: invisibleOccupant},
}

// TestAttacks tries every attack at the servers that it concerns.
func TestAttacks(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, kind)
			for _, a := range attacks {
				if a.on == nil || slices.Contains(a.on, kind) {
					t.Run(a.name, func(t *testing.T) { a.try(waiting(t), t, s) })
				}
			}
		})
	}
}

// nothingComes fails if the server has sent the peer an element with the mark
// by the time it has handled everything sent so far.
func nothingComes(ctx context.Context, t *testing.T, p *peer, mark string) {
	t.Helper()
	p.fence(ctx, t)
	if p.has(func(e client.Element) bool { return strings.Contains(e.Raw, mark) }) {
		t.Errorf("%s was sent %s", p.jid, mark)
	}
}

// directedToContact: directed presence to a contact, or to any user, does not
// make that user's presence count as a room's.
func directedToContact(ctx context.Context, t *testing.T, s *site) {
	role := unique("lab:without")
	s.allBut(ctx, t, role, "xmpp:account:contacts:read")
	a := s.member(ctx, t, "attacker", role)
	own := s.peerOf(ctx, t, a, "r2")
	contacts := []*peer{s.peer(ctx, t, "bob", "alpha.test"), s.peer(ctx, t, "dave", "beta.test"), s.peer(ctx, t, "carol", "gamma.test")}
	for _, p := range contacts {
		befriend(ctx, t, own, p)
	}
	me := s.subject(ctx, t, a)
	isSent(ctx, t, me, "<presence/>")
	for _, p := range contacts {
		for _, directed := range []string{
			"", "<presence to='" + p.jid + "'/>", "<presence to='" + p.c.JID + "'/>",
			"<presence to='" + p.jid + "'>" + joinMUC + "</presence>", "<presence to='" + p.c.JID + "'>" + joinMUC + "</presence>",
			"<presence type='unavailable' to='" + p.jid + "'/>", "<presence type='unavailable' to='" + p.c.JID + "'/>",
		} {
			if directed != "" {
				isSent(ctx, t, me, directed)
			}
			mark := unique("mark")
			p.send(ctx, t, "<presence><status>"+mark+"</status></presence>")
			if err := me.leg.sent(ctx, mark); err != nil {
				t.Fatal(err)
			}
			for _, e := range me.fence(ctx, t) {
				if strings.Contains(e.Raw, mark) {
					t.Errorf("after %q: %s", directed, e)
				}
			}
		}
	}
}

// administrator logs in the servers' administrator, with a role.
func (s *site) administrator(ctx context.Context, t *testing.T, role string) *subject {
	t.Helper()
	a := account{jid: administrator, password: "the administrator's"}
	if there, err := s.server.HasUser(ctx, a.jid); err != nil {
		t.Fatal(err)
	} else if !there {
		if err := s.server.AddUser(ctx, a.jid, a.password); err != nil {
			t.Fatal(err)
		}
	}
	s.do(ctx, t, "lab", api.MemberSet{JID: a.jid, Role: role})
	return s.subject(ctx, t, a)
}

// adHocElsewhere: administering the server is account management at each of its
// domains, whatever the tenant. ejabberd also accepts accounts of another
// domain.
func adHocElsewhere(ctx context.Context, t *testing.T, s *site) {
	const node = "http://jabber.org/protocol/admin#add-user"
	role := unique("lab:admin")
	s.allBut(ctx, t, role, "xmpp:account:write")
	me := s.administrator(ctx, t, role)
	newcomer := unique("newcomer") + "@beta.test"
	command := func(rest string) string {
		return "<command xmlns='http://jabber.org/protocol/commands' node='" + node + "' " + rest + "</command>"
	}
	form := func(session string) string {
		return command("sessionid='" + session + "' action='complete'><x xmlns='jabber:x:data' type='submit'>" +
			"<field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/admin</value></field>" +
			"<field var='accountjid'><value>" + newcomer + "</value></field><field var='password'><value>p</value></field>" +
			"<field var='password-verify'><value>p</value></field></x>")
	}
	for _, to := range []string{"alpha.test", "beta.test", "beta.test/x", "BETA.test", "gamma.test", "gamma.test/x"} {
		wantDenied(ctx, t, me, "xmpp:account:write", "<iq type='set' to='"+to+"'>"+command("action='execute'>")+"</iq>")
		answer, err := me.Query(ctx, "set", to, command("action='execute'>"))
		if err != nil {
			t.Fatal(err)
		}
		if session := answer.Child("", "command").Attr("sessionid"); session != "" {
			if _, err := me.Query(ctx, "set", to, form(session)); err != nil {
				t.Fatal(err)
			}
		}
		if there, err := s.server.HasUser(ctx, newcomer); err != nil || there {
			t.Errorf("%s was created: %v, %v", newcomer, there, err)
		}
	}
	// With the permission the account is created, so this test can fail.
	s.allBut(ctx, t, role)
	at := map[backend.Kind]string{backend.Prosody: "beta.test", backend.Ejabberd: "gamma.test"}[s.server.Kind()]
	answer, err := me.Query(ctx, "set", at, command("action='execute'>"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := me.Query(ctx, "set", at, form(answer.Child("", "command").Attr("sessionid"))); err != nil {
		t.Fatal(err)
	}
	if there, err := s.server.HasUser(ctx, newcomer); err != nil || !there {
		t.Errorf("with the permission, %s is not created: %v, %v", newcomer, there, err)
	}
	_ = me.Close()
}

// registerElsewhere tries to create an account at another domain of the server.
func registerElsewhere(ctx context.Context, t *testing.T, s *site) {
	me := without(ctx, t, s, "xmpp:account:write")
	newcomer := unique("newcomer")
	registration := "<query xmlns='jabber:iq:register'><username>" + newcomer + "</username><password>p</password></query>"
	for _, to := range []string{"beta.test", "beta.test/x", "gamma.test", "gamma.test/x", "alpha.test", "alpha.test/x", ""} {
		attr := ""
		if to != "" {
			attr = " to='" + to + "'"
		}
		wantDenied(ctx, t, me, "xmpp:account:write", "<iq type='set'"+attr+">"+registration+"</iq>")
	}
	for _, domain := range domains {
		if there, err := s.server.HasUser(ctx, newcomer+"@"+domain); err != nil || there {
			t.Errorf("%s@%s was created: %v, %v", newcomer, domain, there, err)
		}
	}
}

// discoHash: a node of the own account is a node, whatever characters its name
// has.
func discoHash(ctx context.Context, t *testing.T, s *site) {
	me := without(ctx, t, s, "pep:read")
	own := s.peerOf(ctx, t, me.account, "r2")
	const node = "x#y"
	own.query(ctx, t, "set", me.account.jid, pubsub("<publish node='"+node+"'><item id='secret'><x xmlns='lab:x'/></item></publish>"))
	for _, to := range []string{"", " to='ME'"} {
		for _, space := range []string{"info", "items"} {
			wantDenied(ctx, t, me, "pep:read", "<iq type='get'"+to+"><query xmlns='http://jabber.org/protocol/disco#"+space+"' node='"+node+"'/></iq>")
		}
	}
	wantDenied(ctx, t, without(ctx, t, s, "bookmarks:read"), "bookmarks:read", "<iq type='get'><query xmlns='http://jabber.org/protocol/disco#items' node='storage:bookmarks'/></iq>")
}
