package stream_test

import (
	"bytes"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/xmpp/stream"
)

func TestParseStanza(t *testing.T) {
	f := stream.NewFramer(stream.Config{})
	for _, in := range []string{
		"", " ", "x", "<a", "<a>", " <a/>", "<a/> ", "<a/><b/>", "</stream:stream>", "<stream:error/>", "<a/>\n", "<!-- --><a/>",
		"<stream:stream xmlns='jabber:client' xmlns:stream='" + stream.NSStreams + "'>",
	} {
		e, err := f.ParseStanza([]byte(in))
		if err == nil || e.Valid() || f.Element().Valid() {
			t.Errorf("%q accepted", in)
		}
		if broken, ok := errors.AsType[*stream.Error](err); !ok || broken.Condition == "" {
			t.Errorf("%q: %v is no stream error", in, err)
		}
	}
	if e, err := f.ParseStanza([]byte("<a/>")); err != nil || !e.Valid() {
		t.Errorf("after all that: %v", err)
	}
}

// TestErrorStays checks that a Framer refuses all input after an error, until
// Reset.
func TestErrorStays(t *testing.T) {
	f := stream.NewFramer(stream.Config{})
	_, _, first := f.Next([]byte("<a b='1' b='2'/>"), false)
	kind, n, err := f.Next([]byte("<presence/>"), false)
	if first == nil || err != first || kind != stream.Incomplete || n != 0 {
		t.Errorf("%v %d %v after %v", kind, n, err, first)
	}
	f.Reset()
	if kind, _, err := f.Next([]byte("<presence/>"), false); kind != stream.Stanza || err != nil {
		t.Errorf("after Reset: %v %v", kind, err)
	}
}

// TestMisuse checks that a shorter buffer, or another value of expectHeader,
// begins a new token.
func TestMisuse(t *testing.T) {
	f := stream.NewFramer(stream.Config{})
	header := stream.AppendOpen(nil, stream.OpenTag{Version: "1.0"})
	for _, step := range []struct {
		in     string
		header bool
		want   stream.Kind
	}{
		{"<message><body>", false, stream.Incomplete},
		{"<pre", false, stream.Incomplete},
		{"<presence/>", false, stream.Stanza},
		{"<presence/>", false, stream.Stanza},
		{"<stream:str", false, stream.Incomplete},
		{string(header), true, stream.Header},
		{string(header[:40]), true, stream.Incomplete},
		{"", true, stream.Incomplete},
		{"", false, stream.Incomplete},
		{"<presence/>", false, stream.Stanza},
	} {
		if kind, _, err := f.Next([]byte(step.in), step.header); kind != step.want || err != nil {
			t.Fatalf("%q: %v %v", step.in, kind, err)
		}
	}
}

// TestFullBuffer checks the error at the limit. A session that buffers no more
// than the limit would otherwise wait for bytes that it cannot read.
func TestFullBuffer(t *testing.T) {
	f := stream.NewFramer(stream.Config{Limits: stream.Limits{Bytes: 20}})
	in := []byte("<message><body>12345")
	if kind, _, err := f.Next(in[:19], false); kind != stream.Incomplete || err != nil {
		t.Errorf("one byte below the limit: %v %v", kind, err)
	}
	if _, _, err := f.Next(in, false); err == nil {
		t.Error("at the limit it still waits")
	}
}

// TestFullBufferOfRefused does the same for an element that is read in order to
// be refused.
func TestFullBufferOfRefused(t *testing.T) {
	f := stream.NewFramer(stream.Config{Limits: stream.Limits{Bytes: 20, Refused: 40}})
	in := []byte("<message><body>1234512345123451234512345")
	if kind, _, err := f.Next(in[:39], false); kind != stream.Incomplete || err != nil {
		t.Errorf("one byte below the limit: %v %v", kind, err)
	}
	if _, _, err := f.Next(in, false); err == nil {
		t.Error("at the limit it still waits")
	}
}

func TestDefaultLimits(t *testing.T) {
	want := stream.Limits{Bytes: 262144, Depth: 64, Attrs: 64, Elements: 1000, Nodes: 1000, Namespaces: 64, TotalAttrs: 8192, Refused: 1 << 20}
	if got := stream.ClientLimits(); got != want {
		t.Errorf("client %+v", got)
	}
	if got := stream.PreAuthLimits(); got.Bytes != 8192 || got.Refused != 8192 || got.Elements != 32 {
		t.Errorf("before authentication %+v", got)
	}
	if got := stream.BackendLimits(); got.Bytes != 16<<20 || got.Refused != 16<<20 || got.Elements != 1<<20 || got.Nodes != 1000 || got.Depth != 200 || got.Attrs != 256 {
		t.Errorf("backend %+v", got)
	}
}

// TestLargeRoster checks that a roster of ten thousand contacts from the
// backend passes, described by the header and the first elements.
func TestLargeRoster(t *testing.T) {
	in := []byte("<iq type='result' id='r1'><query xmlns='jabber:iq:roster'>" +
		strings.Repeat("<item jid='someone@example.org' subscription='both'><group>x</group></item>", 10_000) + "</query></iq>")
	f := stream.NewFramer(stream.Config{Lenient: true, Limits: stream.BackendLimits()})
	kind, n, err := f.Next(in, false)
	e := f.Element()
	if kind != stream.Stanza || n != len(in) || err != nil || e.Fault() != nil || !e.Truncated() {
		t.Fatalf("%v %d %v, fault %v", kind, n, err, e.Fault())
	}
	query := e.FirstChild()
	if typ, _ := e.Attr("type"); string(typ) != "result" || !query.Is("jabber:iq:roster", "query") || query.NumChildren() != 10_000 {
		t.Errorf("%s, %d items", typ, query.NumChildren())
	}
	if _, _, err := stream.NewFramer(stream.Config{}).Next(in, false); err == nil {
		t.Error("it passes on a client's leg")
	}
}

// TestHostileDepth checks that a stranger's stanza of deeply nested tags is
// dropped and does not end the session of the recipient.
func TestHostileDepth(t *testing.T) {
	in := []byte(strings.Repeat("<a>", 70_000) + strings.Repeat("</a>", 70_000) + "<presence/>")
	f := stream.NewFramer(stream.Config{Lenient: true, Limits: stream.BackendLimits()})
	kind, n, err := f.Next(in, false)
	if kind != stream.Stanza || err != nil || f.Element().Fault() == nil {
		t.Fatalf("%v %v", kind, err)
	}
	if kind, _, err := f.Next(in[n:], false); kind != stream.Stanza || err != nil || f.Element().Fault() != nil {
		t.Fatalf("%v %v", kind, err)
	}
	for _, lenient := range []bool{false, true} {
		f := stream.NewFramer(stream.Config{Lenient: lenient, Limits: stream.Limits{Bytes: 1 << 30, Depth: 1 << 30, Elements: 1 << 30}})
		if _, _, err := f.Next(bytes.Repeat([]byte("<a>"), 1<<18), false); err == nil {
			t.Errorf("lenient %v: no end to depth", lenient)
		}
	}
}

// TestNoAllocation checks that framing and reading do not allocate in the
// steady state.
func TestNoAllocation(t *testing.T) {
	f := stream.NewFramer(stream.Config{})
	full := sample{name: "a thousand elements", in: []byte("<a>" + strings.Repeat("<b c='&lt;'/>", 999) + "</a>")}
	for _, s := range append(corpus(t), full) {
		if f.Reset(); s.header {
			continue
		}
		if kind, n, err := f.Next(s.in, false); kind != stream.Stanza || n != len(s.in) || err != nil {
			continue
		}
		got := testing.AllocsPerRun(20, func() {
			f.Next(s.in, false)
			touch(f.Element())
		})
		if got != 0 {
			t.Errorf("%s: %v allocations", s.name, got)
		}
	}
}

// touch reads all names and values of an element.
func touch(e stream.Element) (sum int) {
	sum += len(e.Space()) + len(e.Local())
	for i := range e.NumAttrs() {
		space, local, value := e.AttrAt(i)
		sum += len(space) + len(local) + len(value)
	}
	if _, ok := e.Attr("to"); ok && e.Is(stream.NSClient, "message") {
		sum++
	}
	for c := e.FirstChild(); c.Valid(); c = c.NextSibling() {
		sum += touch(c)
	}
	return sum
}

// TestHugeElementIsGivenBack checks that an idle Framer releases the memory of
// a huge element.
func TestHugeElementIsGivenBack(t *testing.T) {
	f := stream.NewFramer(stream.Config{Lenient: true, Limits: stream.Limits{
		Bytes: 1 << 30, Depth: 1 << 20, Elements: 1 << 30, Attrs: 1 << 20, Namespaces: 1 << 20, TotalAttrs: 1 << 30,
	}})
	var in bytes.Buffer
	for i := range 60_000 {
		in.WriteString("<a b='&lt;some value' xmlns='u:&#120;some-namespace-")
		in.WriteByte('a' + byte(i%26))
		in.WriteString("'>")
	}
	for range 60_000 {
		in.WriteString("</a>")
	}
	before := heap()
	kind, _, err := f.Next(in.Bytes(), false)
	if kind != stream.Stanza || err != nil {
		t.Fatal(kind, err)
	}
	touch(f.Element())
	during := heap()
	f.Reset()
	after := heap()
	t.Logf("%d KiB of XML: %d KiB held while it is read, %d KiB after", in.Len()>>10, (during-before)>>10, (after-before)>>10)
	if after-before > 256<<10 || during-before < 1<<20 {
		t.Error("not given back")
	}
	runtime.KeepAlive(f)
	runtime.KeepAlive(in)
}

func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// TestMemoryOfHostileElements checks that the memory held for a client's
// element is bounded by a small multiple of its size, whatever it contains.
func TestMemoryOfHostileElements(t *testing.T) {
	fill := func(head, middle, tail string) []byte {
		n := (stream.ClientLimits().Bytes - len(head) - len(tail)) / len(middle)
		return []byte(head + strings.Repeat(middle, n) + tail)
	}
	many := strings.Builder{}
	for i := range 60 {
		many.WriteString(" a" + string(rune('A'+i%26)) + string(rune('a'+i/26)) + "=''")
	}
	for name, in := range map[string][]byte{
		"attributes": fill("<a>", "<b"+many.String()+"/>", "</a>"),
		"elements":   fill("<a>", "<b/>", "</a>"),
		"text":       fill("<a>", "&#1114111;", "</a>"),
		"namespaces": fill("<a>", "<b xmlns='u:&#120;'/>", "</a>"),
		"name":       fill("<", "a", "/>"),
		"value":      fill("<a b='", "&lt;", "'/>"),
	} {
		before := heap()
		f := stream.NewFramer(stream.Config{})
		_, _, err := f.Next(in, false)
		e := f.Element()
		touch(e)
		held := heap() - before
		t.Logf("%s: %d KiB held, %v, truncated %v", name, held>>10, err, e.Truncated())
		if held > 512<<10 {
			t.Errorf("%s: %d KiB held", name, held>>10)
		}
		runtime.KeepAlive(f)
	}
}

// TestMemoryOfHostileBackendElements checks that unrecorded elements use no
// memory.
func TestMemoryOfHostileBackendElements(t *testing.T) {
	one := "<b xmlns='u:&#120;" + strings.Repeat("x", 60) + "' c='&amp;'><d/></b>"
	in := []byte("<a>" + strings.Repeat(one, 50_000) + "</a>")
	before := heap()
	f := stream.NewFramer(stream.Config{Lenient: true, Limits: stream.BackendLimits()})
	if kind, n, err := f.Next(in, false); kind != stream.Stanza || n != len(in) || err != nil {
		t.Fatal(kind, n, err)
	}
	held := heap() - before
	t.Logf("%d KiB of XML: %d KiB held", len(in)>>10, held>>10)
	if held > 512<<10 {
		t.Error("too much")
	}
	runtime.KeepAlive(f)
	runtime.KeepAlive(in)
}

// TestLinear feeds the longest names, values and texts byte by byte. If the
// framer read all earlier bytes again for each new byte, each case would take
// minutes.
func TestLinear(t *testing.T) {
	size := stream.ClientLimits().Bytes
	long := func(head, middle, tail string) []byte {
		n := (size - len(head) - len(tail)) / len(middle)
		return []byte(head + strings.Repeat(middle, n) + tail)
	}
	for name, in := range map[string][]byte{
		"text":             long("<a>", "x", "</a>"),
		"white text":       long("<a>", " ", "</a>"),
		"brackets":         long("<a>", "]", "</a>"),
		"references":       long("<a>", "&#1114111;", "</a>"),
		"text outside":     long("<a>", "\U0010FFFF", "</a>"),
		"cdata":            long("<a><![CDATA[", "x", "]]></a>"),
		"cdata brackets":   long("<a><![CDATA[", "]", "]]></a>"),
		"value":            long("<a b='", "x", "'/>"),
		"value references": long("<a b='", "&lt;", "'/>"),
		"namespace":        long("<a xmlns='", "x", "'/>"),
		"name":             long("<", "x", "/>"),
		"attribute name":   long("<a ", "x", "=''/>"),
		"space in tag":     long("<a", " ", "/>"),
		"space before =":   long("<a b", " ", "=''/>"),
		"space behind =":   long("<a b=", " ", "''/>"),
		"space at the end": long("<a></a", " ", ">"),
		"end tag":          []byte("<" + strings.Repeat("x", size/3) + "></" + strings.Repeat("x", size/3) + ">"),
		"elements":         long("<a>", "<b>\n</b>", "</a>"),
		"closing":          long("</stream:stream", " ", ">"),
	} {
		f := stream.NewFramer(stream.Config{Limits: stream.Limits{Elements: 1 << 20}})
		start := time.Now()
		for n := 1; n < len(in); n++ {
			if kind, _, err := f.Next(in[:n], false); kind != stream.Incomplete || err != nil {
				t.Fatalf("%s: %v %v after %d of %d bytes", name, kind, err, n, len(in))
			}
		}
		kind, n, err := f.Next(in, false)
		if kind != stream.Stanza && kind != stream.Close || n != len(in) || err != nil {
			t.Fatalf("%s: %v %v", name, kind, err)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s: %v for %d bytes", name, took, len(in))
		}
	}
}
