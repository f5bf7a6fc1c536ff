package jid

import "bytes"

// The parts of an address in which an ASCII byte needs no preparation.
const (
	inLocal = 1 << iota
	inDomain
)

// asciiClass holds, for each byte, the parts in which it needs no preparation.
// Upper case needs preparation in both localpart and domainpart. Bytes from
// 0x80 are in no part.
var asciiClass = func() (t [256]byte) {
	for c := '!'; c <= '~'; c++ {
		if !('A' <= c && c <= 'Z') {
			t[c] |= inLocal
		}
		if 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '.' {
			t[c] |= inDomain
		}
	}
	for _, c := range localExcluded {
		t[c] &^= inLocal
	}
	return t
}()

// localExcluded are the characters that RFC 7622 section 3.3.1 and nodeprep
// (RFC 6122 appendix A.5) forbid in the localpart.
const localExcluded = `"&'/:<>@`

// maxLabel is the greatest length of a domain's label in ASCII (RFC 1034).
const maxLabel = 63

// parseASCII accepts raw if its bare address is prepared and plain ASCII. It
// also returns false for some prepared ASCII domains (IP literals); parse
// handles these.
func parseASCII(raw []byte) (Addr, bool) {
	bare := len(raw)
	if i := bytes.IndexByte(raw, '/'); i >= 0 {
		if bare = i; bare+1 == len(raw) || resourceFault(raw[i+1:]) != "" {
			return Addr{}, false
		}
	}
	local, domain := 0, raw[:bare]
	if i := bytes.IndexByte(domain, '@'); i >= 0 {
		if local = i; !isLocal(domain[:i]) {
			return Addr{}, false
		}
		domain = domain[i+1:]
	}
	if !isDomain(domain) {
		return Addr{}, false
	}
	return Addr{b: raw, local: uint16(local), bare: uint16(bare)}, true
}

func isLocal(s []byte) bool {
	if len(s) == 0 || len(s) > MaxPart {
		return false
	}
	for _, c := range s {
		if asciiClass[c]&inLocal == 0 {
			return false
		}
	}
	return true
}

// isDomain reports whether s is a prepared domain name of plain labels:
// letters, digits and inner hyphens. It returns false for a label with hyphens
// in both third and fourth place, the form of A-labels and other reserved labels
// (RFC 5890 section 2.3.1).
func isDomain[T string | []byte](s T) bool {
	if len(s) == 0 || len(s) > MaxPart {
		return false
	}
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if asciiClass[c]&inDomain == 0 {
			return false
		}
		switch c {
		case '.':
			if !endsLabel(i-start, s[max(i-1, 0)]) {
				return false
			}
			start = i + 1
		case '-':
			if i == start || i == start+3 && s[i-1] == '-' {
				return false
			}
		}
	}
	return endsLabel(len(s)-start, s[len(s)-1])
}

// endsLabel reports whether a label of n bytes may end with the byte last.
func endsLabel(n int, last byte) bool {
	return 0 < n && n <= maxLabel && last != '-'
}

// foldASCII lowers ASCII letters before the resourcepart and strips one
// trailing dot of the domainpart. Most ASCII addresses need no other
// preparation. If raw needs neither, changed is false and folded is nil.
func foldASCII(raw []byte) (folded []byte, changed bool) {
	bare := raw
	if i := bytes.IndexByte(raw, '/'); i >= 0 {
		bare = raw[:i]
	}
	name := bytes.TrimSuffix(bare, []byte("."))
	changed = len(name) < len(bare) || bytes.ContainsFunc(name, isUpper)
	if !changed {
		return nil, false
	}
	folded = make([]byte, 0, len(raw))
	for _, c := range name {
		if isUpper(rune(c)) {
			c += 'a' - 'A'
		}
		folded = append(folded, c)
	}
	return append(folded, raw[len(bare):]...), true
}

func isUpper(c rune) bool { return 'A' <= c && c <= 'Z' }
