//go:build e2e

package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/postern-im/postern/test/e2e/client"
)

// manyResults: a request lets exactly one result through, also when the gateway
// reads many at once.
func manyResults(ctx context.Context, t *testing.T, s *site) {
	me := without(ctx, t, s, "messages:read")
	bob := s.peer(ctx, t, "bob", "alpha.test")
	const many = 60
	results := func(id, to string) (all string, marks []string) {
		for range many {
			mark := unique("mark")
			marks = append(marks, mark)
			all += "<iq type='result' id='" + id + "' to='" + to + "'><query xmlns='jabber:iq:version'><name>" + mark + "</name></query></iq>"
		}
		return all, marks
	}
	id := unique("one")
	send(ctx, t, me.Client, ask(id, bob.c.JID))
	if _, err := bob.await(ctx, func(e client.Element) bool { return e.Attr("id") == id }); err != nil {
		t.Fatal(err)
	}
	all, marks := results(id, me.JID)
	bob.send(ctx, t, all)
	for _, mark := range marks {
		if err := me.leg.sent(ctx, mark); err != nil {
			t.Fatal(err)
		}
	}
	got := 0
	for _, e := range me.fence(ctx, t) {
		if e.Attr("id") == id {
			if got++; !strings.Contains(e.Raw, marks[0]) {
				t.Errorf("a later result passes: %s", e)
			}
		}
	}
	if got != 1 {
		t.Errorf("%d of %d results to one request pass", got, many)
	}

	id = unique("his")
	bob.send(ctx, t, ask(id, me.JID))
	if err := me.leg.sent(ctx, id); err != nil {
		t.Fatal(err)
	}
	if _, err := me.Expect(ctx, func(e client.Element) bool { return e.Attr("id") == id }); err != nil {
		t.Fatal(err)
	}
	before := me.leg.passed()
	all, _ = results(id, bob.c.JID)
	send(ctx, t, me.Client, all)
	me.fence(ctx, t)
	me.fence(ctx, t)
	if up := forwarded(t, me.leg.upSince(before)); len(up) != 1 {
		t.Errorf("%d of %d results to one request of another user are forwarded", len(up), many)
	}
}

// forgedArchive: an archive result passes only while the session waits for one
// from that very address. Real results arrive, page by page.
func forgedArchive(ctx context.Context, t *testing.T, s *site) {
	role := unique("lab:all")
	s.allBut(ctx, t, role)
	a := s.member(ctx, t, "reader", role)
	me := s.subject(ctx, t, a)
	isSent(ctx, t, me, "<presence/>")
	bob, carol := s.peer(ctx, t, "bob", "alpha.test"), s.peer(ctx, t, "carol", "gamma.test")
	forge := func(p *peer, to string) {
		t.Helper()
		for _, version := range []string{"0", "1", "2"} {
			for _, stanza := range []string{
				"<message to='" + to + "' id='MARK'><result xmlns='urn:xmpp:mam:" + version + "' queryid='1' id='2'><forwarded xmlns='urn:xmpp:forward:0'>" +
					"<message xmlns='jabber:client' from='bank@alpha.test'><body>pay</body></message></forwarded></result></message>",
				"<message type='chat' to='" + to + "' id='MARK'><body>hi</body><result xmlns='urn:xmpp:mam:" + version + "'/></message>",
				"<message type='headline' to='" + to + "' id='MARK'><fin xmlns='urn:xmpp:mam:" + version + "'/></message>",
			} {
				mark := unique("mark")
				p.send(ctx, t, strings.Replace(stanza, "MARK", mark, 1))
				if err := me.leg.sent(ctx, mark); err != nil {
					t.Fatal(err)
				}
				for _, e := range me.fence(ctx, t) {
					if e.Attr("id") == mark {
						t.Errorf("a forged archive result passes: %s", e)
					}
				}
			}
		}
	}
	forge(bob, me.JID)
	forge(carol, me.JID)

	room := unique("room") + "@muc.alpha.test"
	joinRoom(ctx, t, me.Client, room, "me")
	var said []string
	for range 5 {
		mark := unique("said")
		say(ctx, t, me.Client, room, mark)
		said = append(said, mark)
		bob.send(ctx, t, "<message type='chat' to='"+a.jid+"'><body>"+mark+"</body></message>")
	}
	bob.fence(ctx, t)
	// A query to the room does not legitimate results from others.
	send(ctx, t, me.Client, "<iq type='set' id='"+unique("bobs")+"' to='"+bob.c.JID+"'><query xmlns='urn:xmpp:mam:2'/></iq>")
	send(ctx, t, me.Client, "<iq type='get' id='"+unique("info")+"' to='"+bob.jid+"'><query xmlns='urn:xmpp:mam:2'/></iq>")
	me.fence(ctx, t)
	if _, err := bob.await(ctx, func(e client.Element) bool { return strings.HasPrefix(e.Attr("id"), "bobs") }); err != nil {
		t.Fatal(err)
	}
	me.fence(ctx, t)
	forge(bob, me.JID)

	for _, archive := range []string{room, ""} {
		for _, version := range []string{"urn:xmpp:mam:0", "urn:xmpp:mam:1", "urn:xmpp:mam:2"} {
			t.Run(version+" of "+archive, func(t *testing.T) { readArchive(ctx, t, me, archive, version, said) })
		}
	}
	forge(bob, me.JID)
}

// readArchive reads an archive in pages of two and expects everything that was
// said. It skips versions that the server does not support.
func readArchive(ctx context.Context, t *testing.T, me *subject, archive, version string, said []string) {
	const rsm = "http://jabber.org/protocol/rsm"
	var got []string
	after := ""
	for range len(said) + 1 {
		query := unique("queryid")
		page := "<set xmlns='" + rsm + "'><max>2</max>" + after + "</set>"
		id := me.NewID()
		to := ""
		if archive != "" {
			to = " to='" + archive + "'"
		}
		send(ctx, t, me.Client, "<iq type='set' id='"+id+"'"+to+"><query xmlns='"+version+"' queryid='"+query+"'>"+page+"</query></iq>")
		answer, err := me.Answer(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if answer.Attr("type") == "error" {
			if answer.Find("urn:postern:denied:0", "denied").Exists() || version == "urn:xmpp:mam:2" {
				t.Fatalf("the query is answered %s", answer)
			}
			t.Logf("not supported: %s", answer)
			return
		}
		fin := answer.Child(version, "fin")
		var came []client.Element
		if version == "urn:xmpp:mam:0" { // a message after the answer ends it
			end, err := me.Expect(ctx, func(e client.Element) bool { return e.Child(version, "fin").Exists() })
			if err != nil {
				t.Fatal(err)
			}
			fin = end.Child(version, "fin")
		}
		came = me.fence(ctx, t)
		for _, e := range came {
			if result := e.Child(version, "result"); result.Exists() && result.Attr("queryid") == query {
				got = append(got, result.Find(client.NSClient, "body").Text)
			}
		}
		last := fin.Child(rsm, "set").Child(rsm, "last").Text
		if fin.Attr("complete") == "true" || last == "" {
			break
		}
		after = "<after>" + client.Escape(last) + "</after>"
	}
	got = slices.DeleteFunc(got, func(body string) bool { return body == "" || !slices.Contains(said, body) })
	if !slices.Equal(got, said) {
		t.Errorf("read %q, want %q", got, said)
	}
}

// channels: for an account that may not receive messages, an error is reduced
// to its defined parts, and a request is harmless only if it carries nothing
// else.
func channels(ctx context.Context, t *testing.T, s *site) {
	for _, role := range []struct {
		name string
		me   *subject
	}{
		{"without messages:read", without(ctx, t, s, "messages:read")},
		{"with nothing", with(ctx, t, s)},
		{"with messages:write", with(ctx, t, s, "messages:write")},
	} {
		t.Run(role.name, func(t *testing.T) { noChannel(ctx, t, s, role.me) })
	}
}

func noChannel(ctx context.Context, t *testing.T, s *site, me *subject) {
	bob := s.peer(ctx, t, "bob", "alpha.test")
	const failure = "<error type='cancel' code='CHAN' CHAN='1'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>CHAN</gone>" +
		"<CHAN xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><CHAN xmlns='lab:x'>CHAN</CHAN></error><CHAN xmlns='lab:x'/><error type='CHAN'/>"
	try := func(stanza string, want func(came []client.Element) bool) {
		t.Helper()
		mark := unique("chan")
		bob.send(ctx, t, strings.NewReplacer("CHAN", mark, "TO", me.JID).Replace(stanza))
		if err := me.leg.sent(ctx, mark); err != nil {
			t.Fatal(err)
		}
		came := me.fence(ctx, t)
		for _, e := range came {
			if strings.Contains(e.Raw, mark+"'") && strings.Contains(stanza, "id='CHAN'") && strings.Count(e.Raw, mark) == 1 {
				continue // an answer needs the id
			}
			if strings.Contains(e.Raw, mark) {
				t.Errorf("%s arrives as %s", stanza, e)
			}
		}
		if want != nil && !want(came) {
			t.Errorf("%s: got %v", stanza, came)
		}
	}
	for _, kind := range []string{"message", "presence"} {
		try("<"+kind+" type='error' id='CHAN' to='TO'>"+failure+"</"+kind+">", nil)
		try("<"+kind+" type='error' to='TO' xmlns:f='foo:bar' f:secret='CHAN'><body>CHAN</body>"+failure+"</"+kind+">", nil)
	}
	for _, payload := range []string{
		"<ping xmlns='urn:xmpp:ping'>CHAN</ping>", "<ping xmlns='urn:xmpp:ping' a='CHAN'/>", "<ping xmlns='urn:xmpp:ping'><CHAN/></ping>",
		"<CHAN xmlns='urn:xmpp:ping'/>", "<query xmlns='jabber:iq:version'><name>CHAN</name></query>", "<query xmlns='jabber:iq:version' a='CHAN'/>",
		"<time xmlns='urn:xmpp:time'><tzo>CHAN</tzo></time>", "<CHAN xmlns='urn:xmpp:time'/>",
		"<query xmlns='http://jabber.org/protocol/disco#info' node='CHAN'/>", "<query xmlns='http://jabber.org/protocol/disco#info'><CHAN/></query>",
		"<query xmlns='http://jabber.org/protocol/disco#info' node='a#b' CHAN='1'/>", "<query xmlns='http://jabber.org/protocol/disco#items' node='CHAN'/>",
		"<ping xmlns='urn:xmpp:ping' xmlns:f='foo:bar' f:a='CHAN'/>",
	} {
		for _, kind := range []string{"get", "set"} {
			id := unique("iq")
			try("<iq type='"+kind+"' id='"+id+"' to='TO'>"+payload+"</iq>", func(came []client.Element) bool {
				return !slices.ContainsFunc(came, func(e client.Element) bool { return e.Attr("id") == id })
			})
			if _, err := bob.await(ctx, func(e client.Element) bool { return e.Attr("id") == id && e.Condition() == "service-unavailable" }); err != nil {
				t.Error(err)
			}
		}
	}
	// The usual requests of every client pass.
	for _, payload := range []string{
		"<ping xmlns='urn:xmpp:ping'/>", "<query xmlns='jabber:iq:version'/>", "<time xmlns='urn:xmpp:time'/>",
		"<query xmlns='http://jabber.org/protocol/disco#info'/>", "<query xmlns='http://jabber.org/protocol/disco#info' node='http://client.example#q07IKJEyjvHSyhy//CH0CxmKi8w='/>",
	} {
		id := unique("plain")
		bob.send(ctx, t, "<iq type='get' id='"+id+"' to='"+me.JID+"'>"+payload+"</iq>")
		if err := me.leg.sent(ctx, id); err != nil {
			t.Fatal(err)
		}
		if came := me.fence(ctx, t); len(came) != 1 || came[0].Attr("id") != id {
			t.Errorf("%s: got %v", payload, came)
		}
	}
}

// privacyPush: a push of the privacy lists asks for the same permission as the
// lists.
func privacyPush(ctx context.Context, t *testing.T, s *site) {
	for _, role := range []struct {
		lacking string
		passes  bool
	}{{"blocklist:read", false}, {"messages:read", true}} {
		me := without(ctx, t, s, role.lacking)
		own := s.peerOf(ctx, t, me.account, "r2")
		mark := unique("list")
		if e := own.query(ctx, t, "set", me.account.jid, "<query xmlns='jabber:iq:privacy'><list name='"+mark+"'>"+
			"<item type='jid' value='x@beta.test' action='deny' order='1'/></list></query>"); e.Attr("type") != "result" {
			t.Fatalf("the privacy list is not created: %s", e)
		}
		if err := me.leg.sent(ctx, mark); err != nil {
			t.Fatal(err)
		}
		got := slices.ContainsFunc(me.fence(ctx, t), func(e client.Element) bool { return strings.Contains(e.Raw, mark) })
		if got != role.passes {
			t.Errorf("without %s the push passes: %v", role.lacking, got)
		}
	}
}
