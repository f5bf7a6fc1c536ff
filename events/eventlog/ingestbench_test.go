package eventlog_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
)

const (
	benchCommits = 1_000_000
	benchTenants = 1000
	// benchBatch is how many bytes of records a copy ingests at once.
	benchBatch = 1 << 20
)

// history returns the records of a log with n commits of about 300 bytes.
func history(n int) [][]byte {
	rng := rand.New(rand.NewPCG(1, 1))
	versions := make([]uint64, benchTenants)
	var previous [32]byte
	records := make([][]byte, n)
	start := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	for i := range records {
		tenant := rng.IntN(benchTenants)
		versions[tenant]++
		records[i] = events.AppendCommit(nil, &events.Commit{
			Position: events.Position(i + 1), Tenant: fmt.Sprintf("tenant-%04d", tenant), TenantVersion: versions[tenant],
			Time: start.Add(time.Duration(i) * time.Millisecond), Actor: "token:0123456789abcdef", CommandID: fmt.Sprintf("%016x%016x", rng.Uint64(), rng.Uint64()),
			Reason: "Moved to the support team, ticket 4711", Previous: previous, CommandHash: events.CommandHash{1},
			Events: []events.Event{events.MemberRolesSet{JID: fmt.Sprintf("user%08d@tenant-%04d.example.net", rng.IntN(1e8), tenant),
				Role: "lab:kiosk", Secondary: []string{"prosody:member", "lab:support-second-level"}}},
		})
		previous = events.Hash(records[i])
	}
	return records
}

// split divides records into batches of at most max bytes.
func split(records [][]byte, max int) [][][]byte {
	var batches [][][]byte
	from, size := 0, 0
	for i, r := range records {
		if size += len(r); size > max {
			batches = append(batches, records[from:i])
			from, size = i, len(r)
		}
	}
	return append(batches, records[from:])
}

// BenchmarkIngest measures how fast a node copies a history of a million commits:
// into an empty log, batch by batch, each with a sync. The bare Pebble batches of
// the same records and nothing else are the bound.
func BenchmarkIngest(b *testing.B) {
	records := history(benchCommits)
	size := 0
	for _, r := range records {
		size += len(r)
	}
	for _, batch := range []int{benchBatch, 4 * benchBatch} {
		batches := split(records, batch)
		b.Run(fmt.Sprintf("batch=%dMiB", batch>>20), func(b *testing.B) {
			for b.Loop() {
				l, err := eventlog.Open(eventlog.Config{Dir: b.TempDir(), Clustered: true})
				if err != nil {
					b.Fatal(err)
				}
				g := generationOf(l, 1)
				g.LogID, g.Position, g.Hash = "0123456789abcdef0123456789abcdef", benchCommits, events.Hash(records[len(records)-1])
				if err := l.Bind(b.Context(), g, false); err != nil {
					b.Fatal(err)
				}
				for _, records := range batches {
					if err := l.Ingest(b.Context(), events.Cursor{Generation: g.ID}, records); err != nil {
						b.Fatal(err)
					}
				}
				if err := l.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*len(records))/b.Elapsed().Seconds(), "commits/s")
			b.ReportMetric(float64(size)/float64(len(records)), "B/commit")
		})
	}
	b.Run("bare batches", func(b *testing.B) {
		for b.Loop() {
			db, err := pebble.Open(b.TempDir(), &pebble.Options{Logger: silent{}})
			if err != nil {
				b.Fatal(err)
			}
			n := uint64(0)
			for _, records := range split(records, benchBatch) {
				batch := db.NewBatch()
				for _, r := range records {
					n++
					if err := batch.Set(fmt.Appendf(nil, "e|%016x", n), r, nil); err != nil {
						b.Fatal(err)
					}
				}
				if err := batch.Commit(pebble.Sync); err != nil {
					b.Fatal(err)
				}
			}
			if err := db.Close(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N*len(records))/b.Elapsed().Seconds(), "commits/s")
	})
}

// BenchmarkRecords measures how fast a node gives its records to another.
func BenchmarkRecords(b *testing.B) {
	const n = 100_000
	l, err := eventlog.Open(eventlog.Config{Dir: b.TempDir(), Clustered: true})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	g := generationOf(l, 1)
	if err := l.Bind(b.Context(), g, true); err != nil {
		b.Fatal(err)
	}
	for _, records := range split(history(n), benchBatch) {
		if err := l.Ingest(b.Context(), events.Cursor{Generation: g.ID}, records); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		for at := events.Position(1); at <= n; {
			records, err := l.Records(at, benchBatch)
			if err != nil {
				b.Fatal(err)
			}
			at += events.Position(len(records))
		}
	}
	b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "commits/s")
}
