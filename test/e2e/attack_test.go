//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/test/e2e/backend"
	"github.com/postern-im/postern/test/e2e/client"
)

// An attack is a way past the permissions that got through once, on the
// servers named, or a thing that was refused and should not be.
type attack struct {
	name string
	on   []backend.Kind // nil: all
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

// TestAttacks tries every attack at both servers.
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

const joinMUC = "<x xmlns='http://jabber.org/protocol/muc'/>"

// joinRoom joins a room with a nickname, and gives the occupant's own presence
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

// hasStatus tells whether a room's presence has a status code (XEP-0045
// section 15.6).
func hasStatus(e client.Element, code string) bool {
	x := e.Child("http://jabber.org/protocol/muc#user", "x")
	return slices.ContainsFunc(x.Children, func(c client.Element) bool {
		return c.Name.Local == "status" && c.Attr("code") == code
	})
}

// say sends a message to a room and waits for the room to send it back.
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

// nothingComes wants the peer to have been sent nothing with the mark, once
// the server is through with what was sent.
func nothingComes(ctx context.Context, t *testing.T, p *peer, mark string) {
	t.Helper()
	p.fence(ctx, t)
	if p.has(func(e client.Element) bool { return strings.Contains(e.Raw, mark) }) {
		t.Errorf("%s was sent %s", p.jid, mark)
	}
}

// mucSub: who subscribes a remote user to a room makes the room's messages go
// there.
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
	// Its own subscription, and that of a user of the tenant, are no federation.
	own := strings.Replace(subscription("subscribe", me.account.jid), "<iq ", "<iq id='own' ", 1)
	send(ctx, t, me.Client, own)
	if e, err := me.Answer(ctx, "own"); err != nil || e.Condition() == "forbidden" && e.Find("urn:postern:denied:0", "denied").Exists() {
		t.Errorf("the own subscription: %s, %v", e, err)
	}
}

// mixPAM: the own account joins a channel anywhere on the client's word.
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

// directedToContact: presence to a contact, or to any user, does not make the
// contact's presence that of a room.
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
					t.Errorf("behind %q: %s", directed, e)
				}
			}
		}
	}
}

// admin logs in whom the servers obey, with a role.
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

// adHocElsewhere: the server's administration is account management at each of
// its domains, of whatever tenant. ejabberd takes another domain's accounts too.
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
			t.Errorf("%s was made: %v, %v", newcomer, there, err)
		}
	}
	// The test can fail: with the permission it is made.
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
		t.Errorf("%s is not made by who may: %v, %v", newcomer, there, err)
	}
	_ = me.Close()
}

// registerElsewhere: an account made at another domain of the server.
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
			t.Errorf("%s@%s was made: %v, %v", newcomer, domain, there, err)
		}
	}
}

// manyResults: one request lets one result through, also when many are read at
// once.
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
				t.Errorf("not the first result passes: %s", e)
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
		t.Errorf("%d of %d results to one request of another go out", len(up), many)
	}
}

// forgedArchive: an archive result counts as one only while the session waits
// for it from just there. Real ones arrive, page by page.
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
	// A query to the room makes nobody else's results true.
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

// readArchive reads an archive in pages of two, and wants all that was said.
// Versions that the server does not have are left.
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
			t.Logf("not offered: %s", answer)
			return
		}
		fin := answer.Child(version, "fin")
		var came []client.Element
		if version == "urn:xmpp:mam:0" { // its end is a message behind the answer
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

// channels: to who may not receive messages, errors say what is defined and no
// more, and a request is harmless only if it says nothing else.
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
				continue // the id, which an answer needs
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
	// What everybody asks everybody is let through.
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

// privacyPush: a push of the privacy lists asks for what the lists themselves
// ask for.
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
			t.Fatalf("no privacy list is made: %s", e)
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

// discoHash: a node of the own account is a node whatever is in its name.
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

// emptyResource: to a server that prepares a resource to nothing, a full JID
// with it is the bare one. Presence to that is presence of the account, with a
// priority that nobody has looked at.
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

// fullPing: a room passes a ping on to an occupant with all that is in it, so
// one that is not empty asks for what any other request asks for.
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
// (XEP-0045 section 7.13). If the gateway answered for one who may not receive
// messages, the room would put that moderator out.
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
	me.fence(ctx, t) // by now the room has an answer to the form, if there is one
	if e := owner.query(ctx, t, "get", room, "<query xmlns='"+admin+"'><item role='moderator'/></query>"); !strings.Contains(e.Raw, me.account.jid) {
		t.Errorf("the moderators are %s", e)
	}
}

// field is one field of a data form (XEP-0004).
func field(name, value string) string {
	return "<field var='" + name + "'><value>" + value + "</value></field>"
}

// names that people use, and that one server or the other changes.
var odd = []string{
	"\U0001F434", "\u0E19\u0E49\u0E33", "\uFB01\u2026\u2122", "\u2460 \u00BD \u00B4", "\uFF21\uFF22", "\uFF76\uFF85",
	"soft\u00ADhyphen", "\u2764\uFE0F", "\U0001F468\u200D\U0001F469\u200D\U0001F467", "two  spaces", "a/b", "a@b", "it's & <ok>",
	" lead", "trail ", "\u202Eright", "e\u0301", "\u212Aelvin", "\u1160", "\u3164",
}

// nicknames: who joins a room through the gateway is seen there as who joins
// directly, whatever the nickname.
func nicknames(ctx context.Context, t *testing.T, s *site) {
	role := unique("lab:without")
	s.allBut(ctx, t, role, "xmpp:account:contacts:read") // what a room sends asks for nothing
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

// leaveChangedNick: who leaves is told so, also if the room knows it by
// another form of its nickname than it uses itself.
func leaveChangedNick(ctx context.Context, t *testing.T, s *site) {
	me := without(ctx, t, s, "contacts:read")
	bob := s.peer(ctx, t, "bob", "alpha.test")
	for _, nick := range odd {
		room := unique("room") + "@muc.alpha.test"
		bob.send(ctx, t, "<presence to='"+room+"/bob'>"+joinMUC+"</presence>") // who keeps the room
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

// resources: a bind through the gateway gives the resource that one directly
// at the server gives.
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
			random := want != again // the server makes one up
			if (c == nil) != (straight == nil) || got != want && !random {
				t.Fatalf("through the gateway: %q, direct: %q", got, want)
			}
			if c == nil {
				return
			}
			mark := unique("mark")
			bob.send(ctx, t, "<message type='chat' to='"+client.Escape(c.JID)+"'><body>"+mark+"</body></message>")
			if e, err := c.Expect(ctx, client.HasBody(mark)); err != nil || e.Attr("to") != c.JID {
				t.Errorf("to %q: %s, %v", c.JID, e, err)
			}
			id := unique("ping")
			send(ctx, t, c, "<message type='chat' id='"+id+"' from='"+client.Escape(c.JID)+"' to='"+bob.c.JID+"'><body>"+id+"</body></message>")
			if e, err := bob.await(ctx, client.HasBody(id)); err != nil || e.Attr("from") != c.JID {
				t.Errorf("from %q: %s, %v", c.JID, e, err)
			}
		})
	}
}

// refusedJoins: the error comes from the occupant's address as the client
// wrote it, or it would not know which room refused it.
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

// refusedInvitations: a person waits for what becomes of an invitation, so a
// refusal is told, with or without a body.
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
	// An invitation that may be sent arrives.
	send(ctx, t, nofed.Client, mediated(bob.jid))
	if _, err := bob.await(ctx, func(e client.Element) bool {
		return e.Stanza("message") && e.Find("http://jabber.org/protocol/muc#user", "invite").Exists()
	}); err != nil {
		t.Error(err)
	}
}

// invisibleOccupant: nobody is in a room unseen because of the nickname.
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
			t.Logf("%+q: the server takes no such nickname: %s", nick, e.Condition())
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
