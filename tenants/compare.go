package tenants

import (
	"cmp"
	"slices"
	"strings"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/projections"
)

// A Difference describes how two states of one tenant differ.
type Difference struct {
	// Edits lead from the first state to the second, in an order in which they
	// apply.
	Edits []Edit
	// Permissions says which accounts gain and lose which permissions by their
	// primary roles. An account has no permissions while it is suspended, or
	// while the tenant does not own its domain.
	Permissions []Group
	// Secondary says the same for secondary roles. A restricted credential gets
	// a secondary role by naming it. Each combination of role, gain and loss
	// has one group.
	Secondary []Group
	// Sessions says which accounts' sessions were revoked.
	Sessions []Ending
	// Incomplete is set if Permissions and Secondary leave out the permissions
	// outside the catalogue, because the tenant's roles allow too many of them.
	Incomplete bool
}

// Accounts is a set of accounts.
type Accounts struct {
	// Members lists accounts by their bare JIDs, sorted.
	Members []string
	// Domains lists domains, sorted. Each represents all its accounts without
	// a member entry.
	Domains []string
}

// A Group is a set of accounts that gain and lose the same permissions. Both
// lists have the order of the catalogue; permissions outside the catalogue come
// last, sorted by name.
type Group struct {
	Role string // the secondary role; empty in Difference.Permissions
	Gain []string
	Lose []string
	Accounts
}

// An Ending is a set of accounts whose sessions were revoked for one reason.
type Ending struct {
	Why string // the reason in words
	Accounts
}

// Compare describes how a tenant changed from one state to a later state of the
// same log. A state is nil if the tenant does not exist in it. The result is
// exact: Compare looks at every member of both states, and at every account
// whose revocation either state keeps.
func Compare(before, after *projections.Tenant) Difference {
	d := Difference{Edits: edits(before, after)}
	c := comparison{
		before: newSide(before), after: newSide(after),
		groups: map[string]*Group{}, endings: map[string]*Ending{}, pairs: map[pair]gainLoss{},
	}
	d.Incomplete = c.before.outside == nil || c.after.outside == nil
	if d.Incomplete {
		c.before.outside, c.after.outside = []string{}, []string{}
	}
	c.accounts()
	d.Permissions, d.Secondary = c.sorted()
	for _, e := range c.endings {
		d.Sessions = append(d.Sessions, *e)
	}
	for i := range d.Sessions {
		slices.Sort(d.Sessions[i].Members) // forgotten accounts were added last
	}
	slices.SortFunc(d.Sessions, func(a, b Ending) int { return strings.Compare(a.Why, b.Why) })
	return d
}

// edits returns the Edits from one state to the other, suspensions included.
func edits(before, after *projections.Tenant) []Edit {
	switch {
	case before == nil && after == nil:
		return nil
	case after == nil:
		return []Edit{{Removed, events.TenantRemoved{}, nil}}
	}
	var first []Edit
	if before == nil {
		created := events.TenantCreated{Name: after.Name()}
		v, err := projections.New().Apply(&events.Commit{Position: 1, Tenant: after.ID(), TenantVersion: 1, Events: []events.Event{created}})
		if err != nil {
			panic("tenants: a new tenant: " + err.Error())
		}
		before, first = v.Tenant([]byte(after.ID())), []Edit{{Added, created, nil}}
	}
	return append(first, transition(before, after, suspensionsOf(after, before))...)
}

// suspensionsOf returns the suspensions of t: of the tenant, its domains and its
// accounts. other is the earlier state. An account that is suspended in other
// and not in t has an entry that is off.
func suspensionsOf(t, other *projections.Tenant) suspensions {
	suspended := t.Suspended()
	s := suspensions{tenant: &suspended, domains: map[string]suspension{}, members: map[string]suspension{}}
	for d := range t.Domains() {
		s.domains[d.Name] = suspension{d.Suspended, d.ByOperator}
	}
	for m := range other.Members() {
		if _, domain, _ := strings.Cut(m.JID, "@"); m.Suspended && t.HostKind([]byte(domain)) == projections.Domain {
			s.members[m.JID] = suspension{}
		}
	}
	for m := range t.Members() {
		if m.Suspended {
			s.members[m.JID] = suspension{true, m.ByOperator}
		}
	}
	return s
}

// maxOutside bounds the number of permissions outside the catalogue, since each
// is looked up in each role. It is far more than any use of them needs.
const maxOutside = 10_000

// side is one of the states compared.
type side struct {
	tenant *projections.Tenant // nil: the tenant does not exist
	// outside lists the permissions outside the catalogue that some role
	// allows; nil if there are too many.
	outside []string
	gives   map[string][]string // by role: the elements of outside that it gives
}

func newSide(t *projections.Tenant) side {
	s := side{tenant: t, outside: []string{}, gives: map[string][]string{}}
	if t == nil {
		return s
	}
	for r := range t.Roles() {
		for _, name := range r.Allow {
			if _, known := permission.ByName(name); !known {
				s.outside = append(s.outside, name)
			}
		}
	}
	slices.Sort(s.outside)
	s.outside = slices.Compact(s.outside)
	if len(s.outside) > maxOutside {
		s.outside = nil
	}
	return s
}

// others lists the permissions outside the catalogue that a role gives, sorted.
func (s *side) others(role string) []string {
	names, known := s.gives[role]
	if known {
		return names
	}
	for _, name := range s.outside {
		if s.tenant.Grants(role, name) {
			names = append(names, name)
		}
	}
	s.gives[role] = names
	return names
}

// access returns an account's Access; false if the account has none.
func (s *side) access(account, domain string) (projections.Access, bool) {
	if s.tenant == nil {
		return projections.Access{}, false
	}
	return s.tenant.Access([]byte(account), []byte(domain))
}

// pair is an account's role before and after; empty if it has no permissions.
type pair struct{ before, after string }

type gainLoss struct{ gain, lose []string }

// comparison is the state of comparing two sides.
type comparison struct {
	before, after side
	pairs         map[pair]gainLoss
	groups        map[string]*Group
	endings       map[string]*Ending
}

// nobody is a localpart that represents all accounts without an entry. It
// occurs in no prepared address.
const nobody = "\x00"

// accounts compares every member of either state, and in each domain an account
// without an entry.
func (c *comparison) accounts() {
	for _, domain := range c.union(func(t *projections.Tenant, add func(string)) {
		for d := range t.Domains() {
			add(d.Name)
		}
	}) {
		c.account(nobody+"@"+domain, domain)
	}
	for _, account := range c.union(func(t *projections.Tenant, add func(string)) {
		for m := range t.Members() {
			add(m.JID)
		}
	}) {
		_, domain, _ := strings.Cut(account, "@")
		c.account(account, domain)
	}
	for _, account := range c.union(func(t *projections.Tenant, add func(string)) {
		for account := range t.Forgotten() {
			add(account)
		}
	}) {
		c.forgotten(account)
	}
}

// forgotten compares an account that is a member in neither state. It gains and
// loses the same permissions as all accounts without an entry in its domain, so
// forgotten adds only a revocation of this account's own sessions.
func (c *comparison) forgotten(account string) {
	for _, t := range []*projections.Tenant{c.before.tenant, c.after.tenant} {
		if t == nil {
			continue
		}
		if _, listed := t.Member(account); listed {
			return
		}
	}
	_, domain, _ := strings.Cut(account, "@")
	if why := c.whyEnded(account, domain); why != c.whyEnded(nobody+"@"+domain, domain) {
		c.ended(why, account)
	}
}

// whyEnded returns the reason for which an account's sessions from before were
// revoked. It returns "" if they were not revoked, or if there can have been
// no sessions.
func (c *comparison) whyEnded(account, domain string) string {
	before, was := c.before.access(account, domain)
	after, is := c.after.access(account, domain)
	if !was {
		return ""
	}
	return whyEnded(before, after, is)
}

func (c *comparison) ended(why, account string) {
	if why == "" {
		return
	}
	e := c.endings[why]
	if e == nil {
		e = &Ending{Why: why}
		c.endings[why] = e
	}
	e.Accounts.add(account)
}

// union returns the names that each adds for either state, sorted.
func (c *comparison) union(each func(t *projections.Tenant, add func(string))) []string {
	var names []string
	for _, t := range []*projections.Tenant{c.before.tenant, c.after.tenant} {
		if t != nil {
			each(t, func(name string) { names = append(names, name) })
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (c *comparison) account(account, domain string) {
	before, was := c.before.access(account, domain)
	after, is := c.after.access(account, domain)
	had, has := was && !before.Suspended, is && !after.Suspended
	c.group("", held(before.Role, had), held(after.Role, has), account)
	c.ended(c.whyEnded(account, domain), account)
	if strings.HasPrefix(account, nobody) {
		return
	}
	var old, now projections.Member
	if had {
		old, _ = c.before.tenant.Member(account)
	}
	if has {
		now, _ = c.after.tenant.Member(account)
	}
	for _, role := range old.Secondary {
		c.group(role, role, held(role, slices.Contains(now.Secondary, role)), account)
	}
	for _, role := range now.Secondary {
		if !slices.Contains(old.Secondary, role) {
			c.group(role, "", role, account)
		}
	}
}

func held(role string, holds bool) string {
	if !holds {
		return ""
	}
	return role
}

// whyEnded returns the reason for which sessions from before were revoked; empty
// if they were not. An Access has only the newest position of a revocation, so
// the reason is derived from the two states.
func whyEnded(before, after projections.Access, is bool) string {
	lost := before.Effective.Minus(after.Effective)
	switch {
	case !is:
		return "removed"
	case after.RevokedAt <= before.RevokedAt:
		return ""
	case after.Suspended && !before.Suspended:
		return "suspended"
	case before.Role != after.Role:
		return "the role changes"
	case lost.Has(permission.MessagesRead):
		return "reset: loses " + permission.MessagesRead.Name()
	case lost.Has(permission.PresenceWrite):
		return "reset: loses " + permission.PresenceWrite.Name()
	case before.Suspended:
		return "" // suspended again: there were no sessions
	}
	return "ended"
}

func (a *Accounts) add(account string) {
	if domain, all := strings.CutPrefix(account, nobody+"@"); all {
		a.Domains = append(a.Domains, domain)
		return
	}
	a.Members = append(a.Members, account)
}

// group adds an account to the Group of accounts with the same gain and loss.
func (c *comparison) group(secondary, before, after, account string) {
	p := pair{before, after}
	g, known := c.pairs[p]
	if !known {
		g = c.gainLoss(p)
		c.pairs[p] = g
	}
	if len(g.gain)+len(g.lose) == 0 {
		return
	}
	key := secondary + " +" + strings.Join(g.gain, " ") + " -" + strings.Join(g.lose, " ")
	group := c.groups[key]
	if group == nil {
		group = &Group{Role: secondary, Gain: g.gain, Lose: g.lose}
		c.groups[key] = group
	}
	group.Accounts.add(account)
}

// gainLoss compares the permissions of a role before and a role after.
func (c *comparison) gainLoss(p pair) gainLoss {
	var had, has permission.Set
	var hadOthers, hasOthers []string
	if p.before != "" {
		r, _ := c.before.tenant.Role(p.before)
		had, hadOthers = r.Effective, c.before.others(p.before)
	}
	if p.after != "" {
		r, _ := c.after.tenant.Role(p.after)
		has, hasOthers = r.Effective, c.after.others(p.after)
	}
	return gainLoss{
		gain: append(has.Minus(had).Names(), without(hasOthers, hadOthers)...),
		lose: append(had.Minus(has).Names(), without(hadOthers, hasOthers)...),
	}
}

// without returns the elements of list that are not in other, which is sorted.
func without(list, other []string) []string {
	var out []string
	for _, name := range list {
		if _, in := slices.BinarySearch(other, name); !in {
			out = append(out, name)
		}
	}
	return out
}

// sorted returns the groups of primary and of secondary roles. Groups that lose
// more come first.
func (c *comparison) sorted() (primary, secondary []Group) {
	for _, g := range c.groups {
		if g.Role == "" {
			primary = append(primary, *g)
		} else {
			secondary = append(secondary, *g)
		}
	}
	order := func(a, b Group) int {
		return cmp.Or(strings.Compare(a.Role, b.Role), len(b.Lose)-len(a.Lose), len(b.Gain)-len(a.Gain),
			slices.Compare(a.Lose, b.Lose), slices.Compare(a.Gain, b.Gain))
	}
	slices.SortFunc(primary, order)
	slices.SortFunc(secondary, order)
	return primary, secondary
}
