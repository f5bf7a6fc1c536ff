package tenants

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/projections"
)

// samples holds, for each command on an existing tenant, a change that has an
// effect on the twin "a", and changes by the tenant's administrator that must be
// applied before it.
var samples = map[string]struct {
	before, change Change
	// alone is set if no policy can express the change.
	alone bool
}{
	"tenant.apply":               {change: ApplyTenant(CreateTenant{}), alone: true},
	"tenant.rename":              {change: RenameTenant{"new"}},
	"tenant.suspend":             {change: SuspendTenant{}},
	"tenant.resume":              {before: SuspendTenant{}, change: ResumeTenant{}},
	"tenant.remove":              {change: RemoveTenant{}, alone: true},
	"tenant.set-ceiling":         {change: SetCeiling{[]string{"a:new"}}},
	"tenant.set-limits":          {change: SetLimits{300}},
	"tenant.set-presence":        {change: SetSetting{"presence_without_messages", 1}},
	"tenant.set-audit-addresses": {change: SetSetting{"audit_addresses", 2}},
	"domain.add":                 {change: AddDomain{Domain: "n.test"}},
	"domain.set-backends":        {change: SetDomainBackends{"a.test", []events.Backend{{Address: "127.0.0.1:1"}}}},
	"domain.set-default-role":    {change: SetDomainDefaultRole{"a.test", permission.Admin}},
	"domain.suspend":             {change: SuspendDomain{"a.test"}},
	"domain.resume":              {before: SuspendDomain{"a.test"}, change: ResumeDomain{"a.test"}},
	"domain.remove":              {change: RemoveDomain{"a.test"}},
	"service.add":                {change: AddService{"n.test"}},
	"service.remove":             {change: RemoveService{"muc.a.test"}},
	"role.define":                {change: DefineRole{Role: "n"}},
	"role.adjust":                {change: AdjustRole{permission.Admin, []string{"a:new"}, nil}},
	"role.remove":                {before: DefineRole{Role: "n"}, change: RemoveRole{"n"}},
	"member.set-role":            {change: SetMemberRoles{JID: "n@a.test", Role: permission.Guest}},
	"member.remove":              {change: RemoveMember{"x@a.test"}},
	"member.suspend":             {change: SuspendMember{"n@a.test"}},
	"member.resume":              {before: SuspendMember{"n@a.test"}, change: ResumeMember{"n@a.test"}},
	"member.end-sessions":        {change: EndMemberSessions{"x@a.test"}, alone: true},
}

// explicit returns c with the field suspended set for everything, also for the
// accounts of other.
func explicit(c, other ApplyTenant) ApplyTenant {
	no := false
	say := func(b **bool) {
		if *b == nil {
			*b = &no
		}
	}
	say(&c.Suspended)
	for i := range c.Domains {
		say(&c.Domains[i].Suspended)
	}
	listed := map[string]bool{}
	for i := range c.Members {
		say(&c.Members[i].Suspended)
		listed[c.Members[i].JID] = true
	}
	for _, m := range other.Members {
		_, domain, _ := strings.Cut(m.JID, "@")
		for _, d := range c.Domains {
			if !listed[m.JID] && d.Domain == domain {
				c.Members = append(c.Members, SetMemberRoles{JID: m.JID, Suspended: &no})
			}
		}
	}
	return c
}

// TestApplyIsNoWayRound checks that a policy cannot get around the rights of a
// command: for each command of the catalogue, an actor that may not give the
// command may not apply a policy with the same effect either.
func TestApplyIsNoWayRound(t *testing.T) {
	for _, e := range Catalogue() {
		if e.Installation || e.Name == (CreateTenant{}).Name() {
			continue // the command is not about an existing tenant
		}
		sample, ok := samples[e.Name]
		if !ok || reflect.TypeOf(sample.change) != reflect.TypeOf(e.Zero) {
			t.Errorf("%s: give a sample that changes something", e.Name)
			continue
		}
		t.Run(e.Name, func(t *testing.T) {
			w := &world{t: t, v: projections.New()}
			if _, err := w.give("a", twin("a")); err != nil {
				t.Fatal(err)
			}
			if sample.before != nil {
				w.by("a", sample.before)
			}
			start := w.v
			w.by("a", sample.change)
			after := w.v.Tenant([]byte("a"))
			own := Actor{Name: "token:x", Tenant: "a"}
			command := Command{Tenant: "a", Actor: own, ID: "1", Change: sample.change}
			_, err := command.Check(start)
			if refusedAsOperators(err) != e.Operator {
				t.Fatalf("by itself: %v", err)
			}
			if sample.alone {
				return
			}
			command.Change = explicit(Desired(after), Desired(start.Tenant([]byte("a"))))
			outcome, err := command.Check(start)
			if refusedAsOperators(err) != e.Operator || !e.Operator && (err != nil || len(outcome.Events) == 0) {
				t.Fatalf("as a policy: %v %v", outcome.Events, err)
			}
			command.Actor = Actor{Name: "operator:root", Operator: true}
			if outcome, err := command.Check(start); err != nil || len(outcome.Events) == 0 {
				t.Fatalf("as an operator's policy: %v %v", outcome.Events, err)
			}
		})
	}
}

// by gives a change that must have an effect. It gives the change as the tenant's
// administrator if that is allowed, and otherwise as an operator.
func (w *world) by(tenant string, c Change) {
	w.t.Helper()
	give := w.giveAsAdmin
	if entry, _ := lookUp(c); entry.Operator {
		give = w.give
	}
	if outcome, err := give(tenant, c); err != nil || len(outcome.Events) == 0 {
		w.t.Fatalf("%s: %v %v", c.Name(), outcome.Events, err)
	}
}

// refusedAsOperators reports whether an error says only that the command is for
// operators.
func refusedAsOperators(err error) bool {
	refused, ok := errors.AsType[Errors](err)
	if !ok {
		return false
	}
	for _, e := range refused {
		if e.Code != Forbidden || !strings.Contains(e.Text, "for operators only") {
			return false
		}
	}
	return true
}

// TestEveryEventHasACommand checks that each event belongs to the right command.
// The rights to apply a policy depend on the command of each event. So an event
// that a command for operators makes must not belong to a command for others.
func TestEveryEventHasACommand(t *testing.T) {
	entries := map[string]Entry{}
	for _, e := range Catalogue() {
		entries[e.Name] = e
	}
	for name, sample := range samples {
		w := &world{t: t, v: projections.New()}
		if _, err := w.give("a", twin("a")); err != nil {
			t.Fatal(err)
		}
		if sample.before != nil {
			w.by("a", sample.before)
		}
		outcome, err := Check(w.v, "a", sample.change)
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range outcome.Events {
			judged, known := makers()[reflect.TypeOf(ev)]
			if !known || entries[name].Operator && !judged.Operator {
				t.Errorf("%s makes %s, which is judged as %q", name, events.Describe(ev), judged.Name)
			}
		}
	}
}
