package tenants

import (
	"cmp"
	"slices"
	"strings"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/projections"
)

// A Difference is what lies between two states of one tenant.
type Difference struct {
	// Edits lead from the first to the second, in an order in which they apply.
	Edits []Edit
	// Permissions is who gains and loses what by the role it acts with; being
	// suspended, or in no domain of the tenant, is having nothing.
	Permissions []Group
	// Secondary is the same of secondary roles, one group for each role, gain
	// and loss: what a restricted credential can get by naming the role.
	Secondary []Group
	// Sessions is whose sessions have ended.
	Sessions []Ending
	// Incomplete is set when the tenant's roles speak of so many names outside
	// the catalogue that Permissions and Secondary leave those out.
	Incomplete bool
}

// Accounts are those something is said of.
type Accounts struct {
	// Members are accounts by their bare JIDs, sorted.
	Members []string
	// Domains are those of which every account without an entry is meant,
	// sorted.
	Domains []string
}

// A Group is accounts that gain and lose the same permissions. Both lists
// have the catalogue's order, and what is not in it behind, by name.
type Group struct {
	Role string // the secondary role, empty in Difference.Permissions
	Gain []string
	Lose []string
	Accounts
}

// An Ending is accounts whose sessions ended for the same reason.
type Ending struct {
	Why string // in words
	Accounts
}

// Compare says what changed from one state of a tenant to a later one of the
// same log. Either may be nil, where the tenant is not there. It is exact:
// each member of either state is looked at, and each account of which either
// remembers an ending.
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
		slices.Sort(d.Sessions[i].Members) // the forgotten stand behind
	}
	slices.SortFunc(d.Sessions, func(a, b Ending) int { return strings.Compare(a.Why, b.Why) })
	return d
}

// edits is the way from one state to the other, suspension included.
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

// suspensionsOf says of everything in a tenant, and of the members of another
// of which it has nothing, whether it is suspended.
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

// maxOutside bounds how many names outside the catalogue are looked up, in
// each role: it is met by nobody who has a use for them.
const maxOutside = 10_000

// side is one of the states compared.
type side struct {
	tenant *projections.Tenant // nil: there is none
	// outside are the names some role allows that are not in the catalogue;
	// nil when they are too many.
	outside []string
	gives   map[string][]string // by role: those of outside it gives
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

// others are the permissions outside the catalogue a role gives, sorted.
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

// standing is an account's; false where it has none.
func (s *side) standing(account, domain string) (projections.Access, bool) {
	if s.tenant == nil {
		return projections.Access{}, false
	}
	return s.tenant.Access([]byte(account), []byte(domain))
}

// pair is a role before and one after; empty where nothing is held.
type pair struct{ before, after string }

type gainLoss struct{ gain, lose []string }

// comparison is two states being compared.
type comparison struct {
	before, after side
	pairs         map[pair]gainLoss
	groups        map[string]*Group
	endings       map[string]*Ending
}

// nobody is the localpart of an account that has no entry: no prepared address
// has it.
const nobody = "\x00"

// accounts looks at every member of either state, and in each domain at one
// who is none.
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

// forgotten looks at an account that has, or had, no entry: where it has none
// in either state its domain says all of it, but that its sessions alone may
// have ended.
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

// whyEnded says why an account's sessions from before are over; empty when
// they are not, or there were none.
func (c *comparison) whyEnded(account, domain string) string {
	before, was := c.before.standing(account, domain)
	after, is := c.after.standing(account, domain)
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

// union collects names of both states, sorted.
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
	before, was := c.before.standing(account, domain)
	after, is := c.after.standing(account, domain)
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

// whyEnded says why sessions from before are over; empty when they are not.
// A View keeps the newest position that ended an account's sessions.
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
		return "" // suspended once more: there was none to end
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

// group puts an account with those that gain and lose the same.
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

// gainLoss compares what one role gave with what another gives.
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

// without is what of one sorted list is not in another.
func without(list, other []string) []string {
	var out []string
	for _, name := range list {
		if _, in := slices.BinarySearch(other, name); !in {
			out = append(out, name)
		}
	}
	return out
}

// sorted gives the groups, the primary role's and the secondary ones', those
// that lose first.
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
