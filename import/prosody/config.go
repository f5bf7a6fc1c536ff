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
	// spelt is each host's name as Prosody keeps it, which names its folder.
	spelt map[string]string
	notes []Finding
	files []string // that were read
	// unknown are the inputs that were read and not given, in the order of
	// their first reading.
	unknown []unknown
	wanted  map[input]bool // the same
	decides []unknown      // of those, what the outcome depends on
	// compared are the texts that the configuration compares values with.
	compared []string
	literals map[string]bool // the texts in the files
	steps    int             // that the evaluation took
	// asked are the options that were looked up.
	asked map[string]bool
}

// get is an option of a host, or the global one.
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

// own is an option set for that very host.
func (c *config) own(host, option string) lua.LValue {
	c.asked[option] = true
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
	given  map[input]string // stand-ins for inputs that source does not give
	chunks chunks
	lib    *lua.LTable
	depth  int
	// within is the innermost Include of a pattern that is under way, by its
	// number, and the file of it that is being read; setBy says the same of
	// each option that was set within one.
	within, includes int
	file             string
	setBy            map[string]setting
}

// A setting is where an option was set within an Include of a pattern.
type setting struct {
	include int
	file    string
}

// evaluate runs a configuration as Prosody's configuration manager does, in a
// sandbox. The given stand in for inputs that source does not give. The config
// is never nil: after an error it says how far the evaluation came. The known
// chunks are used and added to.
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
	key := host + "\x00" + option
	e.ordered(host, option, key, v)
	c.hosts[host][option] = v
	c.place[key] = strings.TrimSuffix(e.where(), ":")
}

// ordered tells of an option that two files of one Include set: Prosody reads
// them in whichever order the directory gives, so either may hold.
func (e *evaluation) ordered(host, option, key string, v lua.LValue) {
	if e.within == 0 || !slices.Contains(decisive[:], option) {
		return
	}
	before, twice := e.setBy[key]
	e.setBy[key] = setting{e.within, e.file}
	if !twice || before.include != e.within || before.file == e.file || describe(v) == describe(e.config.hosts[host][option]) {
		return
	}
	e.find(Changed, fmt.Sprintf("%s is set in %s as well; Prosody reads the files of an Include in no certain order, and takes either: here the later name holds", option, before.file),
		"set it in one of the files")
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

func (e *evaluation) find(kind Kind, text, fix string) {
	if len(e.config.notes) < maxNotes {
		e.config.notes = append(e.config.notes, Finding{kind, e.where(), text, fix})
	}
}

// run evaluates one file; each has globals of its own and begins in the global
// section.
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
		return fmt.Errorf("%s: files include one another more than %d deep", file, maxIncludes)
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

// A section is the host later options of a file belong to.
type section struct{ host string }

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
	spelt := prepared
	if !strings.ContainsFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) {
		spelt = strings.ToLower(name) // an A-label stays one
	}
	if before, twice := e.config.spelt[prepared]; twice && before != spelt {
		e.l.RaiseError("%s %q is the domain %q again, which Prosody keeps apart: write both alike", what, name, before)
	}
	e.config.spelt[prepared] = spelt
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
