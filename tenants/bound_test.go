package tenants

import (
	"errors"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/projections"
)

// heldBy lists a tenant's domains and accounts that an operator suspended.
func heldBy(t *projections.Tenant) []string {
	var held []string
	if t == nil {
		return nil
	}
	for d := range t.Domains() {
		if d.ByOperator {
			held = append(held, d.Name)
		}
	}
	for m := range t.Members() {
		if m.ByOperator {
			held = append(held, m.JID)
		}
	}
	slices.Sort(held)
	return held
}

// likely returns a command about suspended domains and accounts. It is accepted
// more often than a wholly random one.
func likely(rng *rand.Rand, t *projections.Tenant) Change {
	said := func() *bool {
		yes := rng.IntN(2) == 0
		return []*bool{nil, &yes}[rng.IntN(2)]
	}
	account := []string{"x@a.test", "y@a.test", "z@a.test"}[rng.IntN(3)]
	switch rng.IntN(6) {
	case 0:
		return SuspendMember{account}
	case 1:
		return ResumeMember{account}
	case 2:
		return SuspendDomain{"a.test"}
	case 3:
		m, _ := t.Member(account)
		return SetMemberRoles{account, m.Role, m.Secondary, said()}
	}
	c := Desired(t)
	c.Suspended = nil
	for i := range c.Domains {
		c.Domains[i].Suspended = said()
	}
	for i := range c.Members {
		c.Members[i].Suspended = said()
	}
	if len(c.Domains) > 0 && rng.IntN(8) == 0 {
		c.Domains, c.Members = c.Domains[1:], nil
	}
	return c
}

// TestNobodyLiftsAnOperatorsSuspension gives random commands of every kind, by
// an operator and by the tenant's administrator in turn. The administrator's
// commands must keep all suspensions by an operator and admit none of the
// suspended accounts. Only commands that would end such a suspension may be
// refused for that reason.
func TestNobodyLiftsAnOperatorsSuspension(t *testing.T) {
	lifts := map[string]int{}
	for seed := range rounds(150) {
		rng := rand.New(rand.NewPCG(uint64(seed), 11))
		w := &world{t: t, v: projections.New()}
		for _, id := range []string{"a", "b"} {
			if _, err := w.give(id, twin(id)); err != nil {
				t.Fatal(err)
			}
		}
		for range 80 {
			entry := ofTenants()[rng.IntN(len(ofTenants()))]
			v := reflect.New(reflect.TypeOf(entry.Zero)).Elem()
			fill(t, rng, v, "")
			c := v.Interface().(Change)
			if rng.IntN(2) == 0 {
				c = likely(rng, w.v.Tenant([]byte("a")))
			}
			before := w.v
			held := heldBy(w.v.Tenant([]byte("a")))
			if rng.IntN(3) == 0 {
				if c.Name() != (RemoveTenant{}).Name() {
					w.give("a", c)
				}
				continue
			}
			outcome, err := w.giveAsAdmin("a", c)
			after := w.v.Tenant([]byte("a"))
			if got := heldBy(after); !slices.Equal(got, held) {
				t.Fatalf("seed %d: %s %+v by the administrator: the operator's suspensions were %v and are %v (%v)", seed, c.Name(), c, held, got, outcome.Events)
			}
			for _, name := range held {
				if s, there := after.Access([]byte("?@"+name), []byte(name)); there && !s.Suspended {
					t.Fatalf("seed %d: %s admits accounts of %s", seed, c.Name(), name)
				}
			}
			if err == nil {
				continue
			}
			if w.v != before {
				t.Fatal("a refused command changed something")
			}
			asOperator, possible := Check(before, "a", c)
			first, _ := errors.AsType[*Error](err)
			kind, _ := lookUp(c)
			if possible != nil || first.Code != Forbidden || kind.Operator || operatorOnly(asOperator.Events) != nil {
				continue
			}
			// An operator may give this command. So the command was refused because it
			// would end a suspension.
			next, err := before.Apply(&events.Commit{
				Position: before.Position() + 1, Tenant: "a", TenantVersion: before.Tenant([]byte("a")).Version() + 1, Events: asOperator.Events,
			})
			if err != nil {
				t.Fatal(err)
			}
			still := heldBy(next.Tenant([]byte("a")))
			if !slices.ContainsFunc(held, func(name string) bool { return !slices.Contains(still, name) }) {
				t.Fatalf("seed %d: %s %+v is refused (%v), but would end no suspension: %v", seed, c.Name(), c, first, asOperator.Events)
			}
			lifts[c.Name()]++
		}
	}
	for _, name := range []string{"domain.resume", "domain.remove", "member.resume", "member.set-role", "tenant.apply"} {
		if lifts[name] < 5 {
			t.Errorf("%s was refused only %d times because it would end a suspension (%v)", name, lifts[name], maps.Clone(lifts))
		}
	}
}

// TestCompareSuspensions checks that the Edits of Compare lead from each kind of
// suspension (none, the tenant's, an operator's) to each other kind.
func TestCompareSuspensions(t *testing.T) {
	states := [][]events.Event{
		{},
		{events.DomainSuspended{Domain: "a.test"}, events.MemberSuspended{JID: "x@a.test"}},
		{events.DomainSuspended{Domain: "a.test", ByOperator: true}, events.MemberSuspended{JID: "x@a.test", ByOperator: true}},
	}
	of := func(list []events.Event) *projections.View {
		w := &world{t: t, v: projections.New()}
		if _, err := w.give("a", twin("a")); err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			return w.v
		}
		next, err := w.v.Apply(&events.Commit{Position: 2, Tenant: "a", TenantVersion: 2, Events: list})
		if err != nil {
			t.Fatal(err)
		}
		return next
	}
	for i, from := range states {
		for j, to := range states {
			before, after := of(from), of(to).Tenant([]byte("a"))
			d := Compare(before.Tenant([]byte("a")), after)
			if empty(d) != (i == j) {
				t.Errorf("from %d to %d: %+v", i, j, d)
			}
			var way []events.Event
			for _, e := range d.Edits {
				way = append(way, e.Event)
			}
			if len(way) == 0 {
				continue
			}
			old := before.Tenant([]byte("a"))
			v, err := before.Apply(&events.Commit{Position: before.Position() + 1, Tenant: "a", TenantVersion: old.Version() + 1, Events: way})
			if err != nil {
				t.Fatal(err)
			}
			got := v.Tenant([]byte("a"))
			if !reflect.DeepEqual(heldBy(got), heldBy(after)) || !reflect.DeepEqual(Desired(got), Desired(after)) {
				t.Errorf("from %d to %d, %v leads to %v", i, j, way, Desired(got))
			}
		}
	}
}

// TestEscalationEndsNothing checks that Compare reports no revoked sessions when
// an operator suspends an account that the tenant has already suspended.
func TestEscalationEndsNothing(t *testing.T) {
	w := &world{t: t, v: projections.New()}
	if _, err := w.give("a", twin("a")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.giveAsAdmin("a", SuspendMember{"x@a.test"}); err != nil {
		t.Fatal(err)
	}
	before := w.v.Tenant([]byte("a"))
	if outcome, err := w.give("a", SuspendMember{"x@a.test"}); err != nil || len(outcome.Events) != 1 {
		t.Fatal(outcome, err)
	}
	if d := Compare(before, w.v.Tenant([]byte("a"))); len(d.Edits) != 1 || len(d.Sessions)+len(d.Permissions) > 0 {
		t.Errorf("%+v", d)
	}
}

// TestBoundGoesByEvents checks that every event that would end an operator's
// suspension is refused, even if no existing command makes the event.
func TestBoundGoesByEvents(t *testing.T) {
	w := &world{t: t, v: projections.New()}
	if _, err := w.give("a", twin("a")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []Change{SuspendDomain{"a.test"}, SuspendMember{"x@a.test"}} {
		if _, err := w.give("a", c); err != nil {
			t.Fatal(err)
		}
	}
	tenant := w.v.Tenant([]byte("a"))
	for want, list := range map[int][]events.Event{
		0: {events.MemberRemoved{JID: "y@a.test"}, events.MemberResumed{JID: "y@a.test"}, events.MemberSuspended{JID: "x@a.test"}, events.DomainSuspended{Domain: "a.test"}, events.MemberRolesSet{JID: "x@a.test"}},
		1: {events.MemberRemoved{JID: "x@a.test"}},
		2: {events.MemberResumed{JID: "x@a.test"}, events.DomainResumed{Domain: "a.test"}},
		4: {events.DomainRemoved{Domain: "a.test"}, events.MemberResumed{JID: "x@a.test"}, events.MemberRemoved{JID: "x@a.test"}}, // the domain, and its account
	} {
		if got := bound(tenant, list); len(got) != want {
			t.Errorf("%v: %v", list, got)
		}
	}
}
