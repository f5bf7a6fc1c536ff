package session

import (
	"fmt"
	"testing"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/xmpp/jid"
	"github.com/postern-im/postern/xmpp/stanza"
)

func addr(t *testing.T, s string) jid.Addr {
	t.Helper()
	a, err := jid.Parse([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestOutstanding(t *testing.T) {
	var m memory
	bob, carol := addr(t, "bob@a.test/x"), addr(t, "carol@a.test/x")
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
		if got := m.Outstanding(c.d, c.peer, []byte(c.id)); got != c.want {
			t.Errorf("%v %s %s: %t", c.d, c.peer, c.id, got)
		}
	}
	m.note(decision.Out, request)
	m.forget(decision.In, answer)
	if !m.Outstanding(decision.In, bob, []byte("1")) {
		t.Error("asked twice, answered once: forgotten")
	}
	m.forget(decision.Out, request) // withdrawn
	if m.Outstanding(decision.In, bob, []byte("1")) {
		t.Error("still outstanding")
	}
	if m.asked[decision.Out] != nil {
		t.Error("an empty memory holds memory")
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
	if m.Outstanding(decision.Out, bob, []byte("9")) || !m.Outstanding(decision.Out, bob, []byte("10")) {
		t.Error("not the oldest were forgotten")
	}
}

func TestJoined(t *testing.T) {
	var m memory
	send := func(to string, typ stanza.Type) {
		m.note(decision.Out, &stanza.Descriptor{Kind: stanza.Presence, Type: typ, To: addr(t, to)})
	}
	joined := func(bare string) bool { return m.Joined([]byte(bare)) }
	send("room@muc.a.test/alice", stanza.Available)
	if !joined("room@muc.a.test") || joined("other@muc.a.test") {
		t.Error("directed presence not remembered by its bare JID")
	}
	send("bob@a.test", stanza.Subscribe)
	m.note(decision.In, &stanza.Descriptor{Kind: stanza.Presence, Type: stanza.Available, From: addr(t, "eve@a.test/x")})
	m.note(decision.Out, &stanza.Descriptor{Kind: stanza.Presence, Type: stanza.Available})
	if joined("bob@a.test") || joined("eve@a.test") || len(m.joined) != 1 {
		t.Error("remembered what is no directed presence")
	}
	for i := range maxJoined - 1 {
		send(fmt.Sprintf("r%d@muc.a.test/alice", i), stanza.Available)
	}
	send("r5@muc.a.test/alice", stanza.Unavailable)
	if !joined("r5@muc.a.test") {
		t.Error("a room is forgotten before its answer")
	}
	send("new@muc.a.test/alice", stanza.Available)
	if joined("r5@muc.a.test") || !joined("room@muc.a.test") || !joined("new@muc.a.test") || len(m.joined) != maxJoined {
		t.Error("the room that was left is not the first to be forgotten")
	}
}
