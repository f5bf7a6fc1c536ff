package stream

import (
	"strings"
	"unicode/utf8"
)

// Classes of single bytes, combined as bits in the table class.
const (
	nameStart  = 1 << iota // first character of an ASCII NCName
	nameChar               // further characters of an ASCII NCName
	white                  // XML white space
	plainText              // character data that needs no further check
	plainValue             // attribute value that needs no further check
	plainURI               // part of a namespace name that needs no further check
)

var class = classes()

func classes() (t [256]uint8) {
	for i := range 0x80 {
		c := byte(i)
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_':
			t[c] |= nameStart | nameChar
		case c >= '0' && c <= '9', c == '-', c == '.':
			t[c] |= nameChar
		case c == ' ', c == '\t', c == '\n', c == '\r':
			t[c] |= white | plainText
		}
		if c >= ' ' && c != '<' && c != '&' && c != ']' {
			t[c] |= plainText
		}
		if c >= ' ' && c != '<' && c != '&' && c != '"' && c != '\'' {
			t[c] |= plainValue
		}
		if t[c]&nameChar != 0 || strings.IndexByte("~@!$()*+,;=", c) >= 0 {
			t[c] |= plainURI
		}
	}
	return t
}

// skip returns the number of bytes of class k at the start of b.
func skip(b []byte, k uint8) (n int) {
	for n < len(b) && class[b[n]]&k != 0 {
		n++
	}
	return n
}

// character returns the size of the character at the start of b, or 0 if more
// bytes are needed. Callers use it for bytes that need a further check. It
// refuses control characters, invalid UTF-8 (RFC 3629: no overlong forms, no
// surrogates, nothing above U+10FFFF) and U+FFFE and U+FFFF, which are not a
// Char of XML 1.0.
func character(b []byte) (int, *Error) {
	c := b[0]
	if c < 0x80 {
		if class[c]&white == 0 && c < ' ' {
			return 0, errChar
		}
		return 1, nil
	}
	n, lo, hi := 0, byte(0x80), byte(0xBF)
	switch {
	case c < 0xC2, c > 0xF4:
		return 0, errUTF8
	case c < 0xE0:
		n = 2
	case c < 0xF0:
		n = 3
		if c == 0xE0 {
			lo = 0xA0
		} else if c == 0xED {
			hi = 0x9F
		}
	default:
		n = 4
		if c == 0xF0 {
			lo = 0x90
		} else if c == 0xF4 {
			hi = 0x8F
		}
	}
	for i := 1; i < n; i++ {
		if i == len(b) {
			return 0, nil
		}
		if b[i] < lo || b[i] > hi {
			return 0, errUTF8
		}
		lo, hi = 0x80, 0xBF
	}
	if n == 3 && c == 0xEF && b[1] == 0xBF && b[2] >= 0xBE {
		return 0, errChar
	}
	return n, nil
}

// isChar reports whether r is a Char of XML 1.0.
func isChar(r rune) bool {
	return r >= ' ' && r <= 0xD7FF || r == '\t' || r == '\n' || r == '\r' ||
		r >= 0xE000 && r <= 0xFFFD || r >= 0x10000 && r <= utf8.MaxRune
}

// maxReference is the length of the longest reference accepted, "&#x10FFFF;". A
// reference that is longer because of leading zeros is refused.
const maxReference = 10

// reference reads the reference at the start of b. It returns the size 0 if
// more bytes are needed.
func reference(b []byte) (r rune, n int, err *Error) {
	b = b[:min(len(b), maxReference)]
	if len(b) < 2 {
		return 0, 0, nil
	}
	if b[1] == '#' {
		return charReference(b)
	}
	if class[b[1]]&nameStart == 0 {
		return 0, 0, errReference
	}
	for i := 2; i < len(b); i++ {
		if class[b[i]]&nameChar != 0 {
			continue
		}
		if b[i] != ';' {
			return 0, 0, errReference
		}
		switch string(b[1:i]) {
		case "lt":
			return '<', i + 1, nil
		case "gt":
			return '>', i + 1, nil
		case "amp":
			return '&', i + 1, nil
		case "quot":
			return '"', i + 1, nil
		case "apos":
			return '\'', i + 1, nil
		}
		return 0, 0, errEntity
	}
	if len(b) == maxReference {
		return 0, 0, errEntity
	}
	return 0, 0, nil
}

func charReference(b []byte) (r rune, n int, err *Error) {
	i, base := 2, rune(10)
	if len(b) > 2 && b[2] == 'x' {
		i, base = 3, 16
	}
	for first := i; i < len(b); i++ {
		c, d := b[i], rune(0)
		switch {
		case c >= '0' && c <= '9':
			d = rune(c - '0')
		case base == 16 && c >= 'a' && c <= 'f':
			d = rune(c-'a') + 10
		case base == 16 && c >= 'A' && c <= 'F':
			d = rune(c-'A') + 10
		case c == ';' && i > first:
			if !isChar(r) {
				return 0, 0, errChar
			}
			return r, i + 1, nil
		default:
			return 0, 0, errReference
		}
		r = r*base + d // at most seven digits: no overflow
	}
	if len(b) == maxReference {
		return 0, 0, errReference
	}
	return 0, 0, nil
}

// appendValue appends an attribute value as an XML parser reports it:
// references are resolved, and literal white space becomes spaces (XML 1.0,
// sections 2.11 and 3.3.3). raw has been checked by the framer.
func appendValue(dst, raw []byte) []byte {
	for i := 0; i < len(raw); {
		switch c := raw[i]; c {
		case '&':
			r, n, err := reference(raw[i:])
			if err != nil || n == 0 { // impossible: the framer has checked it
				return dst
			}
			dst = utf8.AppendRune(dst, r)
			i += n
		case '\r':
			if i+1 < len(raw) && raw[i+1] == '\n' {
				i++
			}
			dst = append(dst, ' ')
			i++
		case '\t', '\n':
			dst = append(dst, ' ')
			i++
		default:
			dst = append(dst, c)
			i++
		}
	}
	return dst
}

// appendData appends character data outside CDATA as an XML parser reports it.
func appendData(dst, raw []byte) []byte {
	for i := 0; i < len(raw); {
		switch c := raw[i]; c {
		case '&':
			r, n, err := reference(raw[i:])
			if err != nil || n == 0 { // impossible: the framer has checked it
				return dst
			}
			dst = utf8.AppendRune(dst, r)
			i += n
		case '\r':
			if i+1 < len(raw) && raw[i+1] == '\n' {
				i++
			}
			dst = append(dst, '\n')
			i++
		default:
			dst = append(dst, c)
			i++
		}
	}
	return dst
}

// appendCDATA appends the inside of a CDATA section, where only line ends are
// normalised.
func appendCDATA(dst, raw []byte) []byte {
	for i, c := range raw {
		switch {
		case c != '\r':
			dst = append(dst, c)
		case i+1 == len(raw) || raw[i+1] != '\n':
			dst = append(dst, '\n')
		}
	}
	return dst
}
