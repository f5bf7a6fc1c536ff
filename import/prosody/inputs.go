package prosody

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// An input is a value that a configuration reads from outside its files.
type input struct{ kind, name string }

// The kinds of inputs.
const (
	variable   = "variable"   // of the environment
	file       = "file"       // a file whose contents are a value
	credential = "credential" // a file in $CREDENTIALS_DIRECTORY
)

// An unknown is an input that was read but not given.
type unknown struct {
	input
	where string // where it was first read
	unset bool   // without a substitute, the input is treated as unset
}

// remedy returns the command-line option that supplies the input.
func (u unknown) remedy() string {
	switch u.kind {
	case variable:
		return fmt.Sprintf("--env %s=VALUE", u.name)
	case credential:
		return fmt.Sprintf("--credentials DIR with a file %s in it", u.name)
	}
	return fmt.Sprintf("--root DIR (with --root-as) with the file %s in it", u.name)
}

func (u unknown) String() string {
	if u.kind == variable {
		return u.name
	}
	return u.kind + " " + u.name
}

// Substitutes for inputs that were not given. A substitute may become the name of
// a host; RFC 2606 reserves names in invalid, so no real host has the same name.
// The substitute absent means that the input does not exist. The substitute wild
// is equal to every text with which the configuration compares it.
const (
	placeholder = "not-given.invalid"
	wild        = "any.invalid"
	absent      = "\x00absent"
)

// unknown returns the substitute for an input that was not given, and records
// that the input was read. If the input has no substitute yet, it is treated as
// nonexistent if unset is true; otherwise placeholder is its substitute.
func (e *evaluation) unknown(in input, unset bool) (text string, ok bool) {
	c := e.config
	if !c.wanted[in] {
		if len(c.unknown) == maxNotes {
			e.l.RaiseError("more than %d variables and files are read but were not given", maxNotes)
		}
		c.wanted[in] = true
		c.unknown = append(c.unknown, unknown{in, e.where(), unset})
	}
	if text, ok = e.given[in]; !ok {
		text, ok = placeholder, !unset
	}
	return text, ok && text != absent
}

// decisive are the options on which the imported policy depends.
var decisive = [...]string{
	"add_permissions", "admins", "anonymous_login", "authentication", "authorization", "c2s_interfaces", "c2s_ports",
	"component_module", "custom_roles", "data_path", "default_storage", "default_user_role", "defined", "enabled", "host_user_role",
	"interfaces", "isolate_except_domains", "isolate_except_users", "modules_disabled", "modules_enabled", "parent_host",
	"proxy_port_mappings", "proxy_ports", "public_user_role", "remove_permissions", "server_user_role", "storage",
}

// outcome is the part of a configuration on which the imported policy depends.
// It leaves out modules that the import does not know, if the configuration
// names them literally.
func (c *config) outcome() string {
	var b strings.Builder
	for _, h := range append([]string{global}, c.order...) {
		fmt.Fprintf(&b, "%q\n", h)
		for _, option := range decisive {
			v := c.hosts[h][option]
			switch {
			case v == nil || v == lua.LNil:
			case option == "modules_enabled" || option == "modules_disabled":
				for _, module := range list(v) {
					if name := module.String(); known(name) || !c.literals[name] {
						fmt.Fprintf(&b, "%s %q\n", option, name)
					}
				}
			default:
				fmt.Fprintf(&b, "%s=%s\n", option, describe(v))
			}
		}
	}
	return b.String()
}

// describe writes a value as text, with the entries of tables sorted by key.
func describe(v lua.LValue) string { return describeTo(v, maxDescribed) }

// maxDescribed is the depth to which the tables of options are compared.
const maxDescribed = 8

func describeTo(v lua.LValue, depth int) string {
	switch v := v.(type) {
	case *lua.LTable:
		if depth == 0 {
			return "{…}"
		}
		var parts []string
		v.ForEach(func(k, v lua.LValue) { parts = append(parts, k.String()+"="+describeTo(v, depth-1)) })
		slices.SortFunc(parts, func(a, b string) int {
			x, _, _ := strings.Cut(a, "=")
			y, _, _ := strings.Cut(b, "=")
			return strings.Compare(x, y)
		})
		return "{" + strings.Join(parts, " ") + "}"
	case lua.LNumber:
		return fmt.Sprintf("%.14g", float64(v))
	case lua.LString:
		return "'" + string(v) + "'"
	case *lua.LFunction:
		return "function"
	}
	return v.String()
}

// The bounds of the search for deciding inputs: the number of evaluations, and
// the total of their steps. Inputs beyond these bounds count as deciding.
const (
	maxTries    = 1000
	maxAllSteps = 10 * maxSteps
	maxCompared = 16 // texts tried for each input
)

// trials evaluates one configuration repeatedly with different inputs.
type trials struct {
	ctx          context.Context
	source       Source
	tries, steps int
	texts        []string
	chunks       chunks
}

func (t *trials) spent() bool {
	return t.tries >= maxTries || t.steps >= maxAllSteps || t.ctx.Err() != nil
}

func (t *trials) evaluate(given map[input]string) (*config, error) {
	t.tries++
	c, err := evaluate(t.ctx, t.source, given, t.chunks)
	t.steps += c.steps
	return c, err
}

// settle evaluates a configuration that may read inputs that were not given. If
// the evaluation fails without an input, the input gets a substitute. settle
// refuses the configuration if the outcome depends on a substitute. It reports
// the unknown inputs as findings.
func settle(ctx context.Context, source Source) (*config, error) {
	t := &trials{ctx: ctx, source: source, chunks: chunks{}}
	needed := map[input]string{}
	c, err := t.evaluate(nil)
	seen := c.unknown
	for err != nil && !errors.Is(err, errSteps) && !t.spent() {
		given, next, nextErr := t.further(needed, c)
		if given == nil {
			break
		}
		needed, c, err = given, next, nextErr
		seen = join(seen, c.unknown)
	}
	if err != nil {
		sort.SliceStable(seen, func(i, j int) bool { return needed[seen[i].input] != "" && needed[seen[j].input] == "" })
		return nil, withRemedies(err, seen)
	}
	for _, u := range c.unknown {
		if !u.unset {
			needed[u.input] = placeholder
		}
	}
	t.texts = texts(c.compared)
	all, deciding := t.deciding(c, needed)
	var refused []unknown
	for _, u := range c.unknown {
		if _, stands := needed[u.input]; stands && deciding[u.input] {
			refused = append(refused, u)
		}
	}
	if len(refused) > 0 {
		for _, u := range all { // list all of them in one run
			if _, stands := needed[u.input]; !stands && deciding[u.input] {
				refused = append(refused, u)
			}
		}
		return nil, withRemedies(fmt.Errorf("%s: hosts or roles depend on inputs that were not given", source.File), refused)
	}
	c.tell(all, needed, deciding)
	return c, nil
}

// further gives a substitute to one more input after an evaluation failed. It
// tries the inputs in turn, the last one read first, and keeps the first
// substitute with which the evaluation succeeds or takes more steps.
func (t *trials) further(needed map[input]string, c *config) (given map[input]string, next *config, err error) {
	for _, u := range slices.Backward(c.unknown) {
		if _, has := needed[u.input]; has || !u.unset {
			continue
		}
		for _, text := range []string{fmt.Sprintf("not-given-%d.invalid", len(needed)+1), "1"} {
			if t.spent() {
				return nil, nil, nil
			}
			given = maps.Clone(needed)
			given[u.input] = text
			if next, err = t.evaluate(given); err == nil || next.steps > c.steps {
				return given, next, err
			}
		}
	}
	return nil, nil, nil
}

// join appends the inputs of more that are not in all.
func join(all, more []unknown) []unknown {
	there := make(map[input]bool, len(all))
	for _, u := range all {
		there[u.input] = true
	}
	for _, u := range more {
		if !there[u.input] {
			all = append(all, u)
		}
	}
	return all
}

// texts returns the texts to try for each input, without repetition: a name,
// values that mean yes, wild, absent, and the first texts with which the
// configuration compares values.
func texts(compared []string) []string {
	tried := []string{"another.invalid", "1", "2", "true", wild, absent}
	for _, text := range compared {
		if len(tried) == maxCompared {
			break
		}
		if !slices.Contains(tried, text) && len(text) < 100 {
			tried = append(tried, text)
		}
	}
	return tried
}

// deciding returns the unknown inputs on which the outcome depends, either
// alone or together with others. An input that cannot be tried counts as
// deciding. all are the unknown inputs, including those that are read only if
// another input has a certain value.
func (t *trials) deciding(base *config, needed map[input]string) (all []unknown, deciding map[input]bool) {
	deciding = map[input]bool{}
	want := base.outcome()
	all = slices.Clone(base.unknown)
	fits := map[string][]input{} // the inputs that accepted each text
	for i := 0; i < len(all); i++ {
		u, tried := all[i], false
		for _, text := range t.texts {
			if t.spent() {
				tried = false
				break
			}
			c, err := t.evaluate(with(needed, text, u.input))
			if err != nil {
				continue // text is not a valid value for u
			}
			tried = tried || text != absent
			fits[text] = append(fits[text], u.input)
			all = join(all, c.unknown) // inputs read only if u has this value
			deciding[u.input] = deciding[u.input] || c.outcome() != want
		}
		if !tried {
			deciding[u.input] = true
		}
	}
	for _, text := range t.texts {
		t.together(needed, text, fits[text], deciding)
		alone := slices.DeleteFunc(slices.Clone(fits[text]), func(in input) bool { return !deciding[in] })
		t.together(with(needed, text, alone...), text, fits[text], deciding)
	}
	return all, deciding
}

// with returns needed with one text added for some inputs.
func with(needed map[input]string, text string, inputs ...input) map[input]string {
	given := maps.Clone(needed)
	for _, in := range inputs {
		given[in] = text
	}
	return given
}

// together gives one text to all inputs that do not count as deciding yet. If
// this changes the outcome, together finds a minimal set of inputs that changes
// it, counts each input of the set as deciding, and begins again.
func (t *trials) together(needed map[input]string, text string, inputs []input, deciding map[input]bool) {
	base, err := t.evaluate(needed)
	if err != nil {
		return // the configuration cannot be evaluated with these texts
	}
	changes := func(inputs []input) bool {
		if t.spent() {
			return true
		}
		c, err := t.evaluate(with(needed, text, inputs...))
		return err == nil && c.outcome() != base.outcome()
	}
	for {
		inputs = slices.DeleteFunc(slices.Clone(inputs), func(in input) bool { return deciding[in] })
		if len(inputs) == 0 || !changes(inputs) {
			return
		}
		set := inputs
		for _, in := range inputs {
			if rest := slices.DeleteFunc(slices.Clone(set), func(o input) bool { return o == in }); changes(rest) && !t.spent() {
				set = rest
			}
		}
		for _, in := range set {
			deciding[in] = true
		}
	}
}

// withRemedies adds to err the inputs that were not given and the command-line
// options that supply them.
func withRemedies(err error, all []unknown) error {
	if len(all) == 0 {
		return err
	}
	var parts []string
	for _, u := range all {
		parts = append(parts, fmt.Sprintf("%s (read at %s)", u.remedy(), u.where))
	}
	return fmt.Errorf("%w; read but not given: %s", err, strings.Join(parts, ", "))
}

// tell records findings about the inputs that were not given: one for each
// deciding input that is treated as unset, one for all others that are treated
// as unset, and one for all that have placeholders.
func (c *config) tell(all []unknown, needed map[input]string, deciding map[input]bool) {
	var idle, stands []string
	for _, u := range all {
		_, stand := needed[u.input]
		switch {
		case deciding[u.input] && u.unset:
			c.decides = append(c.decides, u)
			what := "the environment variable"
			if u.kind == file {
				what = "the file"
			}
			c.notes = append(c.notes, Finding{Changed, u.where,
				fmt.Sprintf("%s %s is read but was not given: it is treated as unset, and hosts, roles or modules depend on it", what, u.name),
				fmt.Sprintf("give it with %s if Prosody has it", u.remedy())})
		case !c.wanted[u.input]: // not read with the inputs that were given
		case stand:
			stands = append(stands, u.String())
		default:
			idle = append(idle, u.String())
		}
	}
	if len(idle) > 0 {
		c.notes = append(c.notes, Finding{Info, "", fmt.Sprintf("%d environment variables or files are read but were not given; they are treated as unset, and the result does not depend on them: %s", len(idle), strings.Join(idle, ", ")), ""})
	}
	if len(stands) > 0 {
		c.notes = append(c.notes, Finding{Info, "", fmt.Sprintf("%d values are read from places where the import does not look; they have placeholders, and the result does not depend on them: %s", len(stands), strings.Join(stands, ", ")), ""})
	}
}
