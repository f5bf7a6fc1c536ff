package eventlog

import (
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postern-im/postern/events"
)

// BenchmarkRebuild measures the reading of a start: a bare Pebble scan, a scan
// that decodes, and Read, which also checks the chain. Each runs with one event
// a commit, and with many.
func BenchmarkRebuild(b *testing.B) {
	for _, each := range []int{1, 100} {
		n := 200_000 / each
		l, err := Open(Config{Dir: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		for at := 0; at < n; at += 500 {
			var batch []*events.Commit
			for i := at; i < min(at+500, n); i++ {
				c := &events.Commit{
					Tenant: "acme", TenantVersion: uint64(i + 1), Time: time.Unix(int64(i+1), 0), Actor: "operator:root", CommandID: fmt.Sprint(i),
				}
				for m := range each {
					c.Events = append(c.Events, events.MemberRolesSet{JID: fmt.Sprintf("user%d@acme.test", i*each+m), Role: "prosody:member"})
				}
				batch = append(batch, c)
			}
			if err := l.Append(b.Context(), events.Position(at), batch...); err != nil {
				b.Fatal(err)
			}
		}
		if err := l.db.Flush(); err != nil { // a start reads tables
			b.Fatal(err)
		}
		scan := func(fn func([]byte) error) func() error {
			return func() error {
				iter, err := l.db.NewIter(&pebble.IterOptions{LowerBound: []byte(prefixCommit), UpperBound: after(prefixCommit)})
				if err != nil {
					return err
				}
				for valid := iter.First(); valid; valid = iter.Next() {
					v, err := iter.ValueAndErr()
					if err != nil {
						return err
					}
					if err := fn(v); err != nil {
						return err
					}
				}
				return iter.Close()
			}
		}
		for _, c := range []struct {
			name string
			run  func() error
		}{
			{"scan", scan(func([]byte) error { return nil })},
			{"scan and decode", scan(func(v []byte) error { _, err := events.DecodeCommit(v); return err })},
			{"read", func() error { return l.Read(b.Context(), 1, func(*events.Commit) error { return nil }) }},
		} {
			b.Run(fmt.Sprintf("%s/events=%d", c.name, each), func(b *testing.B) {
				runs := 0
				for b.Loop() {
					if err := c.run(); err != nil {
						b.Fatal(err)
					}
					runs++
				}
				b.ReportMetric(float64(runs*n*each)/b.Elapsed().Seconds(), "events/s")
			})
		}
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
