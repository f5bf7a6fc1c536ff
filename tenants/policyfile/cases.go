package policyfile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/postern-im/postern/tenants"
)

// MaxCases bounds the cases of one file.
const MaxCases = 10_000

// Cases is a file of policy tests: questions, and the answers that the named policy
// files must give. It is read as strictly as a policy file.
type Cases struct {
	// Policies are the names of the policy files, as written. A relative name
	// starts from the directory of this file.
	Policies []string
	// Shared are the shared services. Policy files cannot declare them.
	Shared []string
	List   []Case

	source *source
}

// A Case is one question with its expected answer. Exactly one of Account, Role
// and Permissions says which account the session belongs to.
type Case struct {
	Name string
	// Account is a bare address.
	Account string
	// Role is the role of an account in Domain.
	Role string
	// Permissions are all permissions of an account in Domain. The ceiling
	// still removes permissions from this list.
	Permissions []string
	Domain      string // empty: the only domain of the policy files
	Resource    string
	Direction   string // in, out or empty: as the short form says, otherwise out
	Stanza      string // XML, or the short form
	Joined      []string
	Outstanding []string // PEER or PEER#ID
	Expect      string   // one of Effects
	// Missing are the permissions that the verdict must report as missing: all
	// of them in order, or only the first if FirstMissing is set. MissingGiven
	// distinguishes an empty list from an absent one.
	Missing                    []string
	FirstMissing, MissingGiven bool

	Line int

	index int
}

// Effects returns the effects that a case may expect.
func Effects() []string { return []string{"pass", "refuse", "drop", "clamp", "strip", "end"} }

// Note returns an Errors with one note about a key of a case. If the case is
// nil, the note is about a key of the file, or about the whole file if key is
// empty.
func (c *Cases) Note(of *Case, key, format string, args ...any) error {
	at := -1
	if of != nil {
		at = c.source.offsetOf(fmt.Sprintf("case[%d].%s", of.index, key))
	} else if key != "" {
		at = c.source.offsetOf(key)
	}
	return c.source.errors([]remark{{at, fmt.Sprintf(format, args...)}})
}

// ParseCases reads a file of cases. name is its name in notes. The error is an
// Errors.
func ParseCases(name string, data []byte) (*Cases, error) {
	s, err := newSource(name, data)
	if err != nil {
		return nil, err
	}
	r := reader{source: s, missing: map[string]bool{}}
	b := builder{what: "file of cases", tables: "[[case]]", errorf: r.errorf}
	root := b.tree(data)
	if b.parser.Error() == nil {
		c := r.cases(root)
		if len(r.errs) == 0 {
			return c, nil
		}
	}
	return nil, s.errors(r.errs)
}

func (r *reader) cases(root *value) *Cases {
	r.keys(root, "file of cases", "policy", "shared_services", "case")
	c := &Cases{source: r.source}
	c.Policies = r.texts(root, "policy", "policy", 1000)
	if len(c.Policies) == 0 && root.table["policy"] == nil {
		r.errorf(-1, "policy is missing: name the policy files, such as policy = [\"acme.toml\"]")
	} else if len(c.Policies) == 0 {
		r.errorf(root.table["policy"].at, "policy names no file")
	}
	c.Shared = r.texts(root, "shared_services", "shared_services", tenants.MaxSharedServices)
	tables := r.tables(root, "case")
	if len(tables) == 0 {
		r.errorf(-1, "there are no cases: each begins with [[case]]")
	}
	if len(tables) > MaxCases {
		r.errorf(tables[MaxCases].at, "%d cases: at most %d", len(tables), MaxCases)
		return c
	}
	for i, t := range tables {
		c.List = append(c.List, r.oneCase(t, i))
	}
	return c
}

func (r *reader) oneCase(t *value, i int) Case {
	at := fmt.Sprintf("case[%d]", i)
	r.fields[at] = t.at
	r.keys(t, "case", "name", "account", "role", "permissions", "domain", "resource", "direction", "stanza", "joined", "outstanding", "expect", "missing")
	c := Case{
		Name:        r.text(t, "name", at+".name"),
		Account:     r.text(t, "account", at+".account"),
		Role:        r.text(t, "role", at+".role"),
		Permissions: r.permissions(t, "permissions", at+".permissions", 1000),
		Domain:      r.text(t, "domain", at+".domain"),
		Resource:    r.text(t, "resource", at+".resource"),
		Direction:   r.text(t, "direction", at+".direction"),
		Stanza:      r.needText(t, "stanza", at+".stanza"),
		Joined:      r.texts(t, "joined", at+".joined", 100),
		Outstanding: r.texts(t, "outstanding", at+".outstanding", 100),
		Expect:      r.needText(t, "expect", at+".expect"),
		index:       i, Line: r.lines.line(t.at),
	}
	who := 0
	for _, key := range []string{"account", "role", "permissions"} {
		if t.table[key] != nil {
			who++
		}
	}
	if who != 1 {
		r.errorf(t.at, "a case needs exactly one of account, role and permissions")
	}
	if c.Account != "" && c.Domain != "" {
		r.errorf(t.table["domain"].at, "domain is given, but account has one already")
	}
	if c.Direction != "" && c.Direction != "in" && c.Direction != "out" {
		r.errorf(r.fields[at+".direction"], "direction is %s: want \"out\" (the client sends) or \"in\"", short(c.Direction))
	}
	if c.Expect != "" && !slices.Contains(Effects(), c.Expect) {
		r.errorf(r.fields[at+".expect"], "expect is %s: want one of %s", short(c.Expect), strings.Join(Effects(), ", "))
	}
	switch m := t.table["missing"]; {
	case m == nil:
	case m.kind == text:
		c.Missing, c.FirstMissing, c.MissingGiven = []string{r.text(t, "missing", at+".missing")}, true, true
	default:
		c.Missing, c.MissingGiven = r.texts(t, "missing", at+".missing", 1000), true
	}
	return c
}
