package projections

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/permission"
)

// crowd builds a View of tenants × members, each tenant with one domain and
// one custom role that every other member holds.
func crowd(tb testing.TB, tenants, members int) *View {
	tb.Helper()
	l := newLog(tb)
	for i := range tenants {
		id, domain := tenantID(i), domainName(i)
		evs := []events.Event{
			events.TenantCreated{Name: id},
			events.DomainAdded{Domain: domain, DefaultRole: permission.Registered},
			events.RoleDefined{Name: "lab:kiosk", Inherits: []string{permission.Guest}, Deny: []string{permission.ContactsWrite.Name()}},
		}
		for j := range members {
			role := permission.Member
			if j%2 == 1 {
				role = "lab:kiosk"
			}
			evs = append(evs, events.MemberRolesSet{JID: local(j) + "@" + domain, Role: role})
		}
		l.commit(id, evs...)
	}
	return l.v
}

func tenantID(i int) string   { return "tenant-" + strconv.Itoa(i) }
func domainName(i int) string { return "chat" + strconv.Itoa(i) + ".example.org" }
func local(j int) string      { return "user" + strconv.Itoa(j) }

// asked holds the names of one question as bytes, as a Question carries them.
type asked struct{ tenant, account, domain []byte }

// askedAtRandom returns n random questions. Each is allocated separately, so
// that many questions do not fit into the processor's caches.
func askedAtRandom(tenants, members, n int) []asked {
	rng := rand.New(rand.NewPCG(1, 2))
	list := make([]asked, n)
	for i := range list {
		t, m := rng.IntN(tenants), rng.IntN(members)
		account := []byte(local(m) + "@" + domainName(t))
		list[i] = asked{[]byte(tenantID(t)), account, account[len(local(m))+1:]}
	}
	return list
}

// BenchmarkAccess compares Tenant and Access with a plain nested map. It runs
// both in turn, each with some thousand random questions, and reports the
// fastest turn of each: in slower turns other work on the machine has emptied
// the caches.
func BenchmarkAccess(b *testing.B) {
	const tenants, members, turn = 1000, 1000, 1 << 14
	all := askedAtRandom(tenants, members, 16*turn)
	v := crowd(b, tenants, members)
	nested := map[string]map[string]uint64{}
	for t := range v.Tenants() {
		inner := map[string]uint64{}
		for m := range t.Members() {
			inner[m.JID] = uint64(permission.Everything)
		}
		nested[t.ID()] = inner
	}
	runtime.GC()
	b.ReportAllocs()
	var views, maps []time.Duration
	for n := 0; b.Loop(); n++ {
		list := all[n%16*turn:][:turn]
		start := time.Now()
		for i := range list {
			q := &list[i]
			if s, ok := v.Tenant(q.tenant).Access(q.account, q.domain); !ok || s.Effective == 0 {
				b.Fatal("not found")
			}
		}
		views = append(views, time.Since(start))
		start = time.Now()
		for i := range list {
			q := &list[i]
			if nested[string(q.tenant)][string(q.account)] == 0 {
				b.Fatal("not found")
			}
		}
		maps = append(maps, time.Since(start))
	}
	view, bare := slices.Min(views), slices.Min(maps)
	b.ReportMetric(float64(view)/turn, "ns/view")
	b.ReportMetric(float64(bare)/turn, "ns/map")
	b.ReportMetric(float64(view)/float64(bare), "ratio")
}

// BenchmarkApply changes one member's role, in tenants of several sizes.
func BenchmarkApply(b *testing.B) {
	for _, members := range []int{10, 1000, 1_000_000} {
		b.Run(fmt.Sprint(members), func(b *testing.B) {
			v := crowd(b, 1, members)
			c := &events.Commit{Tenant: tenantID(0), TenantVersion: v.Tenant([]byte(tenantID(0))).Version(), Position: v.Position()}
			rng := rand.New(rand.NewPCG(1, 2))
			b.ReportAllocs()
			for b.Loop() {
				c.Position++
				c.TenantVersion++
				role := []string{permission.Member, "lab:kiosk"}[rng.IntN(2)]
				c.Events = []events.Event{events.MemberRolesSet{JID: local(rng.IntN(members)) + "@" + domainName(0), Role: role}}
				var err error
				if v, err = v.Apply(c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkMemory reports the bytes of memory per member, the key included.
func BenchmarkMemory(b *testing.B) {
	for _, size := range [][2]int{{1, 1_000_000}, {1000, 1000}, {10_000, 10}} {
		b.Run(fmt.Sprintf("%dx%d", size[0], size[1]), func(b *testing.B) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			v := crowd(b, size[0], size[1])
			runtime.GC()
			runtime.ReadMemStats(&after)
			for b.Loop() {
			}
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(size[0]*size[1]), "B/member")
			b.ReportMetric(float64(after.HeapObjects-before.HeapObjects)/float64(size[0]*size[1]), "objects/member")
			runtime.KeepAlive(v)
		})
	}
}
