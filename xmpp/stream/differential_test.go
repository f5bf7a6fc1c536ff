//go:build cgo

package stream_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/postern-im/postern/internal/expat"
	"github.com/postern-im/postern/xmpp/stream"
)

// A stanza must read the same in every context, since it travels from one
// stream into another. The contexts are a plain header, a header that binds the
// same prefixes to other namespaces, and, for a strict stanza, no header at
// all.
const (
	plainHead  = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
	crowdHead  = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' xmlns:p='u:other' xmlns:q='u:other' xmlns:c='u:other' xmlns:s='u:other' xmlns:a='u:other' xmlns:d='u:other' xmlns:evil='u:other'>"
	streamTail = "</stream:stream>"
	bareHead   = "<r xmlns='jabber:client'>"
	bareTail   = "</r>"
)

// differ compares the framer with expat and counts the results.
type differ struct {
	strict, lenient, again *stream.Framer
	r                      *rand.Rand

	mutants, expatAccepts, tokens int
	accepts, lenientAccepts       int
	faults, faultsRaw             int
	refused                       map[string]int // accepted by expat, an error of ours
	dropped                       map[string]int // accepted by expat, a fault of ours
	bad                           []string
}

func newDiffer(seed uint64) *differ {
	return &differ{
		strict:  stream.NewFramer(stream.Config{}),
		lenient: stream.NewFramer(stream.Config{Lenient: true, Limits: stream.BackendLimits()}),
		again:   stream.NewFramer(stream.Config{}),
		r:       rand.New(rand.NewPCG(seed, 1)),
		refused: map[string]int{}, dropped: map[string]int{},
	}
}

func (d *differ) fail(in []byte, format string, args ...any) {
	d.bad = append(d.bad, fmt.Sprintf("%q: ", in)+fmt.Sprintf(format, args...))
}

// judge feeds one input to both framers and to expat.
func (d *differ) judge(s sample) {
	d.mutants++
	strict := d.read(d.strict, s, false)
	d.wholeDocument(s, strict)
	lenient := d.read(d.lenient, s, true)
	if lenient.err == nil && lenient.all {
		d.lenientAccepts++
	}
	if lenient.err != nil && strict.err == nil && !strict.closed {
		d.fail(s.in, "the lenient framer refuses (%v) what the strict one accepts", lenient.err)
	}
	d.pieces(s)
}

// reading is the result of framing an input.
type reading struct {
	elements int
	err      error
	all      bool // the whole input was framed
	closed   bool // by a client's stream error
}

// wholeDocument compares the verdicts on the input as a whole.
func (d *differ) wholeDocument(s sample, got reading) {
	head, in := plainHead, string(s.in)
	if s.header { // white space before the header is a separate token
		head, in = "", strings.TrimLeft(in, " \t\r\n")
	}
	doc, err := expat.Parse('\n', head, in, streamTail)
	if err != nil {
		doc, err = expat.Parse('\n', head, in, "")
	}
	if err == nil {
		d.expatAccepts++
	}
	accepted := got.err == nil && got.all && in != ""
	if accepted {
		d.accepts++
	}
	switch {
	case err == nil && got.err != nil:
		d.refused[got.err.Error()]++
	case err != nil && accepted:
		d.fail(s.in, "accepted, but %v", err)
	case err == nil && accepted && len(doc.Children) != got.elements:
		d.fail(s.in, "%d elements, expat has %d", got.elements, len(doc.Children))
	}
}

// read frames all of the input and compares each token with expat's reading.
func (d *differ) read(f *stream.Framer, s sample, lenient bool) (got reading) {
	f.Reset()
	header := s.header
	for in := s.in; len(in) > 0; {
		kind, n, err := f.Next(in, header)
		if err != nil || kind == stream.Incomplete {
			got.err = err
			return got
		}
		token := string(in[:n])
		in = in[n:]
		got.all = len(in) == 0
		switch kind {
		case stream.Header:
			header = false
			d.compare('\x01', f.Element(), token, "", streamTail, true)
		case stream.Stanza:
			got.elements++
			d.tokens++
			d.stanza(f.Element(), token, lenient)
		case stream.Close:
			if got.closed = !strings.HasPrefix(token, "</"); got.closed {
				got.elements++
			} else if _, err := expat.Parse('\n', plainHead, token, ""); err != nil {
				d.fail([]byte(token), "close: %v", err)
			}
			return got
		}
	}
	return got
}

func (d *differ) stanza(e stream.Element, token string, lenient bool) {
	if fault := e.Fault(); fault != nil {
		d.faulted(token, fault)
		return
	}
	d.compare('\n', e, token, plainHead, streamTail, false)
	if !lenient {
		d.compare('\x01', e, token, crowdHead, streamTail, false)
		d.compare('\n', e, token, bareHead, bareTail, false)
		d.parseAgain(token, e)
	}
}

// compare reads the token with expat, configured like ejabberd (separator \n)
// or Prosody (\x01).
func (d *differ) compare(separator byte, e stream.Element, token, head, tail string, root bool) {
	x, err := expat.Parse(separator, head, token, tail)
	if err != nil {
		d.fail([]byte(token), "accepted, but behind %q %v", head, err)
		return
	}
	if !root {
		if len(x.Children) != 1 || x.Text != "" {
			d.fail([]byte(token), "one element, expat has %d and text %q", len(x.Children), x.Text)
			return
		}
		x = x.Children[0]
	}
	if diff := difference(e, x); diff != "" {
		d.fail([]byte(token), "behind %q: %s", head, diff)
	}
}

// parseAgain checks that the token alone is one stanza with the same tape.
func (d *differ) parseAgain(token string, e stream.Element) {
	var want, got strings.Builder
	dump(&want, e, 1)
	a, err := d.again.ParseStanza([]byte(token))
	if err != nil {
		d.fail([]byte(token), "framed alone: %v", err)
		return
	}
	if dump(&got, a, 1); got.String() != want.String() {
		d.fail([]byte(token), "framed alone it reads\n%snot\n%s", got.String(), want.String())
	}
}

// faulted checks an element that must be dropped. A parser without namespaces
// must see the same framing, since the next stanza begins after the element.
func (d *differ) faulted(token string, fault error) {
	d.faults++
	d.dropped[fault.Error()]++
	x, err := expat.Parse(expat.Raw, "<r>", token, "</r>")
	if err != nil {
		return // the name is not a name in any edition of XML
	}
	d.faultsRaw++
	if len(x.Children) != 1 || x.Text != "" {
		d.fail([]byte(token), "faulted as one element, expat has %d and text %q", len(x.Children), x.Text)
	}
}

// pieces feeds the input in random pieces. It does so for every fourth input
// only, to save time.
func (d *differ) pieces(s sample) {
	if d.mutants%4 != 1 {
		return
	}
	for _, c := range []stream.Config{{}, {Lenient: true}} {
		want := outcome(stream.NewFramer(c), s.header, s.in, whole)
		got := outcome(stream.NewFramer(c), s.header, s.in, func(int) int { return 1 + d.r.IntN(1+d.r.IntN(40)) })
		if got != want {
			d.fail(s.in, "in pieces it reads\n%snot\n%s", got, want)
		}
	}
}

// difference compares an element and all its descendants with expat's.
func difference(e stream.Element, x *expat.Element) string {
	name := func(space, local string) string { return "{" + space + "}" + local }
	if got, want := name(string(e.Space()), string(e.Local())), name(x.Space, x.Local); got != want {
		return fmt.Sprintf("name %q, expat %q", got, want)
	}
	if e.NumAttrs() != len(x.Attrs) {
		return fmt.Sprintf("%s: %d attributes, expat %d", e.Local(), e.NumAttrs(), len(x.Attrs))
	}
	for i, a := range x.Attrs {
		space, local, value := e.AttrAt(i)
		if string(space) != a.Space || string(local) != a.Local || string(value) != a.Value {
			return fmt.Sprintf("attribute {%s}%s=%q, expat %+q", space, local, value, a)
		}
		if v, ok := e.AttrNS(a.Space, a.Local); !ok || string(v) != a.Value {
			return fmt.Sprintf("AttrNS %+q gives %q", a, v)
		}
		if v, ok := e.Attr(a.Local); a.Space == "" && (!ok || string(v) != a.Value) {
			return fmt.Sprintf("Attr %+q gives %q", a, v)
		}
	}
	if text := string(e.Text(nil)); text != x.Text {
		return fmt.Sprintf("%s: text %q, expat %q", e.Local(), text, x.Text)
	}
	if strings.Trim(x.Text, " \t\r\n") != "" && !e.HasText() {
		return fmt.Sprintf("%s: HasText is false, expat has %q", e.Local(), x.Text)
	}
	if e.NumChildren() != len(x.Children) {
		return fmt.Sprintf("%s: %d children, expat %d", e.Local(), e.NumChildren(), len(x.Children))
	}
	c := e.FirstChild()
	for _, child := range x.Children {
		if !c.Valid() {
			return fmt.Sprintf("%s: children missing", e.Local())
		}
		if diff := difference(c, child); diff != "" {
			return diff
		}
		c = c.NextSibling()
	}
	if c.Valid() {
		return fmt.Sprintf("%s: more children than expat has", e.Local())
	}
	return ""
}

// ours are the rules by which we refuse input that expat accepts. A refusal for
// any other reason would lose valid stanzas.
var ours = []string{
	"restricted-xml: comment",
	"restricted-xml: processing instruction",
	"restricted-xml: name outside ASCII",
	"bad-namespace-prefix: prefix is not bound in the element itself",
	"bad-namespace-prefix: reserved prefix or namespace",
	"bad-namespace-prefix: attribute in a stream namespace",
	"invalid-namespace: namespace name is not a plain URI",
	"invalid-namespace: element in the streams namespace",
	"not-well-formed: stream header inside the stream",
	"not-well-formed: character data between top-level elements",
	"not-well-formed: malformed reference", // too many leading zeros
}

// oursInHeaders are the same rules for input that begins with a stream header.
var oursInHeaders = append([]string{
	"restricted-xml: document type",
	"restricted-xml: entity reference", // declared in that document type
	"bad-namespace-prefix: stream header needs the prefix stream",
	"bad-format: stream header expected",
	"invalid-namespace: default namespace is not jabber:client",
	"invalid-namespace: stream header is not in the streams namespace",
	"not-well-formed: stream header is self-closed",
	"not-well-formed: malformed XML declaration",
	"unsupported-encoding: only UTF-8 is supported",
}, ours...)

// TestDifferential changes stanzas at random and compares the framer's reading
// with expat's. Expat must accept everything that we accept, and read it the
// same way. POSTERN_SOAK=1 runs the long form.
func TestDifferential(t *testing.T) {
	mutants := 20_000
	if os.Getenv("POSTERN_SOAK") == "1" {
		mutants = 300_000
	}
	all := corpus(t)
	d := newDiffer(7)
	for _, s := range all {
		d.judge(s)
	}
	r := rand.New(rand.NewPCG(7, 7))
	for range mutants {
		d.judge(mutant(r, all))
		if len(d.bad) > 20 {
			break
		}
	}
	for _, b := range d.bad {
		t.Error(b)
	}
	for reason := range d.refused {
		if !slices.Contains(oursInHeaders, reason) {
			t.Errorf("expat accepts, refused as %q", reason)
		}
	}
	t.Logf("expat %s: %d inputs, %d stanzas compared", expat.Version(), d.mutants, d.tokens)
	t.Logf("accepted whole: expat %d, strict %d, lenient %d", d.expatAccepts, d.accepts, d.lenientAccepts)
	t.Logf("lenient: %d elements with a fault, %d of them framed the same by a parser without namespaces", d.faults, d.faultsRaw)
	t.Logf("expat accepts, strict refuses: %v", d.refused)
	t.Logf("faults: %v", d.dropped)
	if d.accepts < mutants/20 {
		t.Errorf("only %d of %d inputs accepted: the mutants test nothing", d.accepts, mutants)
	}
}
