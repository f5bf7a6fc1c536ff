package prosody

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// environment returns the globals of one file, as core/configmanager.lua
// defines them.
func (e *evaluation) environment(file string) *lua.LTable {
	l := e.l
	env, mt := l.NewTable(), l.NewTable()
	at := &section{global}
	set := func(f lua.LGFunction, names ...string) {
		for _, name := range names {
			env.RawSetString(name, l.NewFunction(f))
		}
	}
	set(e.budget.concat, concatName)
	set(e.budget.index, indexName)
	set(equal, equalName)
	set(func(l *lua.LState) int { return e.virtualHost(at) }, "VirtualHost", "Host", "host")
	set(func(l *lua.LState) int { return e.component(at) }, "Component", "component")
	set(func(l *lua.LState) int { e.include(file, l.CheckString(1)); return 0 }, "Include", "include")
	set(func(l *lua.LState) int { return e.script(resolve(file, l.CheckString(1))) }, "RunScript")
	contents := func(l *lua.LState) string {
		text, ok := e.contents(resolve(file, l.CheckString(1)))
		if !ok {
			l.RaiseError("%s: no such file", l.CheckString(1))
		}
		e.budget.text(l, len(text))
		return text
	}
	set(func(l *lua.LState) int { l.Push(lua.LString(contents(l))); return 1 }, "FileContents")
	set(func(l *lua.LState) int {
		line, _, _ := strings.Cut(contents(l), "\n")
		l.Push(lua.LString(line))
		return 1
	}, "FileLine")
	set(func(l *lua.LState) int {
		t := l.NewTable()
		for line := range strings.Lines(contents(l)) {
			e.budget.charge(l, 32)
			t.Append(lua.LString(strings.TrimSuffix(line, "\n")))
		}
		l.Push(t)
		return 1
	}, "FileLines")
	set(func(l *lua.LState) int {
		text, ok := e.credential(l.CheckString(1))
		if !ok {
			l.RaiseError("%s: no such credential", l.CheckString(1))
		}
		e.budget.text(l, len(text))
		l.Push(lua.LString(text))
		return 1
	}, "Credential")
	mt.RawSetString("__index", l.NewFunction(func(l *lua.LState) int { l.Push(e.global(at, l.Get(2).String())); return 1 }))
	mt.RawSetString("__newindex", l.NewFunction(func(l *lua.LState) int {
		e.set(at.host, l.Get(2).String(), l.Get(3))
		return 0
	}))
	env.Metatable = mt
	return env
}

// global returns the value of a name that is not a local variable.
func (e *evaluation) global(at *section, name string) lua.LValue {
	if variable, ok := strings.CutPrefix(name, "ENV_"); ok {
		return e.getenv(variable)
	}
	if name == "Lua" {
		return e.lib
	}
	v := e.config.own(at.host, name)
	if t, ok := v.(*lua.LTable); ok {
		return e.option(t)
	}
	if v != lua.LNil {
		return v
	}
	if v = e.lib.RawGetString(name); v == lua.LNil {
		e.find(Info, name+" is not set: are quotes missing around it?", "")
	}
	return v
}

// option returns the object that a configuration gets when it reads a list it
// has set. Items can be added with :append or by calling the object.
func (e *evaluation) option(t *lua.LTable) lua.LValue {
	l := e.l
	proxy, mt, methods := l.NewTable(), l.NewTable(), l.NewTable()
	add := l.NewFunction(func(l *lua.LState) int {
		e.append(t, l.Get(2))
		l.Push(proxy)
		return 1
	})
	methods.RawSetString("append", add)
	methods.RawSetString("value", l.NewFunction(func(l *lua.LState) int { l.Push(t); return 1 }))
	mt.RawSetString("__call", add)
	mt.RawSetString("__index", l.NewFunction(func(l *lua.LState) int {
		m := methods.RawGetString(l.Get(2).String())
		if m == lua.LNil {
			l.RaiseError("unknown operation on an option: %s", l.Get(2).String())
		}
		l.Push(m)
		return 1
	}))
	proxy.Metatable = mt
	return proxy
}

func (e *evaluation) append(t *lua.LTable, v lua.LValue) {
	more, ok := v.(*lua.LTable)
	if !ok {
		e.l.RaiseError("only a list can be added to an option; is a '=' missing?")
	}
	if more.RawGetInt(1) != lua.LNil {
		items := list(more)
		e.budget.charge(e.l, 32*(len(items)+1))
		for _, item := range items {
			t.Append(item)
		}
		return
	}
	more.ForEach(func(k, v lua.LValue) {
		e.budget.charge(e.l, 64)
		t.RawSet(k, v)
	})
}

// include runs other files, in the order of their names. Prosody uses the order
// of the directory.
func (e *evaluation) include(file, name string) {
	full := resolve(file, name)
	if !strings.ContainsAny(path.Base(name), "*?") {
		if err := e.run(full); err != nil {
			e.l.RaiseError("%v", err)
		}
		return
	}
	dir, err := e.inside(path.Dir(full))
	if err != nil {
		e.l.RaiseError("%v", err)
	}
	entries, err := fs.ReadDir(e.source.Config, dir)
	if err != nil {
		e.l.RaiseError("Include %q: %v", name, reason(err))
	}
	within, before := e.within, e.file
	e.includes++
	e.within = e.includes
	defer func() { e.within, e.file = within, before }()
	for _, entry := range entries {
		e.file = entry.Name()
		if !strings.HasPrefix(entry.Name(), ".") && glob(path.Base(name), entry.Name()) {
			if err := e.run(path.Join(path.Dir(full), entry.Name())); err != nil {
				e.l.RaiseError("%v", err)
			}
		}
	}
}

// inside returns a directory's path within source.Config.
func (e *evaluation) inside(dir string) (string, error) {
	root := path.Clean(e.source.Root)
	switch rest, ok := strings.CutPrefix(dir, strings.TrimSuffix(root, "/")+"/"); {
	case path.IsAbs(dir) && dir == root:
		return ".", nil
	case path.IsAbs(dir) && ok && e.source.Root != "":
		return rest, nil
	case path.IsAbs(dir) || !fs.ValidPath(dir):
		return "", fmt.Errorf("%s is outside the configuration's directory %s: name a directory that contains both with --root", dir, e.source.Root)
	}
	return dir, nil
}

// glob matches a name against a pattern with * and ?. Its time is at most
// proportional to the product of their lengths.
func glob(pattern, name string) bool {
	p, n, star, mark := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			p, n = p+1, n+1
		case star >= 0:
			mark++
			p, n = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// script runs a file without the configuration's environment and returns its
// results.
func (e *evaluation) script(file string) int {
	source, err := e.read(file)
	if err == nil {
		var c chunk
		if c, err = e.chunks.compile(file, source); err == nil {
			f := e.l.NewFunctionFromProto(c.proto)
			f.Env = e.lib
			before := e.l.GetTop()
			e.l.Push(f)
			e.l.Call(0, lua.MultRet)
			return e.l.GetTop() - before
		}
	}
	e.l.RaiseError("%v", err)
	return 0
}

// getenv returns an environment variable, or nil if it is unset or was not
// given.
func (e *evaluation) getenv(name string) lua.LValue {
	v, ok := e.source.Env[name]
	if !ok {
		v, ok = e.unknown(input{variable, name}, true)
	}
	if !ok {
		return lua.LNil
	}
	return lua.LString(v)
}

// contents returns the contents of a file that the configuration uses as a
// value, or a placeholder if the file cannot be read here.
func (e *evaluation) contents(name string) (text string, ok bool) {
	data, err := e.read(name)
	if err != nil {
		return e.unknown(input{file, name}, false)
	}
	return string(data), true
}

// maxCredential bounds the size of a credential. Credentials are passwords and
// keys.
const maxCredential = 1 << 16

// credential returns a file of the directory named by $CREDENTIALS_DIRECTORY,
// or a placeholder if that directory was not given.
func (e *evaluation) credential(name string) (text string, ok bool) {
	if e.source.Credentials != nil && fs.ValidPath(name) {
		data, err := readSome(e.source.Credentials, name, maxCredential)
		if err == nil {
			return string(data), true
		}
	}
	return e.unknown(input{credential, name}, false)
}

// read reads a file in the configuration's directory, by the path that Prosody
// would use.
func (e *evaluation) read(name string) ([]byte, error) {
	inside := name
	if path.IsAbs(name) {
		root := strings.TrimSuffix(path.Clean(e.source.Root), "/") + "/"
		rest, ok := strings.CutPrefix(path.Clean(name), root)
		if !ok || e.source.Root == "" {
			return nil, fmt.Errorf("%s is outside the configuration's directory %s: name a directory that contains both with --root", name, e.source.Root)
		}
		inside = rest
	}
	inside = path.Clean(inside)
	if !fs.ValidPath(inside) {
		return nil, fmt.Errorf("%s is outside the configuration's directory: name a directory that contains both with --root", name)
	}
	if len(e.config.files) >= maxFiles {
		return nil, fmt.Errorf("more than %d files are read", maxFiles)
	}
	data, err := readSome(e.source.Config, inside, maxFile)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	e.budget.memory -= len(data)
	e.config.files = append(e.config.files, inside)
	return data, nil
}

// readSome reads a file of at most the given number of bytes.
func readSome(from fs.FS, name string, most int) ([]byte, error) {
	f, err := from.Open(name)
	if err != nil {
		return nil, reason(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	if err != nil {
		return nil, reason(err)
	}
	if len(data) > most {
		return nil, fmt.Errorf("more than %d bytes", most)
	}
	return data, nil
}

// reason returns the cause of a file error without the name, which the caller
// adds.
func reason(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

// resolve resolves name relative to the directory of file.
func resolve(file, name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join(path.Dir(file), name)
}
