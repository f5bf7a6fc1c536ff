package node_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/tenants"
)

// TestRepeatedApply: a policy that was planned at a version is sent twice, and is
// answered with the first result, although the tenant has changed since. Another
// policy with the same id is refused.
func TestRepeatedApply(t *testing.T) {
	l := openLog(t)
	r := start(t, l, l.LogID()).ready()
	domain := func(role, backend string) []tenants.AddDomain {
		return []tenants.AddDomain{{Domain: "acme.test", DefaultRole: role, Backends: []events.Backend{{Address: backend}}}}
	}
	r.do("acme", "create", tenants.CreateTenant{Domains: domain("prosody:guest", "127.0.0.1:1")})
	apply := command("acme", "apply", tenants.ApplyTenant{DisplayName: "New", Domains: domain("prosody:guest", "127.0.0.1:1")})
	apply.IfVersion, apply.Reason = 1, "ticket 1"
	first, err := r.Execute(t.Context(), apply)
	if err != nil || !first.Changed || first.Position != 2 {
		t.Fatalf("%+v, %v", first, err)
	}
	r.do("acme", "after", tenants.RenameTenant{DisplayName: "Newer"})
	reworded, later := apply, apply
	reworded.Reason, later.IfVersion = "ticket 1, once more", 3
	for name, c := range map[string]tenants.Command{"again": apply, "for another reason": reworded, "at another version": later} {
		if again, err := r.Execute(t.Context(), c); err != nil || !reflect.DeepEqual(again, first) {
			t.Errorf("%s: %+v, %v; the first result was %+v", name, again, err, first)
		}
	}
	for name, change := range map[string]tenants.Change{
		"another name":    tenants.ApplyTenant{DisplayName: "Old", Domains: domain("prosody:guest", "127.0.0.1:1")},
		"another role":    tenants.ApplyTenant{DisplayName: "New", Domains: domain("prosody:member", "127.0.0.1:1")},
		"another backend": tenants.ApplyTenant{DisplayName: "New", Domains: domain("prosody:guest", "127.0.0.1:2")},
		"less":            tenants.ApplyTenant{DisplayName: "New"},
		"a creation":      tenants.CreateTenant{DisplayName: "New", Domains: domain("prosody:guest", "127.0.0.1:1")},
		"what it did":     tenants.RenameTenant{DisplayName: "New"},
	} {
		_, err := r.Execute(t.Context(), command("acme", "apply", change))
		if refused, ok := errors.AsType[*tenants.Error](err); !ok || refused.Code != tenants.Conflict || refused.Field != "id" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if head, _ := l.Head(); head != 3 {
		t.Errorf("the log is at %d", head)
	}
	// After a restart, from the data on disk.
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r = start(t, l, l.LogID()).ready()
	if again, err := r.Execute(t.Context(), apply); err != nil || !reflect.DeepEqual(again, first) {
		t.Errorf("after a restart: %+v, %v", again, err)
	}
}

// TestNothingDoneIsNotRemembered: the id of a command that changed nothing is not
// kept, so the same command is checked again.
func TestNothingDoneIsNotRemembered(t *testing.T) {
	l := openLog(t)
	r := start(t, l, l.LogID()).ready()
	r.do("acme", "create", tenants.CreateTenant{DisplayName: "A"})
	if nothing := r.do("acme", "one", tenants.RenameTenant{DisplayName: "A"}); nothing.Changed {
		t.Fatalf("%+v", nothing)
	}
	r.do("acme", "two", tenants.RenameTenant{DisplayName: "B"})
	if anew := r.do("acme", "one", tenants.RenameTenant{DisplayName: "A"}); !anew.Changed || anew.Position != 3 {
		t.Errorf("%+v", anew)
	}
}

// TestRecordsOfOld: commits of early versions do not hold the hash of their command.
// The node cannot tell whether such a commit belongs to a command with the same id,
// so it refuses the command.
func TestRecordsOfOld(t *testing.T) {
	l := openLog(t)
	old := &events.Commit{
		Position: 1, Tenant: "acme", TenantVersion: 1, Time: time.Unix(1, 0), Actor: operator.Name, CommandID: "create",
		Events: []events.Event{events.TenantCreated{Name: "A"}},
	}
	if err := l.Append(t.Context(), 0, old); err != nil {
		t.Fatal(err)
	}
	r := start(t, l, l.LogID()).ready()
	_, err := r.Execute(t.Context(), command("acme", "create", tenants.CreateTenant{DisplayName: "A"}))
	if refused, ok := errors.AsType[*tenants.Error](err); !ok || refused.Code != tenants.Conflict || !strings.Contains(refused.Text, "at position 1") {
		t.Errorf("%v", err)
	}
	if renamed := r.do("acme", "rename", tenants.RenameTenant{DisplayName: "B"}); renamed.Position != 2 {
		t.Errorf("%+v", renamed)
	}
	if c, err := l.Commit(2); err != nil || c.CommandHash == (events.CommandHash{}) {
		t.Errorf("a commit without the hash of its command: %+v, %v", c, err)
	}
}
