package prosody

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	lua "github.com/yuin/gopher-lua"

	"github.com/postern-im/postern/xmpp/jid"
)

const (
	maxFile     = 1 << 20 // bytes of one configuration file
	maxFiles    = 500     // files read by one configuration
	maxIncludes = 20      // depth of nested Includes
	maxHosts    = 20_000
	maxNotes    = 1000
)

// global is the section in which Prosody keeps options that belong to no host.
const global = "*"

// A config is the result of Prosody's configuration manager: the options of
// each host, and where each option was last set.
type config struct {
	hosts map[string]map[string]lua.LValue
	place map[string]string // host, a NUL and the option → file:line
	order []string          // hosts in the order of the files
	// spelt is each host's name in Prosody's spelling, from which its folder is
	// named.
	spelt map[string]string
	notes []Finding
	files []string // files that were read
	// unknown are the inputs that were read but not given, in the order in
	// which they were first read.
	unknown []unknown
	wanted  map[input]bool // the inputs in unknown, as a set
	decides []unknown      // the unknown inputs on which the outcome depends
	// compared are the texts with which the configuration compares values.
	compared []string
	literals map[string]bool // the text literals in the files
	steps    int             // number of steps of the evaluation
	// asked are the names of the options that were looked up.
	asked map[string]bool
}

// get returns an option of a host, or the global option if the host does not
// set it.
func (c *config) get(host, option string) lua.LValue {
	c.asked[option] = true
	if v, ok := c.hosts[host][option]; ok && v != lua.LNil {
		return v
	}
	if v, ok := c.hosts[global][option]; ok {
		return v
	}
	return lua.LNil
}

// own returns an option only if it is set for this host.
func (c *config) own(host, option string) lua.LValue {
	c.asked[option] = true
	if v, ok := c.hosts[host][option]; ok {
		return v
	}
	return lua.LNil
}

// at returns the place where an option of a host is set, for the host or
// globally.
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
	given  map[input]string // substitutes for inputs that source does not contain
	chunks chunks
	lib    *lua.LTable
	depth  int
	// within is the number of the innermost running Include that has a pattern,
	// and file is the file that this Include is reading. setBy holds both values
	// for each option that was set within such an Include.
	within, includes int
	file             string
	setBy            map[string]setting
}

// A setting records where an option was set within an Include with a pattern.
type setting struct {
	include int
	file    string
}

// evaluate runs a configuration in a sandbox, as Prosody's configuration
// manager does. given holds substitutes for inputs that source does not
// contain. The config is never nil; after an error it shows how far the
// evaluation came. known is a cache of compiled chunks, which evaluate uses and
// extends.
func evaluate(ctx context.Context, source Source, given map[input]string, known chunks) (c *config, err error) {
	c = &config{
		hosts: map[string]map[string]lua.LValue{global: {}}, place: map[string]string{}, spelt: map[string]string{},
		wanted: map[input]bool{}, literals: map[string]bool{}, asked: map[string]bool{},
	}
	b := newBudget(ctx)
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%s: cannot be evaluated: %v", source.File, r)
		}
		c.steps = maxSteps - b.steps
	}()
	l := lua.NewState(lua.Options{SkipOpenLibs: true, CallStackSize: maxCalls, RegistrySize: 1024, RegistryMaxSize: maxRegistry, RegistryGrowStep: 256})
	defer l.Close()
	e := &evaluation{l: l, budget: b, source: source, given: given, chunks: known, config: c, setBy: map[string]setting{}}
	l.SetContext(e.budget)
	e.lib = e.library()
	return c, e.run(source.File)
}

// set stores an option and records where it was set.
func (e *evaluation) set(host, option string, v lua.LValue) {
	c := e.config
	if c.hosts[host] == nil {
		if len(c.hosts) > maxHosts {
			e.l.RaiseError("more than %d hosts", maxHosts)
		}
		c.hosts[host] = map[string]lua.LValue{}
		c.order = append(c.order, host)
	}
	key := host + "\x00" + option
	e.ordered(host, option, key, v)
	c.hosts[host][option] = v
	c.place[key] = strings.TrimSuffix(e.where(), ":")
}

// ordered records a finding about an option that two files of one Include set
// differently. Prosody reads these files in the order in which the directory
// lists them, so either value may win in Prosody.
func (e *evaluation) ordered(host, option, key string, v lua.LValue) {
	if e.within == 0 || !slices.Contains(decisive[:], option) {
		return
	}
	before, twice := e.setBy[key]
	e.setBy[key] = setting{e.within, e.file}
	if !twice || before.include != e.within || before.file == e.file || describe(v) == describe(e.config.hosts[host][option]) {
		return
	}
	e.find(Changed, fmt.Sprintf("%s is also set in %s. Prosody reads the files of an Include in an undefined order, so either value may win there; the import uses the file whose name comes later", option, before.file),
		"set it in one of the files")
}

// where returns the line of the configuration that is running.
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

func (e *evaluation) find(kind Kind, text, fix string) {
	if len(e.config.notes) < maxNotes {
		e.config.notes = append(e.config.notes, Finding{kind, e.where(), text, fix})
	}
}

// run evaluates one file. Each file has its own globals and begins in the
// global section.
func (e *evaluation) run(file string) error {
	source, err := e.read(file)
	if err != nil {
		return err
	}
	chunk, err := e.chunks.compile(file, source)
	if err != nil {
		return err
	}
	e.config.compared = append(e.config.compared, chunk.compared...)
	for text := range chunk.literals {
		e.config.literals[text] = true
	}
	if e.depth++; e.depth > maxIncludes {
		return fmt.Errorf("%s: Includes are nested more than %d deep", file, maxIncludes)
	}
	defer func() { e.depth-- }()
	f := e.l.NewFunctionFromProto(chunk.proto)
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

// A section is the host to which the following options of a file belong.
type section struct{ host string }

// list returns the items that ipairs would iterate over.
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

// host prepares the name of a host and checks its spelling.
func (e *evaluation) host(what string) string {
	name := e.l.OptString(1, "")
	prepared, err := jid.Domain(name)
	if err != nil {
		e.l.RaiseError("%s %q: %v", what, name, err)
	}
	spelt := prepared
	if !strings.ContainsFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) {
		spelt = strings.ToLower(name) // Prosody keeps an A-label as it is
	}
	if before, twice := e.config.spelt[prepared]; twice && before != spelt {
		e.l.RaiseError("%s %q is another spelling of the domain %q, which Prosody treats as a different host: spell both the same", what, name, before)
	}
	e.config.spelt[prepared] = spelt
	return prepared
}

func (e *evaluation) virtualHost(at *section) int {
	name := e.host("VirtualHost")
	if e.config.own(name, "component_module") != lua.LNil {
		e.l.RaiseError("VirtualHost %q is already a Component", name)
	}
	at.host = name
	e.set(name, "defined", lua.LTrue)
	e.l.Push(e.l.NewFunction(func(l *lua.LState) int {
		at.host = global
		t, ok := l.Get(1).(*lua.LTable)
		if !ok {
			l.RaiseError("VirtualHost %q is followed by a %s; only a table of options may follow", name, l.Get(1).Type())
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
		e.l.RaiseError("Component %q is already a VirtualHost", name)
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

// virtualHosts and components return the enabled hosts of each kind, in the
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

// modules returns the modules that the configuration loads for a virtual host.
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
