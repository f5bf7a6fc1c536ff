//go:build e2e

package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/postern-im/postern/test/e2e/client"
)

const joinMUC = "<x xmlns='http://jabber.org/protocol/muc'/>"

// joinRoom joins a room with a nickname. It returns the occupant's own presence
// or the error.
func joinRoom(ctx context.Context, t *testing.T, c *client.Client, room, nick string) client.Element {
	t.Helper()
	id := unique("join")
	send(ctx, t, c, "<presence id='"+id+"' to='"+client.Escape(room+"/"+nick)+"'>"+joinMUC+"</presence>")
	e, err := c.Expect(ctx, func(e client.Element) bool {
		return e.Stanza("presence") && strings.HasPrefix(e.Attr("from"), room+"/") && (e.Attr("type") == "error" || hasStatus(e, "110"))
	})
	if err != nil {
		t.Fatalf("join %s as %q: %v", room, nick, err)
	}
	return e
}

// hasStatus reports whether a room's presence has a status code (XEP-0045
// section 15.6).
func hasStatus(e client.Element, code string) bool {
	x := e.Child("http://jabber.org/protocol/muc#user", "x")
	return slices.ContainsFunc(x.Children, func(c client.Element) bool {
		return c.Name.Local == "status" && c.Attr("code") == code
	})
}

// say sends a message to a room and waits until the room sends it back.
func say(ctx context.Context, t *testing.T, c *client.Client, room, body string) client.Element {
	t.Helper()
	send(ctx, t, c, "<message type='groupchat' id='"+unique("said")+"' to='"+room+"'><body>"+body+"</body></message>")
	e, err := c.Expect(ctx, func(e client.Element) bool {
		return client.HasBody(body)(e) && strings.HasPrefix(e.Attr("from"), room+"/")
	})
	if err != nil {
		t.Fatalf("say something in %s: %v", room, err)
	}
	return e
}

// mucSub: an account that subscribes a remote user to a room sends the room's
// messages to that user.
func mucSub(ctx context.Context, t *testing.T, s *site) {
	me := without(ctx, t, s, "xmpp:federate")
	carol := s.peer(ctx, t, "carol", "gamma.test")
	room := unique("room") + "@muc.alpha.test"
	joinRoom(ctx, t, me.Client, room, "me")
	mark := unique("mark")
	subscription := func(name, jid string) string {
		return "<iq type='set' to='" + room + "'><" + name + " xmlns='urn:xmpp:mucsub:0' nick='c' jid='" + jid + "'>" +
			"<event node='urn:xmpp:mucsub:nodes:messages'/></" + name + "></iq>"
	}
	for _, jid := range []string{carol.jid, carol.c.JID, strings.ToUpper(carol.jid)} {
		wantDenied(ctx, t, me, "xmpp:federate", subscription("subscribe", jid))
	}
	wantDenied(ctx, t, me, "xmpp:federate", subscription("unsubscribe", carol.jid))
	wantDenied(ctx, t, me, "xmpp:federate", "<iq type='set' to='"+room+"'><query xmlns='http://jabber.org/protocol/muc#admin'><item affiliation='member' jid='"+carol.jid+"'/></query></iq>")
	say(ctx, t, me.Client, room, mark)
	nothingComes(ctx, t, carol, mark)
	// Subscribing the own account is not federation.
	own := strings.Replace(subscription("subscribe", me.account.jid), "<iq ", "<iq id='own' ", 1)
	send(ctx, t, me.Client, own)
	if e, err := me.Answer(ctx, "own"); err != nil || e.Condition() == "forbidden" && e.Find("urn:postern:denied:0", "denied").Exists() {
		t.Errorf("the own subscription: %s, %v", e, err)
	}
}

// mixPAM: on the client's word, the server joins the account to a channel of
// any domain.
func mixPAM(ctx context.Context, t *testing.T, s *site) {
	me := without(ctx, t, s, "xmpp:federate")
	carol := s.peer(ctx, t, "carol", "gamma.test")
	channel := unique("channel")
	if e := carol.query(ctx, t, "set", "mix.gamma.test", "<create xmlns='urn:xmpp:mix:core:1' channel='"+channel+"'/>"); e.Attr("type") != "result" {
		t.Fatalf("no channel is made: %s", e)
	}
	channel += "@mix.gamma.test"
	for _, pam := range []string{"urn:xmpp:mix:pam:0", "urn:xmpp:mix:pam:2"} {
		core := map[string]string{"urn:xmpp:mix:pam:0": "urn:xmpp:mix:core:0", "urn:xmpp:mix:pam:2": "urn:xmpp:mix:core:1"}[pam]
		join := "<client-join xmlns='" + pam + "' channel='" + channel + "'><join xmlns='" + core + "'>" +
			"<nick>" + unique("nick") + "</nick><subscribe node='urn:xmpp:mix:nodes:messages'/></join></client-join>"
		for _, to := range []string{"", " to='ME'", " to='alpha.test'"} {
			wantDenied(ctx, t, me, "xmpp:federate", "<iq type='set'"+to+">"+join+"</iq>")
		}
	}
	wantDenied(ctx, t, me, "xmpp:federate", "<iq type='set'><client-leave xmlns='urn:xmpp:mix:pam:2' channel='"+channel+"'><leave xmlns='urn:xmpp:mix:core:1'/></client-leave></iq>")
}

// fullPing: a room passes a ping on to an occupant with all its contents. A
// ping that is not empty therefore asks for the permission of any other
// request.
func fullPing(ctx context.Context, t *testing.T, s *site) {
	bob := s.peer(ctx, t, "bob", "alpha.test")
	me := with(ctx, t, s, "presence:write")
	room := unique("room") + "@muc.alpha.test"
	bob.send(ctx, t, "<presence to='"+room+"/bob'>"+joinMUC+"</presence>")
	bob.awaitPresence(ctx, t, "", room+"/bob")
	joinRoom(ctx, t, me.Client, room, "me")
	const ping = "xmlns='urn:xmpp:ping'"
	mark := unique("mark")
	wantDenied(ctx, t, me, "xmpp:requests:read", "<iq type='get' to='"+room+"/bob'><ping "+ping+">"+mark+"</ping></iq>")
	wantDenied(ctx, t, me, "xmpp:requests:read", "<iq type='get' to='"+room+"/bob'><"+mark+" "+ping+"/></iq>")
	wantDenied(ctx, t, me, "xmpp:requests:write", "<iq type='set' to='"+room+"/bob'><ping "+ping+"><x xmlns='lab:"+mark+"'/></ping></iq>")
	nothingComes(ctx, t, bob, mark)
	wantResult(ctx, t, me, "get", room+"/me", "<ping "+ping+"/>") // the self-ping of XEP-0410
}

// askDeafModerator: a room asks its moderators whether a visitor may speak
// (XEP-0045 section 7.13). If the gateway answered for a moderator that may not
// receive messages, the room would remove that moderator.
func askDeafModerator(ctx context.Context, t *testing.T, s *site) {
	const admin = "http://jabber.org/protocol/muc#admin"
	owner, visitor := s.peer(ctx, t, "owner", "alpha.test"), s.peer(ctx, t, "visitor", "alpha.test")
	me := without(ctx, t, s, "messages:read")
	room := unique("room") + "@muc.alpha.test"
	owner.send(ctx, t, "<presence to='"+room+"/owner'>"+joinMUC+"</presence>")
	owner.awaitPresence(ctx, t, "", room+"/owner")
	owner.query(ctx, t, "set", room, "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>"+
		field("FORM_TYPE", "http://jabber.org/protocol/muc#roomconfig")+field("muc#roomconfig_moderatedroom", "1")+"</x></query>")
	joinRoom(ctx, t, me.Client, room, "deaf")
	visitor.send(ctx, t, "<presence to='"+room+"/visitor'>"+joinMUC+"</presence>")
	visitor.awaitPresence(ctx, t, "", room+"/visitor")
	owner.query(ctx, t, "set", room, "<query xmlns='"+admin+"'><item jid='"+me.account.jid+"' affiliation='owner'/></query>")
	owner.query(ctx, t, "set", room, "<query xmlns='"+admin+"'><item nick='visitor' role='visitor'/></query>")

	const form = "http://jabber.org/protocol/muc#request"
	visitor.send(ctx, t, "<message to='"+room+"'><x xmlns='jabber:x:data' type='submit'>"+field("FORM_TYPE", form)+field("muc#role", "participant")+"</x></message>")
	if err := me.leg.sent(ctx, form); err != nil {
		t.Fatal(err)
	}
	me.fence(ctx, t)
	me.fence(ctx, t) // by now the room would have an answer to the form
	if e := owner.query(ctx, t, "get", room, "<query xmlns='"+admin+"'><item role='moderator'/></query>"); !strings.Contains(e.Raw, me.account.jid) {
		t.Errorf("the moderators are %s", e)
	}
}

// field is a field of a data form (XEP-0004).
func field(name, value string) string {
	return "<field var='" + name + "'><value>" + value + "</value></field>"
}

// refusedJoins: the error comes from the occupant's address as the client wrote
// it, because a client recognises the room by it.
func refusedJoins(ctx context.Context, t *testing.T, s *site) {
	me := without(ctx, t, s, "presence:write")
	for _, nick := range append([]string{"me", ""}, odd...) {
		for _, room := range []string{unique("room") + "@muc.alpha.test", unique("Room") + "@muc.alpha.test", unique("room") + "@MUC.alpha.test", unique("room") + "@muc.gamma.test"} {
			to := room + "/" + nick
			if nick == "" {
				to = room
			}
			id := unique("join")
			send(ctx, t, me.Client, "<presence id='"+id+"' to='"+client.Escape(to)+"'>"+joinMUC+"</presence>")
			e, err := me.Expect(ctx, func(e client.Element) bool { return e.Attr("id") == id })
			if err != nil {
				t.Fatal(err)
			}
			if e.Attr("type") != "error" || e.Attr("from") != to || e.Condition() != "forbidden" {
				t.Errorf("the join of %+q is answered %s", to, e)
			}
		}
	}
}

// refusedInvitations: a person waits for the result of an invitation. Therefore
// a refusal is answered, with or without a body.
func refusedInvitations(ctx context.Context, t *testing.T, s *site) {
	carol, bob := s.peer(ctx, t, "carol", "gamma.test"), s.peer(ctx, t, "bob", "alpha.test")
	room := unique("room") + "@muc.alpha.test"
	nofed, mute := without(ctx, t, s, "xmpp:federate"), without(ctx, t, s, "messages:write")
	joinRoom(ctx, t, nofed.Client, room, "me")
	mediated := func(to string) string {
		return "<message to='" + room + "'><x xmlns='http://jabber.org/protocol/muc#user'><invite to='" + to + "'/></x></message>"
	}
	direct := func(to, room string) string {
		return "<message to='" + to + "'><x xmlns='jabber:x:conference' jid='" + room + "'/></message>"
	}
	for _, invitation := range []string{
		mediated(carol.jid), direct(carol.jid, room), direct(bob.jid, "room@muc.gamma.test"),
		strings.Replace(direct(carol.jid, room), "<message", "<message type='chat'", 1),
	} {
		wantDenied(ctx, t, nofed, "xmpp:federate", invitation)
	}
	for _, invitation := range []string{mediated(bob.jid), direct(bob.jid, room)} {
		wantDenied(ctx, t, mute, "messages:write", invitation)
	}
	nothingComes(ctx, t, carol, room)
	// A permitted invitation arrives.
	send(ctx, t, nofed.Client, mediated(bob.jid))
	if _, err := bob.await(ctx, func(e client.Element) bool {
		return e.Stanza("message") && e.Find("http://jabber.org/protocol/muc#user", "invite").Exists()
	}); err != nil {
		t.Error(err)
	}
}

// invisibleOccupant: no nickname makes an occupant invisible to a session.
func invisibleOccupant(ctx context.Context, t *testing.T, s *site) {
	me := without(ctx, t, s, "contacts:read")
	room := unique("room") + "@muc.alpha.test"
	joinRoom(ctx, t, me.Client, room, "me")
	for _, nick := range []string{"a\u1160b", "\u3164", "\u1160"} {
		lurker := s.peer(ctx, t, "lurker", "alpha.test")
		lurker.send(ctx, t, "<presence to='"+room+"/"+nick+"'>"+joinMUC+"</presence>")
		e, err := lurker.await(ctx, func(e client.Element) bool {
			return e.Stanza("presence") && (hasStatus(e, "110") || e.Attr("type") == "error")
		})
		if err != nil {
			t.Fatal(err)
		}
		if e.Attr("type") == "error" {
			t.Logf("%+q: the server refuses this nickname: %s", nick, e.Condition())
			continue
		}
		mark := unique("mark")
		lurker.send(ctx, t, "<message type='groupchat' to='"+room+"'><body>"+mark+"</body></message>")
		if err := me.leg.sent(ctx, mark); err != nil {
			t.Fatal(err)
		}
		came := me.fence(ctx, t)
		for _, kind := range []string{"presence", "message"} {
			if !slices.ContainsFunc(came, func(got client.Element) bool { return got.Stanza(kind) && got.Attr("from") == e.Attr("from") }) {
				t.Errorf("%+q: no %s of the occupant: %v", nick, kind, came)
			}
		}
	}
}
