package events_test

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/postern-im/postern/events"
)

// TestSubjects compares the subject and the effects of each event with the golden
// file.
func TestSubjects(t *testing.T) {
	kinds := map[events.Kind]string{
		events.KindTenant: "tenant", events.KindDomain: "domain", events.KindService: "service", events.KindRole: "role",
		events.KindMember: "member", events.KindToken: "token", events.KindSharedService: "shared service",
		events.KindGateway: "gateway",
	}
	var b strings.Builder
	seen := map[reflect.Type]bool{}
	for _, e := range everyEvent() {
		if seen[reflect.TypeOf(e)] {
			continue
		}
		seen[reflect.TypeOf(e)] = true
		s, does := events.SubjectOf(e), events.EffectsOf(e)
		fmt.Fprintf(&b, "%s: %s %q", reflect.TypeOf(e).Name(), kinds[s.Kind], s.Name)
		for _, effect := range []struct {
			of   events.Effects
			name string
		}{{events.ChangesPermissions, "permissions"}, {events.ChangesAdmission, "admission"}, {events.RevokesSessions, "sessions"}, {events.Withdraws, "withdraws"}} {
			if does.Have(effect.of) {
				b.WriteString(" " + effect.name)
			}
		}
		b.WriteString("\n")
	}
	const file = "testdata/subjects.txt"
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

// TestTakesAway: a commit takes something away if one of its events does, unless it
// creates the tenant.
func TestTakesAway(t *testing.T) {
	for _, c := range []struct {
		name   string
		events []events.Event
		want   bool
	}{
		{"nothing", nil, false},
		{"a new domain", []events.Event{events.DomainAdded{Domain: "a.test"}}, false},
		{"a resumption", []events.Event{events.MemberResumed{JID: "a@a.test"}}, false},
		{"a suspension", []events.Event{events.MemberSuspended{JID: "a@a.test"}}, true},
		{"a revoked token", []events.Event{events.TokenRevoked{ID: "1"}}, true},
		{"a new token", []events.Event{events.TokenCreated{ID: "1"}}, false},
		{"a removed service", []events.Event{events.ServiceRemoved{Service: "a.test"}}, true},
		{"a policy that also removes", []events.Event{events.TenantRenamed{Name: "a"}, events.DomainRemoved{Domain: "a.test"}}, true},
		{"a new tenant with roles", []events.Event{events.TenantCreated{Name: "a"}, events.RoleDefined{Name: "a:b"}}, false},
	} {
		if got := events.TakesAway(c.events); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
