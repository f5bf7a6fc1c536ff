package node_test

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/projections"
)

// fillLog writes the log of a hosting provider into dir. It creates the tenants, and
// then sets roles of members, each commit in a random tenant. In the first commits
// every account becomes a member; later commits change roles. fillLog returns the
// number of events.
func fillLog(tb testing.TB, dir string, tenants, members, n, each int) int {
	tb.Helper()
	l, err := eventlog.Open(eventlog.Config{Dir: dir})
	if err != nil {
		tb.Fatal(err)
	}
	var (
		rng      = rand.New(rand.NewPCG(3, 4))
		versions = make([]uint64, tenants)
		head     events.Position
		written  int
		pending  []*events.Commit
	)
	flush := func() {
		if err := l.Append(tb.Context(), head, pending...); err != nil {
			tb.Fatal(err)
		}
		head += events.Position(len(pending))
		pending = nil
	}
	add := func(tenant int, list ...events.Event) {
		versions[tenant]++
		serial := uint64(head) + uint64(len(pending))
		pending = append(pending, &events.Commit{
			Tenant: fmt.Sprintf("tenant-%d", tenant), TenantVersion: versions[tenant], Actor: "operator:root",
			Time: time.UnixMicro(1_700_000_000_000_000 + int64(serial)).UTC(), CommandID: fmt.Sprintf("%032x", serial), Events: list,
		})
		written += len(list)
		if len(pending)*len(list) >= 500 {
			flush()
		}
	}
	for t := range tenants {
		add(t, events.TenantCreated{Name: "A customer"},
			events.DomainAdded{Domain: fmt.Sprintf("chat%d.example.org", t), DefaultRole: permission.Registered},
			events.RoleDefined{Name: "lab:kiosk", Inherits: []string{permission.Guest}})
	}
	share := members / tenants // of one tenant
	next := make([]int, tenants)
	for written < n {
		t := rng.IntN(tenants)
		var list []events.Event
		for range min(each, n-written) {
			account := rng.IntN(share)
			if next[t] < share {
				account = next[t]
				next[t]++
			}
			role := permission.Member
			if rng.IntN(2) == 0 {
				role = "lab:kiosk"
			}
			list = append(list, events.MemberRolesSet{JID: fmt.Sprintf("user%d@chat%d.example.org", account, t), Role: role})
		}
		add(t, list...)
	}
	if len(pending) > 0 {
		flush()
	}
	if err := l.Close(); err != nil {
		tb.Fatal(err)
	}
	return written
}

// scanBare reads the records of a closed log directly from Pebble, without checks.
func scanBare(tb testing.TB, dir string, fn func([]byte) error) {
	tb.Helper()
	db, err := pebble.Open(dir, &pebble.Options{ReadOnly: true, Logger: silent{}})
	if err != nil {
		tb.Fatal(err)
	}
	iter, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte("e|"), UpperBound: []byte("e}")})
	if err != nil {
		tb.Fatal(err)
	}
	for valid := iter.First(); valid && err == nil; valid = iter.Next() {
		var record []byte
		if record, err = iter.ValueAndErr(); err == nil {
			err = fn(record)
		}
	}
	if err := cmp.Or(err, iter.Error(), iter.Close(), db.Close()); err != nil {
		tb.Fatal(err)
	}
}

// rebuild builds a View as a node does at its start: from the newest snapshot at or
// before atMost, if there is one, and the commits after it.
func rebuild(tb testing.TB, l *eventlog.Log, atMost events.Position) (*projections.View, events.Position) {
	tb.Helper()
	b := projections.NewBuilder()
	at, r, found, err := l.Snapshot(tb.Context(), atMost)
	if err == nil && found {
		var v *projections.View
		if v, err = projections.Decode(r); err == nil {
			b = projections.BuilderFrom(v)
		}
		err = cmp.Or(err, r.Close())
	}
	if err == nil {
		err = l.Read(tb.Context(), at+1, b.Apply)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return b.View(), at
}

// processor returns the processor time of this process on all cores, including the
// garbage collector. Other processes on the machine do not change it.
func processor(tb testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRebuild measures a start without a snapshot, from the disk to the View.
// For comparison it measures the layers below: a scan of Pebble, a scan that
// decodes, and Read, which also checks the chain. The four take turns, and each turn
// opens the log. Rates are events per second of one core.
func BenchmarkRebuild(b *testing.B) {
	const tenants, members, n = 1000, 200_000, 500_000
	for _, each := range []int{1, 100} {
		b.Run(fmt.Sprintf("events=%d", each), func(b *testing.B) {
			dir := b.TempDir()
			total := fillLog(b, dir, tenants, members, n, each)
			opened := func(fn func(*eventlog.Log)) {
				l, err := eventlog.Open(eventlog.Config{Dir: dir, ReadOnly: true})
				if err != nil {
					b.Fatal(err)
				}
				fn(l)
				if err := l.Close(); err != nil {
					b.Fatal(err)
				}
			}
			ways := []struct {
				unit string
				run  func()
				took time.Duration
			}{
				{"scan/s", func() { scanBare(b, dir, func([]byte) error { return nil }) }, 0},
				{"decode/s", func() {
					scanBare(b, dir, func(r []byte) error { _, err := events.DecodeCommit(r); return err })
				}, 0},
				{"read/s", func() {
					opened(func(l *eventlog.Log) {
						if err := l.Read(b.Context(), 1, func(*events.Commit) error { return nil }); err != nil {
							b.Fatal(err)
						}
					})
				}, 0},
				{"fold/s", func() {
					opened(func(l *eventlog.Log) {
						if v, _ := rebuild(b, l, 0); v.Position() == 0 {
							b.Fatal("nothing was folded")
						}
					})
				}, 0},
			}
			for b.Loop() {
				for i := range ways {
					runtime.GC() // so that the garbage of one way is not counted for the next
					start := processor(b)
					ways[i].run()
					ways[i].took += processor(b) - start
				}
			}
			all := float64(b.N) * float64(total)
			for _, w := range ways {
				b.ReportMetric(all/w.took.Seconds(), w.unit)
			}
			fold := ways[3].took
			b.ReportMetric(float64(fold)/all, "ns/event")
			b.ReportMetric(float64(ways[1].took)/float64(fold), "fold/decode")
			b.ReportMetric(float64(ways[0].took)/float64(fold), "fold/scan")
		})
	}
}

// TestStart builds the View of a long log in two ways with the same result: from all
// commits, and from a snapshot and the commits after it. Its long form, with ten
// million events, is also a measurement.
func TestStart(t *testing.T) {
	tenants, members, n, each := 10, 2_000, 10_000, 10
	if os.Getenv("POSTERN_SOAK") == "1" {
		tenants, members, n, each = 1000, 1_000_000, 10_000_000, 1000
	}
	dir := t.TempDir()
	begin, cpu := time.Now(), processor(t)
	lap := func(what string, num int) {
		used := processor(t) - cpu
		t.Logf("%s: %.2f s, %.2f s of the processor, %.0f events in one of these", what,
			time.Since(begin).Seconds(), used.Seconds(), float64(num)/used.Seconds())
		runtime.GC()
		begin, cpu = time.Now(), processor(t)
	}
	total := fillLog(t, dir, tenants, members, n, each)
	lap("write", total)
	l := openDir(t, dir)
	lap("open", 0)

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	whole, at := rebuild(t, l, 0)
	if at != 0 {
		t.Fatalf("an unexpected snapshot at %d", at)
	}
	lap("fold all", total)
	runtime.ReadMemStats(&after)
	listed := 0
	for tenant := range whole.Tenants() {
		listed += tenant.MemberCount()
	}
	t.Logf("%d members, %.0f bytes of heap each", listed, (float64(after.HeapAlloc)-float64(before.HeapAlloc))/float64(listed))

	// A snapshot some commits before the head, as a node's newest snapshot is.
	tail := min(events.Position(1000), whole.Position()/10)
	b := projections.NewBuilder()
	for c := range commitsTo(t, l, whole.Position()-tail) {
		if err := b.Apply(c); err != nil {
			t.Fatal(err)
		}
	}
	behind := b.View()
	lap("fold to the snapshot", 0)
	written := 0
	err := l.WriteSnapshot(t.Context(), behind.Position(), func(w io.Writer) error {
		return behind.Encode(&counter{w, &written})
	})
	if err != nil {
		t.Fatal(err)
	}
	lap(fmt.Sprintf("write a snapshot of %.1f MB", float64(written)/1e6), 0)
	v, at := rebuild(t, l, math.MaxUint64)
	if at != behind.Position() {
		t.Fatalf("began at %d, the snapshot is at %d", at, behind.Position())
	}
	lap(fmt.Sprintf("start from the snapshot and %d commits", tail), 0)
	if v.Position() != whole.Position() || v.Hash() != whole.Hash() {
		t.Errorf("the state from the snapshot differs: at %d, want %d", v.Position(), whole.Position())
	}
}

// openDir opens a log until the end of the test.
func openDir(t *testing.T, dir string) *eventlog.Log {
	t.Helper()
	l, err := eventlog.Open(eventlog.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// commitsTo yields the commits up to a position.
func commitsTo(t *testing.T, l *eventlog.Log, last events.Position) func(func(*events.Commit) bool) {
	return func(yield func(*events.Commit) bool) {
		err := l.Read(t.Context(), 1, func(c *events.Commit) error {
			if c.Position > last || !yield(c) {
				return io.EOF
			}
			return nil
		})
		if err != io.EOF {
			t.Errorf("read to %d: %v", last, err)
		}
	}
}

// A counter counts the bytes written through it.
type counter struct {
	w io.Writer
	n *int
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	*c.n += n
	return n, err
}
