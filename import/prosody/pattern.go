package prosody

import (
	"bytes"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

const (
	maxCaptures     = 32
	maxPatternDepth = 200
)

// A matcher matches Lua's patterns (Lua 5.4 reference manual, 6.4.1). Each
// attempt costs a step of the budget.
type matcher struct {
	l        *lua.LState
	budget   *budget
	s, p     string
	depth    int
	captures []capture
}

type capture struct{ start, size int } // size is open, place, or the length

const (
	open  = -1
	place = -2
)

func (m *matcher) step() {
	if m.budget.Done() != nil {
		m.l.RaiseError("%v", m.budget.Err())
	}
}

func (m *matcher) fail(text string) { m.l.RaiseError("pattern %q: %s", m.p, text) }

// match matches the pattern from p on against the text from s on. It returns
// the end of the match, or -1.
func (m *matcher) match(s, p int) int {
	if m.depth++; m.depth > maxPatternDepth {
		m.fail("too complex")
	}
	defer func() { m.depth-- }()
	for p < len(m.p) {
		m.step()
		switch c := m.p[p]; {
		case c == '(':
			size, skip := open, 1
			if p+1 < len(m.p) && m.p[p+1] == ')' {
				size, skip = place, 2
			}
			if len(m.captures) == maxCaptures {
				m.fail("too many captures")
			}
			m.captures = append(m.captures, capture{s, size})
			n := len(m.captures)
			if end := m.match(s, p+skip); end >= 0 {
				return end
			}
			m.captures = m.captures[:n-1]
			return -1
		case c == ')':
			i := len(m.captures) - 1
			for i >= 0 && m.captures[i].size != open {
				i--
			}
			if i < 0 {
				m.fail("unexpected )")
			}
			m.captures[i].size = s - m.captures[i].start
			if end := m.match(s, p+1); end >= 0 {
				return end
			}
			m.captures[i].size = open
			return -1
		case c == '$' && p+1 == len(m.p):
			if s == len(m.s) {
				return s
			}
			return -1
		case c == '%' && p+1 < len(m.p) && strings.IndexByte("bf123456789", m.p[p+1]) >= 0:
			m.fail("%b, %f and back references are not supported in an imported configuration")
		}
		end := m.classEnd(p)
		suffix := byte(0)
		if end < len(m.p) {
			suffix = m.p[end]
		}
		switch suffix {
		case '?':
			if s < len(m.s) && m.single(s, p, end) {
				if e := m.match(s+1, end+1); e >= 0 {
					return e
				}
			}
			p = end + 1
		case '*', '+':
			n := 0
			for s+n < len(m.s) && m.single(s+n, p, end) {
				m.step()
				n++
			}
			least := 0
			if suffix == '+' {
				least = 1
			}
			for ; n >= least; n-- {
				if e := m.match(s+n, end+1); e >= 0 {
					return e
				}
			}
			return -1
		case '-':
			for {
				if e := m.match(s, end+1); e >= 0 {
					return e
				}
				if s >= len(m.s) || !m.single(s, p, end) {
					return -1
				}
				s++
			}
		default:
			if s >= len(m.s) || !m.single(s, p, end) {
				return -1
			}
			s, p = s+1, end
		}
	}
	return s
}

// classEnd returns the end of the single character class at p.
func (m *matcher) classEnd(p int) int {
	c := m.p[p]
	p++
	if c == '%' {
		if p == len(m.p) {
			m.fail("ends with %")
		}
		return p + 1
	}
	if c != '[' {
		return p
	}
	if p < len(m.p) && m.p[p] == '^' {
		p++
	}
	for first := true; ; first = false {
		if p >= len(m.p) {
			m.fail("[ without ]")
		}
		c := m.p[p]
		p++
		if c == ']' && !first {
			return p
		}
		if c == '%' {
			p++
		}
	}
}

func (m *matcher) single(s, p, end int) bool {
	c := m.s[s]
	switch m.p[p] {
	case '.':
		return true
	case '%':
		return class(c, m.p[p+1])
	case '[':
		return set(c, m.p[p+1:end-1])
	}
	return m.p[p] == c
}

func set(c byte, body string) bool {
	negate := strings.HasPrefix(body, "^")
	if negate {
		body = body[1:]
	}
	for i := 0; i < len(body); i++ {
		switch {
		case body[i] == '%' && i+1 < len(body):
			i++
			if class(c, body[i]) {
				return !negate
			}
		case i+2 < len(body) && body[i+1] == '-':
			if body[i] <= c && c <= body[i+2] {
				return !negate
			}
			i += 2
		case body[i] == c:
			return !negate
		}
	}
	return negate
}

func class(c, name byte) bool {
	lower, upper, digit := c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9'
	in := false
	switch name | 0x20 {
	case 'a':
		in = lower || upper
	case 'd':
		in = digit
	case 'l':
		in = lower
	case 'u':
		in = upper
	case 'w':
		in = lower || upper || digit
	case 's':
		in = c == ' ' || c >= '\t' && c <= '\r'
	case 'p':
		in = c > ' ' && c < 0x7f && !lower && !upper && !digit
	case 'c':
		in = c < ' ' || c == 0x7f
	case 'x':
		in = digit || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
	case 'g':
		in = c > ' ' && c < 0x7f
	default:
		return name == c
	}
	return in != (name&0x20 == 0)
}

// find returns the first match at or after from.
func (m *matcher) find(from int) (start, end int) {
	p := 0
	if strings.HasPrefix(m.p, "^") {
		p = 1
	}
	for s := from; s <= len(m.s); s++ {
		m.captures = m.captures[:0]
		if end := m.match(s, p); end >= 0 {
			return s, end
		}
		if p == 1 {
			break
		}
	}
	return -1, -1
}

// push pushes the captures, or the whole match if there are none.
func (m *matcher) push(start, end int, whole bool) int {
	if len(m.captures) == 0 && whole {
		m.l.Push(lua.LString(m.s[start:end]))
		return 1
	}
	for i := range m.captures {
		m.l.Push(m.capture(i))
	}
	return len(m.captures)
}

func (m *matcher) capture(i int) lua.LValue {
	c := m.captures[i]
	if c.size == place {
		return lua.LNumber(c.start + 1)
	}
	if c.size == open {
		m.fail("unfinished capture")
	}
	m.budget.charge(m.l, c.size)
	return lua.LString(m.s[c.start : c.start+c.size])
}

// patterns adds the functions of the string library that take a pattern.
func (e *evaluation) patterns(t *lua.LTable, set func(*lua.LTable, string, lua.LGFunction)) {
	matcher := func(l *lua.LState) *matcher {
		return &matcher{l: l, budget: e.budget, s: l.CheckString(1), p: l.CheckString(2)}
	}
	from := func(l *lua.LState, s string) int {
		n := l.OptInt(3, 1)
		if n < 0 {
			n = len(s) + n + 1
		}
		return min(max(n, 1)-1, len(s))
	}
	set(t, "find", func(l *lua.LState) int {
		m := matcher(l)
		at := from(l, m.s)
		if l.ToBool(4) {
			if i := strings.Index(m.s[at:], m.p); i >= 0 {
				l.Push(lua.LNumber(at + i + 1))
				l.Push(lua.LNumber(at + i + len(m.p)))
				return 2
			}
			l.Push(lua.LNil)
			return 1
		}
		start, end := m.find(at)
		if start < 0 {
			l.Push(lua.LNil)
			return 1
		}
		l.Push(lua.LNumber(start + 1))
		l.Push(lua.LNumber(end))
		return 2 + m.push(start, end, false)
	})
	set(t, "match", func(l *lua.LState) int {
		m := matcher(l)
		start, end := m.find(from(l, m.s))
		if start < 0 {
			l.Push(lua.LNil)
			return 1
		}
		return m.push(start, end, true)
	})
	set(t, "gmatch", func(l *lua.LState) int {
		m, at, last := matcher(l), 0, -1
		l.Push(l.NewFunction(func(l *lua.LState) int {
			m.l = l
			for at <= len(m.s) {
				start, end := m.find(at)
				if start < 0 {
					break
				}
				if end == start {
					at = end + 1
				} else {
					at = end
				}
				if end == start && end == last {
					continue
				}
				last = end
				return m.push(start, end, true)
			}
			at = len(m.s) + 1
			l.Push(lua.LNil)
			return 1
		}))
		return 1
	})
	set(t, "gsub", func(l *lua.LState) int {
		m, repl := matcher(l), l.CheckString(3)
		most := l.OptInt(4, len(m.s)+1)
		var out bytes.Buffer
		n, at := 0, 0
		for n < most {
			start, end := m.find(at)
			if start < 0 {
				break
			}
			n++
			out.WriteString(m.s[at:start])
			m.replace(&out, repl, start, end)
			e.budget.text(l, out.Len())
			at = end
			if end == start {
				if at >= len(m.s) {
					at++
					break
				}
				out.WriteByte(m.s[at])
				at++
			}
			if strings.HasPrefix(m.p, "^") {
				break
			}
		}
		if at < len(m.s) {
			out.WriteString(m.s[at:])
		}
		e.budget.text(l, out.Len())
		l.Push(lua.LString(out.String()))
		l.Push(lua.LNumber(n))
		return 2
	})
}

func (m *matcher) replace(out *bytes.Buffer, repl string, start, end int) {
	for i := 0; i < len(repl); i++ {
		if repl[i] != '%' || i+1 == len(repl) {
			out.WriteByte(repl[i])
			continue
		}
		i++
		switch c := repl[i]; {
		case c == '0' || c == '1' && len(m.captures) == 0:
			out.WriteString(m.s[start:end])
		case c >= '1' && c <= '9' && int(c-'1') < len(m.captures):
			out.WriteString(m.capture(int(c - '1')).String())
		default:
			out.WriteByte(c)
		}
	}
}
