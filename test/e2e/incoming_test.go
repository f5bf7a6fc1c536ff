//go:build e2e

package e2e

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/postern-im/postern/policy"
	"github.com/postern-im/postern/test/e2e/client"
)

// testIncoming tests stanzas from the server: first stanzas that the server
// sends because of other accounts, then every stanza of the scenario, injected
// into the server's stream.
func testIncoming(t *testing.T, s *site) {
	ctx := waiting(t)
	acts := readScenario(t, "testdata/incoming.txt")
	lines := readScenario(t, incomingScenario)
	// Two rows ask only in addition to another row, which gives the verdict: a
	// message with other contents beside an event, and any stanza from a remote
	// address.
	driven := map[string]bool{
		"carbon, archive result or event with other contents": true,
		"anything": true,
	}
	lacking := map[string]bool{}
	for _, l := range slices.Concat(acts, lines) {
		driven[l.row] = true
		for _, p := range l.asks {
			lacking[p] = true
		}
	}
	_, table := policy.Table()
	wantRows(t, table, driven)

	c := newCast(ctx, t, s)
	t.Run("accounts", func(t *testing.T) {
		for who := range lacking {
			t.Run(strings.ReplaceAll(who, ":", "-"), func(t *testing.T) {
				t.Parallel()
				driveIn(ctx, t, s, c, who, acts, lines)
			})
		}
		for _, who := range []string{"all", "none"} {
			t.Run(who, func(t *testing.T) {
				t.Parallel()
				driveIn(ctx, t, s, c, who, acts, lines)
			})
		}
	})
}

// driveIn sends a session every stanza. Its account lacks one permission, or
// has all, or none.
func driveIn(ctx context.Context, t *testing.T, s *site, c *cast, who string, acts, lines []line) {
	r := newReceiver(ctx, t, s, c, who)
	for _, l := range acts {
		if r.can(l) {
			t.Run(l.where, func(t *testing.T) { r.act(ctx, t, l) })
		}
	}
	r.me.fence(ctx, t)
	for _, l := range lines {
		lacks := who == "all" || who == "none" || slices.Contains(l.asks, who)
		if lacks && r.canBring(l) {
			t.Run(l.where, func(t *testing.T) { r.injected(ctx, t, l) })
		}
	}
}

// A receiver is a session that stanzas are sent to.
type receiver struct {
	s    *site
	cast *cast
	who  string // "all", "none" or the permission it lacks
	me   *subject
	own  *peer // another client of the same account
	role string
}

// newReceiver logs in an account and lets it do everything that makes a server
// send it all kinds of stanzas. Only then it takes the permission away, so that
// the server continues to send.
func newReceiver(ctx context.Context, t *testing.T, s *site, c *cast, who string) *receiver {
	t.Helper()
	r := &receiver{s: s, cast: c, who: who, role: unique("lab:receiver")}
	switch who {
	case "none":
		s.only(ctx, t, r.role)
	case "xmpp:account:messages:read":
		s.allBut(ctx, t, r.role, who) // taking this permission away later would end the session
	default:
		s.allBut(ctx, t, r.role)
	}
	a := s.member(ctx, t, "receiver", r.role)
	r.own = s.peerOf(ctx, t, a, "r2")
	for _, contact := range []*peer{c.bob, c.carol} {
		befriend(ctx, t, r.own, contact)
	}
	r.me = s.subject(ctx, t, a)
	if who != "none" {
		r.prepare(ctx, t)
	}
	if who != "none" && who != "all" {
		s.allBut(ctx, t, r.role, who)
	}
	return r
}

// befriend subscribes two accounts to each other's presence. From then on each
// account's session gets the other's events (XEP-0163 section 4.3.3).
func befriend(ctx context.Context, t *testing.T, a, b *peer) {
	t.Helper()
	for _, p := range [][2]*peer{{a, b}, {b, a}} {
		p[0].send(ctx, t, "<presence type='subscribe' to='"+p[1].jid+"'/>")
		p[1].awaitPresence(ctx, t, "subscribe", p[0].jid)
		p[1].send(ctx, t, "<presence type='subscribed' to='"+p[0].jid+"'/>")
		p[0].awaitPresence(ctx, t, "", p[1].c.JID)
	}
}

// prepare makes the server send the session everything: the session asks for
// the roster and the block list, enables carbons, announces the events it
// wants, and joins a room.
func (r *receiver) prepare(ctx context.Context, t *testing.T) {
	t.Helper()
	me := r.me
	for _, request := range [][2]string{
		{"get", "<query xmlns='jabber:iq:roster'/>"},
		{"get", "<blocklist xmlns='urn:xmpp:blocking'/>"},
		{"set", "<enable xmlns='urn:xmpp:carbons:2'/>"},
	} {
		answer, err := me.Query(ctx, request[0], "", request[1])
		if err != nil {
			t.Fatal(err)
		}
		denied := r.who == "xmpp:account:messages:read" && strings.Contains(request[1], "carbons")
		if (answer.Attr("type") == "error") != denied {
			t.Fatalf("%s is answered %s", request[1], answer)
		}
	}
	r.tellInterest(ctx, t)
	send(ctx, t, me.Client, "<presence to='"+r.cast.room+"/"+unique("nick")+"'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
	if _, err := me.Expect(ctx, func(e client.Element) bool {
		return e.Stanza("presence") && strings.Contains(e.Raw, "110") && strings.HasPrefix(e.Attr("from"), r.cast.room)
	}); err != nil {
		t.Fatal(err)
	}
	if err := me.leg.sent(ctx, "<subject"); err != nil { // the subject is the last stanza that a room sends to a new occupant
		t.Fatal(err)
	}
	me.fence(ctx, t)
}

// interest lists the events that the session wants (XEP-0163 section 4).
var interest = []string{
	"eu.siacs.conversations.axolotl.devicelist+notify", "http://jabber.org/protocol/mood+notify",
	"lab:node+notify", "urn:xmpp:avatar:metadata+notify", "urn:xmpp:bookmarks:1+notify",
}

// tellInterest sends presence with capabilities that no server knows yet, and
// answers every request for them (XEP-0115). Prosody asks once for each
// account.
func (r *receiver) tellInterest(ctx context.Context, t *testing.T) {
	t.Helper()
	features := append([]string{"a:" + unique("client")}, interest...)
	hash := sha1.Sum([]byte("client/pc//lab<" + strings.Join(features, "<") + "<"))
	ver := base64.StdEncoding.EncodeToString(hash[:])
	answer := "<query xmlns='http://jabber.org/protocol/disco#info' node='lab:client#" + ver + "'><identity category='client' type='pc' name='lab'/>"
	for _, feature := range features {
		answer += "<feature var='" + feature + "'/>"
	}
	asks := func(e client.Element) bool {
		return e.Stanza("iq") && e.Attr("type") == "get" && e.Find("http://jabber.org/protocol/disco#info", "query").Exists()
	}
	send(ctx, t, r.me.Client, "<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='lab:client' ver='"+ver+"'/></presence>")
	asked, err := r.me.Expect(ctx, asks)
	if err != nil {
		t.Fatal(err)
	}
	for came := []client.Element{asked}; len(came) > 0; {
		for _, e := range came {
			to := ""
			if from := e.Attr("from"); from != "" {
				to = " to='" + client.Escape(from) + "'"
			}
			send(ctx, t, r.me.Client, "<iq type='result' id='"+client.Escape(e.Attr("id"))+"'"+to+">"+answer+"</query></iq>")
		}
		came = slices.DeleteFunc(r.me.fence(ctx, t), func(e client.Element) bool { return !asks(e) })
	}
}

// can reports whether the act of a line makes the server send this account a
// stanza.
func (r *receiver) can(l line) bool {
	switch r.who {
	case "all":
		return true
	case "none":
		return l.facts["needs"] == "" && !(l.facts["refused"] == "not asked" && len(l.asks) > 0)
	}
	return !(l.facts["refused"] == "not asked" && slices.Contains(l.asks, r.who))
}

// fate returns the expected effect on the stanza that an act makes the server
// send.
func (r *receiver) fate(l line) string {
	refused := l.facts["refused"]
	switch {
	case refused == "always dropped":
		return "dropped"
	case slices.Contains(l.asks, r.who), r.who == "none" && len(l.asks) > 0:
		return refused
	case (l.row == "message error" || l.row == "presence error") && (r.who == "none" || r.who == "xmpp:account:messages:read"):
		return "stripped"
	}
	return "passed"
}

// act lets an actor make the server send the session a stanza. It checks that
// the server sends it, and the effect on it.
func (r *receiver) act(ctx context.Context, t *testing.T, l line) {
	mark := unique("mark")
	fill := func(s string) string {
		return strings.NewReplacer("MARK", mark, "ME", r.me.account.jid).Replace(r.cast.names.Replace(s))
	}
	down, up := r.me.leg.sentSoFar(), r.me.leg.passed()
	sender := r.actor(l.words[0])
	if sender == nil {
		send(ctx, t, r.me.Client, fill(l.stanza))
	} else {
		sender.send(ctx, t, fill(l.stanza))
		r.insist(ctx, t, sender, fill(l.stanza), mark)
	}
	if then := l.facts["then"]; then != "" {
		name, stanza, _ := strings.Cut(then, " ")
		other := r.actor(name)
		if _, err := other.await(ctx, func(e client.Element) bool { return e.Attr("id") == mark }); err != nil {
			t.Fatal(err)
		}
		other.send(ctx, t, fill(stanza))
	}
	if err := r.me.leg.sent(ctx, mark); err != nil {
		t.Fatal(err)
	}
	came := r.me.fence(ctx, t)
	kind := l.facts["gets"]
	if kind == "" {
		kind = parse(t, l.stanza).Name.Local
	}
	at := slices.IndexFunc(came, func(e client.Element) bool { return e.Stanza(kind) && strings.Contains(e.Raw, mark) })
	fate := r.fate(l)
	if passes := fate == "passed" || fate == "stripped"; passes != (at >= 0) {
		t.Fatalf("want the stanza %s; the server sent %q, the session got %v", fate, r.me.leg.downSince(down), came)
	}
	switch fate {
	case "passed":
		if !strings.Contains(r.me.leg.downSince(down), came[at].Raw) {
			t.Errorf("the stanza was changed: %s", came[at])
		}
	case "stripped":
		if e := came[at]; len(e.Children) != 1 || !e.Children[0].Is(client.NSClient, "error") {
			t.Errorf("stripped to %s", e)
		}
	case "answered":
		r.wantUnserved(ctx, t, sender, mark)
	case "dropped":
		if sender == nil {
			break
		}
		sender.fence(ctx, t)
		if sender.has(func(e client.Element) bool { return e.Attr("id") == mark && e.Attr("type") == "error" }) {
			t.Error("the sender gets an answer")
		}
	case "pushed":
		r.wantPushAnswered(ctx, t, mark, r.me.leg.downSince(down), up)
	default:
		t.Fatalf("unknown expected effect %q", fate)
	}
}

// insist repeats a publication that ejabberd aborted because of simultaneous
// publications.
func (r *receiver) insist(ctx context.Context, t *testing.T, sender *peer, stanza, mark string) {
	t.Helper()
	id := mark + "-iq"
	for strings.Contains(stanza, "<publish ") {
		answer, err := sender.await(ctx, client.IsAnswer(id))
		if err != nil {
			t.Fatal(err)
		}
		if answer.Attr("type") == "result" {
			return
		}
		again := unique("again")
		sender.send(ctx, t, strings.ReplaceAll(stanza, mark+"-iq", again))
		id = again
	}
}

// actor returns the peer with a name, nil for the session itself.
func (r *receiver) actor(name string) *peer {
	return map[string]*peer{"bob": r.cast.bob, "dave": r.cast.dave, "carol": r.cast.carol, "own": r.own}[name]
}

// wantUnserved expects that the sender gets the same answer as for a user that
// does not exist.
func (r *receiver) wantUnserved(ctx context.Context, t *testing.T, sender *peer, id string) {
	t.Helper()
	e, err := sender.await(ctx, func(e client.Element) bool { return e.Attr("id") == id && e.Attr("type") == "error" })
	if err != nil {
		t.Fatal(err)
	}
	failure := e.Child(client.NSClient, "error")
	if e.Attr("from") != r.me.JID || e.Condition() != "service-unavailable" || failure.Attr("type") != "cancel" {
		t.Errorf("the sender gets %s", e)
	}
	if strings.Contains(e.Raw, "urn:postern") || strings.Contains(e.Raw, "xmpp:account") {
		t.Errorf("the answer tells the sender more than that: %s", e)
	}
}

// wantPushAnswered expects that, after the first up bytes, the gateway has
// answered a push of the server.
func (r *receiver) wantPushAnswered(ctx context.Context, t *testing.T, mark, down string, up int) {
	t.Helper()
	all, err := elements(down)
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range all {
		push := parse(t, raw)
		if push.Attr("type") != "set" || !strings.Contains(raw, mark) {
			continue
		}
		if err := r.me.leg.took(ctx, push.Attr("id")); err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(forwarded(t, r.me.leg.upSince(up)), func(raw string) bool {
			e := parse(t, raw)
			return e.Stanza("iq") && e.Attr("type") == "result" && e.Attr("id") == push.Attr("id") && e.Attr("to") == push.Attr("from") && len(e.Children) == 0
		}) {
			t.Errorf("the push %s is not answered: %q", raw, r.me.leg.upSince(up))
		}
		return
	}
	t.Errorf("no push in %q", down)
}

// canBring reports whether the session can reach the state that a line is
// about: without any permission it can do nothing, and without messages:read it
// cannot query an archive.
func (r *receiver) canBring(l line) bool {
	state := l.is("joined") || l.is("muc") || l.is("outstanding") || l.is("queried")
	return !(state && r.who == "none") && !(l.is("queried") && r.who == "xmpp:account:messages:read")
}

// pushAnswered is the scenarios' text for a push that is answered to the
// server.
const pushAnswered = "; the server is answered with a result"

// injected injects a scenario's stanza into the server's stream and checks the
// effect.
func (r *receiver) injected(ctx context.Context, t *testing.T, l line) {
	id := unique("id")
	raw := r.cast.write(l.stanza, r.me.account.jid, id)
	if !l.is("joined") && !l.is("muc") && parse(t, raw).Stanza("presence") { // use a room that it has not joined
		raw = strings.Replace(raw, r.cast.room, unique("elsewhere")+"@muc.alpha.test", 1)
	}
	want := l.of(r.who)
	r.remember(ctx, t, l, raw, id)
	before := r.me.leg.passed()
	if l.is("queried") {
		before = r.injectQueried(ctx, t, raw)
	} else if err := r.me.leg.inject(raw); err != nil {
		t.Fatal(err)
	}
	came := r.me.fence(ctx, t)
	answered := want.effect == "refuse" || strings.HasSuffix(want.text, pushAnswered)
	if answered { // the answer may come after stanzas that were read with the push
		if err := r.me.leg.took(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	up := forwarded(t, r.me.leg.upSince(before))
	got := slices.ContainsFunc(came, func(e client.Element) bool { return e.Raw == raw })
	if got != (want.effect == "pass") {
		t.Errorf("want effect %s; the session got %v", want.effect, came)
	}
	switch {
	case len(up) > 1 || answered != (len(up) == 1):
		t.Errorf("want effect %s; the server was sent %q", want.effect, up)
	case want.effect == "refuse":
		r.wantAnswer(t, raw, up[0], want)
	case answered:
		if sent, e := parse(t, raw), parse(t, up[0]); !e.Stanza("iq") || e.Attr("type") != "result" || e.Attr("id") != sent.Attr("id") || len(e.Children) > 0 {
			t.Errorf("the push is answered %s", up[0])
		}
	}
}

// wantAnswer checks the answer to the sender of a refused stanza.
func (r *receiver) wantAnswer(t *testing.T, raw, answer string, want verdict) {
	t.Helper()
	e := parse(t, answer)
	failure := e.Child(client.NSClient, "error")
	got := verdict{"refuse", failure.Attr("type"), e.Condition(), failure.Child(client.NSStanza, "text").Text}
	if got != want {
		t.Errorf("answered %+v, want %+v", got, want)
	}
	sent, err := client.Parse(strings.ReplaceAll(raw, "evil:e", "e"))
	if err != nil {
		t.Fatal(err)
	}
	if e.Name != sent.Name || e.Attr("id") != sent.Attr("id") || e.Attr("to") != sent.Attr("from") || len(e.Children) != 1 ||
		failure.Child("urn:postern:denied:0", "").Exists() {
		t.Errorf("%s is answered %s", raw, answer)
	}
}

// remember puts the session into the state that the line is about.
func (r *receiver) remember(ctx context.Context, t *testing.T, l line, raw, id string) {
	t.Helper()
	from, _, _ := strings.Cut(parse(t, raw).Attr("from"), "/")
	switch {
	case l.is("joined"):
		send(ctx, t, r.me.Client, "<presence to='"+from+"/nick'/>")
	case l.is("muc"):
		send(ctx, t, r.me.Client, "<presence to='"+from+"/nick'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
	case l.is("outstanding"):
		send(ctx, t, r.me.Client, "<iq type='get' id='"+id+"' to='"+parse(t, raw).Attr("from")+"'><query xmlns='jabber:iq:version'/></iq>")
	}
	r.me.fence(ctx, t)
	if l.is("joined") || l.is("muc") { // the room's answer must come before the injected stanza
		if _, err := r.me.FenceAt(ctx, from); err != nil {
			t.Fatal(err)
		}
	}
}

// injectQueried injects a stanza into the server's stream, after the session
// has sent an archive query to the stanza's sender and before the server
// answers it. The session has all permissions until the query is sent. The
// result is the number of bytes that it had sent by then.
func (r *receiver) injectQueried(ctx context.Context, t *testing.T, raw string) (before int) {
	t.Helper()
	id := unique("query")
	err := r.me.leg.held(func(inject func(string) error) error {
		r.s.allBut(ctx, t, r.role)
		send(ctx, t, r.me.Client, "<iq type='set' id='"+id+"' to='"+parse(t, raw).Attr("from")+"'><query xmlns='urn:xmpp:mam:2'/></iq>")
		if err := r.me.leg.took(ctx, id); err != nil {
			return err
		}
		if r.who != "all" {
			r.s.allBut(ctx, t, r.role, r.who)
		}
		before = r.me.leg.passed()
		return inject(raw)
	})
	if err != nil {
		t.Fatal(err)
	}
	return before
}
