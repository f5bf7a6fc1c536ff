package prosody

import (
	"bytes"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// portable rewrites syntax that Lua 5.4 adds to Lua 5.1, so that the parser,
// which knows only Lua 5.1, can read it: escapes in strings, and constants.
// Other additions are refused by name, because the parser would silently read
// some of them differently.
func portable(name string, source []byte) ([]byte, error) {
	out := make([]byte, 0, len(source))
	line := 1
	for i := 0; i < len(source); {
		n, err := token(source[i:])
		if n == 1 && err == "" {
			n, err = newer(source[i:])
		}
		if err != "" {
			return nil, fmt.Errorf("%s:%d: %s", name, line, err)
		}
		part := source[i : i+n]
		switch lines := bytes.Count(part, []byte("\n")); {
		case (part[0] == '"' || part[0] == '\'') && bytes.IndexByte(part, '\\') >= 0:
			before := len(out)
			if out, err = decimal(out, part); err != "" {
				return nil, fmt.Errorf("%s:%d: %s", name, line, err)
			}
			for range lines - bytes.Count(out[before:], []byte("\n")) {
				out = append(out, '\n') // keeps the line numbers of the following text
			}
			line += lines
		case part[0] == '<' && n > 1: // an attribute, which changes no value
			out = append(out, bytes.Repeat([]byte(" "), n)...)
		default:
			out = append(out, part...)
			line += lines
		}
		i += n
	}
	return out, nil
}

// newer returns the length of the next token outside strings and comments: one
// byte, or more for an attribute of a local variable. It refuses operators that
// Lua 5.1 does not have.
func newer(s []byte) (n int, err string) {
	operator := func(text, is string) (int, string) {
		return 0, fmt.Sprintf("%s is %s of Lua 5.3 and later, which is not supported in an imported configuration: write the value out", text, is)
	}
	followed := func(c byte) bool { return len(s) > 1 && s[1] == c }
	switch c := s[0]; {
	case c == '/' && followed('/'):
		return operator("//", "the integer division")
	case c == '<' && followed('<'), c == '>' && followed('>'):
		return operator(string(s[:2]), "a bitwise operator")
	case c == '&', c == '|':
		return operator(string(s[:1]), "a bitwise operator")
	case c == '~' && followed('='):
		return 2, ""
	case c == '~':
		return operator("~", "a bitwise operator")
	case c == '<':
		inside, _, closed := bytes.Cut(s[1:min(len(s), maxAttribute)], []byte(">"))
		switch attribute := string(bytes.TrimSpace(inside)); {
		case closed && attribute == "const" && !bytes.ContainsRune(inside, '\n'):
			return len(inside) + 2, ""
		case closed && attribute == "close":
			return 0, "<close> marks a to-be-closed variable of Lua 5.4, which is not supported in an imported configuration"
		}
	}
	return 1, ""
}

// maxAttribute bounds the length of an attribute.
const maxAttribute = 32

// token returns the length of a string or a comment, or 1 for anything else.
func token(s []byte) (n int, err string) {
	long := func(from int) (int, bool) {
		level := from + 1
		for level < len(s) && s[level] == '=' {
			level++
		}
		if from >= len(s) || s[from] != '[' || level >= len(s) || s[level] != '[' {
			return 0, false
		}
		end := append(append([]byte("]"), s[from+1:level]...), ']')
		if i := bytes.Index(s[level:], end); i >= 0 {
			return level + i + len(end), true
		}
		return len(s), true
	}
	switch {
	case s[0] == '[':
		if n, ok := long(0); ok {
			return n, ""
		}
	case bytes.HasPrefix(s, []byte("--")):
		if n, ok := long(2); ok {
			return n, ""
		}
		if i := bytes.IndexByte(s, '\n'); i >= 0 {
			return i, ""
		}
		return len(s), ""
	case s[0] == '"' || s[0] == '\'':
		for i := 1; i < len(s); i++ {
			switch s[i] {
			case '\\':
				if i++; i < len(s) && s[i] == 'z' {
					i += spaces(s[i+1:])
				}
			case s[0]:
				return i + 1, ""
			case '\n':
				return 0, "unfinished string"
			}
		}
		return 0, "unfinished string"
	}
	return 1, ""
}

// spaces returns the number of white-space bytes at the start of s.
func spaces(s []byte) int { return len(s) - len(bytes.TrimLeft(s, " \t\r\n\v\f")) }

// decimal rewrites \xHH and \u{…} in a string as \DDD, and removes \z with the
// white space after it.
func decimal(out, s []byte) ([]byte, string) {
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			out = append(out, s[i])
			continue
		}
		i++
		switch s[i] {
		case 'x':
			if i+2 >= len(s) {
				return out, "\\x needs two hexadecimal digits"
			}
			c, err := strconv.ParseUint(string(s[i+1:i+3]), 16, 8)
			if err != nil {
				return out, "\\x needs two hexadecimal digits"
			}
			out = fmt.Appendf(out, "\\%03d", c)
			i += 2
		case 'u':
			digits, _, closed := bytes.Cut(s[i+1:], []byte("}"))
			c, err := strconv.ParseUint(string(bytes.TrimPrefix(digits, []byte("{"))), 16, 32)
			if !closed || err != nil || digits[0] != '{' || !utf8.ValidRune(rune(c)) {
				return out, "\\u needs a character's number in hexadecimal digits: \\u{XXX}"
			}
			for _, b := range utf8.AppendRune(nil, rune(c)) {
				out = fmt.Appendf(out, "\\%03d", b)
			}
			i += len(digits) + 1
		case 'z':
			i += spaces(s[i+1:])
		default:
			out = append(out, '\\', s[i])
		}
	}
	return out, ""
}
