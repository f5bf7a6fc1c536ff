package stream_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/postern-im/postern/xmpp/stream"
)

func parse(t *testing.T, in string) stream.Element {
	t.Helper()
	e, err := stream.NewFramer(stream.Config{}).ParseStanza([]byte(in))
	if err != nil {
		t.Fatalf("%s: %v", in, err)
	}
	return e
}

func TestSpans(t *testing.T) {
	in := "<message id='1' to = \"a'b\"\n\txml:lang='en'><p:a xmlns:p='u:p' to='x' >t<b/></p:a\n><c /></message>"
	cut := func(start, end int) string { return in[start:end] }
	e := parse(t, in)
	a := e.FirstChild()
	b := a.FirstChild()
	c := a.NextSibling()
	for _, s := range []struct {
		e                                  stream.Element
		whole, open, name, content, toAttr string
		self                               bool
	}{
		{e, in, in[:strings.Index(in, "<p:a")], "<message", in[strings.Index(in, "<p:a"):strings.Index(in, "</message")], "to = \"a'b\"", false},
		{a, "<p:a xmlns:p='u:p' to='x' >t<b/></p:a\n>", "<p:a xmlns:p='u:p' to='x' >", "<p:a", "t<b/>", "to='x'", false},
		{b, "<b/>", "<b/>", "<b", "", "", true},
		{c, "<c />", "<c />", "<c", "", "", true},
	} {
		start, end := s.e.Span()
		nameEnd, openEnd, self := s.e.OpenTagEnd()
		from, to := s.e.ContentSpan()
		if cut(start, end) != s.whole || cut(start, openEnd) != s.open || cut(start, nameEnd) != s.name || cut(from, to) != s.content || self != s.self {
			t.Errorf("%s: whole %q open %q name %q content %q %v", s.e.Local(), cut(start, end), cut(start, openEnd), cut(start, nameEnd), cut(from, to), self)
		}
		if string(s.e.Raw()) != s.whole {
			t.Errorf("raw %q", s.e.Raw())
		}
		if at, end, ok := s.e.AttrSpan("to"); ok != (s.toAttr != "") || cut(at, end) != s.toAttr {
			t.Errorf("%s: attribute %q %v", s.e.Local(), cut(at, end), ok)
		}
	}
	if _, _, ok := e.AttrSpan("lang"); ok {
		t.Error("xml:lang found as lang")
	}
	if _, _, ok := a.AttrSpan("xmlns:p"); ok {
		t.Error("a declaration found as an attribute")
	}
}

func TestAttributesByName(t *testing.T) {
	e := parse(t, "<message xmlns:p='u:p' p:to='1' to='2' xml:lang='3' a='&#x26;\t'/>")
	check := func(what string, value []byte, ok bool, want string) {
		if string(value) != want || ok != (want != "") {
			t.Errorf("%s: %q %v, not %q", what, value, ok, want)
		}
	}
	for local, want := range map[string]string{"to": "2", "lang": "", "p:to": "", "xmlns": "", "xmlns:p": "", "a": "& ", "": ""} {
		v, ok := e.Attr(local)
		check("Attr "+local, v, ok, want)
		v, ok = e.AttrNS("", local)
		check("AttrNS "+local, v, ok, want)
	}
	v, ok := e.AttrNS("u:p", "to")
	check("u:p to", v, ok, "1")
	v, ok = e.AttrNS(stream.NSXML, "lang")
	check("xml:lang", v, ok, "3")
	if e.NumAttrs() != 4 {
		t.Errorf("%d attributes", e.NumAttrs())
	}
	for _, i := range []int{-1, 4, 1 << 40} {
		if space, local, value := e.AttrAt(i); space != nil || local != nil || value != nil {
			t.Errorf("attribute %d: %q %q %q", i, space, local, value)
		}
	}
}

// TestValuesStay checks that decoding a value does not move the values decoded
// before.
func TestValuesStay(t *testing.T) {
	var in strings.Builder
	in.WriteString("<m")
	for i := range 50 {
		fmt.Fprintf(&in, " a%d='&lt;%d%s'", i, i, strings.Repeat("&amp;", i))
	}
	in.WriteString("/>")
	e := parse(t, in.String())
	var values [][]byte
	for i := range 50 {
		v, _ := e.Attr(fmt.Sprintf("a%d", i))
		values = append(values, v)
	}
	for i, v := range values {
		want := fmt.Sprintf("<%d%s", i, strings.Repeat("&", i))
		again, _ := e.Attr(fmt.Sprintf("a%d", i))
		if string(v) != want || string(again) != want {
			t.Errorf("a%d: %q, then %q", i, v, again)
		}
		if once, _ := e.Attr(fmt.Sprintf("a%d", i)); &once[0] != &again[0] {
			t.Errorf("a%d is decoded each time it is read", i)
		}
	}
}

// TestNothingThere checks that an invalid Element is empty and does not panic.
func TestNothingThere(t *testing.T) {
	f := stream.NewFramer(stream.Config{Lenient: true})
	in := []byte("<message a='1'><p:b/>text</message>")
	if _, err := f.ParseStanza(in); err == nil {
		t.Fatal("the fault is no error")
	}
	stale := f.Element()
	child := stale.FirstChild()
	if !stale.Valid() || !child.Valid() {
		t.Fatal("not valid")
	}
	if _, _, err := f.Next([]byte("<iq a='1'><b/></iq>"), false); err != nil {
		t.Fatal(err)
	}
	if stale.Valid() || child.Valid() || stale.Local() != nil {
		t.Errorf("an element of the last token is read as %s", stale.Local())
	}
	if _, _, err := f.Next([]byte("<presence"), false); err != nil {
		t.Fatal(err)
	}
	for i, e := range []stream.Element{{}, stale, child, f.Element(), stale.NextSibling(), stale.FirstChild()} {
		if e.Valid() {
			t.Errorf("%d is valid", i)
		}
		_, has := e.Attr("a")
		_, hasNS := e.AttrNS("", "a")
		_, _, span := e.AttrSpan("a")
		_, _, self := e.OpenTagEnd()
		start, end := e.Span()
		from, to := e.ContentSpan()
		_, local, _ := e.AttrAt(0)
		if has || hasNS || span || self || e.Local() != nil || e.Space() != nil || e.Raw() != nil || local != nil ||
			e.Is("", "") || e.Is(stream.NSClient, "message") || e.NumAttrs() != 0 || e.NumChildren() != 0 || e.HasText() ||
			len(e.Text(nil)) != 0 || start|end|from|to != 0 || e.FirstChild().Valid() || e.NextSibling().Valid() ||
			e.Truncated() || e.Fault() != nil {
			t.Errorf("%d has something in it", i)
		}
	}
}

func TestIs(t *testing.T) {
	e := parse(t, "<message><x xmlns=''/></message>")
	if !e.Is("jabber:client", "message") || e.Is("", "message") || e.Is("jabber:client", "") || e.Is("jabber:clien", "tmessage") {
		t.Error("message")
	}
	if x := e.FirstChild(); !x.Is("", "x") || x.Is("jabber:client", "x") {
		t.Error("x")
	}
}

// TestDeclaresPrefix checks that a default namespace does not count as a
// prefix.
func TestDeclaresPrefix(t *testing.T) {
	for in, want := range map[string]string{
		"<iq><a/></iq>": "false false",
		"<iq xmlns='jabber:client'><a xmlns='u:a'/></iq>":   "false false",
		"<iq xmlns:p='u:p'><a/></iq>":                       "true false",
		"<iq xmlns:p='u:p' xmlns='jabber:client'><a/></iq>": "true false",
		"<iq><a xmlns='u:a' xmlns:p='u:p'/></iq>":           "false true",
		"<iq><p:a xmlns:p='u:p'/></iq>":                     "false true",
	} {
		el, err := stream.NewFramer(stream.Config{}).ParseStanza([]byte(in))
		if err != nil {
			t.Fatalf("%s: %v", in, err)
		}
		if got := fmt.Sprint(el.DeclaresPrefix(), " ", el.FirstChild().DeclaresPrefix()); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
