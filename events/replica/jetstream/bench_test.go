package jetstream

import (
	"testing"
)

// BenchmarkCatchUp fetches entries that a node lacks.
func BenchmarkCatchUp(b *testing.B) {
	_, nodes := three(b)
	const count = 20_000
	conn := nodes[0].conn
	for range count {
		if err := conn.Publish("postern.log.batch", batch("an entry of about two hundred bytes %0160d", 1)); err != nil {
			b.Fatal(err)
		}
	}
	eventually(b, "all are stored", func() bool { last, _ := nodes[0].stream.last(); return last == count })
	for b.Loop() {
		next := uint64(1)
		for next <= count {
			entries, err := fetch(b.Context(), conn, next)
			if err != nil || len(entries) == 0 {
				b.Fatal(err)
			}
			next = entries[len(entries)-1].Seq + 1
		}
	}
	b.ReportMetric(count*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}
