package prosody

import (
	"errors"
	"io/fs"
	"path"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// library returns the Lua functions that a configuration may call to choose and
// join values. Functions that reach outside, load code or use unbounded
// resources exist only by name and raise an error.
func (e *evaluation) library() *lua.LTable {
	l := e.l
	g := l.NewTable()
	set := func(t *lua.LTable, name string, f lua.LGFunction) { t.RawSetString(name, l.NewFunction(f)) }
	set(g, concatName, e.budget.concat)
	set(g, indexName, e.budget.index)
	set(g, equalName, equal)
	set(g, "assert", func(l *lua.LState) int {
		if !l.ToBool(1) {
			l.RaiseError("%s", l.OptString(2, "assertion failed!"))
		}
		return l.GetTop()
	})
	set(g, "error", func(l *lua.LState) int { l.Error(l.Get(1), l.OptInt(2, 1)); return 0 })
	set(g, "type", func(l *lua.LState) int { l.Push(lua.LString(l.CheckAny(1).Type().String())); return 1 })
	set(g, "tostring", func(l *lua.LState) int {
		switch v := l.CheckAny(1); v.Type() {
		case lua.LTString, lua.LTNumber, lua.LTBool, lua.LTNil:
			l.Push(lua.LString(v.String()))
		default:
			l.Push(lua.LString(v.Type().String()))
		}
		return 1
	})
	set(g, "tonumber", func(l *lua.LState) int {
		switch v := l.CheckAny(1).(type) {
		case lua.LNumber:
			l.Push(v)
			return 1
		case lua.LString:
			if l.GetTop() > 1 && l.CheckInt(2) != 10 {
				if n, err := strconv.ParseInt(strings.TrimSpace(string(v)), max(2, min(36, l.CheckInt(2))), 64); err == nil {
					l.Push(lua.LNumber(n))
					return 1
				}
			} else if n, err := strconv.ParseFloat(strings.TrimSpace(string(v)), 64); err == nil {
				l.Push(lua.LNumber(n))
				return 1
			}
		}
		l.Push(lua.LNil)
		return 1
	})
	next := l.NewFunction(func(l *lua.LState) int {
		k, v := l.CheckTable(1).Next(l.Get(2))
		l.Push(k)
		l.Push(v)
		return 2
	})
	g.RawSetString("next", next)
	set(g, "pairs", func(l *lua.LState) int {
		l.Push(next)
		l.Push(l.CheckTable(1))
		l.Push(lua.LNil)
		return 3
	})
	step := l.NewFunction(func(l *lua.LState) int {
		n := l.CheckInt(2) + 1
		v := l.GetTable(l.CheckTable(1), lua.LNumber(n))
		if v == lua.LNil {
			l.Push(lua.LNil)
			return 1
		}
		l.Push(lua.LNumber(n))
		l.Push(v)
		return 2
	})
	set(g, "ipairs", func(l *lua.LState) int {
		l.Push(step)
		l.Push(l.CheckTable(1))
		l.Push(lua.LNumber(0))
		return 3
	})
	set(g, "pcall", func(l *lua.LState) int {
		f := l.CheckAny(1)
		var args []lua.LValue
		for i := 2; i <= l.GetTop(); i++ {
			args = append(args, l.Get(i))
		}
		before := l.GetTop()
		l.Push(f)
		for _, a := range args {
			l.Push(a)
		}
		if err := l.PCall(len(args), lua.MultRet, nil); err != nil {
			l.SetTop(before)
			l.Push(lua.LFalse)
			if api, ok := err.(*lua.ApiError); ok && api.Object != nil {
				l.Push(api.Object)
			} else {
				l.Push(lua.LString(err.Error()))
			}
			return 2
		}
		l.Insert(lua.LTrue, before+1)
		return l.GetTop() - before
	})
	set(g, "print", func(*lua.LState) int { return 0 })
	g.RawSetString("table", e.tableLibrary(set))
	g.RawSetString("string", e.stringLibrary(set))
	for _, name := range []string{"io", "package", "debug", "coroutine", "utf8", "bit", "bit32", "prosody"} {
		g.RawSetString(name, e.refused(name))
	}
	for _, name := range []string{"load", "loadstring", "loadfile", "dofile", "setmetatable", "getmetatable", "rawset", "rawget", "select", "unpack", "setfenv", "getfenv", "module", "collectgarbage"} {
		set(g, name, refuse(name))
	}
	set(g, "require", e.require)
	os := e.refused("os")
	set(os, "getenv", func(l *lua.LState) int { l.Push(e.getenv(l.CheckString(1))); return 1 })
	g.RawSetString("os", os)
	set(g.RawGetString("io").(*lua.LTable), "open", e.open)
	// The process type is prosodyctl, since a configuration may wait for
	// something when the server itself starts.
	prosody := g.RawGetString("prosody").(*lua.LTable)
	prosody.RawSetString("process_type", lua.LString("prosodyctl"))
	prosody.RawSetString("config_loaded", lua.LTrue)
	math := e.refused("math")
	set(math, "floor", func(l *lua.LState) int { l.Push(lua.LNumber(floor(float64(l.CheckNumber(1))))); return 1 })
	set(math, "max", func(l *lua.LState) int { l.Push(max(l.CheckNumber(1), l.CheckNumber(2))); return 1 })
	set(math, "min", func(l *lua.LState) int { l.Push(min(l.CheckNumber(1), l.CheckNumber(2))); return 1 })
	g.RawSetString("math", math)
	g.RawSetString("_VERSION", lua.LString("Lua 5.4"))
	return g
}

// open is io.open for reading. It reads the file at once. Its result has read
// ("*a", "*l"), lines and close. A file that cannot be read here has
// placeholder contents; a file that does not exist counts as unset.
func (e *evaluation) open(l *lua.LState) int {
	name := l.CheckString(1)
	if mode := l.OptString(2, "r"); strings.Trim(mode, "rb") != "" {
		l.RaiseError("io.open to write is not available to an imported configuration")
	}
	data, err := e.read(name)
	text, ok := string(data), true
	if err != nil || !path.IsAbs(name) { // a relative path depends on where Prosody was started
		text, ok = e.unknown(input{file, name}, path.IsAbs(name) && errors.Is(err, fs.ErrNotExist))
	}
	if !ok {
		l.Push(lua.LNil)
		l.Push(lua.LString(name + ": no such file"))
		return 2
	}
	rest, f := text, l.NewTable()
	line := func(l *lua.LState) int {
		if rest == "" {
			l.Push(lua.LNil)
			return 1
		}
		var text string
		text, rest, _ = strings.Cut(rest, "\n")
		e.budget.charge(l, len(text))
		l.Push(lua.LString(text))
		return 1
	}
	f.RawSetString("read", l.NewFunction(func(l *lua.LState) int {
		switch strings.TrimPrefix(l.OptString(2, "l"), "*") {
		case "l":
			return line(l)
		case "a":
			text := rest
			rest = ""
			e.budget.text(l, len(text))
			l.Push(lua.LString(text))
			return 1
		}
		l.RaiseError("read: want \"*a\" or \"*l\"")
		return 0
	}))
	f.RawSetString("lines", l.NewFunction(func(l *lua.LState) int { l.Push(l.NewFunction(line)); return 1 }))
	f.RawSetString("close", l.NewFunction(func(l *lua.LState) int { l.Push(lua.LTrue); return 1 }))
	l.Push(f)
	return 1
}

// require supports "stringy" only, which container images use to split their
// variables.
func (e *evaluation) require(l *lua.LState) int {
	if name := l.CheckString(1); name != "stringy" {
		l.RaiseError("require %q is not available to an imported configuration: write the value out", name)
	}
	t := e.refused("stringy")
	t.RawSetString("split", l.NewFunction(func(l *lua.LState) int {
		s, sep := l.CheckString(1), l.CheckString(2)
		if sep == "" {
			l.RaiseError("stringy.split: an empty separator")
		}
		parts := l.NewTable()
		for part := range strings.SplitSeq(s, sep) {
			e.budget.charge(l, 32)
			parts.Append(lua.LString(part))
		}
		l.Push(parts)
		return 1
	}))
	l.Push(t)
	return 1
}

func refuse(name string) lua.LGFunction {
	return func(l *lua.LState) int {
		l.RaiseError("%s is not available to an imported configuration: write the value out", name)
		return 0
	}
}

// refused returns a library whose functions raise an error unless they are set
// later.
func (e *evaluation) refused(name string) *lua.LTable {
	t, mt := e.l.NewTable(), e.l.NewTable()
	mt.RawSetString("__index", e.l.NewFunction(func(l *lua.LState) int {
		return refuse(name + "." + l.Get(2).String())(l)
	}))
	t.Metatable = mt
	return t
}

func (e *evaluation) tableLibrary(set func(*lua.LTable, string, lua.LGFunction)) *lua.LTable {
	t := e.refused("table")
	set(t, "insert", func(l *lua.LState) int {
		list := l.CheckTable(1)
		n := list.Len()
		at, v := n+1, l.Get(2)
		if l.GetTop() > 2 {
			at, v = l.CheckInt(2), l.Get(3)
		}
		if at < 1 || at > n+1 || n >= maxIndex {
			l.RaiseError("table.insert: position %d of a list of %d", at, n)
		}
		e.budget.charge(l, 16*(n+1-at+1))
		list.Insert(at, v)
		return 0
	})
	set(t, "concat", func(l *lua.LState) int {
		list, sep := l.CheckTable(1), l.OptString(2, "")
		size := 0
		var parts []string
		for i := 1; i <= list.Len(); i++ {
			v := list.RawGetInt(i)
			if v.Type() != lua.LTString && v.Type() != lua.LTNumber {
				l.RaiseError("table.concat: item %d is a %s", i, v.Type())
			}
			size += len(v.String()) + len(sep)
			if size > maxString {
				e.budget.text(l, size)
			}
			parts = append(parts, v.String())
		}
		e.budget.text(l, size)
		l.Push(lua.LString(strings.Join(parts, sep)))
		return 1
	})
	return t
}

func (e *evaluation) stringLibrary(set func(*lua.LTable, string, lua.LGFunction)) *lua.LTable {
	t := e.refused("string")
	text := func(l *lua.LState, s string) int {
		e.budget.text(l, len(s))
		l.Push(lua.LString(s))
		return 1
	}
	set(t, "lower", func(l *lua.LState) int { return text(l, strings.ToLower(l.CheckString(1))) })
	set(t, "upper", func(l *lua.LState) int { return text(l, strings.ToUpper(l.CheckString(1))) })
	set(t, "len", func(l *lua.LState) int { l.Push(lua.LNumber(len(l.CheckString(1)))); return 1 })
	set(t, "rep", func(l *lua.LState) int {
		s, n := l.CheckString(1), max(0, l.CheckInt(2))
		if n > maxString || len(s)*n > maxString {
			e.budget.text(l, maxString+1)
		}
		return text(l, strings.Repeat(s, n))
	})
	set(t, "sub", func(l *lua.LState) int {
		s := l.CheckString(1)
		from, to := l.CheckInt(2), l.OptInt(3, -1)
		if from < 0 {
			from = max(len(s)+from+1, 1)
		}
		if to < 0 {
			to = len(s) + to + 1
		}
		from, to = max(from, 1), min(to, len(s))
		if from > to {
			return text(l, "")
		}
		return text(l, s[from-1:to])
	})
	set(t, "format", func(l *lua.LState) int { return text(l, format(l)) })
	e.patterns(t, set)
	mt := e.l.NewTable()
	mt.RawSetString("__index", t)
	e.l.SetMetatable(lua.LString(""), mt)
	return t
}

// format supports %s, %d, %q and %%, without widths.
func format(l *lua.LState) string {
	var b strings.Builder
	s, arg := l.CheckString(1), 2
	for i := 0; i < len(s); i++ {
		if s[i] != '%' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case '%':
			b.WriteByte('%')
			continue
		case 's':
			b.WriteString(l.CheckAny(arg).String())
		case 'd':
			b.WriteString(strconv.FormatInt(int64(l.CheckNumber(arg)), 10))
		case 'q':
			b.WriteString(strconv.Quote(l.CheckString(arg)))
		default:
			l.RaiseError("string.format: %%%c is not available to an imported configuration", s[i])
		}
		arg++
		if b.Len() > maxString {
			l.RaiseError("string.format: more than %d bytes", maxString)
		}
	}
	return b.String()
}

func floor(x float64) float64 {
	n := float64(int64(x))
	if n > x {
		n--
	}
	return n
}
