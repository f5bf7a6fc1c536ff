//go:build e2e

package e2e

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/postern-im/postern/test/e2e/client"
)

// A bypass is a way around Prosody's mod_restrict_xmpp that was tried with that
// module. Either the gateway closes it, which try proves, or the gateway cannot
// see it. The numbers come from the list that the module was tested with.
type bypass struct {
	number int
	attack string
	try    func(ctx context.Context, t *testing.T, s *site)
	// unseen says why a gateway cannot see it. The server's own rules must
	// close it.
	unseen string
}

// numBypasses is how many bypasses were tried.
const numBypasses = 27

// bypasses lists all bypasses. Number 0 was not tried as an attack: it is the
// way in which the module itself federates.
var bypasses = []bypass{
	{number: 0, attack: "no federate, presence broadcast to remote contacts",
		unseen: "the server copies a broadcast to the contacts; the gateway sees one presence without an address"},
	{number: 1, attack: "no messages:read and no presence, message to the full JID", try: messageToFullJID},
	{number: 2, attack: "pubsub with a decoy inside the action", try: pubsubDecoy},
	{number: 3, attack: "no bookmarks:read, bookmarks by PEP", try: pepInsteadOf("bookmarks:read", "get", "<items node='urn:xmpp:bookmarks:1'/>")},
	{number: 4, attack: "no profile:read and write, vCard by PEP", try: all(
		pepInsteadOf("profile:read", "get", "<items node='urn:xmpp:vcard4'/>"),
		pepInsteadOf("profile:write", "set", "<publish node='urn:xmpp:vcard4'><item><vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'/></item></publish>"))},
	{number: 5, attack: "no omemo:read and write, devices by PEP", try: all(
		pepInsteadOf("omemo:read", "get", "<items node='eu.siacs.conversations.axolotl.devicelist'/>"),
		pepInsteadOf("omemo:write", "set", "<publish node='eu.siacs.conversations.axolotl.devicelist'><item><list xmlns='eu.siacs.conversations.axolotl'/></item></publish>"))},
	{number: 6, attack: "no messages:read, the archive", try: archiveWithoutMessages},
	{number: 7, attack: "empty role, presence subscribe", try: subscribeWithNothing},
	{number: 8, attack: "empty role, directed presence to a user and into a room", try: directedPresenceWithNothing},
	{number: 9, attack: "no federate, local room with a remote occupant",
		try:    roomWithRemoteOccupant,
		unseen: "the room copies a message to its occupants; the gateway sees a message to a local room"},
	{number: 10, attack: "no federate, a remote user writes in", try: remoteWritesIn},
	{number: 11, attack: "empty role, password change addressed to the server", try: changePassword},
	{number: 12, attack: "empty role, account removal addressed to the server", try: removeAccount},
	{number: 13, attack: "no pep:read, capabilities with +notify", try: eventsWithoutPEP},
	{number: 14, attack: "no pep:read, subscribe to an own node", try: pepInsteadOf("pep:read", "set", "<subscribe node='lab:node' jid='ME'/>")},
	{number: 15, attack: "history:read only, write the archive's preferences", try: archivePreferences},
	{number: 16, attack: "no messages:write, message", try: messageWithoutWrite},
	{number: 17, attack: "set role between authentication and bind", try: roleBeforeBind},
	{number: 18, attack: "restricted token by OAUTHBEARER", try: oauthBearer},
	{number: 19, attack: "iq to the own full JID", try: ownFullJID},
	{number: 20, attack: "other forms of the own JID, forged from, prefixes", try: otherForms},
	{number: 21, attack: "no bookmarks:read, private storage with two children", try: privateStorageTwice},
	{number: 22, attack: "no messages:read, two priorities", try: twoPriorities},
	{number: 23, attack: "two iq children, no id, another stanza namespace", try: malformed},
	{number: 24, attack: "pubsub with two children", try: pepInsteadOf("pep:read", "get", "<items node='urn:xmpp:vcard4'/><items node='lab:node'/>")},
	{number: 25, attack: "BOSH session",
		unseen: "a client that reaches the server's BOSH port directly bypasses the gateway: only gateways may reach that port"},
	{number: 26, attack: "resume a stream after a role change", try: resume},
	{number: 27, attack: "empty role, requests to the server", try: requestsToServer},
}

// TestBypasses tries every known bypass at both servers.
func TestBypasses(t *testing.T) {
	for i, b := range bypasses {
		if b.number != i || b.try == nil && b.unseen == "" {
			t.Errorf("bypass %d is out of order, or neither tried nor explained", b.number)
		}
	}
	if len(bypasses) != numBypasses+1 {
		t.Errorf("%d bypasses, not %d", len(bypasses)-1, numBypasses)
	}
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, kind)
			for _, b := range bypasses {
				if b.try == nil {
					continue // the gateway cannot see it, and there is nothing to observe
				}
				t.Run(b.attack, func(t *testing.T) {
					t.Parallel()
					b.try(waiting(t), t, s)
				})
			}
		})
	}
}

// all runs several tries one after the other.
func all(tries ...func(context.Context, *testing.T, *site)) func(context.Context, *testing.T, *site) {
	return func(ctx context.Context, t *testing.T, s *site) {
		for _, try := range tries {
			try(ctx, t, s)
		}
	}
}

// without logs in an account with all permissions but the given ones. The
// prefix xmpp:account: may be left out.
func without(ctx context.Context, t *testing.T, s *site, permissions ...string) *subject {
	t.Helper()
	role := unique("lab:without")
	s.allBut(ctx, t, role, full(permissions)...)
	return s.subject(ctx, t, s.member(ctx, t, "attacker", role))
}

// with logs in an account that has only the given permissions.
func with(ctx context.Context, t *testing.T, s *site, permissions ...string) *subject {
	t.Helper()
	role := unique("lab:with")
	s.only(ctx, t, role, full(permissions)...)
	return s.subject(ctx, t, s.member(ctx, t, "attacker", role))
}

func full(permissions []string) []string {
	var names []string
	for _, p := range permissions {
		if !strings.HasPrefix(p, "xmpp:") {
			p = "xmpp:account:" + p
		}
		names = append(names, p)
	}
	return names
}

// wantDenied sends a stanza, with the session's bare JID in place of ME. It
// expects a refusal that names the permission, and no byte of the stanza at the
// server.
func wantDenied(ctx context.Context, t *testing.T, me *subject, permission, stanza string) {
	t.Helper()
	before := me.leg.passed()
	id := unique("id")
	stanza = strings.ReplaceAll(stanza, "ME", me.account.jid)
	at := strings.IndexAny(stanza, " />")
	send(ctx, t, me.Client, stanza[:at]+" id='"+id+"'"+stanza[at:])
	e, err := me.Expect(ctx, func(e client.Element) bool { return e.Attr("id") == id })
	if err != nil {
		t.Fatal(err)
	}
	me.fence(ctx, t)
	denied := e.Child(client.NSClient, "error").Child("urn:postern:denied:0", "denied")
	if want := full([]string{permission})[0]; e.Condition() != "forbidden" || denied.Attr("permission") != want {
		t.Errorf("%s is answered %s, want %s to be missing", stanza, e, want)
	}
	wantForwarded(t, me.leg.upSince(before))
}

// wantResult sends an iq and expects a result.
func wantResult(ctx context.Context, t *testing.T, me *subject, kind, to, payload string) client.Element {
	t.Helper()
	e, err := me.Query(ctx, kind, to, payload)
	if err != nil {
		t.Fatal(err)
	}
	if e.Attr("type") != "result" {
		t.Fatalf("%s is answered %s", payload, e)
	}
	return e
}

func messageToFullJID(ctx context.Context, t *testing.T, s *site) {
	me := without(ctx, t, s, "messages:read")
	bob := s.peer(ctx, t, "bob", "alpha.test")
	mark := unique("mark")
	bob.send(ctx, t, "<message type='chat' id='"+mark+"' to='"+me.JID+"'><body>hi</body></message>")
	if err := me.leg.sent(ctx, mark); err != nil {
		t.Fatal(err)
	}
	for _, e := range me.fence(ctx, t) {
		if e.Stanza("message") {
			t.Errorf("delivered: %s", e)
		}
	}
	if _, err := bob.await(ctx, func(e client.Element) bool {
		return e.Attr("id") == mark && e.Condition() == "service-unavailable"
	}); err != nil {
		t.Error(err)
	}
}

func pubsubDecoy(ctx context.Context, t *testing.T, s *site) {
	const pubsub = "http://jabber.org/protocol/pubsub"
	wantDenied(ctx, t, with(ctx, t, s, "omemo:write"), "pep:write", "<iq type='set'><pubsub xmlns='"+pubsub+"'>"+
		"<publish node='lab:node'><item id='1'><x xmlns='lab:x'/></item></publish>"+
		"<pubsub><publish node='eu.siacs.conversations.axolotl.devicelist'/></pubsub></pubsub></iq>")
	wantDenied(ctx, t, with(ctx, t, s, "bookmarks:read"), "pep:read", "<iq type='get'><pubsub xmlns='"+pubsub+"'>"+
		"<items node='lab:node'/><pubsub><items node='storage:bookmarks'/></pubsub></pubsub></iq>")
}

// pepInsteadOf tries a PEP action without a permission.
func pepInsteadOf(permission, kind, action string) func(context.Context, *testing.T, *site) {
	return func(ctx context.Context, t *testing.T, s *site) {
		wantDenied(ctx, t, without(ctx, t, s, permission), permission,
			"<iq type='"+kind+"'><pubsub xmlns='http://jabber.org/protocol/pubsub'>"+action+"</pubsub></iq>")
	}
}

func archiveWithoutMessages(ctx context.Context, t *testing.T, s *site) {
	me := without(ctx, t, s, "messages:read")
	for _, version := range []string{"tmp", "0", "1", "2"} { // ejabberd 23.01 answers all four
		for _, kind := range []string{"get", "set"} {
			wantDenied(ctx, t, me, "messages:read", "<iq type='"+kind+"'><query xmlns='urn:xmpp:mam:"+version+"'/></iq>")
		}
	}
	wantDenied(ctx, t, me, "messages:read", "<iq type='set' to='room@muc.alpha.test'><query xmlns='urn:xmpp:mam:2'/></iq>")
}

func subscribeWithNothing(ctx context.Context, t *testing.T, s *site) {
	me := with(ctx, t, s)
	wantDenied(ctx, t, me, "contacts:write", "<presence type='subscribe' to='bob@alpha.test'/>")
	own := s.peerOf(ctx, t, me.account, "r2")
	if roster := own.query(ctx, t, "get", own.jid, "<query xmlns='jabber:iq:roster'/>"); strings.Contains(roster.Raw, "bob") {
		t.Errorf("the subscription created a contact: %s", roster)
	}
}

func directedPresenceWithNothing(ctx context.Context, t *testing.T, s *site) {
	me := with(ctx, t, s)
	bob := s.peer(ctx, t, "bob", "alpha.test")
	room := unique("room") + "@muc.alpha.test"
	wantDenied(ctx, t, me, "presence:write", "<presence to='"+bob.jid+"'/>")
	wantDenied(ctx, t, me, "presence:write", "<presence to='"+room+"/nick'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
	wantDenied(ctx, t, me, "messages:write", "<message type='groupchat' to='"+room+"'><body>hi</body></message>")
	wantDenied(ctx, t, me, "messages:read", "<iq type='set' to='"+room+"'><query xmlns='urn:xmpp:mam:2'/></iq>")
	bob.fence(ctx, t)
	if bob.has(func(e client.Element) bool { return strings.HasPrefix(e.Attr("from"), me.account.jid) }) {
		t.Error("presence reached the other user")
	}
}

// roomWithRemoteOccupant demonstrates a case that a gateway cannot see, so that
// nobody takes it for closed.
func roomWithRemoteOccupant(ctx context.Context, t *testing.T, s *site) {
	me := without(ctx, t, s, "xmpp:federate")
	carol := s.peer(ctx, t, "carol", "gamma.test")
	room := unique("room") + "@muc.alpha.test"
	carol.send(ctx, t, "<presence to='"+room+"/carol'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
	carol.awaitPresence(ctx, t, "", room+"/carol")
	carol.query(ctx, t, "set", room, "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>")
	send(ctx, t, me.Client, "<presence to='"+room+"/me'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
	carol.awaitPresence(ctx, t, "", room+"/me")
	mark := unique("mark")
	send(ctx, t, me.Client, "<message type='groupchat' to='"+room+"'><body>"+mark+"</body></message>")
	if _, err := carol.await(ctx, client.HasBody(mark)); err != nil {
		t.Errorf("the gateway sees this case now: remove it from the list of unseen ones (%v)", err)
	}
}

func remoteWritesIn(ctx context.Context, t *testing.T, s *site) {
	me := without(ctx, t, s, "xmpp:federate")
	carol := s.peer(ctx, t, "carol", "gamma.test")
	isSent(ctx, t, me, "<presence/>")
	for _, stanza := range []string{
		"<message type='chat' id='ID' to='" + me.account.jid + "'><body>hi</body></message>",
		"<message type='chat' id='ID' to='" + me.JID + "'><body>hi</body></message>",
		"<message id='ID' to='" + me.JID + "'><body>hi</body></message>",
		"<iq type='get' id='ID' to='" + me.JID + "'><ping xmlns='urn:xmpp:ping'/></iq>",
		"<iq type='set' id='ID' to='" + me.JID + "'><x xmlns='lab:x'/></iq>",
	} {
		id := unique("id")
		carol.send(ctx, t, strings.ReplaceAll(stanza, "ID", id))
		if err := me.leg.sent(ctx, id); err != nil {
			t.Fatal(err)
		}
		if came := me.fence(ctx, t); len(came) > 0 {
			t.Errorf("delivered: %v", came)
		}
		if _, err := carol.await(ctx, func(e client.Element) bool {
			return e.Attr("id") == id && e.Condition() == "service-unavailable"
		}); err != nil {
			t.Error(err)
		}
	}
}

func changePassword(ctx context.Context, t *testing.T, s *site) {
	me := with(ctx, t, s)
	user, _ := split(me.account.jid)
	change := "<query xmlns='jabber:iq:register'><username>" + user + "</username><password>stolen</password></query>"
	for _, to := range []string{"", " to='alpha.test'", " to='ME'", " to='ALPHA.TEST'", " to='alpha.test/x'", " to='alpha.test.'"} {
		wantDenied(ctx, t, me, "xmpp:account:write", "<iq type='set'"+to+">"+change+"</iq>")
	}
	_ = me.Close()
	s.subject(ctx, t, me.account) // the password is unchanged
}

func removeAccount(ctx context.Context, t *testing.T, s *site) {
	me := with(ctx, t, s)
	for _, to := range []string{"", " to='alpha.test'", " to='ME'"} {
		wantDenied(ctx, t, me, "xmpp:account:write", "<iq type='set'"+to+"><query xmlns='jabber:iq:register'><remove/></query></iq>")
	}
	if there, err := s.server.HasUser(ctx, me.account.jid); err != nil || !there {
		t.Errorf("the account exists: %v, %v; want true", there, err)
	}
}

func eventsWithoutPEP(ctx context.Context, t *testing.T, s *site) {
	role := unique("lab:without")
	s.allBut(ctx, t, role, "xmpp:account:pep:read")
	a := s.member(ctx, t, "attacker", role)
	r := &receiver{s: s, own: s.peerOf(ctx, t, a, "r2"), me: s.subject(ctx, t, a)}
	r.tellInterest(ctx, t)
	mark := unique("mark")
	publication := "<iq type='set' id='" + mark + "-iq'><pubsub xmlns='http://jabber.org/protocol/pubsub'>" +
		"<publish node='lab:node'><item id='" + mark + "'><x xmlns='lab:x'/></item></publish></pubsub></iq>"
	r.own.send(ctx, t, publication)
	r.insist(ctx, t, r.own, publication, mark)
	if err := r.me.leg.sent(ctx, mark); err != nil {
		t.Fatal(err)
	}
	for _, e := range r.me.fence(ctx, t) {
		if strings.Contains(e.Raw, mark) {
			t.Errorf("delivered: %s", e)
		}
	}
}

func archivePreferences(ctx context.Context, t *testing.T, s *site) {
	wantDenied(ctx, t, with(ctx, t, s, "history:read"), "history:write",
		"<iq type='set'><prefs xmlns='urn:xmpp:mam:2' default='never'><always/><never/></prefs></iq>")
}

func messageWithoutWrite(ctx context.Context, t *testing.T, s *site) {
	me := without(ctx, t, s, "messages:write")
	bob := s.peer(ctx, t, "bob", "alpha.test")
	for _, kind := range []string{"", " type='normal'", " type='chat'", " type='headline'", " type='groupchat'", " type='odd'"} {
		wantDenied(ctx, t, me, "messages:write", "<message"+kind+" to='"+bob.jid+"'><body>hi</body></message>")
	}
	bob.fence(ctx, t)
	if bob.has(func(e client.Element) bool { return e.Stanza("message") }) {
		t.Error("delivered")
	}
}

func oauthBearer(ctx context.Context, t *testing.T, s *site) {
	a := newAccount(t, s.server, "attacker", "alpha.test")
	for _, mechanism := range []string{"OAUTHBEARER", "X-OAUTH2", "EXTERNAL"} {
		c, err := client.Dial(ctx, s.clientConfig(t, a, client.DirectTLS))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		token := base64.StdEncoding.EncodeToString([]byte("n,a=" + a.jid + ",\x01auth=Bearer token\x01\x01"))
		send(ctx, t, c, "<auth xmlns='"+client.NSSASL+"' mechanism='"+mechanism+"'>"+token+"</auth>")
		e, err := c.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if e.Condition() != "invalid-mechanism" {
			t.Errorf("%s is answered %s", mechanism, e)
		}
	}
}

// ownFullJID is not a bypass: the stanza returns to the session that sent it.
func ownFullJID(ctx context.Context, t *testing.T, s *site) {
	me := without(ctx, t, s, "contacts:read")
	wantDenied(ctx, t, me, "contacts:read", "<iq type='get' to='ME/"+subjectResource+"'><query xmlns='jabber:iq:roster'/></iq>")
	id := unique("id")
	send(ctx, t, me.Client, "<iq type='get' id='"+id+"' to='"+me.JID+"'><x xmlns='lab:x'/></iq>")
	e, err := me.Expect(ctx, func(e client.Element) bool { return e.Attr("id") == id })
	if err != nil {
		t.Fatal(err)
	}
	if e.Attr("type") != "get" || e.Attr("from") != me.JID {
		t.Errorf("got %s", e)
	}
}

func otherForms(ctx context.Context, t *testing.T, s *site) {
	role := unique("lab:without")
	s.allBut(ctx, t, role, "xmpp:account:contacts:read")
	a := s.member(ctx, t, "attacker", role)
	user, domain := split(a.jid)
	const roster = "<query xmlns='jabber:iq:roster'/>"
	me := s.subject(ctx, t, a)
	wide := strings.NewReplacer("a", "\uFF41", "t", "\uFF54").Replace(user)
	for _, to := range []string{
		strings.ToUpper(a.jid), wide + "@" + domain, user + "@" + domain + ".", user + "@" + strings.ToUpper(domain) + "/" + subjectResource,
	} {
		wantDenied(ctx, t, me, "contacts:read", "<iq type='get' to='"+to+"'>"+roster+"</iq>")
	}
	wantDenied(ctx, t, me, "contacts:read", "<iq type='get'><r:query xmlns:r='jabber:iq:roster'/></iq>")
	wantDenied(ctx, t, me, "contacts:read", "<c:iq xmlns:c='jabber:client' type='get'><r:query xmlns:r='jabber:iq:roster'/></c:iq>")
	// Nodeprep maps a soft hyphen to nothing; PRECIS refuses it.
	answer, err := me.Query(ctx, "get", user+"\u00AD@"+domain, roster)
	if err != nil {
		t.Fatal(err)
	}
	if answer.Condition() != "jid-malformed" {
		t.Errorf("a soft hyphen is answered %s", answer)
	}
	before := me.leg.passed()
	send(ctx, t, me.Client, "<iq type='get' id='1' from='bob@alpha.test'>"+roster+"</iq>")
	if e, err := me.Expect(ctx, client.IsStreamError); err != nil || e.Condition() != "invalid-from" {
		t.Errorf("a forged from: %s, %v", e, err)
	}
	wantForwarded(t, me.leg.upSince(before))

	config := s.clientConfig(t, account{strings.ToUpper(user) + "@" + domain, a.password}, client.DirectTLS)
	config.Mechanism = "PLAIN"
	c, err := client.Login(ctx, config)
	if refused, ok := errors.AsType[*client.SASLError](err); ok {
		t.Logf("a log-in in upper case is refused: %s", refused.Condition)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	answer, err = c.Query(ctx, "get", "", roster)
	if err != nil {
		t.Fatal(err)
	}
	if answer.Condition() != "forbidden" {
		t.Errorf("logged in in upper case: %s", answer)
	}
}

func privateStorageTwice(ctx context.Context, t *testing.T, s *site) {
	wantDenied(ctx, t, without(ctx, t, s, "bookmarks:read"), "bookmarks:read", "<iq type='get'><query xmlns='jabber:iq:private'>"+
		"<storage xmlns='storage:rosternotes'/><storage xmlns='storage:bookmarks'/></query></iq>")
}

func twoPriorities(ctx context.Context, t *testing.T, s *site) {
	me := without(ctx, t, s, "messages:read")
	bob := s.peer(ctx, t, "bob", "alpha.test")
	isSent(ctx, t, me, "<presence><priority>-1</priority><priority>5</priority></presence>")
	wantUndelivered(ctx, t, bob, me)
}

func malformed(ctx context.Context, t *testing.T, s *site) {
	me := with(ctx, t, s)
	before := me.leg.passed()
	for _, stanza := range []string{
		"<iq type='get' id='ID'><ping xmlns='urn:xmpp:ping'/><query xmlns='jabber:iq:roster'/></iq>",
		"<iq type='get'><query xmlns='jabber:iq:roster'/></iq>",
	} {
		send(ctx, t, me.Client, strings.ReplaceAll(stanza, "ID", unique("id")))
		e, err := me.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if e.Condition() != "bad-request" {
			t.Errorf("%s is answered %s", stanza, e)
		}
	}
	send(ctx, t, me.Client, "<iq xmlns='jabber:server' type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>")
	if e, err := me.Expect(ctx, client.IsStreamError); err != nil || e.Condition() != "unsupported-stanza-type" {
		t.Errorf("another namespace: %s, %v", e, err)
	}
	wantForwarded(t, me.leg.upSince(before))
}

// resume tests that stream management is not offered, and that a client can
// neither enable it nor resume a stream, before or after binding.
func resume(ctx context.Context, t *testing.T, s *site) {
	me := with(ctx, t, s)
	if strings.Contains(me.Features.Raw, "urn:xmpp:sm:") {
		t.Errorf("offered: %s", me.Features)
	}
	before := me.leg.passed()
	send(ctx, t, me.Client, "<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
	if e, err := me.Expect(ctx, client.IsStreamError); err != nil || e.Condition() != "unsupported-stanza-type" {
		t.Errorf("enable: %s, %v", e, err)
	}
	wantForwarded(t, me.leg.upSince(before))
	config := s.clientConfig(t, me.account, client.DirectTLS)
	c, err := client.Dial(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Authenticate(ctx); err != nil {
		t.Fatal(err)
	}
	send(ctx, t, c, "<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>")
	if e, err := c.Expect(ctx, client.IsStreamError); err != nil || e.Condition() != "not-authorized" {
		t.Errorf("resume: %s, %v", e, err)
	}
}

// requestsToServer: every client may send the usual requests to its server. All
// others ask for a permission.
func requestsToServer(ctx context.Context, t *testing.T, s *site) {
	me := with(ctx, t, s)
	wantResult(ctx, t, me, "get", "alpha.test", "<query xmlns='http://jabber.org/protocol/disco#info'/>")
	wantResult(ctx, t, me, "get", "alpha.test", "<query xmlns='http://jabber.org/protocol/disco#items'/>")
	wantResult(ctx, t, me, "get", "alpha.test", "<ping xmlns='urn:xmpp:ping'/>")
	wantDenied(ctx, t, me, "xmpp:requests:read", "<iq type='get' to='alpha.test'><query xmlns='http://jabber.org/protocol/disco#items' node='http://jabber.org/protocol/commands'/></iq>")
	wantDenied(ctx, t, me, "xmpp:account:write", "<iq type='set' to='alpha.test'><command xmlns='http://jabber.org/protocol/commands' node='x'/></iq>")
	wantDenied(ctx, t, me, "xmpp:requests:read", "<iq type='get' to='alpha.test'><x xmlns='lab:unknown'/></iq>")
	wantDenied(ctx, t, me, "xmpp:requests:write", "<iq type='set' to='alpha.test'><x xmlns='lab:unknown'/></iq>")
}
