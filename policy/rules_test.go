package policy

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/tenants"
	"github.com/postern-im/postern/xmpp/stanza"
	"github.com/postern-im/postern/xmpp/stream"
)

// The rules of roles once more, written down from docs/PERMISSIONS.md and
// Prosody's documentation by names and maps alone: what this file knows of
// commands, roles and sessions it has from nowhere else in the source.
type ruleBook struct {
	roles     map[string]ruleRole
	ceiling   []string
	domains   map[string]ruleDomain
	members   map[string]ruleMember
	suspended bool
}

type ruleRole struct {
	builtin, allow, deny, inherits []string // builtin: what it gives by itself
	own                            bool
}

type ruleDomain struct {
	role      string
	suspended bool
}

type ruleMember struct {
	role      string
	secondary []string
	suspended bool
}

func newRuleBook() *ruleBook {
	account := func(names ...string) (all []string) {
		for _, n := range names {
			all = append(all, "xmpp:account:"+n)
		}
		return all
	}
	guest := append(account("messages:read", "messages:write", "presence:write", "contacts:read", "contacts:write",
		"bookmarks:read", "bookmarks:write", "profile:read", "profile:write", "omemo:read", "omemo:write",
		"blocklist:read", "blocklist:write", "disco:read", "history:read", "history:write", "pep:read", "pep:write"),
		"xmpp:requests:read", "xmpp:requests:write")
	registered := append(account("read", "write", "legacy-storage:read", "legacy-storage:write"), "xmpp:federate")
	return &ruleBook{
		roles: map[string]ruleRole{
			"prosody:guest":      {builtin: guest},
			"prosody:registered": {builtin: registered, inherits: []string{"prosody:guest"}},
			"prosody:member":     {inherits: []string{"prosody:registered"}},
			"prosody:admin":      {inherits: []string{"prosody:member"}},
			"prosody:operator":   {inherits: []string{"prosody:admin"}},
		},
		domains: map[string]ruleDomain{"alpha.test": {role: "prosody:registered"}, "beta.test": {role: "prosody:guest"}},
		members: map[string]ruleMember{},
	}
}

// answer is what a role says of a permission: 1 yes, -1 no, 0 nothing. Its own
// table is asked first, deny before allow; then its parents, left to right.
func (b *ruleBook) answer(role, permission string) int {
	r := b.roles[role]
	switch {
	case slices.Contains(r.deny, permission):
		return -1
	case slices.Contains(r.allow, permission), slices.Contains(r.builtin, permission):
		return 1
	}
	for _, parent := range r.inherits {
		if a := b.answer(parent, permission); a != 0 {
			return a
		}
	}
	return 0
}

func (b *ruleBook) acts(account string) string {
	if m := b.members[account]; m.role != "" {
		return m.role
	}
	return b.domains[account[strings.IndexByte(account, '@')+1:]].role
}

func (b *ruleBook) barred(account string) bool {
	return b.suspended || b.members[account].suspended || b.domains[account[strings.IndexByte(account, '@')+1:]].suspended
}

func (b *ruleBook) may(account, permission string) bool {
	return !slices.Contains(b.ceiling, permission) && b.answer(b.acts(account), permission) == 1
}

func (b *ruleBook) inherits(role, from string) bool {
	return role == from || slices.ContainsFunc(b.roles[role].inherits, func(p string) bool { return b.inherits(p, from) })
}

func (b *ruleBook) used(role string) bool {
	for _, r := range b.roles {
		if slices.Contains(r.inherits, role) {
			return true
		}
	}
	for _, d := range b.domains {
		if d.role == role {
			return true
		}
	}
	for _, m := range b.members {
		if m.role == role || slices.Contains(m.secondary, role) {
			return true
		}
	}
	return false
}

func (b *ruleBook) clone() *ruleBook {
	c := *b
	c.roles, c.domains, c.members = maps.Clone(b.roles), maps.Clone(b.domains), maps.Clone(b.members)
	return &c
}

func (b *ruleBook) known(roles ...string) bool {
	return !slices.ContainsFunc(roles, func(r string) bool { _, ok := b.roles[r]; return !ok })
}

func distinct(list []string) bool {
	return len(slices.Compact(slices.Sorted(slices.Values(list)))) == len(list)
}

func sound(lists ...[]string) bool {
	for _, list := range lists {
		if !distinct(list) || slices.ContainsFunc(list, func(p string) bool { return strings.ContainsAny(p, "*") || !strings.Contains(p, ":") }) {
			return false
		}
	}
	return true
}

// obey carries a command out and says whether it is one to refuse; ends names
// the account whose sessions it ends whatever else it does.
func (b *ruleBook) obey(c tenants.Change) (refused bool, ends string) {
	switch c := c.(type) {
	case tenants.DefineRole:
		if strings.HasPrefix(c.Role, "prosody:") || strings.ContainsAny(c.Role, " /") || !b.known(c.Inherits...) ||
			!distinct(c.Inherits) || !sound(c.Allow, c.Deny) ||
			slices.ContainsFunc(c.Inherits, func(p string) bool { return b.inherits(p, c.Role) }) {
			return true, ""
		}
		b.roles[c.Role] = ruleRole{own: true, allow: c.Allow, deny: c.Deny, inherits: c.Inherits}
	case tenants.AdjustRole:
		r, ok := b.roles[c.Role]
		if !ok || r.own || !sound(c.Add, c.Remove) {
			return true, ""
		}
		r.allow, r.deny = c.Add, c.Remove
		b.roles[c.Role] = r
	case tenants.RemoveRole:
		if r := b.roles[c.Role]; !r.own || b.used(c.Role) {
			return true, ""
		}
		delete(b.roles, c.Role)
	case tenants.SetCeiling:
		if !sound(c.Permissions) {
			return true, ""
		}
		b.ceiling = c.Permissions
	case tenants.SetDomainDefaultRole:
		d, ok := b.domains[c.Domain]
		if !ok || !b.known(c.Role) {
			return true, ""
		}
		d.role = c.Role
		b.domains[c.Domain] = d
	case tenants.SuspendDomain:
		return b.setDomain(c.Domain, true), ""
	case tenants.ResumeDomain:
		return b.setDomain(c.Domain, false), ""
	case tenants.SuspendTenant:
		b.suspended = true
	case tenants.ResumeTenant:
		b.suspended = false
	default:
		return b.obeyMember(c)
	}
	return false, ""
}

func (b *ruleBook) setDomain(name string, suspended bool) (refused bool) {
	d, ok := b.domains[name]
	if ok {
		d.suspended = suspended
		b.domains[name] = d
	}
	return !ok
}

func (b *ruleBook) obeyMember(c tenants.Change) (refused bool, ends string) {
	has := func(account string) bool {
		_, ok := b.domains[account[strings.IndexByte(account, '@')+1:]]
		return ok
	}
	switch c := c.(type) {
	case tenants.SetMemberRoles:
		if !has(c.JID) || c.Role != "" && !b.known(c.Role) || !b.known(c.Secondary...) || !distinct(c.Secondary) {
			return true, ""
		}
		m, listed := b.members[c.JID]
		if listed || c.Role != "" || len(c.Secondary) > 0 {
			b.members[c.JID] = ruleMember{c.Role, c.Secondary, m.suspended}
		}
	case tenants.RemoveMember:
		if m, listed := b.members[c.JID]; !listed || m.suspended {
			return true, "" // who is kept out would be let in again
		}
		delete(b.members, c.JID)
		return false, c.JID
	case tenants.SuspendMember:
		m := b.members[c.JID]
		m.suspended = true
		if !has(c.JID) {
			return true, ""
		}
		b.members[c.JID] = m
	case tenants.ResumeMember:
		if !has(c.JID) {
			return true, ""
		}
		if m, listed := b.members[c.JID]; listed {
			m.suspended = false
			b.members[c.JID] = m
		}
	case tenants.EndMemberSessions:
		return !has(c.JID), c.JID
	default:
		panic(fmt.Sprintf("no rule for %T", c))
	}
	return false, ""
}

// survives says whether a session of an account outlives a command: not when
// it acts in another role, may not be there, or would go on receiving or being
// seen as what it no longer is.
func survives(before, after *ruleBook, account string) bool {
	lost := func(p string) bool { return before.may(account, p) && !after.may(account, p) }
	return before.acts(account) == after.acts(account) && !after.barred(account) &&
		!lost("xmpp:account:messages:read") && !lost("xmpp:account:presence:write")
}

// leansOn says whether an account gives up a role of its own for its domain's
// default role. Even where that is the same role, a change of the default role
// since the session began may end it now; no rule says that it must.
func leansOn(before, after *ruleBook, account string) bool {
	return before.members[account].role != "" && after.members[account].role == ""
}

// ruleStanzas are what is asked about, with what the documented table asks
// for, in the catalogue's order.
var ruleStanzas = []struct{ xml, asks string }{
	{`<message to='zed@alpha.test'><body>x</body></message>`, "account:messages:write"},
	{`<message to='zed@far.test'><body>x</body></message>`, "federate account:messages:write"},
	{`<presence><priority>-1</priority></presence>`, "account:presence:write"},
	{`<presence to='zed@alpha.test' type='subscribe'/>`, "account:contacts:write"},
	{`<presence to='zed@far.test' type='probe'/>`, "federate account:contacts:read"},
	{`<iq id='1' type='get'><query xmlns='jabber:iq:roster'/></iq>`, "account:contacts:read"},
	{`<iq id='1' type='set'><query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query></iq>`, "account:bookmarks:write"},
	{`<iq id='1' type='get'><query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/><x xmlns='lab:other'/></query></iq>`, "account:bookmarks:read account:legacy-storage:read"},
	{`<iq id='1' type='set'><query xmlns='jabber:iq:private'><x xmlns='lab:other'/></query></iq>`, "account:legacy-storage:write"},
	{`<iq id='1' type='get'><vCard xmlns='vcard-temp'/></iq>`, "account:profile:read"},
	{`<iq id='1' type='set'><vCard xmlns='vcard-temp'/></iq>`, "account:profile:write"},
	{`<iq id='1' type='set'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='urn:xmpp:omemo:2:devices'/></pubsub></iq>`, "account:omemo:write"},
	{`<iq id='1' type='get'><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:omemo:2:devices'/></pubsub></iq>`, "account:omemo:read"},
	{`<iq id='1' type='get'><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='lab:node'/></pubsub></iq>`, "account:pep:read"},
	{`<iq id='1' type='set'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='lab:node'/></pubsub></iq>`, "account:pep:write"},
	{`<iq id='1' type='get'><blocklist xmlns='urn:xmpp:blocking'/></iq>`, "account:blocklist:read"},
	{`<iq id='1' type='set'><block xmlns='urn:xmpp:blocking'><item jid='x@far.test'/></block></iq>`, "account:blocklist:write"},
	{`<iq id='1' type='get'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`, "account:disco:read"},
	{`<iq id='1' type='set'><query xmlns='urn:xmpp:mam:2'/></iq>`, "account:messages:read account:history:read"},
	{`<iq id='1' type='set'><prefs xmlns='urn:xmpp:mam:2' default='never'/></iq>`, "account:history:write"},
	{`<iq id='1' type='get'><query xmlns='jabber:iq:last'/></iq>`, "account:read"},
	{`<iq id='1' type='set'><query xmlns='jabber:iq:register'><password>x</password></query></iq>`, "account:write"},
	{`<iq id='1' type='set'><enable xmlns='urn:xmpp:carbons:2'/></iq>`, "account:messages:read"},
	{`<iq id='1' type='get' to='zed@alpha.test/r'><query xmlns='jabber:iq:version'/></iq>`, "requests:read"},
	{`<iq id='1' type='set' to='room@rooms.far.test'><query xmlns='http://jabber.org/protocol/muc#admin'/></iq>`, "federate requests:write"},
}

// ruleDriver gives random commands to the product and to the rule book, and
// asks both about the same sessions.
type ruleDriver struct {
	t         *testing.T
	rng       *rand.Rand
	book      *ruleBook
	view      *projections.View
	questions []stanza.Descriptor
	sessions  []ruleSession
	commands  map[string]int // carried out, by name
	answers   map[decision.Effect]int
}

type ruleSession struct {
	account string
	opened  uint64
	alive   bool
}

// ruleSteps is the number of commands, each followed by questions.
const ruleSteps = 100_000

// TestRuleBook: the product and the rule book agree on what is refused, what
// changes nothing, what each account may do, and whose sessions end, through
// random role graphs, commands and questions.
func TestRuleBook(t *testing.T) {
	steps := ruleSteps
	if os.Getenv("POSTERN_SOAK") == "1" {
		steps *= 20
	}
	const stepsOfOne = 500 // then a new tenant begins
	commands, answers := map[string]int{}, map[decision.Effect]int{}
	for seed := range steps / stepsOfOne {
		d := newRuleDriver(t, uint64(seed))
		d.commands, d.answers = commands, answers
		for range stepsOfOne {
			d.step()
		}
	}
	// What never happened was not compared.
	for _, name := range []string{"role.define", "role.adjust", "role.remove", "tenant.set-ceiling", "tenant.suspend", "tenant.resume",
		"domain.set-default-role", "domain.suspend", "domain.resume", "member.set-role", "member.remove", "member.suspend", "member.resume", "member.end-sessions"} {
		if commands[name] < steps/1000 || commands["refused "+name] == 0 && !strings.HasPrefix(name, "tenant.s") && name != "tenant.resume" {
			t.Errorf("%s: %d carried out, %d refused", name, commands[name], commands["refused "+name])
		}
	}
	for _, e := range []decision.Effect{decision.Pass, decision.Refuse, decision.End} {
		if answers[e] < steps/10 {
			t.Errorf("%d answers %s", answers[e], e)
		}
	}
}

func newRuleDriver(t *testing.T, seed uint64) *ruleDriver {
	d := &ruleDriver{t: t, rng: rand.New(rand.NewPCG(seed, 7)), book: newRuleBook(), view: projections.New()}
	d.commit("other", events.TenantCreated{Name: "o"}, events.DomainAdded{Domain: "gamma.test", DefaultRole: "prosody:registered"})
	d.commit("acme", events.TenantCreated{Name: "a"}, events.DomainAdded{Domain: "alpha.test", DefaultRole: "prosody:registered"},
		events.DomainAdded{Domain: "beta.test", DefaultRole: "prosody:guest"})
	for _, s := range ruleStanzas {
		el, err := stream.NewFramer(stream.Config{Limits: stream.ClientLimits()}).ParseStanza([]byte(s.xml))
		if err != nil {
			t.Fatalf("%s: %v", s.xml, err)
		}
		var desc stanza.Descriptor
		desc.Describe(el)
		d.questions = append(d.questions, desc)
	}
	return d
}

func (d *ruleDriver) commit(tenant string, evs ...events.Event) {
	version := uint64(1)
	if t := d.view.Tenant([]byte(tenant)); t != nil {
		version = t.Version() + 1
	}
	next, err := d.view.Apply(&events.Commit{Position: d.view.Position() + 1, Tenant: tenant, TenantVersion: version, Time: time.Unix(0, 0).UTC(), Events: evs})
	if err != nil {
		d.t.Fatalf("%v: %v", evs, err)
	}
	d.view = next
}

func (d *ruleDriver) one(list ...string) string { return list[d.rng.IntN(len(list))] }

// account is one of few, so that commands meet; now and then a stranger's.
func (d *ruleDriver) account() string {
	if d.rng.IntN(30) == 0 {
		return "eve@gamma.test"
	}
	return d.one("ann", "bob", "cat") + "@" + d.one("alpha.test", "beta.test")
}

func (d *ruleDriver) role() string {
	if d.rng.IntN(25) == 0 {
		return "lab:unknown"
	}
	return d.one(slices.Sorted(maps.Keys(d.book.roles))...)
}

func (d *ruleDriver) permissions(most int) (list []string) {
	for range d.rng.IntN(most + 1) {
		switch d.rng.IntN(40) {
		case 0:
			list = append(list, d.one("xmpp:*", "*", "xmpp"))
		case 1:
			list = append(list, d.one("xmpp:account", "lab:door"))
		default:
			p, _ := permission.Everything.First()
			list = append(list, (p + permission.Permission(d.rng.IntN(permission.Count))).Name())
		}
	}
	return list
}

func (d *ruleDriver) command() tenants.Change {
	some := func(most int) (roles []string) {
		for range d.rng.IntN(most + 1) {
			roles = append(roles, d.role())
		}
		return roles
	}
	own := d.one("lab:a", "lab:b", "lab:c", "lab:d", "lab:e", "lab:f", "prosody:lab", "bad name")
	domain := d.one("alpha.test", "alpha.test", "beta.test", "beta.test", "gamma.test")
	switch n := d.rng.IntN(100); {
	case n < 30:
		return tenants.DefineRole{Role: own, Inherits: some(3), Allow: d.permissions(4), Deny: d.permissions(3)}
	case n < 42:
		return tenants.AdjustRole{Role: d.role(), Add: d.permissions(3), Remove: d.permissions(2)}
	case n < 47:
		return tenants.RemoveRole{Role: d.role()}
	case n < 51:
		return tenants.SetCeiling{Permissions: d.permissions(2)}
	case n < 57:
		return tenants.SetDomainDefaultRole{Domain: domain, Role: d.role()}
	case n < 77:
		return tenants.SetMemberRoles{JID: d.account(), Role: d.one("", d.role(), d.role()), Secondary: some(2)}
	case n < 83:
		return tenants.RemoveMember{JID: d.account()}
	case n < 85:
		return tenants.SuspendMember{JID: d.account()}
	case n < 90:
		return tenants.ResumeMember{JID: d.account()}
	case n < 92:
		return tenants.EndMemberSessions{JID: d.account()}
	case n < 93:
		return tenants.SuspendDomain{Domain: domain}
	case n < 96:
		return tenants.ResumeDomain{Domain: domain}
	case n < 97:
		return tenants.SuspendTenant{}
	}
	return tenants.ResumeTenant{}
}

// step gives one command, then asks.
func (d *ruleDriver) step() {
	c := d.command()
	after := d.book.clone()
	refused, ends := after.obey(c)
	plan, err := tenants.Check(d.view, "acme", c)
	if (err != nil) != refused {
		d.t.Fatalf("%+v: %v; the rule book: refused %v", c, err, refused)
	}
	if refused {
		if problems, ok := errors.AsType[tenants.Errors](err); !ok || problems[0].Text == "" {
			d.t.Fatalf("%+v: refused with %v", c, err)
		}
		d.commands["refused "+c.Name()]++
	} else {
		d.commands[c.Name()]++
		if same := ends == "" && d.book.equal(after); same != (len(plan.Events) == 0) {
			d.t.Fatalf("%+v: %v; the rule book: no change %v", c, plan.Events, same)
		}
		if len(plan.Events) > 0 {
			d.commit("acme", plan.Events...)
		}
		d.sessions = slices.DeleteFunc(d.sessions, func(s ruleSession) bool {
			return s.account != ends && leansOn(d.book, after, s.account)
		})
		for i := range d.sessions {
			s := &d.sessions[i]
			s.alive = s.alive && s.account != ends && survives(d.book, after, s.account)
		}
		d.book = after
	}
	d.ask()
}

func (b *ruleBook) equal(o *ruleBook) bool {
	return b.suspended == o.suspended && slices.Equal(b.ceiling, o.ceiling) && maps.Equal(b.domains, o.domains) &&
		maps.EqualFunc(b.roles, o.roles, func(x, y ruleRole) bool {
			return slices.Equal(x.allow, y.allow) && slices.Equal(x.deny, y.deny) && slices.Equal(x.inherits, y.inherits)
		}) &&
		maps.EqualFunc(b.members, o.members, func(x, y ruleMember) bool {
			return x.role == y.role && x.suspended == y.suspended && slices.Equal(x.secondary, y.secondary)
		})
}

// ask opens a session and asks about a few stanzas of it and of older ones.
func (d *ruleDriver) ask() {
	account := d.one("ann", "bob", "cat", "dan") + "@" + d.one("alpha.test", "beta.test")
	if fresh := (ruleSession{account, uint64(d.view.Position()), true}); !d.book.barred(account) {
		d.sessions = append(d.sessions, fresh)
	} else { // it would not be admitted, and if it were, nothing would pass
		fresh.alive = false
		d.askAbout(fresh)
	}
	if len(d.sessions) > 40 {
		d.sessions = d.sessions[1:]
	}
	if len(d.sessions) == 0 {
		return
	}
	for range 6 {
		d.askAbout(d.sessions[d.rng.IntN(len(d.sessions))])
	}
}

// askAbout asks about a stanza of one session.
func (d *ruleDriver) askAbout(s ruleSession) {
	i := d.rng.IntN(len(ruleStanzas))
	want, missing := decision.Pass, ""
	for _, p := range strings.Fields(ruleStanzas[i].asks) {
		if !d.book.may(s.account, "xmpp:"+p) {
			want, missing = decision.Refuse, "xmpp:"+p
			break
		}
	}
	if !s.alive {
		want, missing = decision.End, ""
	}
	session := decision.Session{Tenant: []byte("acme"), Account: []byte(s.account), Resource: []byte("r"), Opened: s.opened}
	q := decision.NewQuestion(session, decision.Out, &d.questions[i], nil)
	got := Decide(d.view, &q, time.Unix(0, 0))
	if got.Effect != want || got.Permission != missing {
		d.t.Fatalf("%s (opened at %d, alive %v, acts as %s) asks %s: %s %q, the rule book says %s %q",
			s.account, s.opened, s.alive, d.book.acts(s.account), ruleStanzas[i].xml, got.Effect, got.Permission, want, missing)
	}
	d.answers[got.Effect]++
}
