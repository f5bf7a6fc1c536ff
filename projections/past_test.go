package projections

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/permission"
)

// pastTenants are the tenants of the logs of these tests.
var pastTenants = []string{"acme", "bolt", "cord"}

// pastStep returns the events of a random commit of a tenant. Some of them
// do not apply.
func pastStep(rng *rand.Rand, tenant string) []events.Event {
	domain := fmt.Sprintf("d%d.%s.test", rng.IntN(2), tenant)
	account := fmt.Sprintf("u%d@%s", rng.IntN(3), domain)
	roles := []string{"a", "b", "c", "prosody:guest", "prosody:registered", "prosody:member"}
	perms := []string{"xmpp:federate", "xmpp:account:messages:read", "acme:own"}
	role := roles[rng.IntN(len(roles))]
	switch rng.IntN(25) {
	case 0, 1, 2:
		return []events.Event{events.DomainAdded{Domain: domain, DefaultRole: role}}
	case 3:
		return []events.Event{events.DomainRemoved{Domain: domain}}
	case 4, 5, 6:
		return []events.Event{events.RoleDefined{
			Name: roles[rng.IntN(3)], Inherits: some(rng, roles, 2), Allow: some(rng, perms, 2), Deny: some(rng, perms, 1),
		}, events.TenantRenamed{Name: "again"}}
	case 7:
		return []events.Event{events.RoleRemoved{Name: roles[rng.IntN(3)]}}
	case 8, 9:
		return []events.Event{events.BuiltinRoleAdjusted{Name: roles[3+rng.IntN(3)], Add: some(rng, perms, 1), Remove: some(rng, perms, 1)}}
	case 10:
		return []events.Event{events.CeilingSet{Permissions: some(rng, perms, 1)}}
	case 11, 12, 13:
		return []events.Event{events.MemberRolesSet{JID: account, Role: role, Secondary: some(rng, roles, 2)}}
	case 14:
		return []events.Event{events.MemberRemoved{JID: account}}
	case 15:
		return []events.Event{events.MemberSuspended{JID: account, ByOperator: role == roles[0]}}
	case 16:
		return []events.Event{events.MemberResumed{JID: account}}
	case 17:
		return []events.Event{events.DomainDefaultRoleSet{Domain: domain, Role: role}}
	case 18:
		return []events.Event{events.DomainSuspended{Domain: domain, ByOperator: role == roles[0]}}
	case 19:
		return []events.Event{events.DomainResumed{Domain: domain}, events.TenantResumed{}}
	case 20:
		return []events.Event{events.TenantSuspended{}, events.MemberSessionsEnded{JID: account}}
	case 21:
		return []events.Event{events.ServiceAdded{Service: "rooms." + domain}}
	case 22:
		return []events.Event{events.TenantCreated{Name: tenant}}
	case 23:
		return []events.Event{events.TenantLimitsSet{MaxSessions: uint64(rng.IntN(3))}}
	}
	if rng.IntN(60) == 0 {
		return []events.Event{events.TenantRemoved{}}
	}
	return []events.Event{events.TenantResumed{}}
}

// pastLog returns a random log of several tenants: its commits, and the View of
// the whole log before the first commit and after each.
func pastLog(t *testing.T, seed int, size int) (commits []*events.Commit, views []*View) {
	t.Helper()
	rng := rand.New(rand.NewPCG(uint64(seed), 5))
	v, versions := New(), map[string]uint64{}
	views = []*View{v}
	for tries := 0; len(commits) < size && tries < 20*size; tries++ {
		tenant := pastTenants[rng.IntN(len(pastTenants))]
		c := &events.Commit{
			Position: v.Position() + 1, Tenant: tenant, TenantVersion: versions[tenant] + 1,
			Time: time.Unix(int64(1000+len(commits)), 0), Events: pastStep(rng, tenant),
		}
		next, err := v.Apply(c)
		if err != nil {
			continue
		}
		v = next
		versions[tenant]++
		commits, views = append(commits, c), append(views, v)
	}
	return commits, views
}

// everything returns all that can be read of a tenant.
func everything(tn *Tenant) map[string]any {
	if tn == nil {
		return nil
	}
	all := map[string]any{
		"id": tn.ID(), "name": tn.Name(), "version": tn.Version(), "suspended": tn.Suspended(), "settings": tn.Settings(),
		"ceiling": tn.Ceiling(), "sessions": tn.MaxSessions(), "ceiling set": tn.CeilingSet(), "services": tn.Services(),
		"domains": slices.Collect(tn.Domains()), "roles": slices.Collect(tn.Roles()), "members": tn.MembersAfter("", 100),
		"counts": []int{tn.DomainCount(), tn.ServiceCount(), tn.MemberCount(), tn.RoleCount()},
	}
	for r := range tn.Roles() {
		for _, perm := range []string{"xmpp:federate", "xmpp:account:messages:read", "acme:own"} {
			all["explain "+r.Name+" "+perm] = tn.Explain(r.Name, perm)
		}
		uses, domains, members := tn.RoleUses(r.Name)
		all["uses "+r.Name] = []int{uses, domains, members}
	}
	for _, tenant := range pastTenants {
		for d := range 2 {
			domain := fmt.Sprintf("d%d.%s.test", d, tenant)
			all["host "+domain] = tn.HostKind([]byte(domain))
			for u := range 4 { // no event names u3
				account := fmt.Sprintf("u%d@%s", u, domain)
				access, ok := tn.Access([]byte(account), []byte(domain))
				all["access "+account] = []any{access, ok}
				all["holding "+account] = tn.Entitlement(account, "xmpp:federate")
			}
		}
	}
	return all
}

// TestPast checks that a Past, which folds one tenant's commits alone, gives the
// same answers as the View of the whole log, at every position.
func TestPast(t *testing.T) {
	removed := 0
	for seed := range rounds(6) {
		commits, views := pastLog(t, seed, 150)
		for _, tenant := range pastTenants {
			for at, whole := range views {
				p := NewPast(tenant)
				for _, c := range commits[:at] {
					if c.Tenant != tenant {
						continue
					}
					if err := p.Apply(c); err != nil {
						t.Fatalf("seed %d: %v", seed, err)
					}
				}
				v, err := p.View(events.Position(at))
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				if v.Position() != whole.Position() || v.Used([]byte(tenant)) != whole.Used([]byte(tenant)) {
					t.Fatalf("seed %d: at %d the past is at %d", seed, at, v.Position())
				}
				got, want := everything(v.Tenant([]byte(tenant))), everything(whole.Tenant([]byte(tenant)))
				if !reflect.DeepEqual(got, want) {
					for _, key := range slices.Sorted(maps.Keys(want)) {
						if !reflect.DeepEqual(got[key], want[key]) {
							t.Errorf("%s: %v, want %v", key, got[key], want[key])
						}
					}
					t.Fatalf("seed %d: tenant %s at %d differs", seed, tenant, at)
				}
				if whole.Used([]byte(tenant)) && want == nil {
					removed++
				}
				for other := range v.Tenants() {
					if other.ID() != tenant {
						t.Fatalf("the past of %s holds %s", tenant, other.ID())
					}
				}
			}
		}
	}
	if removed == 0 {
		t.Error("no tenant was removed: the random logs test too little")
	}
}

// TestPastRefuses checks that a Past refuses a commit that is not the tenant's
// next one.
func TestPastRefuses(t *testing.T) {
	created := &events.Commit{Position: 7, Tenant: "acme", TenantVersion: 1, Events: []events.Event{events.TenantCreated{}}}
	begin := func() *Past {
		p := NewPast("acme")
		if err := p.Apply(created); err != nil {
			t.Fatal(err)
		}
		return p
	}
	for name, c := range map[string]*events.Commit{
		"another tenant's":   {Position: 9, Tenant: "bolt", TenantVersion: 1, Events: []events.Event{events.TenantCreated{}}},
		"nobody's":           {Position: 9},
		"the same position":  {Position: 7, Tenant: "acme", TenantVersion: 2, Events: []events.Event{events.TenantSuspended{}}},
		"an older position":  {Position: 3, Tenant: "acme", TenantVersion: 2, Events: []events.Event{events.TenantSuspended{}}},
		"a version left out": {Position: 9, Tenant: "acme", TenantVersion: 3, Events: []events.Event{events.TenantSuspended{}}},
		"an event too much":  {Position: 9, Tenant: "acme", TenantVersion: 2, Events: []events.Event{events.DomainRemoved{Domain: "x"}}},
	} {
		if err := begin().Apply(c); err == nil {
			t.Errorf("%s: applied", name)
		}
	}
	p := begin()
	if _, err := p.View(6); err == nil {
		t.Error("View accepted a position before the last commit")
	}
	if _, err := p.View(9); err == nil {
		t.Error("View returned a second view")
	}
	if err := p.Apply(created); err == nil {
		t.Error("Apply works after View")
	}
}

// TestBlame compares a Blame with the answers of the whole View after every
// commit.
func TestBlame(t *testing.T) {
	blamed := 0
	for seed := range rounds(12) {
		commits, views := pastLog(t, seed, 200)
		for _, tenant := range pastTenants {
			for _, perm := range []string{"xmpp:federate", "acme:own", permission.MessagesRead.Name()} {
				for i, account := range []string{"u0@d0." + tenant + ".test", "u3@d1." + tenant + ".test", "u0@d0.other.test"} {
					b := BlameAccount(tenant, account, perm)
					look := func(tn *Tenant) Entitlement { return tn.Entitlement(account, perm) }
					if i == 2 {
						b = BlameRole(tenant, "a", perm)
						look = func(tn *Tenant) Entitlement { return tn.RoleEntitlement("a", perm) }
					}
					var want, before, now Entitlement
					var by *events.Commit
					for p, c := range commits {
						if c.Tenant == tenant {
							if err := b.Apply(c); err != nil {
								t.Fatal(err)
							}
						}
						next := look(views[p+1].Tenant([]byte(tenant)))
						if next.Known != now.Known || next.Held() != now.Held() {
							by, before, want = c, now, next
						}
						now = next
						if b.Commit != by || !reflect.DeepEqual(b.Before, before) || !reflect.DeepEqual(b.After, want) {
							t.Fatalf("seed %d: %s %s at %d: blames %v, want %v", seed, account, perm, p+1, b.Commit, by)
						}
						if !reflect.DeepEqual(b.Now, now) {
							t.Fatalf("seed %d: %s %s at %d: now %v, want %v", seed, account, perm, p+1, b.Now, now)
						}
					}
					if by != nil {
						blamed++
						if len(b.Events()) == 0 {
							t.Errorf("seed %d: %s %s: Events returns none of %v", seed, account, perm, by.Events)
						}
					}
				}
			}
		}
	}
	if blamed == 0 {
		t.Error("no answer changed: the random logs test too little")
	}
}
