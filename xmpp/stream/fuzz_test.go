//go:build cgo

package stream_test

import (
	"cmp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/postern-im/postern/internal/expat"
	"github.com/postern-im/postern/xmpp/stream"
)

// FuzzFramer checks that no input panics, that the outcome does not depend on
// how the bytes arrive, and that expat reads accepted input the same way.
func FuzzFramer(f *testing.F) {
	for _, s := range corpus(f) {
		f.Add(s.in, s.header, uint64(1))
	}
	f.Fuzz(func(t *testing.T, in []byte, header bool, seed uint64) {
		if len(in) > 8<<10 {
			return // pieces copies the input once per piece
		}
		d := newDiffer(seed)
		d.judge(sample{in: in, header: header})
		for _, b := range d.bad {
			t.Error(b)
		}
	})
}

// FuzzLimits checks that small limits only refuse, fault or truncate. An
// element accepted under them is also accepted without them, and reads the
// same.
func FuzzLimits(f *testing.F) {
	for _, s := range corpus(f) {
		f.Add(s.in, uint16(len(s.in)), uint8(4), uint8(4), uint8(9), uint8(3), uint8(3), uint8(9), false)
		f.Add(s.in, uint16(len(s.in)), uint8(2), uint8(2), uint8(90), uint8(3), uint8(1), uint8(2), true)
	}
	f.Fuzz(func(t *testing.T, in []byte, bytes uint16, depth, attrs, elements, nodes, namespaces, total uint8, lenient bool) {
		if len(in) > 8<<10 {
			return
		}
		c := stream.Config{Lenient: lenient, Limits: stream.Limits{
			Bytes: int(bytes), Depth: int(depth), Attrs: int(attrs), Elements: int(elements),
			Nodes: int(nodes), Namespaces: int(namespaces), TotalAttrs: int(total),
			Refused: int(total%4) * int(bytes),
		}}
		want := outcome(stream.NewFramer(c), false, in, whole)
		if got := outcome(stream.NewFramer(c), false, in, single); got != want {
			t.Fatalf("byte by byte\n%s\nwhole\n%s", got, want)
		}
		small := stream.NewFramer(c)
		kind, n, err := small.Next(in, false)
		if err != nil || kind != stream.Stanza {
			return
		}
		limits := c.Limits
		limits.Bytes = cmp.Or(limits.Bytes, 256<<10)
		over := n > limits.Bytes
		if over && small.Element().Fault() == nil {
			t.Fatalf("an element of %d bytes has no fault", n)
		}
		if small.Element().Fault() != nil && (lenient || !over) {
			if !lenient {
				t.Fatalf("a fault of a strict framer: %v", small.Element().Fault())
			}
			return
		}
		large := stream.NewFramer(stream.Config{Lenient: lenient, Limits: stream.BackendLimits()})
		kind, m, err := large.Next(in, false)
		if err != nil || kind != stream.Stanza || m != n || large.Element().Fault() != nil {
			t.Fatalf("accepted under limits only: %v %d %v", kind, m, err)
		}
		if !small.Element().Truncated() {
			if got, want := dumpString(small.Element()), dumpString(large.Element()); got != want {
				t.Fatalf("under limits\n%s\nwithout\n%s", got, want)
			}
			return
		}
		samePrefix(t, small.Element(), large.Element())
	})
}

// samePrefix checks that a truncated tape is a prefix of the whole tape.
func samePrefix(t *testing.T, small, large stream.Element) {
	sa, sb := small.Span()
	la, lb := large.Span()
	if !small.Is(string(large.Space()), string(large.Local())) || sa != la || sb != lb ||
		small.NumAttrs() != large.NumAttrs() || small.NumChildren() != large.NumChildren() ||
		small.HasText() != large.HasText() || string(small.Text(nil)) != string(large.Text(nil)) {
		t.Fatalf("truncated %s reads %s", large.Raw(), small.Raw())
	}
	l := large.FirstChild()
	for s := small.FirstChild(); s.Valid(); s = s.NextSibling() {
		samePrefix(t, s, l)
		l = l.NextSibling()
	}
}

// FuzzEscape checks that escaped text is read back unchanged, in text and in
// values, by the framer and by expat.
func FuzzEscape(f *testing.F) {
	for _, s := range append(bits, "plain", "\r\n\t ]]>", "\uFFFD\uFFFE\U0010FFFF\xed\xa0\x80") {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		doc := append([]byte("<a"), stream.AppendAttr(nil, "b", s)...)
		doc = append(stream.AppendEscaped(append(doc, '>'), []byte(s)), "</a>"...)
		e, err := stream.NewFramer(stream.Config{Limits: stream.BackendLimits()}).ParseStanza(doc)
		if err != nil {
			t.Fatalf("%q: %v", doc, err)
		}
		text := string(e.Text(nil))
		value, _ := e.Attr("b")
		if text != string(value) {
			t.Fatalf("%q: text %q, value %q", doc, text, value)
		}
		if text != s && !strings.Contains(text, "\uFFFD") || utf8.RuneCountInString(text) != utf8.RuneCountInString(s) {
			t.Fatalf("%q came back as %q", s, text)
		}
		x, err := expat.Parse('\n', "<r xmlns='jabber:client'>", string(doc), "</r>")
		if err != nil {
			t.Fatal(err)
		}
		if diff := difference(e, x.Children[0]); diff != "" {
			t.Fatal(diff)
		}
	})
}
