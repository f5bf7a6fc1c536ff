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
		}{{events.ChangesPermissions, "permissions"}, {events.ChangesAdmission, "admission"}, {events.RevokesSessions, "sessions"}} {
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
