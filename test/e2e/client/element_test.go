package client

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

const header = `<?xml version='1.0'?><stream:stream id='s1' xmlns='jabber:client' ` +
	`xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>`

func TestReader(t *testing.T) {
	const (
		chat = `<message from='a@alpha.test/r' type='chat'><x xmlns='u:x'>y<body/></x>` +
			`<body>one &lt; two</body><delay xmlns='urn:xmpp:delay' n='1'/></message>`
		refusal = `<iq id='7' type='error'><query xmlns='jabber:iq:roster'/><error type='auth'>` +
			`<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>no</text>` +
			`<forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`
		streamError = `<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>`
	)
	document := header + "\n" + chat + " \n" + refusal + streamError + "</stream:stream>"
	for name, source := range map[string]io.Reader{
		"at once":      strings.NewReader(document),
		"byte by byte": iotest.OneByteReader(strings.NewReader(document)),
	} {
		r := newReader(source)
		for _, want := range []string{chat, refusal, streamError} {
			e, err := r.next()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if e.Raw != want {
				t.Errorf("%s: raw\n%s\nwant\n%s", name, e.Raw, want)
			}
			switch want {
			case chat:
				if e.Body() != "one < two" || !e.Find("u:x", "body").Exists() || !e.Find("u:x", "x").Exists() {
					t.Errorf("%s: read %+v", name, e)
				}
				if e.Child("urn:xmpp:delay", "").Attr("n") != "1" || e.Attr("from") != "a@alpha.test/r" {
					t.Errorf("%s: attributes of %+v", name, e)
				}
			case refusal:
				if e.Condition() != "forbidden" || !IsAnswer("7")(e) || IsAnswer("8")(e) {
					t.Errorf("%s: condition %q", name, e.Condition())
				}
			case streamError:
				if e.Condition() != "host-unknown" || !IsStreamError(e) {
					t.Errorf("%s: condition %q", name, e.Condition())
				}
			}
		}
		if _, err := r.next(); !errors.Is(err, ErrFooter) {
			t.Errorf("%s: at the end: %v", name, err)
		}
	}
}

func TestReaderRefuses(t *testing.T) {
	for name, document := range map[string]string{
		"other root":  `<html xmlns='u:h'><p/></html>`,
		"comment":     header + `<message><!-- no --></message>`,
		"wrong end":   header + `<message></iq>`,
		"end of data": header + `<message>`,
	} {
		if e, err := newReader(strings.NewReader(document)).next(); err == nil {
			t.Errorf("%s: read %s", name, e)
		}
	}
}
