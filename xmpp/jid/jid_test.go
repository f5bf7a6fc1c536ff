package jid

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	mellium "mellium.im/xmpp/jid"
)

func TestParseAccepts(t *testing.T) {
	x := strings.Repeat("x", MaxPart)
	tests := []struct{ raw, want string }{
		{"a.test", "a.test"},
		{"bob@a.test", "bob@a.test"},
		{"bob@a.test/phone", "bob@a.test/phone"},
		{"a.test/phone", "a.test/phone"},
		{"bob@a.test/a@b/c", "bob@a.test/a@b/c"},
		{"bob@a.test/ x ", "bob@a.test/ x "},
		{"b!#$%()*+,-.;=?[\\]^_`{|}~@a.test", "b!#$%()*+,-.;=?[\\]^_`{|}~@a.test"},

		// Case is folded, except in the resourcepart.
		{"BOB@A.TEST/Phone", "bob@a.test/Phone"},
		{"ＢＯＢ@Ａ.test", "bob@a.test"},
		{"ÉMILE@a.test/É", "émile@a.test/É"},

		// The resourcepart stays as it is.
		{"e\u0301mile@a.test/e\u0301", "émile@a.test/e\u0301"},
		{"bob@a.test/a\u00a0b", "bob@a.test/a\u00a0b"},
		{"BOB@a.test/น้ำ…™", "bob@a.test/น้ำ…™"},
		{"bob@a.test/🐎\u200d\ufe0f \u202e\ue000\ufffd", "bob@a.test/🐎\u200d\ufe0f \u202e\ue000\ufffd"},

		// Domain names and literals.
		{"bob@a.test.", "bob@a.test"},
		{"bob@a.test./phone", "bob@a.test/phone"},
		{"bob@A.test./Phone", "bob@a.test/Phone"},
		{"bob@a\uff0etest", "bob@a.test"},
		{"bob@xn--bcher-kva.test", "bob@bücher.test"},
		{"bob@XN--BCHER-KVA.test.", "bob@bücher.test"},
		{"bob@BÜCHER.test", "bob@bücher.test"},
		{"bob@bu\u0308cher.test", "bob@bücher.test"},
		{"bob@b\u00adücher.test", "bob@bücher.test"},
		{"bob@مثال.test", "bob@مثال.test"},
		{"bob@r3.x-y.0.test", "bob@r3.x-y.0.test"},
		{"bob@192.0.2.1", "bob@192.0.2.1"},
		{"bob@[2001:db8::1]/x", "bob@[2001:db8::1]/x"},
		{"bob@[2001:DB8::1]", "bob@[2001:db8::1]"},

		// Lengths.
		{x + "@a.test/" + x, x + "@a.test/" + x},
		{strings.Repeat("é", 511) + "@a.test", strings.Repeat("é", 511) + "@a.test"},
		{strings.Repeat("a.", 511) + "a", strings.Repeat("a.", 511) + "a"},
		{strings.Repeat("a", 63) + ".test", strings.Repeat("a", 63) + ".test"},
	}
	for _, tt := range tests {
		a, err := Parse([]byte(tt.raw))
		if err != nil {
			t.Errorf("Parse(%.80q): %v", tt.raw, err)
			continue
		}
		if a.String() != tt.want {
			t.Errorf("Parse(%.80q) = %.80q, want %.80q", tt.raw, a, tt.want)
		}
		checkAddr(t, a)
		if a.SameAs([]byte(tt.raw)) != (tt.raw == tt.want) {
			t.Errorf("%.80q: SameAs(raw) is wrong", tt.raw)
		}
		if _, err := Split([]byte(tt.raw)); (err == nil) != (tt.raw == tt.want) {
			t.Errorf("Split(%.80q): %v", tt.raw, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	x := strings.Repeat("x", MaxPart+1)
	tests := []struct {
		raw    string
		part   Part
		reason string
	}{
		{"", Domainpart, reasonEmpty},
		{"@", Localpart, reasonEmpty},
		{"@a.test", Localpart, reasonEmpty},
		{"bob@", Domainpart, reasonEmpty},
		{"bob@/x", Domainpart, reasonEmpty},
		{"bob@.", Domainpart, reasonEmpty},
		{"/x", Domainpart, reasonEmpty},
		{"a.test/", Resourcepart, reasonEmpty},
		{"bob@a.test/", Resourcepart, reasonEmpty},
		{"bob@a.test/\xff", Whole, reasonUTF8},
		{"b\xed\xa0\x80b@a.test", Whole, reasonUTF8},

		{x + "@a.test", Localpart, reasonLong},
		{"bob@a.test/" + x, Resourcepart, reasonLong},
		{strings.Repeat("a.", 512) + "a", Domainpart, reasonLong},
		{strings.Repeat("é", 512) + "@a.test", Localpart, reasonLong},
		{strings.Repeat("Ｂ", 342) + "@a.test", Localpart, reasonLong}, // 1026 bytes before preparation
		{strings.Repeat("\u0390", 511) + "@a.test", Localpart, ""},    // longer when nodeprep prepares it

		// Neither RFC allows these.
		{"b b@a.test", Localpart, reasonForbidden},
		{"b\tb@a.test", Localpart, reasonForbidden},
		{"b\x00b@a.test", Localpart, reasonForbidden},
		{"b\x7fb@a.test", Localpart, reasonForbidden},
		{`b"b@a.test`, Localpart, reasonForbidden},
		{"b&b@a.test", Localpart, reasonForbidden},
		{"b'b@a.test", Localpart, reasonForbidden},
		{"b:b@a.test", Localpart, reasonForbidden},
		{"b<b@a.test", Localpart, reasonForbidden},
		{"b>b@a.test", Localpart, reasonForbidden},
		{"b＠b@a.test", Localpart, reasonForbidden},
		{"b／b@a.test", Localpart, reasonForbidden},
		{"bob@a.test/a\nb", Resourcepart, reasonForbidden},
		{"bob@a.test/a\u0085b", Resourcepart, reasonForbidden},
		{"bob@a.test/a\uffffb", Resourcepart, reasonForbidden},
		{"bob@a.test/\u00ad", Resourcepart, reasonNothing},
		{"a.test/\u00ad", Resourcepart, reasonNothing},
		{"bob@a.test/\u034f\u1806\u180b\u180d\u200b\u200d\u2060\ufe00\ufe0f\ufeff", Resourcepart, reasonNothing},
		{"b\u0627@a.test", Localpart, reasonForbidden},

		// One RFC folds the character, the other refuses it. Accepting it could
		// name another user.
		{"ⅆ@a.test", Localpart, reasonForbidden},
		{"\U0001D41Aob@a.test", Localpart, reasonForbidden},
		{"㏙@a.test", Localpart, reasonForbidden},
		{"b\u00adob@a.test", Localpart, reasonForbidden},
		{"b\u200dob@a.test", Localpart, reasonForbidden},
		{"\u212abob@a.test", Localpart, ""}, // Kelvin sign: both read k

		// Both RFCs allow these and prepare them differently.
		{"ß@a.test", Localpart, reasonDiffers},
		{"ς@a.test", Localpart, reasonDiffers},
		{"ᾳ@a.test", Localpart, reasonDiffers},
		{"Ⴀ@a.test", Localpart, reasonDiffers},
		{"bob@faß.test", Domainpart, reasonDiffers},
		{"bob@xn--fa-hia.test", Domainpart, reasonDiffers},
		{"bob@a\u3002test", Domainpart, reasonDiffers},
		{"bob@a\uff61test", Domainpart, reasonDiffers},

		// Servers differ from the tables of the RFCs.
		{"\U0002F868@a.test", Localpart, reasonDiffers},          // ICU, corrigendum 4
		{"a\u033d\u030e\u0326@a.test", Localpart, reasonDiffers}, // ejabberd, order of marks
		{"bob@\u33c6.test", Domainpart, reasonDiffers},           // ejabberd, case
		{"a" + strings.Repeat("\u0301", 31) + "@a.test", Localpart, reasonForbidden},

		// Characters that Unicode 3.2 does not have.
		{"\U0001F600@a.test", Localpart, reasonUnassigned},
		{"bob@\U0001F600.test", Domainpart, reasonUnassigned},
		{"bob@xn--e28h.test", Domainpart, reasonDiffers}, // the same as an A-label
		{"ẞ@a.test", Localpart, reasonUnassigned},
		{"\u0378@a.test", Localpart, reasonUnassigned},

		// Domains.
		{"a@b@c", Domainpart, reasonForbidden},
		{"bob@a b", Domainpart, reasonForbidden},
		{"bob@a_b.test", Domainpart, reasonForbidden},
		{"bob@a＿b.test", Domainpart, reasonForbidden},
		{"bob@-a.test", Domainpart, reasonForbidden},
		{"bob@a-.test", Domainpart, reasonForbidden},
		{"bob@ab--c.test", Domainpart, reasonForbidden},
		{"bob@xn--.test", Domainpart, reasonLabel},
		{"bob@xn--abc-.test", Domainpart, reasonForbidden},
		{"bob@xn--a.test", Domainpart, reasonForbidden},
		{"bob@.a.test", Domainpart, reasonLabel},
		{"bob@a..test", Domainpart, reasonLabel},
		{"bob@a.test..", Domainpart, reasonDiffers},
		{"bob@" + strings.Repeat("a", 64), Domainpart, reasonLabel},
		{"bob@" + strings.Repeat("ü", 55), Domainpart, ""},
		{"bob@" + strings.Repeat("ü", 64), Domainpart, reasonLabel},
		{"bob@::1", Domainpart, reasonForbidden},
		{"bob@::ffff:192.0.2.1", Domainpart, reasonForbidden},
		{"bob@[", Domainpart, reasonLiteral},
		{"bob@[]", Domainpart, reasonLiteral},
		{"bob@[::1", Domainpart, reasonLiteral},
		{"bob@[0:0::1]", Domainpart, reasonLiteral},
		{"bob@[::ffff:192.0.2.1]", Domainpart, reasonLiteral},
		{"bob@[fe80::1%eth0]", Domainpart, reasonLiteral},
		{"bob@[192.0.2.1]", Domainpart, reasonLiteral},
	}
	for _, tt := range tests {
		a, err := Parse([]byte(tt.raw))
		if tt.reason == "" { // accepted: similar to a refused address
			if err != nil {
				t.Errorf("Parse(%.80q): %v", tt.raw, err)
			}
			continue
		}
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Part != tt.part || e.Reason != tt.reason {
			t.Errorf("Parse(%.80q) = %.80q, %v; want %v", tt.raw, a, err, &Error{tt.part, tt.reason})
		}
		if !a.IsZero() {
			t.Errorf("Parse(%.80q) gave an address beside its error", tt.raw)
		}
		if _, err := Split([]byte(tt.raw)); err == nil {
			t.Errorf("Split(%.80q) accepts", tt.raw)
		}
	}
}

// checkAddr checks the properties of every accepted address.
func checkAddr(t *testing.T, a Addr) {
	t.Helper()
	again, err := Parse(a.Bytes())
	if err != nil || !again.Equal(a) || again.local != a.local || again.bare != a.bare {
		t.Fatalf("Parse(%q) again = %q, %v", a, again, err)
	}
	if split, err := Split(a.Bytes()); err != nil || !split.Equal(a) || split.local != a.local || split.bare != a.bare {
		t.Fatalf("Split(%q) = %q, %v", a, split, err)
	}
	joined, err := Join(string(a.Local()), string(a.Domain()), string(a.Resource()))
	if err != nil || !joined.Equal(a) {
		t.Fatalf("Join of %q = %q, %v", a, joined, err)
	}
	whole := string(a.Domain())
	if a.HasLocal() {
		whole = string(a.Local()) + "@" + whole
	}
	if string(a.Bare()) != whole || a.WithoutResource().String() != whole || a.WithoutResource().HasResource() {
		t.Fatalf("%q: bare is %q", a, a.Bare())
	}
	if a.HasResource() {
		whole += "/" + string(a.Resource())
	}
	if a.String() != whole || !utf8.ValidString(whole) {
		t.Fatalf("%q: parts make %q", a, whole)
	}
	for _, part := range [][]byte{a.Local(), a.Domain(), a.Resource()} {
		if len(part) > MaxPart {
			t.Fatalf("%q: part of %d bytes", a, len(part))
		}
	}
	if a.HasLocal() != (len(a.Local()) > 0) || a.HasResource() != (len(a.Resource()) > 0) || len(a.Domain()) == 0 {
		t.Fatalf("%q: empty part", a)
	}
	checkMellium(t, a)
}

// checkMellium checks that the mellium library, which implements RFC 7622,
// leaves the bare address of a unchanged.
func checkMellium(t *testing.T, a Addr) {
	t.Helper()
	j, err := mellium.Parse(string(a.Bare()))
	if err != nil || j.String() != string(a.Bare()) {
		t.Fatalf("mellium reads %q as %q, %v", a.Bare(), j, err)
	}
}

func TestZero(t *testing.T) {
	var a Addr
	if !a.IsZero() || a.HasLocal() || a.HasResource() || a.String() != "" || !a.Equal(a.Clone()) {
		t.Error("the zero Addr is not absent")
	}
	if len(a.Bytes())+len(a.Local())+len(a.Domain())+len(a.Resource())+len(a.Bare()) != 0 || !a.WithoutResource().IsZero() {
		t.Error("the zero Addr has parts")
	}
	b, err := Parse([]byte("bob@a.test"))
	if err != nil || b.IsZero() || a.Equal(b) || b.Equal(a) {
		t.Error("the zero Addr equals an address")
	}
}

func TestParseViewsOrCopies(t *testing.T) {
	raw := []byte("bob@a.test/x")
	a, _ := Parse(raw)
	kept := a.Clone()
	raw[0] = 'r'
	if a.String() != "rob@a.test/x" || kept.String() != "bob@a.test/x" {
		t.Errorf("a prepared address is not a view: %q, clone %q", a, kept)
	}
	// Appending to a part must not overwrite the next part.
	_ = append(a.Local(), '!')
	_ = append(a.Domain(), '!')
	_ = append(a.Bare(), '!')
	if string(raw) != "rob@a.test/x" {
		t.Errorf("append wrote into the address: %q", raw)
	}
	for _, raw := range []string{"BOB@a.test", "bob@a.test.", "bob@ü.test", "bob@[::1]"} {
		b := []byte(raw)
		a, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		want := a.String()
		clear(b)
		if a.String() != want {
			t.Errorf("Parse(%q) is a view of it", raw)
		}
	}
}

func TestJoin(t *testing.T) {
	for _, tt := range []struct{ local, domain, resource, want string }{
		{"Bob", "A.test.", "X", "bob@a.test/X"},
		{"", "a.test", "", "a.test"},
		{"", "a.test", "x@y/z", "a.test/x@y/z"},
		{"b/b", "a.test", "", ""},
		{"b@b", "a.test", "", ""},
		{"bob", "a.test/x", "", ""},
		{"bob", "c@a.test", "", ""},
		{"bob", "", "x", ""},
		{"b\xff", "a.test", "", ""},
		{"b", "a.test\xff", "", ""},
		{"b", "a.test", "\xff", ""},
	} {
		a, err := Join(tt.local, tt.domain, tt.resource)
		if a.String() != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("Join(%q, %q, %q) = %q, %v", tt.local, tt.domain, tt.resource, a, err)
		}
	}
}

func TestDomainAndBare(t *testing.T) {
	for raw, want := range map[string]string{
		"a.test": "a.test", "A.Test.": "a.test", "xn--bcher-kva.test": "bücher.test", "[::1]": "[::1]",
		"": "", "bob@a.test": "", "a.test/x": "", "a_b": "", "a test": "", "a\xff": "", ".": "", "*.test": "",
	} {
		if got, err := Domain(raw); got != want || (err == nil) != (want != "") {
			t.Errorf("Domain(%q) = %q, %v", raw, got, err)
		}
	}
	for raw, want := range map[string]string{
		"Bob@A.test": "bob@a.test", "bob@a.test": "bob@a.test",
		"a.test": "", "bob@a.test/x": "", "bob@a.test/": "", "": "", "bob": "",
	} {
		if got, err := Bare(raw); got != want || (err == nil) != (want != "") {
			t.Errorf("Bare(%q) = %q, %v", raw, got, err)
		}
	}
}

func ExampleParse() {
	a, err := Parse([]byte("Juliet@Capulet.Example/Balcony"))
	fmt.Println(a, err)
	fmt.Printf("%s %s %s\n", a.Local(), a.Domain(), a.Resource())
	_, err = Parse([]byte("juliet@capulet.example/"))
	fmt.Println(err)
	// Output:
	// juliet@capulet.example/Balcony <nil>
	// juliet capulet.example Balcony
	// jid: resourcepart is empty
}

func ExampleSplit() {
	_, err := Split([]byte("Juliet@capulet.example"))
	fmt.Println(err)
	// Output: jid: address is not in its prepared form
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"bob@a.test/phone", "BOB@A.TEST.", "ＢＯＢ@a．test", "ß@xn--fa-hia.de/ⅷ", "bob@[2001:DB8::1]/x", "é@BÜCHER.test/\u00a0",
		"\u05d0\u05d1@\u0645\u062b\u0627\u0644.test/\u0627", "a\u033d\u030e\u0326@xn--/\xff", "@", "/", "\u09c7\u09bc\u09be@b", "a@b@c/d/e",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := string(raw)
		a, err := Parse(raw)
		if string(raw) != before {
			t.Fatal("Parse wrote to its input")
		}
		if err != nil {
			if e, ok := errors.AsType[*Error](err); !ok || e.Reason == "" || e.Part == "" || !a.IsZero() {
				t.Fatalf("Parse(%q) = %q, %v", raw, a, err)
			}
			if _, err := Split(raw); err == nil {
				t.Fatalf("Split(%q) accepts what Parse refuses", raw)
			}
			return
		}
		checkAddr(t, a)
		if _, err := Split(raw); (err == nil) != a.SameAs(raw) {
			t.Fatalf("Split(%q): %v, but it prepares to %q", raw, err, a)
		}
		bare, _, _ := strings.Cut(string(raw), "/")
		if j, err := mellium.Parse(bare); err != nil || !strings.Contains(bare, "[") && j.String() != string(a.Bare()) {
			t.Fatalf("Parse(%q) = %q, mellium says %q, %v", raw, a, j, err)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for _, bm := range []struct{ name, raw string }{
		{"domain", "conference.example.org"},
		{"bare", "juliet@example.org"},
		{"full", "juliet@example.org/balcony-0123456789"},
		{"upper", "Juliet@example.org/balcony-0123456789"},
		{"nonASCII", "jülie@exämple.org/balcön-0123456789"},
	} {
		raw := []byte(bm.raw)
		b.Run(bm.name+"/ours", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(bm.name+"/mellium", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := mellium.Parse(bm.raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
