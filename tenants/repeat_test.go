package tenants

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/projections"
)

// TestRepeats: a command repeats the commit it made, whatever it was, and
// neither another actor nor another kind of command does.
func TestRepeats(t *testing.T) {
	for seed := range rounds(100) {
		rng := rand.New(rand.NewPCG(uint64(seed), 9))
		w := &world{t: t, v: projections.New()}
		if _, err := w.give("a", twin("a")); err != nil {
			t.Fatal(err)
		}
		for range 40 {
			entry := Catalogue()[rng.IntN(len(Catalogue()))]
			if entry.Installation {
				continue
			}
			v := reflect.New(reflect.TypeOf(entry.Zero)).Elem()
			fill(t, rng, v, "")
			c := v.Interface().(Change)
			plan, err := w.give("a", c)
			if err != nil || len(plan.Events) == 0 {
				continue
			}
			first := &events.Commit{Tenant: "a", Actor: "x", Events: plan.Events}
			command := Command{Tenant: "a", Actor: Actor{Name: "x"}, ID: "1", Change: c}
			if err := command.Repeats(first); err != nil {
				t.Fatalf("%+v does not repeat itself: %v", c, err)
			}
			command.Actor.Name = "y"
			if command.Repeats(first) == nil {
				t.Fatal("another actor repeats it")
			}
			command.Actor.Name = "x"
			command.Change = RenameTenant{DisplayName: "never"}
			if command.Repeats(first) == nil {
				t.Fatalf("another command repeats %v", plan.Events)
			}
		}
	}
	for _, tt := range []struct {
		c Change
		e events.Event
	}{
		{SuspendMember{"x@a.test"}, events.MemberSuspended{JID: "y@a.test"}},
		{SetMemberRoles{JID: "x@a.test"}, events.MemberRolesSet{JID: "y@a.test"}},
		{DefineRole{Role: "r", Allow: []string{"a:x"}}, events.RoleDefined{Name: "r"}},
		{SetCeiling{}, events.CeilingSet{Permissions: []string{"a:x"}}},
		{SetMemberRoles{JID: "x@a.test", Role: "r"}, events.MemberRolesSet{JID: "x@a.test", Role: "s"}},
		{SetMemberRoles{JID: "x@a.test", Suspended: new(true)}, events.MemberResumed{JID: "x@a.test"}},
		{SetDomainBackends{Domain: "a.test"}, events.DomainBackendsSet{Domain: "a.test", Backends: []events.Backend{{Address: "b:1"}}}},
		{RevokeToken{ID: "1"}, events.TokenRevoked{ID: "2"}},
		{CreateToken{ID: "1"}, events.TokenCreated{ID: "1", Scope: events.TokenOperator}},
		{CreateTenant{}, events.TenantCreated{Name: "other"}},
	} {
		c := Command{Tenant: "a", Actor: Actor{Name: "x"}, ID: "1", Change: tt.c}
		if c.Repeats(&events.Commit{Actor: "x", Events: []events.Event{tt.e}}) == nil {
			t.Errorf("%+v repeats %v", tt.c, tt.e)
		}
	}
}
