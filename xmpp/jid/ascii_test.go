package jid

import (
	"strings"
	"testing"
)

// sameAsSlow checks that the fast path for ASCII gives the same result as the
// full preparation, for accepted and refused addresses.
func sameAsSlow(t *testing.T, raw string) {
	t.Helper()
	fast, fastErr := Parse([]byte(raw))
	slow, slowErr := parse([]byte(raw))
	if !fast.Equal(slow) || fast.local != slow.local || fast.bare != slow.bare || (fastErr == nil) != (slowErr == nil) {
		t.Fatalf("Parse(%q) = %q, %v; slowly %q, %v", raw, fast, fastErr, slow, slowErr)
	}
	fastDomain, fastErr := Domain(raw)
	slowDomain, slowErr := prepareDomain(raw)
	if fastDomain != slowDomain || (fastErr == nil) != (slowErr == nil) {
		t.Fatalf("Domain(%q) = %q, %v; slowly %q, %v", raw, fastDomain, fastErr, slowDomain, slowErr)
	}
}

// TestFastEqualsSlowEachByte places each ASCII character, and many pairs of
// characters, at the start, in the middle and at the end of each part.
func TestFastEqualsSlowEachByte(t *testing.T) {
	places := []string{"X", "Xa", "aX", "aXb", "abX", "abXc", "aX.b", "a.Xb"}
	check := func(s string) {
		for _, place := range places {
			part := strings.ReplaceAll(place, "X", s)
			sameAsSlow(t, part)
			sameAsSlow(t, part+"@a.test")
			sameAsSlow(t, "b@"+part)
			sameAsSlow(t, "b@"+part+"/r")
			sameAsSlow(t, "a.test/"+part)
		}
	}
	for c := range 0x80 {
		check(string(rune(c)))
	}
	places = []string{"X", "aXb"}
	for _, c := range "aZ0.-@/[ _:" {
		for d := range 0x80 {
			check(string(c) + string(rune(d)))
			check(string(rune(d)) + string(c))
		}
	}
}

func TestFastPathIsTaken(t *testing.T) {
	for _, raw := range []string{"a.test", "bob@a.test", "bob@a.test/x Y@z/~", "b!b@a-b.0.test"} {
		b := []byte(raw)
		allocs := testing.AllocsPerRun(100, func() {
			if _, err := Split(b); err != nil {
				t.Fatal(err)
			}
		})
		if allocs != 0 {
			t.Errorf("Split(%q): %v allocations", raw, allocs)
		}
	}
}

func FuzzFastEqualsSlow(f *testing.F) {
	for _, s := range []string{
		"bob@a.test/phone", "BOB@A.TEST./X", "b@xn--bcher-kva", "a@-b", "a@b-.c", "a@b..", "@", "a/", "a@[::1]/x", "1.2.3.4", "a--b.c@d--e", "ab--c",
		strings.Repeat("a", 64) + "." + strings.Repeat("a", 63), strings.Repeat("b", 1024) + "@a/" + strings.Repeat("c", 1023),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for i := range raw {
			raw[i] &= 0x7f
		}
		sameAsSlow(t, string(raw))
	})
}
