package stream_test

import (
	"strings"
	"testing"

	"github.com/postern-im/postern/xmpp/stream"
)

func header(t *testing.T, in string) (stream.Element, error) {
	t.Helper()
	f := stream.NewFramer(stream.Config{Limits: stream.PreAuthLimits()})
	kind, n, err := f.Next([]byte(in), true)
	if err == nil && (kind != stream.Header || n != len(in)) {
		t.Fatalf("%s: %v of %d bytes", in, kind, n)
	}
	return f.Element(), err
}

func TestOpenTagThereAndBack(t *testing.T) {
	for _, o := range []stream.OpenTag{
		{Version: "1.0"},
		{To: "a.test", From: "b@a.test", ID: "1", Lang: "en", Version: "1.0"},
		{To: "a'><x y='", From: "\"&<\t\n\r ", ID: "]]>", Lang: "\u00e9", Version: "1.0"},
	} {
		in := string(stream.AppendOpen(nil, o))
		e, err := header(t, in)
		if err != nil {
			t.Fatalf("%s: %v", in, err)
		}
		if got, err := stream.ParseOpen(e); err != nil || got != o {
			t.Errorf("%s: got %+v, %v", in, got, err)
		}
	}
}

func TestOpenTagVersion(t *testing.T) {
	for version, ok := range map[string]bool{
		"1.0": true, "1.1": true, "2.0": true, "10.0": true, "01.0": true, "": false, "0.9": false, "0.0": false,
		"1": false, "1.": false, ".0": false, "1.0 ": false, "-1.0": false, "1.0.0": false, "1234567890.0": false, "x": false,
	} {
		e, err := header(t, string(stream.AppendOpen(nil, stream.OpenTag{To: "a.test", Version: version})))
		if err != nil {
			t.Fatal(err)
		}
		o, err := stream.ParseOpen(e)
		if (err == nil) != ok || o.To != "a.test" {
			t.Errorf("version %q: %+v, %v", version, o, err)
		}
	}
}

func TestOpenTagReadsUnqualifiedAttributesOnly(t *testing.T) {
	e, err := header(t, "<stream:stream xmlns='jabber:client' xmlns:stream='"+stream.NSStreams+"' xmlns:x='u:x' x:to='x' x:lang='x' lang='x' x:version='1.0'>")
	if err != nil {
		t.Fatal(err)
	}
	if o, err := stream.ParseOpen(e); err == nil || o != (stream.OpenTag{}) {
		t.Errorf("got %+v, %v", o, err)
	}
	if _, err := stream.ParseOpen(stream.Element{}); err == nil {
		t.Error("an invalid element parsed")
	}
}

// TestAppendTo reads our stream errors with a client's framer.
func TestAppendTo(t *testing.T) {
	for _, c := range []struct{ condition, text, want string }{
		{"not-well-formed", "", "not-well-formed"},
		{"policy-violation", "too <big> & 'odd'", "policy-violation"},
		{"no-such-thing'/><x", "x", "undefined-condition"},
		{"", "", "undefined-condition"},
	} {
		in := (&stream.Error{Condition: c.condition, Text: c.text}).AppendTo(nil)
		e, err := stream.NewFramer(stream.Config{Lenient: true}).ParseStanza(in)
		if err != nil {
			t.Fatalf("%s: %v", in, err)
		}
		if !e.Is(stream.NSStreams, "error") || !e.FirstChild().Is(stream.NSErrors, c.want) {
			t.Errorf("%s: got %s", in, dumpString(e))
		}
		text := e.FirstChild().NextSibling()
		if c.text == "" && text.Valid() || string(text.Text(nil)) != c.text {
			t.Errorf("%s: text %q", in, text.Text(nil))
		}
	}
}

// TestErrorsCanBeSent writes and reads back every error in the scenarios.
func TestErrorsCanBeSent(t *testing.T) {
	for _, s := range allScenarios(t) {
		c, expect := s.config(t)
		_, _, err := stream.NewFramer(c).Next(s.input(t), expect)
		broken, ok := err.(*stream.Error)
		if !ok {
			continue
		}
		in := broken.AppendTo(nil)
		e, err := stream.NewFramer(stream.Config{Lenient: true}).ParseStanza(in)
		if err != nil {
			t.Fatalf("%s: %v", in, err)
		}
		if !e.FirstChild().Is(stream.NSErrors, broken.Condition) {
			t.Errorf("%s: %q is no condition", s.name, broken.Condition)
		}
		if broken.App != "" && !strings.Contains(string(in), "<"+broken.App+" xmlns='urn:xmpp:errors'/>") {
			t.Errorf("%s: %q is not sent", s.name, broken.App)
		}
	}
}

func TestAppendClose(t *testing.T) {
	in := stream.AppendClose(nil)
	kind, n, err := stream.NewFramer(stream.Config{}).Next(in, false)
	if kind != stream.Close || n != len(in) || err != nil {
		t.Errorf("%v %d %v", kind, n, err)
	}
}

func dumpString(e stream.Element) string {
	var out strings.Builder
	dump(&out, e, 1)
	return out.String()
}
