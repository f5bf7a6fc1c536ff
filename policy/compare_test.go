package policy

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/tenants"
)

// compareRounds is the number of pairs of states, before and after, that are
// compared.
const compareRounds = 300

// outsideNames are names outside the catalogue that the driver gives to roles.
var outsideNames = []string{"lab:door", "xmpp:account"}

// TestCompare checks tenants.Compare, on which plans and diffs are built: which
// accounts gain or lose a permission, and which sessions end. The expected
// result comes from asking about every account and permission in both states.
func TestCompare(t *testing.T) {
	rounds := compareRounds
	if os.Getenv("POSTERN_SOAK") == "1" {
		rounds *= 20
	}
	seen := map[string]int{}
	for seed := range rounds / 20 {
		d := newRuleDriver(t, uint64(seed))
		d.rng = rand.New(rand.NewPCG(uint64(seed), 11))
		for range 20 {
			before := d.view
			for range 1 + d.rng.IntN(5) {
				d.any()
			}
			(&bruteForce{t: t, d: d, before: before, after: d.view, seen: seen}).check()
		}
		// The tenant is created in this step, or was removed.
		(&bruteForce{t: t, d: d, before: projections.New(), after: d.view, seen: seen}).check()
		if d.rng.IntN(2) == 0 {
			before := d.view
			d.give(tenants.RemoveTenant{})
			(&bruteForce{t: t, d: d, before: before, after: d.view, seen: seen}).check()
		}
	}
	// Every kind of difference must have occurred, or it was not compared.
	for _, what := range []string{"gain", "lose", "gain and lose", "outside", "domain", "secondary gain", "secondary lose", "many in a group", "kept session",
		"removed", "suspended", "the role changes", "ended", "reset: loses xmpp:account:messages:read", "reset: loses xmpp:account:presence:write"} {
		if seen[what] < rounds/50 {
			t.Errorf("%s: %d times", what, seen[what])
		}
	}
}

// any returns a random command: the driver's, or one that adds or removes a
// domain.
func (d *ruleDriver) any() {
	domain := d.one("alpha.test", "beta.test", "delta.test")
	switch d.rng.IntN(30) {
	case 0:
		d.give(tenants.RemoveDomain{Domain: domain})
	case 1, 2:
		d.give(tenants.AddDomain{Domain: domain, DefaultRole: d.role()})
	case 3:
		d.give(tenants.SetMemberRoles{JID: "ann@delta.test", Role: d.role(), Secondary: []string{d.role()}})
	default:
		d.give(d.command())
	}
}

// give executes a command if it is allowed, without asking the rule book. It
// keeps the rule book's set of role names up to date, since the driver needs
// it.
func (d *ruleDriver) give(c tenants.Change) {
	plan, err := tenants.Check(d.view, "acme", c)
	if err != nil || len(plan.Events) == 0 {
		return
	}
	d.commit("acme", plan.Events...)
	d.book.roles = map[string]ruleRole{}
	if t := d.view.Tenant([]byte("acme")); t != nil {
		for r := range t.Roles() {
			d.book.roles[r.Name] = ruleRole{}
		}
	}
}

// bruteForce compares two states by asking about every account and permission.
type bruteForce struct {
	t             *testing.T
	d             *ruleDriver
	before, after *projections.View
	seen          map[string]int
}

func (b *bruteForce) check() {
	was, is := b.before.Tenant([]byte("acme")), b.after.Tenant([]byte("acme"))
	said := tenants.Compare(was, is)
	if said.Incomplete {
		b.t.Fatal("incomplete")
	}
	primary, secondary := b.said(said.Permissions), b.said(said.Secondary)
	reasons := map[string]string{} // account → why its sessions end
	for _, e := range said.Sessions {
		for _, who := range whoOf(e.Accounts) {
			if reasons[who] != "" {
				b.t.Fatalf("sessions of %s end twice: %+v", who, said.Sessions)
			}
			reasons[who] = e.Why
		}
	}
	for _, domain := range []string{"alpha.test", "beta.test", "delta.test"} {
		for _, local := range []string{"ann", "bob", "cat", "zed"} {
			account := local + "@" + domain
			// An account that neither state lists is reported under its domain.
			who := account
			if !listed(was, account) && !listed(is, account) {
				who = "*@" + domain
			}
			if want := b.change(account); primary[" "+who] != want {
				b.t.Fatalf("%s: said %q, is %q", account, primary[" "+who], want)
			}
			b.checkSessions(account, cmp.Or(reasons[account], reasons[who]))
			for _, role := range b.secondaries(account) {
				if want := b.secondaryChange(account, role); secondary[role+" "+who] != want {
					b.t.Fatalf("%s, secondary %s: said %q, is %q", account, role, secondary[role+" "+who], want)
				}
				delete(secondary, role+" "+who)
			}
			delete(primary, " "+account)
			delete(reasons, account)
		}
		delete(primary, " *@"+domain)
		delete(reasons, "*@"+domain)
	}
	if len(primary)+len(secondary)+len(reasons) > 0 {
		b.t.Fatalf("said of nobody: %v %v %v", primary, secondary, reasons)
	}
}

func whoOf(a tenants.Accounts) []string {
	list := slices.Clone(a.Members)
	for _, domain := range a.Domains {
		list = append(list, "*@"+domain)
	}
	return list
}

// said returns the text reported for each "role who". It checks that every
// group has a text, that the groups are in order, and that nobody is in two
// groups.
func (b *bruteForce) said(groups []tenants.Group) map[string]string {
	said, known := map[string]string{}, map[string]bool{}
	for _, g := range groups {
		text := gainsAndLosses(g.Gain, g.Lose)
		who := whoOf(g.Accounts)
		if text == "" || len(who) == 0 || known[g.Role+text] || !slices.IsSorted(g.Members) || !slices.IsSorted(g.Domains) {
			b.t.Fatalf("a group that should not be: %+v", g)
		}
		known[g.Role+text] = true
		for _, one := range who {
			if said[g.Role+" "+one] != "" {
				b.t.Fatalf("%s stands in two groups of role %q", one, g.Role)
			}
			said[g.Role+" "+one] = text
		}
		for what, is := range map[string]bool{
			"gain": len(g.Gain) > 0, "lose": len(g.Lose) > 0, "gain and lose": len(g.Gain) > 0 && len(g.Lose) > 0, "domain": len(g.Domains) > 0, "many in a group": len(who) > 1,
			"outside": slices.Contains(append(slices.Clone(g.Gain), g.Lose...), "lab:door"), "secondary gain": g.Role != "" && len(g.Gain) > 0, "secondary lose": g.Role != "" && len(g.Lose) > 0,
		} {
			if is {
				b.seen[what]++
			}
		}
	}
	return said
}

func gainsAndLosses(gain, lose []string) string {
	if len(gain)+len(lose) == 0 {
		return ""
	}
	return "+" + strings.Join(gain, " ") + " -" + strings.Join(lose, " ")
}

func listed(t *projections.Tenant, account string) bool {
	if t == nil {
		return false
	}
	_, ok := t.Member(account)
	return ok
}

// question returns a stanza that asks for exactly this permission, whichever
// domains the tenant has.
func (b *bruteForce) question(perm string) (int, bool) {
	for i, s := range ruleStanzas {
		if "xmpp:"+s.asks == perm && !strings.Contains(s.xml, " to=") {
			return i, true
		}
	}
	return 0, false
}

// decides asks about a stanza of a session that was opened at the given
// position.
func (b *bruteForce) decides(v *projections.View, account string, opened uint64, question int) decision.Effect {
	session := decision.Session{Tenant: []byte("acme"), Account: []byte(account), Resource: []byte("r"), Opened: opened}
	q := decision.NewQuestion(session, decision.Out, &b.d.questions[question], nil)
	return Decide(v, "", &q, time.Unix(0, 0)).Effect
}

// has reports whether a session opened now has a permission. It asks the
// explanation of the role, and checks that a decision agrees if there is a
// stanza for the permission.
func (b *bruteForce) has(v *projections.View, account, perm string) bool {
	t := v.Tenant([]byte("acme"))
	if t == nil || b.decides(v, account, uint64(v.Position()), 0) == decision.End {
		return false
	}
	_, domain, _ := strings.Cut(account, "@")
	s, _ := t.Access([]byte(account), []byte(domain))
	steps := gives(t, s.Role, perm)
	if i, ok := b.question(perm); ok {
		if decided := b.decides(v, account, uint64(v.Position()), i) == decision.Pass; decided != steps {
			b.t.Fatalf("%s of %s: decided %v, explained %v", perm, account, decided, steps)
		}
	}
	return steps
}

func gives(t *projections.Tenant, role, perm string) bool {
	steps := t.Explain(role, perm)
	return len(steps) > 0 && steps[len(steps)-1].Answer.Granted()
}

// differ lists the permissions gained and lost, asking about every name.
func differ(had, has func(perm string) bool) string {
	var gain, lose []string
	for _, perm := range slices.Concat(permission.Everything.Names(), outsideNames) {
		switch before, after := had(perm), has(perm); {
		case after && !before:
			gain = append(gain, perm)
		case before && !after:
			lose = append(lose, perm)
		}
	}
	return gainsAndLosses(gain, lose)
}

func (b *bruteForce) change(account string) string {
	return differ(func(p string) bool { return b.has(b.before, account, p) }, func(p string) bool { return b.has(b.after, account, p) })
}

// holds reports whether an account could be admitted with a secondary role.
func (b *bruteForce) holds(v *projections.View, account, role string) bool {
	t := v.Tenant([]byte("acme"))
	if t == nil || b.decides(v, account, uint64(v.Position()), 0) == decision.End {
		return false
	}
	m, _ := t.Member(account)
	return slices.Contains(m.Secondary, role)
}

// secondaries returns the roles of both states.
func (b *bruteForce) secondaries(account string) []string {
	roles := map[string]bool{}
	for _, v := range []*projections.View{b.before, b.after} {
		if t := v.Tenant([]byte("acme")); t != nil {
			for r := range t.Roles() {
				roles[r.Name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(roles))
}

func (b *bruteForce) secondaryChange(account, role string) string {
	by := func(v *projections.View) func(string) bool {
		return func(p string) bool { return b.holds(v, account, role) && gives(v.Tenant([]byte("acme")), role, p) }
	}
	return differ(by(b.before), by(b.after))
}

// checkSessions checks whether sessions of an account end, for a session opened
// at any position before the change, and compares the reported reason with the
// real one.
func (b *bruteForce) checkSessions(account, said string) {
	alive, over := false, false
	for opened := range uint64(b.before.Position()) + 1 {
		if b.decides(b.before, account, opened, 0) != decision.End {
			alive = true
			over = over || b.decides(b.after, account, opened, 0) == decision.End
		}
	}
	if !alive {
		// The account could have no session before. A session opened during
		// the change may have ended since, but not if the account's domain did
		// not exist.
		if _, domain, _ := strings.Cut(account, "@"); said != "" && (b.before.Tenant([]byte("acme")) == nil || !hasDomain(b.before, domain)) {
			b.t.Fatalf("sessions of %s, who was not there, are said to end: %s", account, said)
		}
		return
	}
	want := ""
	if over {
		want = b.why(account)
	}
	if said != want {
		b.t.Fatalf("sessions of %s: said %q, are %q", account, said, want)
	}
	b.seen[cmp.Or(want, "kept session")]++
}

func hasDomain(v *projections.View, domain string) bool {
	_, ok := v.Tenant([]byte("acme")).Domain([]byte(domain))
	return ok
}

func (b *bruteForce) why(account string) string {
	t := b.after.Tenant([]byte("acme"))
	_, domain, _ := strings.Cut(account, "@")
	if t == nil || !hasDomain(b.after, domain) {
		return "removed"
	}
	d, _ := t.Domain([]byte(domain))
	m, _ := t.Member(account)
	old, _ := b.before.Tenant([]byte("acme")).Member(account)
	oldDomain, _ := b.before.Tenant([]byte("acme")).Domain([]byte(domain))
	if t.Suspended() || d.Suspended || m.Suspended {
		return "suspended"
	}
	if cmp.Or(m.Role, d.DefaultRole) != cmp.Or(old.Role, oldDomain.DefaultRole) {
		return "the role changes"
	}
	for _, perm := range []string{"xmpp:account:messages:read", "xmpp:account:presence:write"} {
		if b.has(b.before, account, perm) && !b.has(b.after, account, perm) {
			return fmt.Sprint("reset: loses ", perm)
		}
	}
	return "ended"
}
