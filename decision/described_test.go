package decision_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/xmpp/jid"
	"github.com/postern-im/postern/xmpp/stanza"
	"github.com/postern-im/postern/xmpp/stream"
)

// FuzzDescribed checks that the node decodes the same description that the
// gateway encoded, for every stanza. If a question could not be decoded, the node
// would refuse the sender's valid stanza.
func FuzzDescribed(f *testing.F) {
	long := strings.Repeat("x", stanza.MaxText+1)
	for _, s := range []string{
		`<message to='carol@alpha.test' type='chat' id='1'><body>hi</body><request xmlns='urn:xmpp:receipts'/></message>`,
		`<message to='carol@alpha.test'><x xmlns='` + long + `'/></message>`,
		`<message to='carol@alpha.test'><x xmlns='urn:xmpp:mam:` + long + `'/></message>`,
		`<message id='` + long + `'/>`,
		`<message to='` + long + `'/>`,
		`<presence><priority>-1</priority></presence>`,
		`<iq type='set' id='1'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='urn:xmpp:bookmarks:1'><item/></publish></pubsub></iq>`,
		`<iq type='set' id='1'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='` + long + `'/></pubsub></iq>`,
		`<iq type='get' id=''><query xmlns='urn:xmpp:mam:2' node=''/></iq>`,
		`<iq type='get' id='1' to='ALPHA.test/x'><query xmlns='http://jabber.org/protocol/disco#info' node='a#b'/></iq>`,
		`<message to='muc.alpha.test'><x xmlns='http://jabber.org/protocol/muc#user'><invite to='eve@beta.test'/></x></message>`,
		`<message>` + strings.Repeat(`<a xmlns=''/>`, 70) + `</message>`,
		`<message><x xmlns='jabber:x:conference' jid='@'/><a xmlns='` + long + `'/></message>`,
		`<message to='@'><a xmlns='` + long + `'/></message>`,
		`<presence type='x'><a xmlns='` + long + `'/></presence>`,
		`<iq id='1'><a xmlns='` + long + `'/></iq>`,
		`<iq type='set' id='1' to='muc.alpha.test'><query xmlns='http://jabber.org/protocol/muc#owner'><destroy jid='eve@beta.test'/></query></iq>`,
		`<iq type='set' id='1'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='n'><item><a jid='x@y' xmlns=''/></item></publish><a jid='@' xmlns=''/></pubsub></iq>`,
		`<iq type='set' id='1'><a xmlns='' jid='` + strings.Repeat("r", 1000) + `'>` + strings.Repeat(`<a jid='`+strings.Repeat("r", 1000)+`@b.test'/>`, 70) + `</a></iq>`,
		`<iq type='set' id='1'><client-join xmlns='urn:xmpp:mix:pam:2' channel='c@mix.test'/></iq>`,
		`<message from='a@b.test'><result xmlns='urn:xmpp:mam:2'/></message>`,
		`<presence to='r@muc.alpha.test/🐎'><x xmlns='http://jabber.org/protocol/muc'/></presence>`,
		`<a/>`,
	} {
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, text []byte, client bool) {
		q, ok := describe(text, client)
		if !ok {
			return
		}
		b := decision.AppendQuestion(nil, &q)
		if len(b) > decision.MaxQuestion {
			t.Errorf("a question of %d bytes", len(b))
		}
		var got decision.Question
		rest, err := decision.DecodeQuestion(b, &got)
		if err != nil || len(rest) > 0 {
			t.Fatalf("%v, %d bytes left, of %+v", err, len(rest), q)
		}
		if a, b := show(&q), show(&got); a != b {
			t.Errorf("asked %s\nread  %s", a, b)
		}
	})
}

// describe returns the question about a stanza. It reports false if text is not a
// stanza.
func describe(text []byte, client bool) (decision.Question, bool) {
	config, direction := stream.Config{Limits: stream.ClientLimits()}, decision.Out
	if !client {
		config, direction = stream.Config{Limits: stream.BackendLimits(), Lenient: true}, decision.In
	}
	el, _ := stream.NewFramer(config).ParseStanza(text)
	if !el.Valid() {
		return decision.Question{}, false
	}
	session := decision.Session{ID: []byte("s"), Tenant: []byte("acme"), Account: []byte("bob@alpha.test"), Resource: []byte("phone")}
	var d stanza.Descriptor
	d.Describe(el)
	return decision.NewQuestion(session, direction, &d, nil), true
}

// TestEmbeddedAddressIn checks that an invalid embedded address is no fault of an
// incoming stanza, unless the stanza is too large to describe.
func TestEmbeddedAddressIn(t *testing.T) {
	item := `<item jid='` + strings.Repeat("l", 1000) + `@x.test/` + strings.Repeat("r", 1000) + `'/>`
	for xml, want := range map[string]stanza.Fault{
		`<message><body>hi</body><x xmlns='jabber:x:conference' jid='@'/></message>`:                                                             stanza.NoFault,
		`<message><x xmlns='jabber:x:conference' jid='@'/><a xmlns='u:` + strings.Repeat("x", stanza.MaxText) + `'/></message>`:                  stanza.Undescribable,
		`<iq type='set' id='1'><query xmlns='http://jabber.org/protocol/muc#admin'><item jid='@'/>` + strings.Repeat(item, 60) + `</query></iq>`: stanza.Undescribable,
	} {
		q, _ := describe([]byte(xml), false)
		if q.Desc.Fault != want {
			t.Errorf("%.100s: fault %d, want %d", xml, q.Desc.Fault, want)
		}
		if q, _ = describe([]byte(xml), true); q.Desc.Fault == stanza.NoFault {
			t.Errorf("%.100s: the outgoing stanza has no fault", xml)
		}
	}
}

// show formats the contents of a question, independent of its representation.
func show(q *decision.Question) string {
	d := &q.Desc
	s := fmt.Sprintf("%+v %d %v %v %v %v %d %d %d %b %q %v to %s from %s %v", q.Session, q.Direction, q.Joined, q.MUC, q.Queried, q.Outstanding,
		d.Kind, d.Type, d.Fault, d.Marks, d.ID, d.HasID, d.To, d.From, d.ToEdited)
	for _, list := range [][]stanza.Part{d.Payloads, d.Parts} {
		for _, p := range list {
			s += fmt.Sprintf(" [%d %q %q %q %v %v]", p.Space, p.Other, p.Local, p.Node, p.HasNode, p.Inner)
		}
		s += " ;"
	}
	for _, list := range [][]jid.Addr{d.Addressed, d.Inside} {
		for _, a := range list {
			s += " " + a.String()
		}
		s += " ;"
	}
	return s
}
