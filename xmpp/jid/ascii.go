package jid

import "bytes"

// ASCII bytes that are prepared as they stand, by part.
const (
	inLocal = 1 << iota
	inDomain
)

// asciiClass says in which parts a byte needs no preparation. Upper case is
// in neither localpart nor domainpart; bytes from 0x80 are nowhere.
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

// localExcluded is what RFC 7622 section 3.3.1 and nodeprep (RFC 6122
// appendix A.5) take out of the localpart.
const localExcluded = `"&'/:<>@`

// maxLabel is the greatest length of a domain's label in ASCII (RFC 1034).
const maxLabel = 63

// parseASCII reads raw if its bare address is prepared and plain ASCII. It
// refuses some prepared ASCII domains too (IP literals), which only costs time.
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

// isDomain reports whether s is a prepared name of plain labels: letters,
// digits and inner hyphens, and not hyphens in both third and fourth place,
// where A-labels and other reserved ones have them (RFC 5890 section 2.3.1).
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

// endsLabel reports whether a label of n bytes may end in last.
func endsLabel(n int, last byte) bool {
	return 0 < n && n <= maxLabel && last != '-'
}

// foldASCII lowers ASCII letters before the resourcepart and strips one
// trailing dot of the domainpart, which is all that preparation does to most
// ASCII addresses. changed is false when there was nothing to do.
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
