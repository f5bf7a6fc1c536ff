// Package suite tests a policy offline with many stanzas. The policy need not be
// in force anywhere. A Suite decides the cases of a file and compares each
// verdict with the expected one. Check answers questions that arrive as lines of
// JSON.
//
// The verdicts are those of a node that has this policy: Suite and Check both
// use policy/trial, which runs the code that answers gateways. The package is
// pure: the caller reads the files, supplies the clock and prints the results.
package suite

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/policy/trial"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/tenants"
	"github.com/postern-im/postern/tenants/policyfile"
	"github.com/postern-im/postern/xmpp/jid"
)

// A case may name a role or permissions instead of an account. For such a case
// the Suite makes a role or an account whose name begins with one of these
// prefixes. If the policy file already has that name, the case is refused.
const (
	testRolePrefix  = "policy-test:"
	testLocalPrefix = "policy-test-"
)

// A Config is the input of a Suite. All fields are required.
type Config struct {
	// Cases is the file of cases. An error about a case names its line.
	Cases *policyfile.Cases
	// View is the state after the policy files are applied. It contains all
	// services that the operator shares.
	View *projections.View
	// Now is the clock. It measures how long each case takes.
	Now func() time.Time
}

// A Suite is one file of cases, with the state in which they are decided. It is
// not safe for concurrent use.
type Suite struct {
	cases *policyfile.Cases
	view  *projections.View // with the accounts and roles made for cases
	now   func() time.Time
}

// New returns a Suite.
func New(c Config) *Suite {
	return &Suite{cases: c.Cases, view: c.View, now: c.Now}
}

// An Outcome is the result of one case.
type Outcome struct {
	Case *policyfile.Case
	// Name is the name of the case. If the case has no name, its account and
	// stanza are used.
	Name string
	// Account is the bare JID of the session that sends or receives the stanza.
	Account string
	Passed  bool
	Effect  string
	Missing []string // all missing permissions, in the catalogue's order
	Row     string   // the row of the table of stanzas that applied
	Text    string   // the text of a refusal
	Asked   []Lookup
	Took    time.Duration
}

// A Lookup reports how one permission that the stanza asks for was looked up in
// the account's role. The last step decides.
type Lookup struct {
	Permission string
	Steps      []projections.Step
}

// Decide decides the cases whose names match only, in the order of the file.
// untested lists, as "ROLE of TENANT", the roles that none of these cases used:
// custom roles, and built-in roles that their tenant has adjusted.
func (s *Suite) Decide(only *regexp.Regexp) (outcomes []Outcome, untested []string, err error) {
	accounts := make([]string, len(s.cases.List))
	for i := range s.cases.List {
		account, err := s.account(&s.cases.List[i])
		if err != nil {
			return nil, nil, err
		}
		accounts[i] = account
	}
	try, tested := trial.New(), map[string]bool{}
	for i := range s.cases.List {
		c := &s.cases.List[i]
		name := cmp.Or(c.Name, fmt.Sprintf("%s: %s", accounts[i], c.Stanza))
		if !only.MatchString(name) {
			continue
		}
		outcome, err := s.decideCase(try, c, accounts[i], tested)
		if err != nil {
			return nil, nil, err
		}
		outcome.Name = name
		outcomes = append(outcomes, outcome)
	}
	return outcomes, s.untested(tested), nil
}

// account returns the bare JID of the account that a case names. If the case
// names a role or permissions instead, account creates an account, by the same
// commands as in a running installation.
func (s *Suite) account(c *policyfile.Case) (string, error) {
	if c.Account != "" {
		bare, err := jid.Bare(c.Account)
		if err != nil {
			return "", s.cases.Note(c, "account", "%q is not an account's address: %v", c.Account, err)
		}
		_, domain, _ := strings.Cut(bare, "@")
		if _, place := s.view.Owner([]byte(domain)); place != projections.Domain {
			return "", s.cases.Note(c, "account", "%s: the policy files do not have its domain", bare)
		}
		return bare, nil
	}
	t, domain, err := s.domain(c)
	if err != nil {
		return "", err
	}
	role, n := c.Role, s.view.Position()
	if role == "" {
		role = fmt.Sprintf("%s%d", testRolePrefix, n)
		if err := s.change(c, "permissions", t.ID(), tenants.DefineRole{Role: role, Allow: c.Permissions}); err != nil {
			return "", err
		}
	}
	bare := fmt.Sprintf("%s%d@%s", testLocalPrefix, n, domain)
	if _, taken := t.Member(bare); taken {
		return "", s.cases.Note(c, "role", "the policy has an account %s, but this name is reserved for policy tests", bare)
	}
	return bare, s.change(c, "role", t.ID(), tenants.SetMemberRoles{JID: bare, Role: role})
}

// domain returns the domain, and its tenant, for a case that names no account.
func (s *Suite) domain(c *policyfile.Case) (*projections.Tenant, string, error) {
	if c.Domain != "" {
		name, err := jid.Domain(c.Domain)
		if err != nil {
			return nil, "", s.cases.Note(c, "domain", "%q is not a domain: %v", c.Domain, err)
		}
		t, place := s.view.Owner([]byte(name))
		if place != projections.Domain {
			return nil, "", s.cases.Note(c, "domain", "the policy files do not have the domain %s", name)
		}
		return t, name, nil
	}
	var tenant *projections.Tenant
	var names []string
	for t := range s.view.Tenants() {
		for d := range t.Domains() {
			tenant, names = t, append(names, d.Name)
		}
	}
	if len(names) != 1 {
		return nil, "", s.cases.Note(c, "role", "in which domain? The policy files have %s: say domain = \"…\"", cmp.Or(strings.Join(names, ", "), "-"))
	}
	return tenant, names[0], nil
}

// change applies a command to the state. An error names the line of key in the
// case.
func (s *Suite) change(c *policyfile.Case, key, tenant string, change tenants.Change) error {
	plan, err := tenants.Check(s.view, tenant, change)
	if err != nil {
		return s.cases.Note(c, key, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	t := s.view.Tenant([]byte(tenant))
	next, err := s.view.Apply(&events.Commit{Position: s.view.Position() + 1, Tenant: tenant, TenantVersion: t.Version() + 1, Events: plan.Events})
	if err != nil {
		return s.cases.Note(c, key, "%v", err)
	}
	s.view = next
	return nil
}

// decideCase decides one case of an account, and adds its role to tested.
func (s *Suite) decideCase(try *trial.Trial, c *policyfile.Case, account string, tested map[string]bool) (Outcome, error) {
	began := s.now()
	full, err := jid.Parse([]byte(account + "/" + cmp.Or(c.Resource, "r1")))
	if err != nil {
		return Outcome{}, s.cases.Note(c, "resource", "resource %q: %v", c.Resource, err)
	}
	xml, dir, err := s.stanza(c, string(full.Bytes()))
	if err != nil {
		return Outcome{}, err
	}
	memory, err := s.memory(c)
	if err != nil {
		return Outcome{}, err
	}
	t, _ := s.view.Owner(full.Domain())
	e, _, err := try.Explain(s.view, trial.Session(s.view, t.ID(), full), dir, xml, memory, began)
	if err != nil {
		return Outcome{}, s.cases.Note(c, "stanza", "%v", err)
	}
	o := Outcome{
		Case: c, Account: account,
		Effect: e.Verdict.Effect.String(), Missing: e.Missing.Names(), Row: e.Row, Text: e.Verdict.Text(),
	}
	o.Passed = o.Effect == c.Expect
	if c.MissingGiven {
		got := o.Missing
		if c.FirstMissing {
			got = got[:min(1, len(got))]
		}
		o.Passed = o.Passed && slices.Equal(got, c.Missing)
	}
	access, _ := t.Access(full.Bare(), full.Domain())
	tested[t.ID()+" "+access.Role] = true
	for _, name := range e.Asked.Names() {
		o.Asked = append(o.Asked, Lookup{name, t.Explain(access.Role, name)})
	}
	o.Took = s.now().Sub(began)
	return o, nil
}

// stanza returns a case's stanza as XML, and its direction.
func (s *Suite) stanza(c *policyfile.Case, self string) (xml string, dir decision.Direction, err error) {
	if trial.IsShort(c.Stanza) {
		xml, dir, err = trial.Expand(c.Stanza, self)
		if err != nil {
			return "", 0, s.cases.Note(c, "stanza", "%v", err)
		}
		if c.Direction != "" && (c.Direction == "in") != (dir == decision.In) {
			return "", 0, s.cases.Note(c, "direction", "direction is %q, but in the short form a stanza with from is incoming and every other stanza is outgoing", c.Direction)
		}
		return xml, dir, nil
	}
	dir = decision.Out
	if c.Direction == "in" {
		dir = decision.In
	}
	return c.Stanza, dir, nil
}

// memory returns the rooms and requests that the case's session remembers. It
// also checks the names of the missing permissions that the case expects.
func (s *Suite) memory(c *policyfile.Case) (*trial.Memory, error) {
	m := &trial.Memory{}
	for i, room := range c.Joined {
		if err := m.Join(room); err != nil {
			return nil, s.cases.Note(c, fmt.Sprintf("joined[%d]", i), "%v", err)
		}
	}
	for i, request := range c.Outstanding {
		peer, id, _ := strings.Cut(request, "#")
		if err := m.Await(peer, id); err != nil {
			return nil, s.cases.Note(c, fmt.Sprintf("outstanding[%d]", i), "%v", err)
		}
	}
	for i, name := range c.Missing {
		if _, ok := permission.ByName(name); !ok {
			return nil, s.cases.Note(c, fmt.Sprintf("missing[%d]", i), "no stanza asks for the permission %q; policyctl permissions lists those that are asked for", name)
		}
	}
	return m, nil
}

// untested names the roles that are not in tested: custom roles, and built-in
// roles that their tenant has adjusted. Roles made for cases do not count.
func (s *Suite) untested(tested map[string]bool) []string {
	var names []string
	for t := range s.view.Tenants() {
		for role := range t.Roles() {
			own := !role.Builtin || len(role.Allow)+len(role.Deny) > 0
			if own && !tested[t.ID()+" "+role.Name] && !strings.HasPrefix(role.Name, testRolePrefix) {
				names = append(names, role.Name+" of "+t.ID())
			}
		}
	}
	return names
}
