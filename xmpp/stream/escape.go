package stream

import "unicode/utf8"

// AppendEscaped appends s for use as character data or inside a quoted
// attribute value, so that a parser reports s again. What XML cannot carry
// (control characters, bytes that are not UTF-8) becomes U+FFFD.
func AppendEscaped[T ~string | ~[]byte](dst []byte, s T) []byte {
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '&':
			dst = append(dst, "&amp;"...)
		case c == '<':
			dst = append(dst, "&lt;"...)
		case c == '>':
			dst = append(dst, "&gt;"...)
		case c == '"':
			dst = append(dst, "&quot;"...)
		case c == '\'':
			dst = append(dst, "&apos;"...)
		case c == '\t':
			dst = append(dst, "&#9;"...)
		case c == '\n':
			dst = append(dst, "&#10;"...)
		case c == '\r':
			dst = append(dst, "&#13;"...)
		case c >= ' ' && c < utf8.RuneSelf:
			dst = append(dst, c)
		default:
			n := scalar(s, i)
			if n == 0 {
				dst = append(dst, "\uFFFD"...)
				n = 1
			} else {
				dst = append(dst, s[i:i+n]...)
			}
			i += n
			continue
		}
		i++
	}
	return dst
}

// scalar returns the size of the character at i, 0 if XML cannot carry it.
func scalar[T ~string | ~[]byte](s T, i int) int {
	var b [utf8.UTFMax]byte
	n, err := character(b[:copy(b[:], s[i:min(len(s), i+utf8.UTFMax)])])
	if err != nil {
		return 0
	}
	return n
}

// AppendAttr appends a space and name='value', the value escaped. The name is
// the caller's own.
func AppendAttr[T ~string | ~[]byte](dst []byte, name string, value T) []byte {
	dst = append(dst, ' ')
	dst = append(dst, name...)
	dst = append(dst, "='"...)
	dst = AppendEscaped(dst, value)
	return append(dst, '\'')
}
