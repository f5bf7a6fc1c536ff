package trial

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/xmpp/stanza"
)

func TestExpand(t *testing.T) {
	for short, want := range map[string]string{
		"message to bob@a.test":                               "out <message type='chat' to='bob@a.test'><body>text</body></message>",
		"message groupchat to r@muc.a.test":                   "out <message type='groupchat' to='r@muc.a.test'><body>text</body></message>",
		"message from bob@a.test":                             "in <message type='chat' to='me@a.test/r' from='bob@a.test'><body>text</body></message>",
		"message event urn:x from bob@a.test":                 "in <message type='headline' to='me@a.test/r' from='bob@a.test'><event xmlns='http://jabber.org/protocol/pubsub#event'><items node='urn:x'/></event></message>",
		"presence":                                            "out <presence></presence>",
		"presence priority 5":                                 "out <presence><priority>5</priority></presence>",
		"presence subscribe to bob@a.test":                    "out <presence type='subscribe' to='bob@a.test'></presence>",
		"iq get jabber:iq:roster":                             "out <iq type='get' id='t1'><query xmlns='jabber:iq:roster'/></iq>",
		"iq get vcard-temp to b@a.test":                       "out <iq type='get' id='t1' to='b@a.test'><vCard xmlns='vcard-temp'/></iq>",
		"iq set disable urn:xmpp:push:0":                      "out <iq type='set' id='t1'><disable xmlns='urn:xmpp:push:0'/></iq>",
		"iq set http://jabber.org/protocol/pubsub node urn:y": "out <iq type='set' id='t1'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='urn:y'/></pubsub></iq>",
		"message to a'<b":                                     "out <message type='chat' to='a&apos;&lt;b'><body>text</body></message>",
		// Texts that are not understood.
		"":                        "error the stanza is empty",
		"msg to x":                `error "msg" is not a kind of stanza: write message, presence or iq, or the stanza as XML`,
		"iq jabber:iq:roster":     "error an iq needs a type, get or set: write iq get NAMESPACE",
		"iq get":                  "error iq get: the namespace of the payload is missing; write it, such as iq get jabber:iq:roster",
		"iq get a/b jabber:x":     `error "a/b" is not an element name: write iq get [ELEMENT] NAMESPACE`,
		"message to":              "error to: a value is missing",
		"message to a to b":       "error to is given twice",
		"presence priority 300":   `error priority "300": want -128 to 127`,
		"message loudly to x.org": `error "loudly" is not understood in the short form of message: it has types (chat normal groupchat headline error) and to, from, event`,
	} {
		xml, dir, err := Expand(short, "me@a.test/r")
		got := map[decision.Direction]string{decision.Out: "out ", decision.In: "in "}[dir] + xml
		if err != nil {
			got = "error " + err.Error()
		}
		if got != want {
			t.Errorf("%q:\n got %s\nwant %s", short, got, want)
		}
	}
}

// FuzzExpand checks that the result for any text is an error or one element of
// the named kind, unless the namespace is invalid.
func FuzzExpand(f *testing.F) {
	for _, s := range []string{"message to bob@a.test", "iq set pubsub http://jabber.org/protocol/pubsub node x", "presence priority -1 from a@b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, short string) {
		xml, dir, err := Expand(short, "me@a.test/r")
		if err != nil || !utf8.ValidString(short) || strings.ContainsFunc(short, func(r rune) bool { return r < ' ' || r >= 0xFFFE }) {
			return
		}
		tr := New()
		framer := tr.client
		if dir == decision.In {
			framer = tr.backend
		}
		el, err := framer.ParseStanza([]byte(xml))
		if len(xml) > 1000 {
			return // possibly over a limit
		}
		if !el.Valid() && strings.Contains(err.Error(), "namespace") {
			return // a gateway refuses it too
		}
		if !el.Valid() {
			t.Fatalf("%q gives %s: %v", short, xml, err)
		}
		var d stanza.Descriptor
		d.Describe(el)
		if kind := strings.Fields(short)[0]; !strings.HasPrefix(xml, "<"+kind) {
			t.Fatalf("%q gives %s", short, xml)
		}
	})
}
