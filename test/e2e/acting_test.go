//go:build e2e

package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/test/e2e/client"
)

// A server may act on the account that sends an iq, whatever the iq's to says.
// For example, a client can change its own password at ejabberd, or its
// bookmarks at Prosody, by a request to any other user. These tests send every
// request that means something for the own account to all other kinds of
// addresses, and look at the account afterwards.

// An act is a request that a server may carry out on the sender's account.
type act struct {
	name string
	// get and set are the payload as a get and as a set; if empty, the act is
	// not sent in that form. ME stands for the account, USER for its localpart,
	// FORGED for data that must not be stored, and PUSH for the address that
	// push messages go to.
	get, set string
	// reads and writes are the permissions of the own account that the act asks
	// for, as a get and as a set to another user. If there are none, the act is
	// passed on.
	reads, writes []string
	// own is the permission to read the same data of the own account, where
	// reading another user's data asks for none. The act must not return the
	// own account's data.
	own string
	// onlyBare: an act to a full JID goes to another client and asks for
	// nothing.
	onlyBare bool
	// ends: the act ends the account if the server carries it out.
	ends bool
}

const nsPubSub = "http://jabber.org/protocol/pubsub"

// A forged bookmark in the form of XEP-0048 and of XEP-0402.
const (
	forgedStorage    = "<storage xmlns='storage:bookmarks'><conference jid='FORGED@muc.alpha.test' autojoin='1'/></storage>"
	forgedConference = "<item id='FORGED@muc.alpha.test'><conference xmlns='urn:xmpp:bookmarks:1' autojoin='true'/></item>"
)

// same is an act with the same payload as a get and as a set.
func same(name, payload string, reads, writes []string) act {
	return act{name: name, get: payload, set: payload, reads: reads, writes: writes}
}

// pubsub is a request of XEP-0060 with one action.
func pubsub(action string) string { return "<pubsub xmlns='" + nsPubSub + "'>" + action + "</pubsub>" }

func pubsubOwner(action string) string {
	return "<pubsub xmlns='" + nsPubSub + "#owner'>" + action + "</pubsub>"
}

// acts returns acts in all namespaces that a server knows for the own account,
// and in one that no server knows.
func acts() []act {
	list := func(names ...string) []string { return full(names) }
	manage := [2][]string{list("xmpp:account:read"), list("xmpp:account:write")}
	bookmarks := [2][]string{list("bookmarks:read"), list("bookmarks:write")}
	profile := list("profile:write")
	pep := [2][]string{list("pep:read"), list("pep:write")}
	history := [2][]string{list("history:read"), list("history:write")}
	archive := list("messages:read", "history:read")
	contacts := [2][]string{list("contacts:read"), list("contacts:write")}
	blocklist := [2][]string{list("blocklist:read"), list("blocklist:write")}
	storage := [2][]string{list("legacy-storage:read"), list("legacy-storage:write")}
	omemo := [2][]string{list("omemo:read"), list("omemo:write")}
	hear := list("messages:read")
	push := list("messages:read", "xmpp:account:write")

	all := []act{
		same("registration form", "<query xmlns='jabber:iq:register'/>", manage[0], manage[1]),
		same("password", "<query xmlns='jabber:iq:register'><username>USER</username><password>FORGED</password></query>", manage[0], manage[1]),
		{name: "removal", set: "<query xmlns='jabber:iq:register'><remove/></query>", writes: manage[1], ends: true},
		same("old log-in", "<query xmlns='jabber:iq:auth'><username>USER</username><password>FORGED</password><resource>r9</resource></query>", manage[0], manage[1]),
		same("ad-hoc command", "<command xmlns='http://jabber.org/protocol/commands' node='ping' action='execute'/>", manage[0], manage[1]),
		same("clients", "<list xmlns='urn:xmpp:cam:0'/>", manage[0], manage[1]),
		same("manage clients", "<list-clients xmlns='xmpp:prosody.im/protocol/manage-clients'/>", manage[0], manage[1]),
		same("push disable", "<disable xmlns='urn:xmpp:push:0' jid='PUSH'/>", manage[1], manage[1]),
		same("push enable", "<enable xmlns='urn:xmpp:push:0' jid='PUSH' node='FORGED'/>", push, push),
		{name: "unnamed namespace", get: "<x xmlns='lab:x'/>", set: "<x xmlns='lab:x'><y>FORGED</y></x>", writes: manage[1], onlyBare: true},

		{name: "vCard", own: "xmpp:account:profile:read", get: "<vCard xmlns='vcard-temp'/>", set: "<vCard xmlns='vcard-temp'><FN>FORGED</FN></vCard>", writes: profile},
		{name: "vCard4", own: "xmpp:account:profile:read", get: "<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'/>",
			set: "<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'><fn><text>FORGED</text></fn></vcard>", writes: profile},
		{name: "vCard4 node", own: "xmpp:account:profile:read", get: pubsub("<items node='urn:xmpp:vcard4'/>"),
			set: pubsub("<publish node='urn:xmpp:vcard4'><item><vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'><fn><text>FORGED</text></fn></vcard></item></publish>"), writes: profile},
		{name: "nickname", own: "xmpp:account:profile:read", get: pubsub("<items node='http://jabber.org/protocol/nick'/>"),
			set: pubsub("<publish node='http://jabber.org/protocol/nick'><item><nick xmlns='http://jabber.org/protocol/nick'>FORGED</nick></item></publish>"), writes: profile},

		{name: "private bookmarks", get: "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query>",
			set: "<query xmlns='jabber:iq:private'>" + forgedStorage + "</query>", reads: bookmarks[0], writes: bookmarks[1]},
		{name: "bookmarks node, old", get: pubsub("<items node='storage:bookmarks'/>"),
			set: pubsub("<publish node='storage:bookmarks'><item id='current'>" + forgedStorage + "</item></publish>"), reads: bookmarks[0], writes: bookmarks[1]},
		{name: "bookmarks node", get: pubsub("<items node='urn:xmpp:bookmarks:1'/>"),
			set: pubsub("<publish node='urn:xmpp:bookmarks:1'>" + forgedConference + "</publish>"), reads: bookmarks[0], writes: bookmarks[1]},
		{name: "bookmarks retracted", set: pubsub("<retract node='urn:xmpp:bookmarks:1' notify='1'><item id='MINE@muc.alpha.test'/></retract>"), writes: bookmarks[1]},
		{name: "bookmarks deleted", set: pubsubOwner("<delete node='urn:xmpp:bookmarks:1'/>"), writes: bookmarks[1]},
		{name: "old bookmarks purged", set: pubsubOwner("<purge node='storage:bookmarks'/>"), writes: bookmarks[1]},
		{name: "bookmarks' form", get: pubsubOwner("<configure node='urn:xmpp:bookmarks:1'/>"), reads: bookmarks[0]},

		same("affiliations", pubsub("<affiliations/>"), pep[0], pep[1]),
		same("subscriptions", pubsub("<subscriptions/>"), pep[0], pep[1]),
		same("owner's affiliations", pubsubOwner("<affiliations/>"), pep[0], pep[1]),
		same("default form", pubsub("<default/>"), pep[0], pep[1]),
		{name: "other node", own: "xmpp:account:pep:read", get: pubsub("<items node='lab:node'/>"),
			set: pubsub("<publish node='lab:node'><item id='FORGED'><x xmlns='lab:x'/></item></publish>"), writes: pep[1]},
		{name: "other node deleted", set: pubsubOwner("<delete node='lab:node'/>"), writes: pep[1]},
		{name: "node without an action's name", set: pubsub("<create/>"), writes: pep[1]},
		{name: "nodes", own: "xmpp:account:disco:read", get: "<query xmlns='http://jabber.org/protocol/disco#items'/>"},
		{name: "OMEMO devices", own: "xmpp:account:omemo:read", get: pubsub("<items node='eu.siacs.conversations.axolotl.devicelist'/>"), set: pubsub("<publish node='eu.siacs.conversations.axolotl.devicelist'><item id='current'>" +
			"<list xmlns='eu.siacs.conversations.axolotl'><device id='666'/></list></item></publish>"), writes: omemo[1]},

		{name: "private notes", get: "<query xmlns='jabber:iq:private'><notes xmlns='lab:notes'/></query>",
			set: "<query xmlns='jabber:iq:private'><notes xmlns='lab:notes'>FORGED</notes></query>", reads: storage[0], writes: storage[1]},
		{name: "roster notes", get: "<query xmlns='jabber:iq:private'><storage xmlns='storage:rosternotes'/></query>",
			set: "<query xmlns='jabber:iq:private'><storage xmlns='storage:rosternotes'><note jid='x@beta.test'>FORGED</note></storage></query>", reads: contacts[0], writes: contacts[1]},
		{name: "roster", get: "<query xmlns='jabber:iq:roster'/>",
			set: "<query xmlns='jabber:iq:roster'><item jid='FORGED@beta.test' name='FORGED'/></query>", reads: contacts[0], writes: contacts[1]},
		{name: "roster removal", set: "<query xmlns='jabber:iq:roster'><item jid='MINE@beta.test' subscription='remove'/></query>", writes: contacts[1]},
		{name: "block list", get: "<blocklist xmlns='urn:xmpp:blocking'/>",
			set: "<block xmlns='urn:xmpp:blocking'><item jid='FORGED@beta.test'/></block>", reads: blocklist[0], writes: blocklist[1]},
		{name: "unblock", set: "<unblock xmlns='urn:xmpp:blocking'/>", writes: blocklist[1]},
		{name: "privacy lists", get: "<query xmlns='jabber:iq:privacy'/>",
			set: "<query xmlns='jabber:iq:privacy'><list name='FORGED'><item type='jid' value='x@beta.test' action='deny' order='1'/></list></query>", reads: blocklist[0], writes: blocklist[1]},
		{name: "privacy default", set: "<query xmlns='jabber:iq:privacy'><default/></query>", writes: blocklist[1]},

		{name: "offline messages", get: "<offline xmlns='http://jabber.org/protocol/offline'><fetch/></offline>", reads: hear},
		{name: "offline purge", set: "<offline xmlns='http://jabber.org/protocol/offline'><purge/></offline>", writes: list("messages:read", "history:write")},
		same("carbons", "<enable xmlns='urn:xmpp:carbons:2'/>", hear, hear),
		same("carbons, old", "<enable xmlns='urn:xmpp:carbons:1'/>", hear, hear),
	}
	for _, version := range []string{"0", "1", "2", "tmp"} {
		space := " xmlns='urn:xmpp:mam:" + version + "'"
		all = append(all,
			act{name: "archive preferences " + version, get: "<prefs" + space + "/>",
				set: "<prefs" + space + " default='never'><always/><never><jid>FORGED@beta.test</jid></never></prefs>", reads: history[0], writes: history[1]},
			same("archive metadata "+version, "<metadata"+space+"/>", archive, archive),
			same("archive "+version, "<query"+space+"/>", archive, archive))
	}
	return all
}

// asks returns the permissions that the act asks for as a get or a set.
func (a act) asks(kind string) []string {
	if kind == "get" {
		return a.reads
	}
	return a.writes
}

func (a act) payload(kind string) string {
	if kind == "get" {
		return a.get
	}
	return a.set
}

// TestActsForSender sends every act to addresses of other users, existing or
// not, in each other domain, with a role that lacks exactly one permission. It
// then checks the account.
func TestActsForSender(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, kind)
			ctx := waiting(t)
			c := newActors(ctx, t, s)
			tried := 0
			for _, lacking := range everything() {
				for _, ends := range []bool{false, true} {
					a := newActor(s, c, lacking, ends)
					if len(a.acts) == 0 {
						continue
					}
					t.Run(strings.ReplaceAll(a.name(), ":", "-"), func(t *testing.T) { a.run(ctx, t) })
					tried += a.tried
				}
			}
			c.wantNoPush(ctx, t)
			t.Logf("%d requests were tried", tried)
		})
	}
}

// actors are the accounts and addresses that the acts are sent to.
type actors struct {
	s                        *site
	bob, dave, carol, pushed *peer
	addresses                []string // bare and full JIDs of other users
	others                   []string // domains, services, and addresses in them
}

func newActors(ctx context.Context, t *testing.T, s *site) *actors {
	t.Helper()
	c := &actors{
		s: s, bob: s.peer(ctx, t, "bob", "alpha.test"), dave: s.peer(ctx, t, "dave", "beta.test"),
		carol: s.peer(ctx, t, "carol", "gamma.test"), pushed: s.peer(ctx, t, "pushed", "alpha.test"),
	}
	for _, p := range []*peer{c.bob, c.dave, c.carol} {
		_, domain := split(p.jid)
		nobody := unique("nobody") + "@" + domain
		c.addresses = append(c.addresses, p.jid, p.c.JID, nobody, nobody+"/r", p.jid+"/gone")
	}
	room := unique("room") + "@muc.alpha.test"
	c.bob.send(ctx, t, "<presence to='"+room+"/bob'>"+joinMUC+"</presence>")
	c.bob.awaitPresence(ctx, t, "", room+"/bob")
	c.others = []string{
		"beta.test", "beta.test/x", "gamma.test", "gamma.test/x", "muc.alpha.test", "pubsub.alpha.test", "upload.alpha.test",
		"mix.alpha.test", "muc.gamma.test", room, room + "/bob", "nobody@pubsub.alpha.test", "nobody@upload.alpha.test",
	}
	return c
}

// An actor is an account that lacks one permission. It sends all acts that ask
// for that permission, and the acts that ask for none.
type actor struct {
	*actors
	lacking string
	ends    bool // it sends the acts that end the account
	acts    []act
	tried   int

	account      account
	mine, forged string // the account's own data, and the data that must not be stored
	missed       string // an offline message to the account
}

func newActor(s *site, c *actors, lacking string, ends bool) *actor {
	a := &actor{actors: c, lacking: lacking, ends: ends}
	for _, act := range acts() {
		concerned := act.own == lacking || slices.Contains(act.reads, lacking) || slices.Contains(act.writes, lacking)
		if concerned && act.ends == ends {
			a.acts = append(a.acts, act)
		}
	}
	return a
}

func (a *actor) name() string {
	if a.ends {
		return a.lacking + " removal"
	}
	return a.lacking
}

func (a *actor) run(ctx context.Context, t *testing.T) {
	s := a.s
	role := unique("lab:actor")
	s.allBut(ctx, t, role, a.lacking)
	a.account = s.member(ctx, t, "actor", role)
	a.mine, a.forged, a.missed = unique("mine"), unique("forged"), unique("missed")

	owner := s.peerOf(ctx, t, a.account, "r2")
	a.fill(ctx, t, owner)
	before := a.state(ctx, t, owner)
	for name, want := range before {
		if always := !strings.Contains(name, "?"); always && !strings.Contains(want, a.mine) {
			t.Errorf("the account's %s does not hold the data stored there: %s", name, want)
		}
	}
	leave(ctx, t, owner)
	a.bob.send(ctx, t, "<message type='chat' to='"+a.account.jid+"'><body>"+a.missed+"</body></message>")
	a.bob.fence(ctx, t)

	me := s.subject(ctx, t, a.account)
	isSent(ctx, t, me, "<presence><priority>-1</priority></presence>")
	a.send(ctx, t, me)
	a.wantAsBefore(ctx, t, me, before)
}

// fill stores data in every place that the account has.
func (a *actor) fill(ctx context.Context, t *testing.T, owner *peer) {
	t.Helper()
	for _, payload := range []string{
		"<vCard xmlns='vcard-temp'><FN>MINE</FN></vCard>",
		"<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'><conference jid='MINE@muc.alpha.test'/></storage></query>",
		pubsub("<publish node='storage:bookmarks'><item id='current'><storage xmlns='storage:bookmarks'><conference jid='MINE@muc.alpha.test'/></storage></item></publish>"),
		pubsub("<publish node='urn:xmpp:bookmarks:1'><item id='MINE@muc.alpha.test'><conference xmlns='urn:xmpp:bookmarks:1'/></item></publish>"),
		"<query xmlns='jabber:iq:private'><notes xmlns='lab:notes'>MINE</notes></query>",
		"<query xmlns='jabber:iq:private'><storage xmlns='storage:rosternotes'><note jid='x@beta.test'>MINE</note></storage></query>",
		"<prefs xmlns='urn:xmpp:mam:2' default='always'><always><jid>MINE@beta.test</jid></always><never/></prefs>",
		"<query xmlns='jabber:iq:roster'><item jid='MINE@beta.test'/></query>",
		"<block xmlns='urn:xmpp:blocking'><item jid='MINE@gamma.test'/></block>",
		pubsub("<publish node='lab:node'><item id='MINE'><x xmlns='lab:x'/></item></publish>"),
		pubsub("<publish node='eu.siacs.conversations.axolotl.devicelist'><item id='MINE'><list xmlns='eu.siacs.conversations.axolotl'/></item></publish>"),
		pubsub("<publish node='http://jabber.org/protocol/nick'><item id='current'><nick xmlns='http://jabber.org/protocol/nick'>MINE</nick></item></publish>"),
	} {
		owner.query(ctx, t, "set", a.account.jid, strings.ReplaceAll(payload, "MINE", a.mine)) // state shows whether the server stored it
	}
}

// state returns the account's present data. A question mark ends the names of
// data that some server does not support or that fill does not store.
func (a *actor) state(ctx context.Context, t *testing.T, owner *peer) map[string]string {
	t.Helper()
	state := map[string]string{}
	for name, payload := range map[string]string{
		"vCard":                  "<vCard xmlns='vcard-temp'/>",
		"vCard4?":                pubsub("<items node='urn:xmpp:vcard4'/>"),
		"private bookmarks":      "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query>",
		"bookmarks, old?":        pubsub("<items node='storage:bookmarks'/>"),
		"bookmarks":              pubsub("<items node='urn:xmpp:bookmarks:1'/>"),
		"bookmarks' form?":       pubsubOwner("<configure node='urn:xmpp:bookmarks:1'/>"),
		"notes":                  "<query xmlns='jabber:iq:private'><notes xmlns='lab:notes'/></query>",
		"roster notes":           "<query xmlns='jabber:iq:private'><storage xmlns='storage:rosternotes'/></query>",
		"archive's preferences?": "<prefs xmlns='urn:xmpp:mam:2'/>",
		"roster":                 "<query xmlns='jabber:iq:roster'/>",
		"block list":             "<blocklist xmlns='urn:xmpp:blocking'/>",
		"privacy lists?":         "<query xmlns='jabber:iq:privacy'/>",
		"node":                   pubsub("<items node='lab:node'/>"),
		"OMEMO devices":          pubsub("<items node='eu.siacs.conversations.axolotl.devicelist'/>"),
		"nickname":               pubsub("<items node='http://jabber.org/protocol/nick'/>"),
		"affiliations?":          pubsub("<affiliations/>"),
		"subscriptions?":         pubsub("<subscriptions/>"),
	} {
		answer := owner.query(ctx, t, "get", a.account.jid, payload)
		state[name] = canonical(answer.Child("", ""))
	}
	return state
}

// canonical returns an element in a form that does not depend on the order of
// its attributes and children, in which the servers differ.
func canonical(e client.Element) string {
	var parts []string
	for _, attr := range e.Attrs {
		parts = append(parts, attr.Name.Space+" "+attr.Name.Local+"='"+attr.Value+"'")
	}
	for _, child := range e.Children {
		parts = append(parts, canonical(child))
	}
	slices.Sort(parts)
	return "<{" + e.Name.Space + "}" + e.Name.Local + " " + strings.Join(parts, "") + ">" + strings.TrimSpace(e.Text)
}

// leave ends a session, so that nothing more is delivered to it.
func leave(ctx context.Context, t *testing.T, p *peer) {
	t.Helper()
	p.send(ctx, t, "<presence type='unavailable'/>")
	p.fence(ctx, t)
	_ = p.c.Close()
}

// send sends the acts to all addresses at once. It expects acts that ask for
// the lacking permission to be refused, and the others to be passed on.
func (a *actor) send(ctx context.Context, t *testing.T, me *subject) {
	t.Helper()
	user, _ := split(a.account.jid)
	fill := strings.NewReplacer("USER", user, "ME", a.account.jid, "MINE", a.mine, "FORGED", a.forged, "PUSH", a.pushed.c.JID)
	type request struct {
		id, what string
		denied   bool
	}
	var (
		requests []request
		all      strings.Builder
	)
	for _, act := range a.acts {
		for _, kind := range []string{"get", "set"} {
			asks := act.asks(kind)
			concerned := len(asks) == 0 || slices.Contains(asks, a.lacking)
			if act.payload(kind) == "" || !concerned { // the account has this permission
				continue
			}
			for _, to := range a.addresses {
				denied := slices.Contains(asks, a.lacking) && !(act.onlyBare && strings.Contains(to, "/"))
				r := request{id: unique("act"), what: kind + " of " + act.name + " to " + to, denied: denied}
				requests = append(requests, r)
				all.WriteString("<iq type='" + kind + "' id='" + r.id + "' to='" + to + "'>" + fill.Replace(act.payload(kind)) + "</iq>")
			}
			for _, to := range a.others { // these addresses may answer; the account's state shows whether the server acted
				all.WriteString("<iq type='" + kind + "' id='" + unique("other") + "' to='" + to + "'>" + fill.Replace(act.payload(kind)) + "</iq>")
				a.tried++
			}
		}
	}
	a.tried += len(requests)
	send(ctx, t, me.Client, all.String())
	// A refusal may come after the first fence, if the gateway read both at
	// once.
	came := append(me.fence(ctx, t), me.fence(ctx, t)...)
	for _, r := range requests {
		if !r.denied {
			if err := me.leg.took(ctx, "id='"+r.id+"'"); err != nil {
				t.Fatalf("%s: %v", r.what, err)
			}
			continue
		}
		var answer client.Element
		if i := slices.IndexFunc(came, client.IsAnswer(r.id)); i >= 0 {
			answer = came[i]
		}
		if denied := answer.Find("urn:postern:denied:0", "denied").Attr("permission"); denied != a.lacking {
			t.Errorf("%s: not refused for %s: %s", r.what, a.lacking, answer)
		}
		if strings.Contains(me.leg.upSince(0), "id='"+r.id+"'") {
			t.Errorf("%s: sent to the server", r.what)
		}
	}
	for _, e := range came {
		if strings.Contains(e.Raw, a.mine) && e.Attr("type") != "error" { // an error may repeat the request
			t.Errorf("the session gets the account's data: %s", e)
		}
	}
}

// wantAsBefore expects the account to be the same as before the acts.
func (a *actor) wantAsBefore(ctx context.Context, t *testing.T, me *subject, before map[string]string) {
	t.Helper()
	config := direct(a.s.server).clientConfig(t, a.account, client.DirectTLS)
	config.Mechanism, config.Resource = "PLAIN", "r3"
	checker, err := client.Login(ctx, config)
	if err != nil {
		t.Fatalf("log in with the account's own password: %v", err)
	}
	defer checker.Close()
	send(ctx, t, checker, "<presence/>")
	soon, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := checker.Expect(soon, client.HasBody(a.missed)); err != nil {
		t.Fatalf("the account's offline message: %v", err)
	}
	_ = checker.Close()

	owner := a.s.peerOf(ctx, t, a.account, "r2")
	after := a.state(ctx, t, owner)
	for name, was := range before {
		if after[name] != was {
			t.Errorf("the account's %s was\n%s, and is\n%s", name, was, after[name])
		}
	}
	carbon := unique("carbon")
	a.bob.send(ctx, t, "<message type='chat' to='"+owner.c.JID+"'><body>"+carbon+"</body></message>")
	if _, err := owner.await(ctx, client.HasBody(carbon)); err != nil {
		t.Fatal(err)
	}
	me.fence(ctx, t)
	if down := me.leg.downSince(0); strings.Contains(down, carbon) {
		t.Errorf("the server sends the session carbons: %q", down)
	}
	leave(ctx, t, owner)
	_ = me.Close()
	a.bob.send(ctx, t, "<message type='chat' to='"+a.account.jid+"'><body>pushed</body></message>")
	a.bob.fence(ctx, t)
}

// wantNoPush expects that the acts caused no push message. It first waits for a
// push that a control account enabled; forged ones would have come before it.
func (c *actors) wantNoPush(ctx context.Context, t *testing.T) {
	t.Helper()
	a := newAccount(t, c.s.server, "pushes", "alpha.test")
	owner := c.s.peerOf(ctx, t, a, "r2")
	const control = "control"
	enabled := owner.query(ctx, t, "set", a.jid, "<enable xmlns='urn:xmpp:push:0' jid='"+c.pushed.c.JID+"' node='"+control+"'/>")
	if enabled.Attr("type") != "result" {
		t.Fatalf("the server refuses to enable push: %s", enabled)
	}
	leave(ctx, t, owner)
	c.bob.send(ctx, t, "<message type='chat' to='"+a.jid+"'><body>pushed</body></message>")
	isPush := func(e client.Element) bool {
		return e.Stanza("iq") && e.Find(nsPubSub, "publish").Exists()
	}
	if _, err := c.pushed.await(ctx, func(e client.Element) bool {
		return isPush(e) && e.Find(nsPubSub, "publish").Attr("node") == control
	}); err != nil {
		t.Fatalf("no push message for the account that enabled it: %v", err)
	}
	c.pushed.has(func(e client.Element) bool {
		if isPush(e) && e.Find(nsPubSub, "publish").Attr("node") != control {
			t.Errorf("a push message that no account enabled: %s", e)
		}
		return false
	})
}
