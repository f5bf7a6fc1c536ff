package prosody

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	maxDatum      = 1 << 20 // bytes of one stored file
	maxDatumDepth = 32
	maxDatumItems = 100_000
)

// A datum is a table as Prosody stores it. Its values are string, bool, float64
// or datum. A key that is a number is its text with "#" before it.
type datum map[string]any

// parseDatum parses the subset of Lua that Prosody's util.serialization writes:
// one returned table of strings, numbers, booleans and tables. Anything else,
// such as a call or an operator, is an error. Nothing is ever executed.
func parseDatum(data []byte) (datum, error) {
	if len(data) > maxDatum {
		return nil, fmt.Errorf("%d bytes: at most %d", len(data), maxDatum)
	}
	r := &datumReader{s: string(data), line: 1}
	r.space()
	if r.word() != "return" {
		return nil, r.errorf("want \"return\"")
	}
	v, err := r.value(0)
	if err != nil {
		return nil, err
	}
	d, ok := v.(datum)
	if !ok {
		return nil, r.errorf("want a table")
	}
	r.space()
	if r.take(";") {
		r.space()
	}
	if r.at < len(r.s) {
		return nil, r.errorf("unexpected text after the table")
	}
	return d, nil
}

type datumReader struct {
	s     string
	at    int
	line  int
	items int
}

func (r *datumReader) errorf(format string, args ...any) error {
	return fmt.Errorf("line %d: %s", 1+strings.Count(r.s[:min(r.at, len(r.s))], "\n"), fmt.Sprintf(format, args...))
}

// space skips white space and comments to the end of a line.
func (r *datumReader) space() {
	for r.at < len(r.s) {
		switch rest := r.s[r.at:]; {
		case strings.IndexByte(" \t\r\n\f\v", rest[0]) >= 0:
			r.at++
		case strings.HasPrefix(rest, "--") && !strings.HasPrefix(rest, "--["):
			n := strings.IndexByte(rest, '\n')
			if n < 0 {
				n = len(rest)
			}
			r.at += n
		default:
			return
		}
	}
}

func (r *datumReader) take(s string) bool {
	if !strings.HasPrefix(r.s[r.at:], s) {
		return false
	}
	r.at += len(s)
	return true
}

func (r *datumReader) need(s string) error {
	r.space()
	if !r.take(s) {
		return r.errorf("want %q", s)
	}
	return nil
}

// word reads a name. It returns "" if there is none.
func (r *datumReader) word() string {
	start := r.at
	for r.at < len(r.s) {
		c := r.s[r.at]
		if c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') && (r.at == start || c < '0' || c > '9') {
			break
		}
		r.at++
	}
	return r.s[start:r.at]
}

func (r *datumReader) value(depth int) (any, error) {
	if depth > maxDatumDepth {
		return nil, r.errorf("tables nested more than %d deep", maxDatumDepth)
	}
	r.space()
	if r.at == len(r.s) {
		return nil, r.errorf("the file ends within a value")
	}
	switch c := r.s[r.at]; {
	case c == '{':
		return r.table(depth)
	case c == '"' || c == '\'':
		return r.text(c)
	case c == '-' || c == '.' || c >= '0' && c <= '9':
		return r.number()
	case c == '(':
		for _, special := range []string{"(1/0)", "(-1/0)", "(0/0)"} {
			if r.take(special) {
				return 0.0, nil // no role or account data contains such a number
			}
		}
		return nil, r.errorf("an expression is not a stored value")
	}
	switch w := r.word(); w {
	case "true", "false":
		return w == "true", nil
	case "nil":
		return nil, nil
	default:
		return nil, r.errorf("%q is not a stored value", w)
	}
}

func (r *datumReader) number() (any, error) {
	start := r.at
	for r.at < len(r.s) && strings.IndexByte("+-.0123456789abcdefABCDEFxXpP", r.s[r.at]) >= 0 {
		r.at++
	}
	text := r.s[start:r.at]
	if n, err := strconv.ParseInt(text, 0, 64); err == nil {
		return float64(n), nil
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil, r.errorf("%q is not a number", text)
	}
	return n, nil
}

func (r *datumReader) text(quote byte) (any, error) {
	var b strings.Builder
	for r.at++; r.at < len(r.s); r.at++ {
		c := r.s[r.at]
		switch {
		case c == quote:
			r.at++
			return b.String(), nil
		case c == '\n':
			return nil, r.errorf("unfinished string")
		case c != '\\':
			b.WriteByte(c)
		default:
			if err := r.escape(&b); err != nil {
				return nil, err
			}
		}
	}
	return nil, r.errorf("unfinished string")
}

// escape reads the characters after a backslash, up to their last byte.
func (r *datumReader) escape(b *strings.Builder) error {
	r.at++
	if r.at == len(r.s) {
		return r.errorf("unfinished string")
	}
	c := r.s[r.at]
	if i := strings.IndexByte("abfnrtv\\\"'\n", c); i >= 0 {
		b.WriteByte("\a\b\f\n\r\t\v\\\"'\n"[i])
		return nil
	}
	digits, base := "", 10
	if c == 'x' && r.at+2 < len(r.s) {
		digits, base = r.s[r.at+1:r.at+3], 16
		r.at += 2
	} else {
		for len(digits) < 3 && r.at < len(r.s) && r.s[r.at] >= '0' && r.s[r.at] <= '9' {
			digits += r.s[r.at : r.at+1]
			r.at++
		}
		r.at--
	}
	n, err := strconv.ParseUint(digits, base, 8)
	if err != nil {
		return r.errorf("unknown escape in a string")
	}
	b.WriteByte(byte(n))
	return nil
}

func (r *datumReader) table(depth int) (any, error) {
	r.at++
	d, index := datum{}, 0
	for {
		r.space()
		if r.take("}") {
			return d, nil
		}
		if r.items++; r.items > maxDatumItems {
			return nil, r.errorf("more than %d values", maxDatumItems)
		}
		key, err := r.key(depth)
		if err != nil {
			return nil, err
		}
		v, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		if key == "" {
			index++
			key = "#" + strconv.Itoa(index)
		}
		key = strings.TrimPrefix(key, "$")
		if _, twice := d[key]; twice {
			return nil, r.errorf("a key is set twice")
		}
		if v != nil {
			d[key] = v
		}
		r.space()
		if r.take(";") || r.take(",") {
			continue
		}
		if err := r.need("}"); err != nil {
			return nil, err
		}
		return d, nil
	}
}

// key reads a key and its "=". It returns "" if the value has no key. It puts
// "$" before a key that is a string.
func (r *datumReader) key(depth int) (string, error) {
	if r.take("[") {
		v, err := r.value(depth + 1)
		if err != nil {
			return "", err
		}
		if err := r.need("]"); err != nil {
			return "", err
		}
		switch v := v.(type) {
		case string:
			return "$" + v, r.need("=")
		case float64:
			return "#" + strconv.FormatFloat(v, 'g', -1, 64), r.need("=")
		case bool:
			return "#" + strconv.FormatBool(v), r.need("=")
		}
		return "", r.errorf("not a valid key")
	}
	before := r.at
	if w := r.word(); w != "" {
		r.space()
		if r.take("=") {
			return "$" + w, nil
		}
	}
	r.at = before
	return "", nil
}

// encode returns the name that Prosody gives to the file of a host or account.
func encode(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}

// decode is the inverse of encode.
func decode(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", fmt.Errorf("%q ends in the middle of an escape", s)
		}
		n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", fmt.Errorf("%q has an invalid escape", s)
		}
		b.WriteByte(byte(n))
		i += 2
	}
	return b.String(), nil
}
