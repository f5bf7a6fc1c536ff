package eventlog_test

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
)

// BenchmarkAppend measures durable appends on the disk, beside the bare sync of
// a Pebble batch of the same size.
func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("commits=%d", n), func(b *testing.B) {
			l, err := eventlog.Open(eventlog.Config{Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			at := 0
			for b.Loop() {
				batch := make([]*events.Commit, n)
				for i := range batch {
					batch[i] = testCommit(at + i + 1)
				}
				if err := l.Append(b.Context(), events.Position(at), batch...); err != nil {
					b.Fatal(err)
				}
				at += n
			}
			b.ReportMetric(float64(at)/b.Elapsed().Seconds(), "commits/s")
		})
	}
	b.Run("bare sync", func(b *testing.B) {
		db, err := pebble.Open(b.TempDir(), &pebble.Options{Logger: silent{}})
		if err != nil {
			b.Fatal(err)
		}
		defer db.Close()
		value := make([]byte, 200)
		for n := uint64(0); b.Loop(); n++ {
			if err := db.Set(fmt.Append(nil, n), value, pebble.Sync); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkRead measures a start: every commit is read, checked and decoded.
func BenchmarkRead(b *testing.B) {
	const n = 100_000
	l, err := eventlog.Open(eventlog.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	for at := 0; at < n; at += 1000 {
		batch := make([]*events.Commit, 1000)
		for i := range batch {
			batch[i] = testCommit(at + i + 1)
		}
		if err := l.Append(b.Context(), events.Position(at), batch...); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("all", func(b *testing.B) {
		read := 0
		for b.Loop() {
			err := l.Read(b.Context(), 1, func(*events.Commit) error { read++; return nil })
			if err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(read)/b.Elapsed().Seconds(), "commits/s")
	})
	b.Run("one", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, err := l.Commit(events.Position(i*7919%n + 1)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("by command", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, _, err := l.ByCommand("acme", fmt.Sprint("command ", i*7919%n+1)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(f string, a ...any) {
	panic(fmt.Sprintf(f, a...))
}
