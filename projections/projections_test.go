package projections

import (
	"testing"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/permission"
)

// log builds commits one after the other.
type log struct {
	t testing.TB
	v *View
	n map[string]uint64
}

func newLog(t testing.TB) *log { return &log{t, New(), map[string]uint64{}} }

func (l *log) commit(tenant string, evs ...events.Event) {
	l.t.Helper()
	c := &events.Commit{Position: l.v.Position() + 1, Tenant: tenant, TenantVersion: l.n[tenant] + 1, Events: evs}
	v, err := l.v.Apply(c)
	if err != nil {
		l.t.Fatal(err)
	}
	l.v = v
	l.n[tenant]++
}

func TestStanding(t *testing.T) {
	l := newLog(t)
	l.commit("acme", events.TenantCreated{Name: "ACME"}, events.DomainAdded{Domain: "a.test", DefaultRole: permission.Registered})
	tn := l.v.Tenant([]byte("acme"))
	s, ok := tn.Standing([]byte("bob@a.test"), []byte("a.test"))
	if !ok || s != (Standing{permission.Registered, permission.Everything, 1, false}) {
		t.Fatalf("%+v %v", s, ok)
	}
	l.commit("acme", events.RoleDefined{Name: "kiosk", Inherits: []string{permission.Guest}}, events.MemberRolesSet{JID: "bob@a.test", Role: "kiosk", Secondary: []string{permission.Admin}})
	s, _ = l.v.Tenant([]byte("acme")).Standing([]byte("bob@a.test"), []byte("a.test"))
	if s.Role != "kiosk" || s.Ended != 2 || s.Effective.Has(permission.Federate) {
		t.Fatalf("%+v", s)
	}
}
