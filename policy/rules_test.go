package policy

import (
	"errors"
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

// ruleStanzas are the stanzas to ask about, with the permissions that the
// documented table asks for, in the order of the catalogue.
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
	commands  map[string]int // number of commands executed, by name
	answers   map[decision.Effect]int
}

type ruleSession struct {
	account string
	opened  uint64
	alive   bool
}

// ruleSteps is the number of commands, each followed by questions.
const ruleSteps = 100_000

// TestRuleBook checks that the product and the rule book agree through random
// role graphs, commands and questions: on refused commands, on commands that
// change nothing, on the permissions of each account, and on the sessions that
// end.
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
	// Every kind of command must have occurred, or it was not compared.
	for _, name := range []string{"role.define", "role.adjust", "role.remove", "tenant.set-ceiling", "tenant.suspend", "tenant.resume",
		"domain.set-default-role", "domain.suspend", "domain.resume", "domain.add", "domain.remove", "member.set-role", "member.remove", "member.suspend", "member.resume", "member.end-sessions"} {
		if commands[name] < steps/1000 || commands["refused "+name] == 0 {
			t.Errorf("%s: %d carried out, %d refused", name, commands[name], commands["refused "+name])
		}
	}
	for _, name := range []string{"domain.resume", "domain.remove", "member.set-role", "member.resume"} {
		if n := commands["bound "+name]; n < steps/2000 {
			t.Errorf("%s: %d refused for what an operator suspended", name, n)
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

// account returns one of few accounts, so that commands affect each other.
// Rarely, it returns an account of another tenant.
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
		return tenants.SetMemberRoles{JID: d.account(), Role: d.one("", d.role(), d.role()), Secondary: some(2), Suspended: d.said()}
	case n < 81:
		return tenants.RemoveMember{JID: d.account()}
	case n < 82:
		return tenants.RemoveDomain{Domain: domain}
	case n < 83:
		return tenants.AddDomain{Domain: domain, DefaultRole: d.one("", d.role()), Suspended: d.said()}
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

// said returns the value of a command's suspended field, mostly absent.
func (d *ruleDriver) said() *bool {
	if n := d.rng.IntN(8); n < 2 {
		yes := n == 0
		return &yes
	}
	return nil
}

// step gives one command of an operator or of the tenant's administrator, then
// asks.
func (d *ruleDriver) step() {
	c, who := d.command(), d.one("operator", "operator", "tenant")
	actor := tenants.Actor{Name: who, Operator: who == "operator"}
	if !actor.Operator {
		actor.Tenant = "acme"
	}
	after := d.book.clone()
	refused, ends := after.execute(c, who)
	if !refused && who != "operator" && d.book.lifts(after) {
		refused = true
		d.commands["bound "+c.Name()]++
	}
	plan, err := (&tenants.Command{Tenant: "acme", Actor: actor, ID: "1", Change: c}).Check(d.view)
	if (err != nil) != refused {
		d.t.Fatalf("%s by the %s: %+v: %v; the rule book: refused %v", c.Name(), who, c, err, refused)
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

// ask opens a session and asks about stanzas of it and of older sessions.
func (d *ruleDriver) ask() {
	account := d.one("ann", "bob", "cat", "dan") + "@" + d.one("alpha.test", "beta.test")
	if fresh := (ruleSession{account, uint64(d.view.Position()), true}); !d.book.barred(account) {
		d.sessions = append(d.sessions, fresh)
	} else { // it would not be admitted; if it were, every verdict would end it
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

// askAbout asks about one stanza of a session.
func (d *ruleDriver) askAbout(s ruleSession) {
	i := d.rng.IntN(len(ruleStanzas))
	want, missing := decision.Pass, ""
	asks := strings.Fields(ruleStanzas[i].asks)
	if _, there := d.book.domains["alpha.test"]; !there && strings.Contains(ruleStanzas[i].xml, "@alpha.test") {
		asks = append([]string{"federate"}, asks...) // the domain is not the tenant's any more, so it is remote
	}
	for _, p := range asks {
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
	got := Decide(d.view, "", &q, time.Unix(0, 0))
	if got.Effect != want || got.Permission != missing {
		d.t.Fatalf("%s (opened at %d, alive %v, acts as %s) asks %s: %s %q, the rule book says %s %q",
			s.account, s.opened, s.alive, d.book.acts(s.account), ruleStanzas[i].xml, got.Effect, got.Permission, want, missing)
	}
	d.answers[got.Effect]++
}
