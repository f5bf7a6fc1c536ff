package session

import (
	"fmt"
	"testing"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/xmpp/jid"
	"github.com/postern-im/postern/xmpp/stanza"
	"github.com/postern-im/postern/xmpp/stream"
)

func addr(t *testing.T, s string) jid.Addr {
	t.Helper()
	a, err := jid.Parse([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// described returns the description of a stanza.
func described(t *testing.T, xml string) *stanza.Descriptor {
	t.Helper()
	el, err := stream.NewFramer(stream.Config{Limits: stream.BackendLimits()}).ParseStanza([]byte(xml))
	if err != nil {
		t.Fatalf("%s: %v", xml, err)
	}
	d := new(stanza.Descriptor)
	d.Describe(el)
	return d
}

func TestOutstanding(t *testing.T) {
	var m memory
	bob, carol := addr(t, "bob@a.test/x"), addr(t, "carol@a.test/x")
	outstanding := func(d decision.Direction, peer jid.Addr, id string) bool {
		r := recall{memory: &m}
		return r.Outstanding(d, peer, []byte(id))
	}
	request := &stanza.Descriptor{Kind: stanza.IQ, Type: stanza.Get, ID: []byte("1"), To: bob}
	answer := &stanza.Descriptor{Kind: stanza.IQ, Type: stanza.Result, ID: []byte("1"), From: bob}
	m.note(decision.Out, request)
	for _, c := range []struct {
		d    decision.Direction
		peer jid.Addr
		id   string
		want bool
	}{
		{decision.In, bob, "1", true}, {decision.In, bob, "2", false}, {decision.In, carol, "1", false},
		{decision.In, bob.WithoutResource(), "1", false}, {decision.Out, bob, "1", false},
	} {
		if got := outstanding(c.d, c.peer, c.id); got != c.want {
			t.Errorf("%v %s %s: %t", c.d, c.peer, c.id, got)
		}
	}
	m.note(decision.Out, request)
	m.forget(decision.In, answer)
	if !outstanding(decision.In, bob, "1") {
		t.Error("asked twice, answered once: forgotten")
	}
	m.forget(decision.Out, request) // withdrawn
	if outstanding(decision.In, bob, "1") {
		t.Error("a withdrawn request is still outstanding")
	}
	if m.asked[decision.Out] != nil {
		t.Error("the list of requests is empty but not released")
	}
}

// TestOneRequestOneResult checks that, within one batch and in both directions,
// each request allows only one result.
func TestOneRequestOneResult(t *testing.T) {
	bob := addr(t, "bob@a.test/x")
	for _, d := range []decision.Direction{decision.In, decision.Out} {
		var m memory
		for range 2 {
			m.note(opposite(d), &stanza.Descriptor{Kind: stanza.IQ, Type: stanza.Get, ID: []byte("1"), To: bob, From: bob})
		}
		r := recall{memory: &m}
		got := 0
		for range 5 {
			if r.Outstanding(d, bob, []byte("1")) {
				got++
			}
		}
		if got != 2 || r.Outstanding(d, bob, []byte("2")) {
			t.Errorf("direction %d: %d results of two requests", d, got)
		}
	}
}

func TestOutstandingIsBounded(t *testing.T) {
	var m memory
	bob := addr(t, "bob@a.test/x")
	for i := range maxOutstanding + 10 {
		m.note(decision.In, &stanza.Descriptor{Kind: stanza.IQ, Type: stanza.Set, ID: fmt.Append(nil, i), From: bob})
	}
	if n := len(m.asked[decision.In]); n != maxOutstanding {
		t.Errorf("%d remembered", n)
	}
	r := recall{memory: &m}
	if r.Outstanding(decision.Out, bob, []byte("9")) || !r.Outstanding(decision.Out, bob, []byte("10")) {
		t.Error("other requests than the oldest were forgotten")
	}
}

// TestJoined checks that a room is known from the presence sent to it until the
// session leaves, and that the room's answer to leaving still passes.
func TestJoined(t *testing.T) {
	var m memory
	const join = "<x xmlns='http://jabber.org/protocol/muc'/>"
	send := func(to, attrs, inside string) {
		m.note(decision.Out, described(t, fmt.Sprintf("<presence to='%s'%s>%s</presence>", to, attrs, inside)))
	}
	state := func(from string, typ stanza.Type) string {
		joined, muc := m.joinedTo(addr(t, from), typ)
		return fmt.Sprint(joined, muc)
	}
	check := func(what, from string, typ stanza.Type, want string) {
		t.Helper()
		if got := state(from, typ); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	send("room@muc.a.test/alice", "", join)
	check("a room asked to join", "room@muc.a.test/bob", stanza.Available, "true true")
	check("another room", "other@muc.a.test/bob", stanza.Available, "false false")
	send("room@muc.a.test/alice", "", "<show>away</show>")
	check("a later presence", "room@muc.a.test/bob", stanza.Available, "true true")
	send("carol@b.test", "", "")
	check("a user after directed presence", "carol@b.test/x", stanza.Available, "true false")
	send("carol@b.test", " type='unavailable'", "")
	check("a user after unavailable presence", "carol@b.test/x", stanza.Available, "false false")
	check("a user's unavailable", "carol@b.test/x", stanza.Unavailable, "false false")

	send("room@muc.a.test/alice", " type='unavailable'", "")
	check("a room that was left", "room@muc.a.test/bob", stanza.Available, "false false")
	check("another occupant leaves", "room@muc.a.test/bob", stanza.Unavailable, "false false")
	check("the room's answer when the session leaves", "room@muc.a.test/alice", stanza.Unavailable, "true true")
	m.note(decision.In, described(t, "<presence from='room@muc.a.test/alice' type='unavailable'/>"))
	check("a second answer", "room@muc.a.test/alice", stanza.Unavailable, "false false")
	send("room@muc.a.test/ﬁ", "", join)
	send("room@muc.a.test/ﬁ", " type='unavailable'", "")
	check("the answer in the room's form of the nickname", "room@muc.a.test/fi", stanza.Unavailable, "true true")
	check("available presence is no answer", "room@muc.a.test/fi", stanza.Available, "false false")
	m.note(decision.In, described(t, "<presence from='room@muc.a.test/fi' type='unavailable'/>"))
	check("a second answer in the room's form", "room@muc.a.test/fi", stanza.Unavailable, "false false")
	if m.joined != nil || m.rooms != nil || m.leaving != nil {
		t.Errorf("still held: %v %v %v", m.joined, m.rooms, m.leaving)
	}

	send("bob@a.test", " type='subscribe'", "")
	m.note(decision.In, described(t, "<presence from='eve@a.test/x'/>"))
	m.note(decision.Out, described(t, "<presence/>"))
	if len(m.joined) != 0 {
		t.Error("presence that is not directed is remembered")
	}
	for i := range maxJoined + 1 {
		send(fmt.Sprintf("r%d@muc.a.test/alice", i), "", join)
	}
	if len(m.joined) != maxJoined || len(m.rooms) != maxJoined {
		t.Errorf("%d and %d remembered", len(m.joined), len(m.rooms))
	}
	check("the oldest of too many", "r0@muc.a.test/b", stanza.Available, "false false")
	check("the second of too many", "r1@muc.a.test/b", stanza.Available, "true true")
}

// TestQueried checks that archive results are accepted from a query until its
// end.
func TestQueried(t *testing.T) {
	room := addr(t, "room@muc.a.test")
	query := func(version string) *stanza.Descriptor {
		return described(t, "<iq type='set' id='q' to='room@muc.a.test'><query xmlns='urn:xmpp:mam:"+version+"'/></iq>")
	}
	const (
		result = "<iq type='result' id='q' from='room@muc.a.test'/>"
		failed = "<iq type='error' id='q' from='room@muc.a.test'/>"
		fin    = "<message from='room@muc.a.test'><fin xmlns='urn:xmpp:mam:0'/></message>"
	)
	for _, c := range []struct {
		version string
		in      []string
		due     bool
	}{
		{"2", nil, true}, {"2", []string{result}, false}, {"2", []string{failed}, false},
		{"tmp", nil, true}, {"tmp", []string{result}, false},
		{"0", []string{result}, true}, {"0", []string{result, fin}, false}, {"0", []string{failed}, false},
		{"2", []string{fin}, true},
	} {
		var m memory
		m.note(decision.Out, query(c.version))
		for _, xml := range c.in {
			d := described(t, xml)
			m.note(decision.In, d)
			m.forget(decision.In, d)
		}
		r := recall{memory: &m}
		if got := r.Queried(room); got != c.due {
			t.Errorf("mam:%s after %v: due %v", c.version, c.in, got)
		}
		if r.Queried(addr(t, "room@muc.a.test/nick")) || r.Queried(addr(t, "other@muc.a.test")) {
			t.Error("a result from another address is accepted")
		}
	}

	var m memory
	m.note(decision.Out, query("2"))
	r := recall{memory: &m}
	if !r.Outstanding(decision.In, room, []byte("q")) || r.Queried(room) {
		t.Error("a query is unfinished after its iq result in the same batch")
	}
	m.forget(decision.Out, query("2")) // withdrawn
	if m.queries != nil {
		t.Error("a query that was not written is remembered")
	}
	m.note(decision.Out, described(t, "<iq type='set' id='q' to='room@muc.a.test/nick'><query xmlns='urn:xmpp:mam:2'/></iq>"))
	m.note(decision.Out, described(t, "<iq type='set' id='q' to='room@muc.a.test'><prefs xmlns='urn:xmpp:mam:2'/></iq>"))
	if m.queries != nil {
		t.Error("a stanza that is not a query to a bare JID is remembered")
	}
	for range maxQueries + 5 {
		m.note(decision.Out, query("2"))
	}
	if len(m.queries) != maxQueries {
		t.Errorf("%d queries remembered", len(m.queries))
	}
}
