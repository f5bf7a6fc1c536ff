package stream

import "unicode/utf8"

// AppendEscaped appends s as character data or the inside of a quoted attribute
// value, so that a parser reports s. Control characters and invalid UTF-8,
// which XML cannot carry, become U+FFFD.
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
			var b [utf8.UTFMax]byte
			r, n := utf8.DecodeRune(b[:copy(b[:], s[i:])])
			if !isChar(r) {
				r = utf8.RuneError
			}
			dst = utf8.AppendRune(dst, r)
			i += n
			continue
		}
		i++
	}
	return dst
}

// AppendAttr appends a space and name='value', with the value escaped. The
// caller must supply a valid name.
func AppendAttr[T ~string | ~[]byte](dst []byte, name string, value T) []byte {
	dst = append(dst, ' ')
	dst = append(dst, name...)
	dst = append(dst, "='"...)
	dst = AppendEscaped(dst, value)
	return append(dst, '\'')
}
