package projections

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/permission"
)

// ordinaryLog returns a log like a hoster's, with one event a commit: first the
// tenants are created, then members of random tenants get roles one by one.
func ordinaryLog(tenants, n int) []*events.Commit {
	rng := rand.New(rand.NewPCG(7, 8))
	versions := make([]uint64, tenants)
	log := make([]*events.Commit, 0, n)
	add := func(i int, e events.Event) {
		versions[i]++
		log = append(log, &events.Commit{
			Position: events.Position(len(log) + 1), Tenant: tenantID(i), TenantVersion: versions[i],
			Time: time.UnixMicro(1_700_000_000_000_000 + int64(len(log))).UTC(), Actor: "operator:root",
			CommandID: fmt.Sprintf("%032x", len(log)), Events: []events.Event{e},
		})
	}
	for i := range tenants {
		add(i, events.TenantCreated{Name: tenantID(i)})
		add(i, events.DomainAdded{Domain: domainName(i), DefaultRole: permission.Registered})
		add(i, events.RoleDefined{Name: "lab:kiosk", Inherits: []string{permission.Guest}})
	}
	for len(log) < n {
		i := rng.IntN(tenants)
		e := events.MemberRolesSet{JID: local(rng.IntN(n/tenants)) + "@" + domainName(i), Role: "lab:kiosk"}
		if rng.IntN(2) == 0 {
			e.Role = permission.Member
		}
		add(i, e)
	}
	return log
}

// cpuTime returns the processor time that the process has used on all cores,
// the garbage collector included. Unlike the time that passed, it depends
// neither on other load nor on the number of cores.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// perCore reports how many of the n things of each iteration one core does in a
// second.
func perCore(b *testing.B, since time.Duration, n int, unit string) {
	b.ReportMetric(float64(b.N)*float64(n)/(cpuTime(b)-since).Seconds(), unit)
}

// BenchmarkFold folds decoded commits, by Apply and by a Builder.
func BenchmarkFold(b *testing.B) {
	for _, tenants := range []int{1, 1000} {
		log := ordinaryLog(tenants, 1_000_000)
		b.Run(fmt.Sprintf("apply/%d", tenants), func(b *testing.B) {
			start := cpuTime(b)
			for b.Loop() {
				v := New()
				for _, c := range log[:len(log)/4] {
					var err error
					if v, err = v.Apply(c); err != nil {
						b.Fatal(err)
					}
				}
			}
			perCore(b, start, len(log)/4, "events/cpu-s")
		})
		b.Run(fmt.Sprintf("builder/%d", tenants), func(b *testing.B) {
			b.ReportAllocs()
			start := cpuTime(b)
			for b.Loop() {
				fold(b, NewBuilder(), log)
			}
			perCore(b, start, len(log), "events/cpu-s")
		})
	}
}

func fold(tb testing.TB, b *Builder, log []*events.Commit) *View {
	tb.Helper()
	for _, c := range log {
		if err := b.Apply(c); err != nil {
			tb.Fatal(err)
		}
	}
	return b.View()
}

// BenchmarkRebuild compares the time to decode and hash encoded commits, which
// every reader of a log needs, with the time to fold them as well. Neither
// time includes reading from a disk, so in a real rebuild the ratio is nearer to 1.
func BenchmarkRebuild(b *testing.B) {
	var records [][]byte
	for _, c := range ordinaryLog(1000, 500_000) {
		records = append(records, events.AppendCommit(nil, c))
	}
	var bare, rebuild time.Duration
	for b.Loop() {
		start := cpuTime(b)
		decodeAll(b, records, func(*events.Commit) error { return nil })
		bare += cpuTime(b) - start
		start = cpuTime(b)
		decodeAll(b, records, NewBuilder().Apply)
		rebuild += cpuTime(b) - start
	}
	n := float64(b.N) * float64(len(records))
	b.ReportMetric(n/bare.Seconds(), "decoded/cpu-s")
	b.ReportMetric(n/rebuild.Seconds(), "rebuilt/cpu-s")
	b.ReportMetric(float64(bare)/float64(rebuild), "ratio")
}

func decodeAll(b *testing.B, records [][]byte, fn func(*events.Commit) error) {
	for _, r := range records {
		c, err := events.DecodeCommit(r)
		if err == nil && events.Hash(r) != [32]byte{} {
			err = fn(c)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEncode and BenchmarkDecode write and read a million members.
func BenchmarkEncode(b *testing.B) {
	v := crowd(b, 1, 1_000_000)
	b.ReportAllocs()
	start := cpuTime(b)
	for b.Loop() {
		if err := v.Encode(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
	perCore(b, start, 1_000_000, "members/cpu-s")
}

func BenchmarkDecode(b *testing.B) {
	data := encoded(b, crowd(b, 1, 1_000_000))
	b.ReportAllocs()
	start := cpuTime(b)
	for b.Loop() {
		decoded(b, data)
	}
	perCore(b, start, 1_000_000, "members/cpu-s")
	b.ReportMetric(float64(len(data))/1e6, "B/member")
}

// memberLog returns a log that gives each member a role, in a commit each.
func memberLog(tenants, members int) []*events.Commit {
	var log []*events.Commit
	for i := range tenants {
		evs := []events.Event{
			events.TenantCreated{Name: tenantID(i)},
			events.DomainAdded{Domain: domainName(i), DefaultRole: permission.Registered},
			events.RoleDefined{Name: "lab:kiosk", Inherits: []string{permission.Guest}},
		}
		for j := range members {
			evs = append(evs, events.MemberRolesSet{JID: local(j) + "@" + domainName(i), Role: "lab:kiosk"})
		}
		for n, e := range evs {
			log = append(log, &events.Commit{Position: events.Position(len(log) + 1), Tenant: tenantID(i), TenantVersion: uint64(n + 1), Events: []events.Event{e}})
		}
	}
	return log
}

// BenchmarkMemoryOfWays reports the bytes of memory per member, the key
// included, for Views made by Apply, by a Builder and by Decode.
func BenchmarkMemoryOfWays(b *testing.B) {
	for _, size := range [][2]int{{1, 1_000_000}, {1000, 1000}, {10_000, 10}} {
		ways := map[string]func([]*events.Commit) *View{
			"apply": func(log []*events.Commit) *View {
				v := New()
				for _, c := range log {
					var err error
					if v, err = v.Apply(c); err != nil {
						b.Fatal(err)
					}
				}
				return v
			},
			"builder": func(log []*events.Commit) *View { return fold(b, NewBuilder(), log) },
			"decode": func(log []*events.Commit) *View {
				return decoded(b, bytes.Clone(encoded(b, fold(b, NewBuilder(), log))))
			},
		}
		for _, way := range []string{"apply", "builder", "decode"} {
			b.Run(fmt.Sprintf("%s/%dx%d", way, size[0], size[1]), func(b *testing.B) {
				log := memberLog(size[0], size[1])
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				v := ways[way](log)
				runtime.GC()
				runtime.ReadMemStats(&after)
				runtime.KeepAlive(log)
				for b.Loop() {
				}
				b.ReportMetric((float64(after.HeapAlloc)-float64(before.HeapAlloc))/float64(size[0]*size[1]), "B/member")
				runtime.KeepAlive(v)
			})
		}
	}
}
