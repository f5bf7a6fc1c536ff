package projections

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/postern-im/postern/events"
)

// TestSharedServices checks that older Views keep their shared services, that
// the encoding holds all of them, and that a look-up allocates nothing.
func TestSharedServices(t *testing.T) {
	l := newLog(t)
	l.commit("t", events.TenantCreated{}, events.DomainAdded{Domain: "a.test", DefaultRole: "prosody:guest"})
	views := []*View{l.v}
	for i := range 20 {
		l.commit("", events.SharedServiceAdded{Service: fmt.Sprintf("s%02d.test", i*7%20)})
		views = append(views, l.v)
	}
	l.commit("", events.SharedServiceRemoved{Service: "s07.test"})
	views = append(views, l.v)
	for n, v := range views {
		if want := min(n, 20) - n/21; len(v.Installation().SharedServices()) != want {
			t.Errorf("view %d has %d shared services, want %d", n, len(v.Installation().SharedServices()), want)
		}
		if again := decoded(t, encoded(t, v)); again.Hash() != v.Hash() || !slices.Equal(again.Installation().SharedServices(), v.Installation().SharedServices()) {
			t.Errorf("view %d: the decoded view differs", n)
		}
	}
	tenant := l.v.Tenant([]byte("t"))
	shared, remote := []byte("s03.test"), []byte("elsewhere.test")
	if n := testing.AllocsPerRun(100, func() {
		if l.v.HostKindFor(tenant, shared) != Service || l.v.HostKindFor(tenant, remote) != Elsewhere {
			t.Error("wrong kind")
		}
	}); n != 0 {
		t.Errorf("HostKindFor allocates %v times", n)
	}
}

// TestSharedServicesMalformed checks that Decode refuses a section that Encode
// would not write.
func TestSharedServicesMalformed(t *testing.T) {
	l := newLog(t)
	l.commit("t", events.TenantCreated{}, events.ServiceAdded{Service: "t1.test"})
	l.commit("", events.SharedServiceAdded{Service: "s1.test"}, events.SharedServiceAdded{Service: "s2.test"})
	good := string(encoded(t, l.v))
	section := "\x03\x02\x07s1.test\x07s2.test\x00"
	head, ok := strings.CutSuffix(good, section)
	if !ok {
		t.Fatalf("the encoding does not end with the section: %q", good)
	}
	for name, corrupt := range map[string]string{
		"a tenant's":    "\x03\x02\x07s1.test\x07t1.test\x00",
		"out of order":  "\x03\x02\x07s2.test\x07s1.test\x00",
		"twice":         "\x03\x02\x07s1.test\x07s1.test\x00",
		"without names": "\x03\x01\x00\x00",
		"empty":         "\x03\x00\x00",
		"cut":           "\x03\x02\x07s1.test\x07s2",
		"the wrong one": "\x04\x02\x07s1.test\x07s2.test\x00",
		"two sections":  "\x03\x01\x07s1.test\x03\x01\x07s2.test\x00",
	} {
		if accepted(t, []byte(head+corrupt)) {
			t.Errorf("%s: accepted", name)
		}
	}
	if !accepted(t, []byte(head+section)) || !accepted(t, []byte(head+"\x00")) {
		t.Error("a correct encoding, with the section or without it, was refused")
	}
}

// TestPastShared folds the commits of a tenant and of the installation into a
// Past, in both orders. A name may be a shared service at one time and the
// tenant's at another: neither order may refuse this.
func TestPastShared(t *testing.T) {
	var log []*events.Commit
	l, versions := newLog(t), map[string]uint64{}
	add := func(tenant string, evs ...events.Event) {
		l.commit(tenant, evs...)
		versions[tenant]++
		log = append(log, &events.Commit{Position: l.v.Position(), Tenant: tenant, TenantVersion: versions[tenant], Events: evs})
	}
	add("t", events.TenantCreated{}, events.ServiceAdded{Service: "x.test"})
	add("t", events.ServiceRemoved{Service: "x.test"})
	add("", events.SharedServiceAdded{Service: "x.test"}, events.TokenCreated{ID: "k", Name: "n", Scope: events.TokenOperator})
	add("", events.SharedServiceRemoved{Service: "x.test"})
	add("t", events.ServiceAdded{Service: "x.test"})
	add("t", events.ServiceRemoved{Service: "x.test"})
	add("", events.SharedServiceAdded{Service: "x.test"})
	want := []HostKind{Service, Elsewhere, Service, Elsewhere, Service, Elsewhere, Service}
	for at := 1; at <= len(log); at++ {
		for _, first := range []string{"t", ""} {
			p := NewPast("t")
			for _, tenant := range []string{first, map[string]string{"t": "", "": "t"}[first]} {
				for _, c := range log[:at] {
					if c.Tenant != tenant {
						continue
					}
					fold := p.Apply
					if tenant == "" {
						fold = p.Installation
					}
					if err := fold(c); err != nil {
						t.Fatalf("at %d, %q first: %v", at, first, err)
					}
				}
			}
			v, err := p.View(events.Position(at))
			if err != nil {
				t.Fatal(err)
			}
			if got := v.HostKindFor(v.Tenant([]byte("t")), []byte("x.test")); got != want[at-1] {
				t.Errorf("at %d, %q first: x.test is %s, want %s", at, first, got, want[at-1])
			}
		}
	}
	if NewPast("t").Installation(log[0]) == nil || NewPast("t").Installation(log[3]) == nil {
		t.Error("Installation accepted a tenant's commit, or one that does not apply")
	}
}
