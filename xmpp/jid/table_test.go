package jid

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"
	"unicode"
)

// TestEveryCodePoint places each code point up to U+2FFFF between two ASCII
// letters in the localpart and the domainpart. RFC 7622 and RFC 6122 must
// prepare every accepted address to the same form, and preparing that form
// again must not change it.
//
// The sums cover all accepted code points and their prepared forms. Prosody
// 0.12 with ICU, ejabberd 23.01 and libidn 1.41 were asked about each of these
// addresses, raw and prepared, and read them as this package does. If a sum
// changes, for example because of the tables of a newer Unicode, those servers
// must be asked again.
func TestEveryCodePoint(t *testing.T) {
	for _, tt := range []struct {
		part     Part
		accepted int
		sum      string
	}{
		{Localpart, 88174, "84c4947e928c50b2"},
		{Domainpart, 93589, "c3be6b77016ce5dc"},
	} {
		t.Run(string(tt.part), func(t *testing.T) {
			t.Parallel()
			accepted, h := 0, sha256.New()
			for r := rune(0); r <= 0x2FFFF; r++ {
				raw := "a" + string(r) + "b"
				if raw == "a@b" || raw == "a/b" {
					continue // a separator splits the address differently
				}
				if out, ok := checkCodePoint(t, tt.part, raw); ok {
					accepted++
					fmt.Fprintf(h, "%x %x\n", raw, out)
				}
			}
			if sum := hex.EncodeToString(h.Sum(nil)[:8]); accepted != tt.accepted || sum != tt.sum {
				t.Errorf("accepted %d, sum %s; want %d, %s", accepted, sum, tt.accepted, tt.sum)
			}
		})
	}
}

func checkCodePoint(t *testing.T, part Part, raw string) (string, bool) {
	var address, got string
	switch part {
	case Localpart:
		address = raw + "@a.test"
	case Domainpart:
		address = "b@" + raw
	}
	a, err := Parse([]byte(address))
	if err != nil {
		return "", false
	}
	switch part {
	case Localpart:
		got = string(a.Local())
	case Domainpart:
		got = string(a.Domain())
	}
	forms := []string{raw, got}
	if raw == got {
		forms = forms[:1]
	}
	for _, s := range forms {
		newer, err := readNew(part, s)
		if err != nil || newer != got {
			t.Errorf("%q: RFC 7622 reads %q as %q, %v", raw, s, newer, err)
		}
		older, err := readOld(part, s)
		if err != nil || older != got {
			t.Errorf("%q: RFC 6122 reads %q as %q, %v", raw, s, older, err)
		}
	}
	return got, true
}

// TestOpaqueResources places each code point in a resourcepart. Every character
// that XML allows must be kept byte for byte, except control characters.
func TestOpaqueResources(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		raw := "b@a.test/a" + string(r) + "b"
		want := r >= ' ' && (r < 0x7F || r > 0x9F) && r != 0xFFFE && r != 0xFFFF
		if r >= 0xD800 && r <= 0xDFFF {
			raw, want = "b@a.test/"+string([]byte{0xED, 0xA0 + byte(r-0xD800)>>6, 0x80 + byte(r)&0x3F}), false
		}
		a, err := Parse([]byte(raw))
		if ok := err == nil && a.SameAs([]byte(raw)) && a.String() == raw; ok != want {
			t.Fatalf("U+%04X: kept %v, want %v (%v)", r, ok, want, err)
		}
	}
}
