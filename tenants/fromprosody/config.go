package fromprosody

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/postern-im/postern/xmpp/jid"
)

const (
	maxFile     = 1 << 20 // bytes of one file of the configuration
	maxFiles    = 500     // read by one configuration
	maxIncludes = 20      // inside one another
	maxHosts    = 20_000
	maxNotes    = 1000
)

// global is where Prosody keeps options of no host.
const global = "*"

// A config is what Prosody's configuration manager makes of the files: options
// by host, and where each was set last.
type config struct {
	hosts map[string]map[string]lua.LValue
	place map[string]string // host, a NUL and the option → file:line
	order []string          // hosts in the order of the files
	notes []Finding
	// files is what was read, missing the environment variables that were not
	// given.
	files   []string
	missing map[string]bool
}

// get is an option of a host, or the global one.
func (c *config) get(host, option string) lua.LValue {
	if v, ok := c.hosts[host][option]; ok && v != lua.LNil {
		return v
	}
	if v, ok := c.hosts[global][option]; ok {
		return v
	}
	return lua.LNil
}

// own is an option set for that very host.
func (c *config) own(host, option string) lua.LValue {
	if v, ok := c.hosts[host][option]; ok {
		return v
	}
	return lua.LNil
}

// at says where an option of a host stands, be it the host's or global.
func (c *config) at(host, option string) string {
	if p, ok := c.place[host+"\x00"+option]; ok && c.own(host, option) != lua.LNil {
		return p
	}
	return c.place[global+"\x00"+option]
}

// An evaluation runs one configuration.
type evaluation struct {
	l      *lua.LState
	budget *budget
	config *config
	source Source
	lib    *lua.LTable
	depth  int
}

// evaluate runs a configuration as Prosody's configuration manager does, in a
// sandbox.
func evaluate(ctx context.Context, source Source) (c *config, err error) {
	defer func() {
		if r := recover(); r != nil {
			c, err = nil, fmt.Errorf("%s: cannot be evaluated: %v", source.File, r)
		}
	}()
	l := lua.NewState(lua.Options{SkipOpenLibs: true, CallStackSize: maxCalls, RegistrySize: 1024, RegistryMaxSize: maxRegistry, RegistryGrowStep: 256})
	defer l.Close()
	e := &evaluation{l: l, budget: newBudget(ctx), source: source, config: &config{
		hosts: map[string]map[string]lua.LValue{global: {}}, place: map[string]string{}, missing: map[string]bool{},
	}}
	l.SetContext(e.budget)
	e.lib = e.library()
	if err := e.run(source.File); err != nil {
		return nil, err
	}
	return e.config, nil
}

// set stores an option and remembers where that was.
func (e *evaluation) set(host, option string, v lua.LValue) {
	c := e.config
	if c.hosts[host] == nil {
		if len(c.hosts) > maxHosts {
			e.l.RaiseError("more than %d hosts", maxHosts)
		}
		c.hosts[host] = map[string]lua.LValue{}
		c.order = append(c.order, host)
	}
	c.hosts[host][option] = v
	c.place[host+"\x00"+option] = strings.TrimSuffix(e.where(), ":")
}

// where is the line of the configuration that is being run.
func (e *evaluation) where() string {
	for level := 1; level < maxCalls; level++ {
		w := strings.TrimSpace(e.l.Where(level))
		if strings.Contains(w, ":") {
			return strings.TrimSuffix(w, ":")
		}
		if w == "" {
			break
		}
	}
	return e.source.File
}

func (e *evaluation) note(format string, args ...any) {
	if len(e.config.notes) < maxNotes {
		e.config.notes = append(e.config.notes, Finding{Kind: Info, Where: e.where(), Text: fmt.Sprintf(format, args...)})
	}
}

// getenv gives what was given for a variable, and notes that it was asked for.
func (e *evaluation) getenv(name string) lua.LValue {
	if v, ok := e.source.Env[name]; ok {
		return lua.LString(v)
	}
	if !e.config.missing[name] && len(e.config.missing) < maxNotes {
		e.config.missing[name] = true
		e.config.notes = append(e.config.notes, Finding{Kind: Changed, Where: e.where(),
			Text: fmt.Sprintf("the environment variable %s is read and was not given: taken as unset", name),
			Fix:  fmt.Sprintf("give it with --env %s=VALUE if Prosody has it", name)})
	}
	return lua.LNil
}

// read reads a file of the configuration's tree, by the path Prosody would use.
func (e *evaluation) read(name string) ([]byte, error) {
	inside := name
	if path.IsAbs(name) {
		root := strings.TrimSuffix(path.Clean(e.source.Root), "/") + "/"
		rest, ok := strings.CutPrefix(path.Clean(name), root)
		if !ok || e.source.Root == "" {
			return nil, fmt.Errorf("%s stands outside of the configuration's directory %s: name a directory that holds both with --root", name, e.source.Root)
		}
		inside = rest
	}
	inside = path.Clean(inside)
	if !fs.ValidPath(inside) {
		return nil, fmt.Errorf("%s stands outside of the configuration's directory: name a directory that holds both with --root", name)
	}
	if len(e.config.files) >= maxFiles {
		return nil, fmt.Errorf("more than %d files are read", maxFiles)
	}
	f, err := e.source.Config.Open(inside)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, reason(err))
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, reason(err))
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("read %s: more than %d bytes", name, maxFile)
	}
	e.budget.memory -= len(data)
	e.config.files = append(e.config.files, inside)
	return data, nil
}

// reason is the error of a file without its name, which is said already.
func reason(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

// resolve makes a path of a file relative to it.
func resolve(file, name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join(path.Dir(file), name)
}

// run evaluates one file; each has globals of its own and begins in the global
// section.
func (e *evaluation) run(file string) error {
	source, err := e.read(file)
	if err != nil {
		return err
	}
	proto, err := compile(file, source)
	if err != nil {
		return err
	}
	if e.depth++; e.depth > maxIncludes {
		return fmt.Errorf("%s: files include one another more than %d deep", file, maxIncludes)
	}
	defer func() { e.depth-- }()
	f := e.l.NewFunctionFromProto(proto)
	f.Env = e.environment(file)
	e.l.Push(f)
	if err := e.l.PCall(0, 0, nil); err != nil {
		if e.budget.spent != nil {
			return fmt.Errorf("%s: %w", file, e.budget.spent)
		}
		if api, ok := errors.AsType[*lua.ApiError](err); ok && api.Object != nil && api.Object != lua.LNil {
			return errors.New(api.Object.String())
		}
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// A section is the host later options of a file belong to.
type section struct{ host string }

// environment is the globals of one file, as core/configmanager.lua has them.
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
	set(func(l *lua.LState) int { return e.virtualHost(at) }, "VirtualHost", "Host", "host")
	set(func(l *lua.LState) int { return e.component(at) }, "Component", "component")
	set(func(l *lua.LState) int { e.include(file, l.CheckString(1)); return 0 }, "Include", "include")
	set(func(l *lua.LState) int { return e.script(resolve(file, l.CheckString(1))) }, "RunScript")
	contents := func(l *lua.LState) string {
		data, err := e.read(resolve(file, l.CheckString(1)))
		if err != nil {
			l.RaiseError("%v", err)
		}
		e.budget.text(l, len(data))
		return string(data)
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
		e.note("Credential(%q) is a secret and not read", l.CheckString(1))
		l.Push(lua.LNil)
		return 1
	}, "Credential", "Secret")
	mt.RawSetString("__index", l.NewFunction(func(l *lua.LState) int { l.Push(e.global(at, l.Get(2).String())); return 1 }))
	mt.RawSetString("__newindex", l.NewFunction(func(l *lua.LState) int {
		e.set(at.host, l.Get(2).String(), l.Get(3))
		return 0
	}))
	env.Metatable = mt
	return env
}

// global reads a name that is no local one.
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
		e.note("%s is no value anybody set: are quotes missing around it?", name)
	}
	return v
}

// option is what a configuration gets when it reads a list it set before: it
// can be added to, by :append or like a call.
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
		e.l.RaiseError("a list is wanted to add to an option; is a '=' missing?")
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

// list is what ipairs would go through.
func list(v lua.LValue) []lua.LValue {
	t, ok := v.(*lua.LTable)
	if !ok {
		return nil
	}
	var items []lua.LValue
	for i := 1; ; i++ {
		item := t.RawGetInt(i)
		if item == lua.LNil {
			return items
		}
		items = append(items, item)
	}
}

// host prepares a host's name.
func (e *evaluation) host(what string) string {
	name := e.l.OptString(1, "")
	prepared, err := jid.Domain(name)
	if err != nil {
		e.l.RaiseError("%s %q: %v", what, name, err)
	}
	return prepared
}

func (e *evaluation) virtualHost(at *section) int {
	name := e.host("VirtualHost")
	if e.config.own(name, "component_module") != lua.LNil {
		e.l.RaiseError("VirtualHost %q is a Component already", name)
	}
	at.host = name
	e.set(name, "defined", lua.LTrue)
	e.l.Push(e.l.NewFunction(func(l *lua.LState) int {
		at.host = global
		t, ok := l.Get(1).(*lua.LTable)
		if !ok {
			l.RaiseError("VirtualHost %q is followed by a %s: want options or nothing", name, l.Get(1).Type())
		}
		e.options(name, t)
		return 0
	}))
	return 1
}

func (e *evaluation) options(host string, t *lua.LTable) {
	t.ForEach(func(k, v lua.LValue) { e.set(host, k.String(), v) })
}

func (e *evaluation) component(at *section) int {
	name := e.host("Component")
	if e.config.own(name, "defined") != lua.LNil && e.config.own(name, "component_module") == lua.LNil {
		e.l.RaiseError("Component %q is a VirtualHost already", name)
	}
	e.set(name, "component_module", lua.LString("component"))
	e.set(name, "load_global_modules", lua.LFalse)
	at.host = name
	options := e.l.NewFunction(func(l *lua.LState) int {
		at.host = global
		e.options(name, l.CheckTable(1))
		return 0
	})
	e.l.Push(e.l.NewFunction(func(l *lua.LState) int {
		if module, ok := l.Get(1).(lua.LString); ok {
			e.set(name, "component_module", module)
			l.Push(options)
			return 1
		}
		at.host = global
		e.options(name, l.CheckTable(1))
		return 0
	}))
	return 1
}

// include runs other files, in the order of their names. (Prosody takes the
// order of the directory.)
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
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), ".") && glob(path.Base(name), entry.Name()) {
			if err := e.run(path.Join(path.Dir(full), entry.Name())); err != nil {
				e.l.RaiseError("%v", err)
			}
		}
	}
}

// inside is a directory's path in the file system that was given.
func (e *evaluation) inside(dir string) (string, error) {
	root := path.Clean(e.source.Root)
	switch rest, ok := strings.CutPrefix(dir, strings.TrimSuffix(root, "/")+"/"); {
	case path.IsAbs(dir) && dir == root:
		return ".", nil
	case path.IsAbs(dir) && ok && e.source.Root != "":
		return rest, nil
	case path.IsAbs(dir) || !fs.ValidPath(dir):
		return "", fmt.Errorf("%s stands outside of the configuration's directory %s: name a directory that holds both with --root", dir, e.source.Root)
	}
	return dir, nil
}

// glob matches a name against * and ?, in steps that grow with their lengths'
// product.
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

// script runs a file outside of the configuration's environment, for what it
// returns.
func (e *evaluation) script(file string) int {
	source, err := e.read(file)
	if err == nil {
		var proto *lua.FunctionProto
		if proto, err = compile(file, source); err == nil {
			f := e.l.NewFunctionFromProto(proto)
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

// virtualHosts and components are the enabled hosts of each kind, in the
// order of the files.
func (c *config) virtualHosts() []string { return c.ofKind(false) }
func (c *config) components() []string   { return c.ofKind(true) }

func (c *config) ofKind(component bool) (names []string) {
	for _, h := range c.order {
		if c.enabled(h) && (c.own(h, "component_module") != lua.LNil) == component {
			names = append(names, h)
		}
	}
	return names
}

func (c *config) enabled(host string) bool { return c.get(host, "enabled") != lua.LFalse }

// modules are the modules a virtual host loads by the configuration.
func (c *config) modules(host string) []string {
	set := map[string]bool{}
	for _, h := range []string{global, host} {
		for _, m := range list(c.own(h, "modules_enabled")) {
			set[m.String()] = true
		}
		for _, m := range list(c.own(h, "modules_disabled")) {
			delete(set, m.String())
		}
	}
	return slices.Sorted(maps.Keys(set))
}
