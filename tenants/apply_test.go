package tenants

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/projections"
)

// randomTenant returns a random valid tenant.
func randomTenant(rng *rand.Rand) CreateTenant {
	names := func(pool ...string) []string {
		rng.Shuffle(len(pool), func(i, j int) { pool[i], pool[j] = pool[j], pool[i] })
		return pool[:rng.IntN(len(pool)+1)]
	}
	perms := func() []string { return names("xmpp:federate", permission.MessagesRead.Name(), "a:x", "a:y") }
	suspended := func() *bool {
		yes := rng.IntN(3) == 0
		return &yes
	}
	c := CreateTenant{DisplayName: fmt.Sprint("n", rng.IntN(2)), Ceiling: perms(), MaxSessions: uint64(rng.IntN(3)), Settings: events.Settings{PresenceWithoutMessages: events.PresenceMode(rng.IntN(2))}, Suspended: suspended()}
	roles := names("r1", "r2", "r3", "r4")
	for i, r := range roles {
		c.Roles = append(c.Roles, DefineRole{r, names(append([]string{permission.Guest}, roles[:i]...)...), perms(), perms()})
	}
	rng.Shuffle(len(c.Roles), func(i, j int) { c.Roles[i], c.Roles[j] = c.Roles[j], c.Roles[i] })
	for _, r := range names(permission.Guest, permission.Member) {
		c.BuiltinRoles = append(c.BuiltinRoles, AdjustRole{r, perms(), perms()})
	}
	all := append([]string{permission.Guest, permission.Registered}, roles...)
	role := func() string { return all[rng.IntN(len(all))] }
	places := names("a.test", "b.test", "c.test")
	for i, d := range places {
		if i == 2 {
			c.Services = []AddService{{d}}
			continue
		}
		c.Domains = append(c.Domains, AddDomain{d, role(), []events.Backend{{Address: fmt.Sprintf("127.0.0.1:%d", 1+rng.IntN(2))}}, suspended()})
		for _, local := range names("x", "y", "z") {
			m := SetMemberRoles{JID: local + "@" + d, Secondary: names(all...), Suspended: suspended()}
			if rng.IntN(3) > 0 {
				m.Role = role()
			}
			c.Members = append(c.Members, m)
		}
	}
	return c
}

// TestApply applies random tenants to random tenants. Afterwards the tenant must
// be as wanted, each event must have changed something, and applying the same
// again must change nothing.
func TestApply(t *testing.T) {
	for seed := range rounds(400) {
		rng := rand.New(rand.NewPCG(uint64(seed), 8))
		w := &world{t: t, v: projections.New()}
		if _, err := w.give("t", randomTenant(rng)); err != nil {
			t.Fatal(seed, err)
		}
		for range 4 {
			before := w.v.Tenant([]byte("t"))
			want := randomTenant(rng)
			fresh := &world{t: t, v: projections.New()}
			if _, err := fresh.give("t", want); err != nil {
				t.Fatal(seed, err)
			}
			view := w.v
			outcome, err := w.give("t", ApplyTenant(want))
			if err != nil {
				t.Fatal(seed, err)
			}
			after := w.v.Tenant([]byte("t"))
			if got, want := Desired(after), Desired(fresh.v.Tenant([]byte("t"))); !reflect.DeepEqual(got, want) {
				// A suspended account without roles may stay suspended if the
				// change leaves it out.
				if got = unsuspendedAlone(got, want); !reflect.DeepEqual(got, want) {
					t.Fatalf("seed %d:\n got %+v\nwant %+v\nby %v", seed, got, want, outcome.Events)
				}
			}
			for _, again := range []ApplyTenant{ApplyTenant(want), Desired(after)} {
				if outcome, err := Check(w.v, "t", again); err != nil || len(outcome.Events) > 0 {
					t.Fatalf("seed %d: again: %v %v", seed, outcome.Events, err)
				}
			}
			d := Compare(before, after)
			if len(d.Edits) != len(outcome.Events) {
				t.Fatalf("seed %d: %v\nis not %v", seed, d.Edits, outcome.Events)
			}
			eachDoes(t, view, outcome.Events)
			holdToStandings(t, &d, before, after)
			if d := Compare(after, after); !empty(d) {
				t.Fatalf("seed %d: from a tenant to itself: %+v", seed, d)
			}
		}
	}
}

// unsuspendedAlone returns got without the members that want does not have, if
// they have no roles and are only suspended.
func unsuspendedAlone(got, want ApplyTenant) ApplyTenant {
	named := map[string]bool{}
	for _, m := range want.Members {
		named[m.JID] = true
	}
	var kept []SetMemberRoles
	for _, m := range got.Members {
		if named[m.JID] || m.Suspended == nil || m.Role != "" || len(m.Secondary) > 0 {
			kept = append(kept, m)
		}
	}
	got.Members = kept
	return got
}

// eachDoes applies events one at a time and checks that each changes something.
func eachDoes(t *testing.T, v *projections.View, evs []events.Event) {
	t.Helper()
	for _, e := range evs {
		old := v.Tenant([]byte("t"))
		next, err := v.Apply(&events.Commit{Position: v.Position() + 1, Tenant: "t", TenantVersion: old.Version() + 1, Events: []events.Event{e}})
		if err != nil {
			t.Fatalf("%v: %v", e, err)
		}
		if reflect.DeepEqual(Desired(old), Desired(next.Tenant([]byte("t")))) {
			t.Fatalf("%s changes nothing", events.Describe(e))
		}
		v = next
	}
}

// holdToStandings checks a Difference against both states: for each account, the
// gain and the loss must agree with its Access before and after.
func holdToStandings(t *testing.T, d *Difference, before, after *projections.Tenant) {
	t.Helper()
	said := map[string]string{}
	for _, g := range d.Permissions {
		for _, m := range g.Members {
			said[m] = strings.Join(g.Gain, " ") + " / " + strings.Join(g.Lose, " ")
		}
	}
	can := func(tenant *projections.Tenant, account, domain, perm string) bool {
		s, ok := tenant.Access([]byte(account), []byte(domain))
		return ok && !s.Suspended && tenant.Grants(s.Role, perm)
	}
	perms := permission.Everything.Names()
	perms = append(perms, "a:x", "a:y")
	for _, tenant := range []*projections.Tenant{before, after} {
		for m := range tenant.Members() {
			_, domain, _ := strings.Cut(m.JID, "@")
			var gain, lose []string
			for _, perm := range perms {
				switch had, has := can(before, m.JID, domain, perm), can(after, m.JID, domain, perm); {
				case has && !had:
					gain = append(gain, perm)
				case had && !has:
					lose = append(lose, perm)
				}
			}
			want := ""
			if len(gain)+len(lose) > 0 {
				want = strings.Join(gain, " ") + " / " + strings.Join(lose, " ")
			}
			if said[m.JID] != want {
				t.Fatalf("%s: said %q, is %q", m.JID, said[m.JID], want)
			}
		}
	}
}

// TestApplyKeepsSuspension checks that a suspended account stays suspended if an
// apply leaves the account out or lists it without the field suspended.
func TestApplyKeepsSuspension(t *testing.T) {
	w := &world{t: t, v: projections.New()}
	yes := true
	create := twin("a")
	create.Members[0].Suspended, create.Members[1].Suspended = &yes, &yes
	if _, err := w.give("a", create); err != nil {
		t.Fatal(err)
	}
	without := ApplyTenant(twin("a"))
	without.Members = without.Members[1:]
	outcome, err := w.give("a", without)
	if err != nil || len(outcome.Events) != 1 {
		t.Fatal(outcome.Events, err)
	}
	for _, account := range []string{"x@a.test", "y@a.test"} {
		if m, _ := w.v.Tenant([]byte("a")).Member(account); !m.Suspended {
			t.Errorf("%s is not suspended any more", account)
		}
	}
	no := false
	without.Members[0].Suspended = &no
	if _, err := w.give("a", without); err != nil {
		t.Fatal(err)
	}
	if m, _ := w.v.Tenant([]byte("a")).Member("y@a.test"); m.Suspended {
		t.Error("suspended = false did not resume")
	}
}

// TestApplyNeedsAnOperator checks that a tenant's administrator cannot apply a
// tenant if one of the resulting events is for operators only.
func TestApplyNeedsAnOperator(t *testing.T) {
	w := &world{t: t, v: projections.New()}
	if _, err := w.give("a", twin("a")); err != nil {
		t.Fatal(err)
	}
	yes := true
	for name, edit := range map[string]func(*ApplyTenant){
		"":                func(c *ApplyTenant) { c.Members, c.Roles[1].Allow = nil, []string{"a:x"}; c.Roles = c.Roles[1:] },
		"ceiling":         func(c *ApplyTenant) { c.Ceiling = []string{"a:x"} },
		"limits":          func(c *ApplyTenant) { c.MaxSessions = 300 },
		"domain added":    func(c *ApplyTenant) { c.Domains = append(c.Domains, AddDomain{Domain: "n.test"}) },
		"domain backends": func(c *ApplyTenant) { c.Domains[0].Backends = []events.Backend{{Address: "127.0.0.1:1"}} },
		"service added":   func(c *ApplyTenant) { c.Services = append(c.Services, AddService{"n.test"}) },
		"tenant suspend":  func(c *ApplyTenant) { c.Suspended = &yes },
	} {
		c := ApplyTenant(twin("a"))
		edit(&c)
		command := Command{Tenant: "a", Actor: Actor{Name: "tenant:a:ann", Tenant: "a"}, ID: "1", Change: c}
		_, err := command.Check(w.v)
		if name == "" && err != nil || name != "" && (err == nil || !strings.Contains(err.Error(), name)) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// empty reports whether a Difference says that nothing changed.
func empty(d Difference) bool {
	return len(d.Edits)+len(d.Permissions)+len(d.Secondary)+len(d.Sessions) == 0
}
