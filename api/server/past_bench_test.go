package server_test

import (
	"cmp"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/api/server"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/projections"
)

// A hoster is a log of many tenants. The tenant large has many commits and the tenant
// small has few. The commits of both are spread over the whole log.
type hoster struct {
	commits, large, small int
	head                  events.Position
	recent                time.Time // the time at which the newest hundredth of the commits begins
}

// fill writes the log into dir.
func (h *hoster) fill(tb testing.TB, dir string) {
	tb.Helper()
	l, err := eventlog.Open(eventlog.Config{Dir: dir})
	if err != nil {
		tb.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(3, 4))
	versions := map[string]uint64{}
	var pending []*events.Commit
	for i := range h.commits {
		tenant := fmt.Sprint("other-", rng.IntN(1000))
		switch {
		case i%(h.commits/h.small) == 1:
			tenant = "small"
		case i%(h.commits/h.large) == 0:
			tenant = "large"
		}
		c := &events.Commit{
			Tenant: tenant, TenantVersion: versions[tenant] + 1, Actor: "operator:root", CommandID: fmt.Sprintf("%032x", i),
			Time: time.UnixMicro(1_700_000_000_000_000 + int64(i)*1000).UTC(),
		}
		if versions[tenant]++; c.TenantVersion == 1 {
			c.Events = []events.Event{
				events.TenantCreated{Name: "A customer"},
				events.DomainAdded{Domain: tenant + ".test", DefaultRole: permission.Registered},
				events.RoleDefined{Name: "lab:kiosk", Inherits: []string{permission.Guest}},
			}
		} else {
			role := []string{permission.Member, "lab:kiosk"}[rng.IntN(2)]
			c.Events = []events.Event{events.MemberRolesSet{JID: fmt.Sprintf("user%d@%s.test", rng.IntN(5000), tenant), Role: role}}
		}
		if i == h.commits-h.commits/100 {
			h.recent = c.Time
		}
		if pending = append(pending, c); len(pending) == 500 || i == h.commits-1 {
			if err := l.Append(tb.Context(), h.head, pending...); err != nil {
				tb.Fatal(err)
			}
			h.head += events.Position(len(pending))
			pending = nil
		}
	}
	if err := l.Close(); err != nil {
		tb.Fatal(err)
	}
}

// scanAll reads all records of a log without any checks. The log must not be open.
func scanAll(tb testing.TB, dir string) {
	tb.Helper()
	db, err := pebble.Open(dir, &pebble.Options{ReadOnly: true, Logger: quiet{}})
	if err != nil {
		tb.Fatal(err)
	}
	iter, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte("e|"), UpperBound: []byte("e}")})
	if err != nil {
		tb.Fatal(err)
	}
	for valid := iter.First(); valid && err == nil; valid = iter.Next() {
		_, err = iter.ValueAndErr()
	}
	if err := cmp.Or(err, iter.Error(), iter.Close(), db.Close()); err != nil {
		tb.Fatal(err)
	}
}

// foldAll folds the whole log, which would be necessary without an index.
func foldAll(tb testing.TB, dir string) {
	tb.Helper()
	l, err := eventlog.Open(eventlog.Config{Dir: dir, ReadOnly: true})
	if err != nil {
		tb.Fatal(err)
	}
	b := projections.NewBuilder()
	if err := cmp.Or(l.Read(tb.Context(), 1, b.Apply), l.Close()); err != nil {
		tb.Fatal(err)
	}
}

type quiet struct{}

func (quiet) Infof(string, ...any)      {}
func (quiet) Errorf(f string, a ...any) { slog.Error(fmt.Sprintf(f, a...)) }
func (quiet) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }

// processor returns the processor time of this process on all cores. Unlike the
// elapsed time, it does not depend on other processes of the machine.
func processor(tb testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPast measures requests about the past through the API and its socket. The
// tenant large has a tenth of the log's commits, and the tenant small has a hundred
// commits. Without an index, each request would need a scan or a fold of the whole
// log: scan/op and fold/op are how many times longer these take. All times are
// processor times of client and server together.
//
// The log has 100,000 commits, or a million if POSTERN_SOAK=1.
func BenchmarkPast(b *testing.B) {
	h := &hoster{commits: 100_000, large: 10_000, small: 100}
	if os.Getenv("POSTERN_SOAK") == "1" {
		h.commits, h.large = 1_000_000, 100_000
	}
	dir := b.TempDir()
	log := filepath.Join(dir, "log")
	h.fill(b, log)
	measure := func(floor func(testing.TB, string)) time.Duration {
		start := processor(b)
		for range 3 {
			floor(b, log)
		}
		return (processor(b) - start) / 3
	}
	scan, fold := measure(scanAll), measure(foldAll)
	r := startIn(b, dir, nil, func(l server.Log) server.Log { return l })
	defer r.stop()
	for _, tenant := range []string{"large", "small"} {
		account := "user7@" + tenant + ".test"
		for _, way := range []struct {
			name string
			ask  func(i int) error
		}{
			{"at", func(i int) error { // each position is asked for once, so no cache has it
				_, err := r.client.At(fmt.Sprint(h.head-events.Position(i))).Tenant(b.Context(), tenant)
				return err
			}},
			{"blame account", func(int) error {
				_, err := r.client.BlameMember(b.Context(), tenant, account, "xmpp:federate")
				return err
			}},
			{"blame role", func(int) error {
				_, err := r.client.BlameRole(b.Context(), tenant, "lab:kiosk", "xmpp:federate")
				return err
			}},
			{"newest", func(int) error {
				_, err := r.client.Log(b.Context(), api.LogQuery{Tenant: tenant, Limit: 50})
				return err
			}},
			{"since", func(int) error {
				_, err := r.client.Log(b.Context(), api.LogQuery{Tenant: tenant, Limit: 50, Since: h.recent.Format(time.RFC3339Nano)})
				return err
			}},
		} {
			b.Run(fmt.Sprintf("%s/tenant=%s", way.name, tenant), func(b *testing.B) {
				i := 0
				start := processor(b)
				for b.Loop() {
					if err := way.ask(i); err != nil {
						b.Fatal(err)
					}
					i++
				}
				took := (processor(b) - start) / time.Duration(i)
				b.ReportMetric(float64(took), "cpu-ns/op")
				b.ReportMetric(float64(scan)/float64(took), "scan/op")
				b.ReportMetric(float64(fold)/float64(took), "fold/op")
				if tenant == "small" && took > scan {
					b.Errorf("the request takes %v, and a scan of the whole log takes %v", took, scan)
				}
			})
		}
	}
}
