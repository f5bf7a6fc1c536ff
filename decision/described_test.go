package decision_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/xmpp/stanza"
	"github.com/postern-im/postern/xmpp/stream"
)

// FuzzDescribed: whatever the describer says of a stanza, the other end reads
// the same. A question that could not be read would be its sender's own
// stanza refused, and nobody else's.
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
		`<a/>`,
	} {
		f.Add([]byte(s), true)
	}
	session := decision.Session{ID: []byte("s"), Tenant: []byte("acme"), Account: []byte("bob@alpha.test"), Resource: []byte("phone")}
	f.Fuzz(func(t *testing.T, text []byte, client bool) {
		config, direction := stream.Config{Limits: stream.ClientLimits()}, decision.Out
		if !client {
			config, direction = stream.Config{Limits: stream.BackendLimits(), Lenient: true}, decision.In
		}
		el, _ := stream.NewFramer(config).ParseStanza(text)
		if !el.Valid() {
			return
		}
		var d stanza.Descriptor
		d.Describe(el)
		q := decision.NewQuestion(session, direction, &d, nil)
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

// show prints what a question says, and not how it is kept.
func show(q *decision.Question) string {
	d := &q.Desc
	s := fmt.Sprintf("%+v %d %v %v %d %d %d %b %q %v to %s from %s %v", q.Session, q.Direction, q.Joined, q.Outstanding,
		d.Kind, d.Type, d.Fault, d.Marks, d.ID, d.HasID, d.To, d.From, d.ToEdited)
	for _, list := range [][]stanza.Part{d.Payloads, d.Parts} {
		for _, p := range list {
			s += fmt.Sprintf(" [%d %q %q %q %v %v]", p.Space, p.Other, p.Local, p.Node, p.HasNode, p.Inner)
		}
		s += " ;"
	}
	for _, a := range d.Addressed {
		s += " " + a.String()
	}
	return s
}
