package stanza

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/postern-im/postern/xmpp/stream"
)

func parse(t testing.TB, xml string) stream.Element {
	t.Helper()
	el, err := stream.NewFramer(stream.Config{Limits: stream.ClientLimits()}).ParseStanza([]byte(xml))
	if err != nil {
		t.Fatalf("%s: %v", xml, err)
	}
	return el
}

// TestSpaces checks that SpaceOf and Text agree.
func TestSpaces(t *testing.T) {
	for s := range numSpaces {
		if text := s.Text(); text != "" && SpaceOf([]byte(text)) != s {
			t.Errorf("SpaceOf(%q) = %d, want %d", text, SpaceOf([]byte(text)), s)
		}
		if text := s.Text(); text == "" && s != NoSpace && !s.HasText() {
			t.Errorf("space %d has neither a name nor a text beside it", s)
		}
	}
	for name, want := range map[string]Space{
		"": NoSpace, "urn:xmpp:mam:1": MAM, "urn:xmpp:mam:3": MAMOther, "urn:xmpp:mam:tmp": MAMOther,
		"urn:xmpp:carbons:0": CarbonsOld, "urn:xmpp:http:upload": Upload, "urn:xmpp:http:upload:0": Upload,
		"JABBER:iq:roster": OtherSpace, "jabber:iq:roster ": OtherSpace,
	} {
		if got := SpaceOf([]byte(name)); got != want {
			t.Errorf("SpaceOf(%q) = %d, want %d", name, got, want)
		}
	}
}

// condition declares the namespace of defined conditions in a start tag.
func condition(tag, rest string) string {
	end := strings.IndexAny(tag, " />")
	return tag[:end] + " xmlns='" + nsStanzas + "'" + tag[end:] + rest
}

func TestEdits(t *testing.T) {
	const p = "<priority xmlns='jabber:client'>-1</priority>"
	for _, c := range []struct{ name, in, want string }{
		{"clamp none", "<presence/>", "<presence>" + p + "</presence>"},
		{"clamp empty with attributes", "<presence id='1' />", "<presence id='1' >" + p + "</presence>"},
		{"clamp one", "<presence><priority>5</priority><show>away</show></presence>", "<presence><show>away</show>" + p + "</presence>"},
		{"clamp two", "<presence>a<priority/>b<priority>1</priority>c</presence>", "<presence>abc" + p + "</presence>"},
		{"clamp foreign", "<presence><priority xmlns='urn:x'>5</priority></presence>", "<presence>" + p + "</presence>"},
		{"clamp leaves inner", "<presence><x xmlns='urn:x'><priority>5</priority></x></presence>", "<presence><x xmlns='urn:x'><priority>5</priority></x>" + p + "</presence>"},
		{"clamp prefixed", "<c:presence xmlns:c='jabber:client'><c:priority>5</c:priority></c:presence>", "<c:presence xmlns:c='jabber:client'>" + p + "</c:presence>"},
		{"strip", "<message to='a@b' type='error'><body>x</body>y<error type='cancel'><z xmlns='u:z'/></error><error/></message>", "<message type='error' to='a@b'><error type='cancel'></error></message>"},
		{"strip foreign error", "<message type='error'><error xmlns='urn:x'/></message>", "<message type='error'></message>"},
		{"strip empty", "<message type='error'/>", "<message type='error'></message>"},
		{"strip attributes", "<c:presence xmlns:c='jabber:client' xmlns:f='f:f' f:a='x' z='x' type='error' id='&lt;1' from='r@m/&quot;n' to='a@b/c'><c:error f:b='x' by='x' code='404' type='auth'/></c:presence>",
			"<presence type='error' id='&lt;1' to='a@b/c' from='r@m/&quot;n'><error type='auth'></error></presence>"},
		{"strip conditions", "<message type='error'><error type='odd'>x" + condition("<gone >", "channel<z/></gone>") + condition("<channel>", "</channel>") + condition("<text>", "a &amp; b<z/></text>") + condition("<text>", "second</text>") + "</error></message>",
			"<message type='error'><error>" + condition("<gone/>", "") + condition("<text>", "a &amp; b</text>") + "</error></message>"},
		{"to", "<message  to = \"A@B\" id='1'><body to='x'/></message>", "<message   to='a&apos;b@c' id='1'><body to='x'/></message>"},
		{"to last", "<message id='1' to='A@B'/>", "<message id='1'  to='a&apos;b@c'/>"},
		{"to absent", "<message/>", "<message/>"},
	} {
		el, raw := parse(t, c.in), []byte(c.in)
		var got []byte
		switch verb, _, _ := strings.Cut(c.name, " "); verb {
		case "clamp":
			got = AppendClamped(nil, raw, el)
		case "strip":
			got = AppendStripped(nil, raw, el)
		case "to":
			got = AppendWithTo(nil, raw, el, []byte("a'b@c"))
		}
		if string(got) != c.want {
			t.Errorf("%s: got  %s\nwant %s", c.name, got, c.want)
		}
		parse(t, string(got))
	}
}

func TestAnswers(t *testing.T) {
	el := parse(t, "<iq type='get' id='&apos;1&lt;' to='X@y'><a xmlns='u:a'/></iq>")
	got := AppendError(nil, el, Reply{To: []byte("me@x/r'"), From: []byte("x@y"), Type: "auth", Condition: "forbidden", Text: "no & no", Permission: "xmpp:federate", Position: 7})
	want := "<iq type='error' id='&apos;1&lt;' to='me@x/r&apos;' from='x@y'><error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>" +
		"<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>no &amp; no</text>" +
		"<denied xmlns='urn:postern:denied:0' permission='xmpp:federate' position='7'/></error></iq>"
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	parse(t, string(got))
	if got := AppendError(nil, parse(t, "<c:message xmlns:c='jabber:client'/>"), Reply{Type: "wait", Condition: "internal-server-error"}); string(got) !=
		"<message type='error'><error type='wait'><internal-server-error xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>" {
		t.Errorf("got %s", got)
	}
	if got := AppendResult(nil, el, nil, []byte("x@y")); string(got) != "<iq type='result' id='&apos;1&lt;' from='x@y'/>" {
		t.Errorf("got %s", got)
	}
}

func TestBounds(t *testing.T) {
	for name, xml := range map[string]string{
		"payloads":  "<message>" + strings.Repeat("<a xmlns='u:a'/>", MaxPayloads+1) + "</message>",
		"parts":     "<iq id='1' type='get'><query xmlns='jabber:iq:private'>" + strings.Repeat("<a xmlns='u:a'/>", MaxParts+1) + "</query></iq>",
		"addressed": "<message><addresses xmlns='http://jabber.org/protocol/address'>" + strings.Repeat("<address jid='a@b'/>", MaxAddressed+1) + "</addresses></message>",
		"id":        "<iq type='get' id='" + strings.Repeat("x", MaxText+1) + "'><a xmlns='u:a'/></iq>",
		"node":      "<iq type='get' id='1'><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='" + strings.Repeat("x", MaxText+1) + "'/></pubsub></iq>",
		"namespace": "<iq type='get' id='1'><a xmlns='u:" + strings.Repeat("x", MaxText) + "'/></iq>",
		"name":      "<iq type='get' id='1'><" + strings.Repeat("x", MaxText+1) + "/></iq>",
		// A bad embedded address does not hide the faults after it.
		"behind embedded": "<message><x xmlns='jabber:x:conference' jid='@'/><a xmlns='u:" + strings.Repeat("x", MaxText) + "'/></message>",
		"many behind":     "<message><x xmlns='jabber:x:conference' jid='@'/>" + strings.Repeat("<a xmlns='u:a'/>", MaxPayloads) + "</message>",
	} {
		var d Descriptor
		d.Describe(parse(t, xml))
		if d.Fault != Undescribable {
			t.Errorf("%s: fault %d, want Undescribable", name, d.Fault)
		}
	}
	var d Descriptor
	d.Describe(parse(t, "<message to='"+strings.Repeat("x", MaxAddress+1)+"'/>"))
	if d.Fault != BadTo {
		t.Errorf("to: fault %d, want BadTo", d.Fault)
	}
}

// TestInside checks that the addresses inside an iq set are recorded, each
// once, where a service could act on them.
func TestInside(t *testing.T) {
	many := ""
	for i := range MaxAddressed + 1 {
		many += fmt.Sprintf("<i jid='u%d@b'/>", i)
	}
	for _, c := range []struct {
		xml, want string
		marks     Marks
	}{
		{"<iq type='set' id='1'><a xmlns='u:a' jid='a@b'><c jid='C@d'><e jid='a@b'/></c></a></iq>", "[a@b c@d]", 0},
		{"<iq type='get' id='1'><a xmlns='u:a' jid='a@b'/></iq>", "[]", 0},
		{"<iq type='set' id='1'><a xmlns='u:a' jid='@'><c jid='a@b'/></a></iq>", "[a@b]", BadInside},
		{"<iq type='set' id='1'><a xmlns='u:a'>" + many[:len(many)-len("<i jid='u64@b'/>")] + "</a></iq>", "64", 0},
		{"<iq type='set' id='1'><a xmlns='u:a'>" + many + "</a></iq>", "64", ManyInside},
		{"<iq type='set' id='1'><query xmlns='jabber:iq:roster'>" + many + "</query></iq>", "[]", 0},
		{"<iq type='set' id='1'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='n' jid='p@b'><item jid='i@b'><x jid='x@b'/></item></publish><z xmlns='u:z'><item jid='z@b'><y jid='y@b'/></item></z></pubsub></iq>", "[z@b y@b]", 0},
	} {
		var d Descriptor
		d.Describe(parse(t, c.xml))
		got := fmt.Sprint(d.Inside)
		if len(d.Inside) > 9 {
			got = fmt.Sprint(len(d.Inside))
		}
		if d.Fault != NoFault || got != c.want || d.Marks != c.marks {
			t.Errorf("%.150s: fault %d, %s marks %b, want %s %b", c.xml, d.Fault, got, d.Marks, c.want, c.marks)
		}
	}
}

const chat = "<message to='juliet@capulet.example/balcony' type='chat' id='ae8f2c10-4f2b-4a5e' xml:lang='en'>" +
	"<body>Art thou not Romeo?</body><active xmlns='http://jabber.org/protocol/chatstates'/>" +
	"<request xmlns='urn:xmpp:receipts'/><origin-id xmlns='urn:xmpp:sid:0' id='ae8f2c10'/></message>"

// TestDescribeKeeps checks that a description stays valid after the framer's
// tape is reset, and that describing does not allocate in the steady state.
func TestDescribeKeeps(t *testing.T) {
	f := stream.NewFramer(stream.Config{Limits: stream.ClientLimits()})
	raw := []byte(chat)
	el, err := f.ParseStanza(raw)
	if err != nil {
		t.Fatal(err)
	}
	var d Descriptor
	d.Describe(el)
	f.Reset()
	for i := range raw {
		raw[i] = 'x'
	}
	if d.To.String() != "juliet@capulet.example/balcony" || string(d.ID) != "ae8f2c10-4f2b-4a5e" || len(d.Payloads) != 4 || string(d.Payloads[0].Local) != "body" {
		t.Errorf("description changed with its stanza: %s %s %v", d.To, d.ID, d.Payloads)
	}
	el = parse(t, chat)
	if n := testing.AllocsPerRun(100, func() { d.Describe(el) }); n != 0 {
		t.Errorf("%v allocations for each description", n)
	}
}

// BenchmarkFrameAndDescribe measures the cost of judging one stanza in a
// gateway. For comparison, it runs encoding/xml as a tokenizer over the same
// bytes, and one pass of bytes.IndexByte as the lower bound.
func BenchmarkFrameAndDescribe(b *testing.B) {
	for _, c := range []struct{ name, stanza string }{
		{"chat338", padded(chat, "</body>", 338)},
		{"pubsub4k", padded(publish, "</data>", 4000)},
	} {
		raw := []byte(c.stanza)
		run := func(name string, one func()) {
			b.Run(c.name+"/"+name, func(b *testing.B) {
				b.SetBytes(int64(len(raw)))
				b.ReportAllocs()
				for b.Loop() {
					one()
				}
			})
		}
		framer, d := stream.NewFramer(stream.Config{}), Descriptor{}
		run("postern", func() {
			if _, _, err := framer.Next(raw, false); err != nil {
				b.Fatal(err)
			}
			if d.Describe(framer.Element()); d.Fault != NoFault {
				b.Fatal("fault")
			}
		})
		run("encoding-xml", func() {
			decoder := xml.NewDecoder(bytes.NewReader(raw))
			for {
				if _, err := decoder.Token(); err == io.EOF {
					return
				} else if err != nil {
					b.Fatal(err)
				}
			}
		})
		run("floor", func() {
			if bytes.IndexByte(raw, 0) >= 0 {
				b.Fatal("NUL")
			}
		})
	}
}

const publish = "<iq type='set' id='pub1'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='urn:xmpp:avatar:data'>" +
	"<item id='111f4b3c50d7b0df729d299bc6f8e9ef9066971f'><data xmlns='urn:xmpp:avatar:data'></data></item></publish>" +
	"<publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/pubsub#publish-options</value></field>" +
	"<field var='pubsub#access_model'><value>open</value></field></x></publish-options></pubsub></iq>"

// padded inserts filler before mark until the stanza has size bytes. If the
// stanza is longer than a chat message, part of the filler is markup.
func padded(stanza, mark string, size int) string {
	filler := ""
	for size-len(stanza) > 512 {
		const more = "<a xmlns='urn:example:a' b='c'>text &amp; more text, as payloads have it</a>"
		if len(stanza)+len(filler)+len(more) > size {
			break
		}
		filler += more
	}
	at := strings.Index(stanza, mark)
	if n := size - len(stanza) - len(filler); n > 0 {
		filler += strings.Repeat("a", n)
	}
	return stanza[:at] + filler + stanza[at:]
}

// FuzzDescribe checks that every element the framer accepts can be described,
// and that the framer accepts every edit and answer of it.
func FuzzDescribe(f *testing.F) {
	for _, s := range []string{
		chat, "<presence/>", "<presence><priority> -1</priority></presence>",
		"<iq id='1' type='set'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='n'><item/></publish><publish-options/></pubsub></iq>",
		"<iq id='1' type='set'><query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query></iq>",
		"<message type='error'><error type='cancel'/></message>",
		"<message><x xmlns='http://jabber.org/protocol/muc#user'><invite to='a@b'/></x></message>",
		"<active xmlns='urn:xmpp:csi:0'/>",
		"<presence type='error' from='a@b/c'><error type='auth'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>x</gone><text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>&lt;</text></error></presence>",
		"<iq id='1' type='set'><a xmlns='u:a' jid='a@b'><c jid='@'/></a></iq>",
		"<iq id='1' type='get' xml:lang='de'><query xmlns='http://jabber.org/protocol/disco#info' node='a#b'/></iq>",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, raw []byte, lenient bool) {
		framer := stream.NewFramer(stream.Config{Limits: stream.ClientLimits(), Lenient: lenient})
		el, err := framer.ParseStanza(raw)
		if !el.Valid() {
			return
		}
		var d Descriptor
		d.Describe(el)
		if err != nil && d.Fault == NoFault && d.Kind != UnknownKind {
			t.Fatalf("fault %v of the framer is no fault of the description", err)
		}
		if d.Kind == UnknownKind || d.Kind == ClientStateKind || err != nil {
			return
		}
		to := []byte("a'<&>b@c/\xff")
		edits := [][]byte{
			AppendWithTo(nil, raw, el, to),
			AppendStripped(nil, raw, el),
			AppendError(nil, el, Reply{To: to, From: to, Type: "auth", Condition: "forbidden", Text: string(raw), Permission: string(to)}),
			AppendResult(nil, el, to, nil),
		}
		if d.Kind == Presence {
			edits = append(edits, AppendClamped(nil, raw, el))
		}
		roomy := stream.ClientLimits()
		roomy.Bytes, roomy.Elements, roomy.Attrs = 8*roomy.Bytes, roomy.Elements+8, roomy.Attrs+1
		for i, edit := range edits {
			again, err := stream.NewFramer(stream.Config{Limits: roomy}).ParseStanza(edit)
			if err != nil {
				t.Fatalf("edit %d: %v: %s", i, err, edit)
			}
			var e Descriptor
			e.Describe(again)
			if e.Kind != d.Kind {
				t.Fatalf("edit %d: kind %d became %d", i, d.Kind, e.Kind)
			}
			if i == 4 && (!e.Has(NegativePriority) || bytes.Count(edit, []byte(">-1<")) == 0) {
				t.Fatalf("clamped presence is not negative: %s", edit)
			}
		}
	})
}
