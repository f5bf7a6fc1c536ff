package node_test

import (
	"fmt"
	"os"
	"testing"

	audit "github.com/postern-im/postern/audit/jsonl"
	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/node"
)

// BenchmarkAnswer decides batches of chat messages, with records that are encoded
// but not written to a disk, and for comparison without records.
func BenchmarkAnswer(b *testing.B) {
	written, err := audit.Open(audit.Config{Path: os.DevNull})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = written.Close() })
	for _, size := range []int{1, 64} {
		for name, recorder := range map[string]node.Recorder{"none": new(recorder), "written": written} {
			b.Run(fmt.Sprintf("record=%s/batch=%d", name, size), func(b *testing.B) {
				l := openLog(b)
				r := start(b, l, l.LogID(), recorder).ready()
				r.tenants()
				batch := &decision.Batch{BatchHead: decision.BatchHead{Gateway: "gw1"}}
				for range size {
					q := chat(b, "acme", "bob@acme.test", "carol@acme.test", 2)
					q.Question.Session.OpenedLog = []byte(l.LogID())
					batch.Requests = append(batch.Requests, q)
				}
				var reply decision.Reply
				b.ReportAllocs()
				for b.Loop() {
					r.Answer(batch, &reply)
				}
				if reply.Status != decision.StatusOK || len(reply.Results) != size {
					b.Fatalf("status %d with %d results", reply.Status, len(reply.Results))
				}
				for i := range reply.Results {
					if v := &reply.Results[i].Verdict; v.Effect != decision.Pass || v.LogID != l.LogID() {
						b.Fatalf("the verdict is %+v: %s", v, v.Text())
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size), "ns/question")
			})
		}
	}
}
