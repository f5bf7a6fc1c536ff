package overnats

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postern-im/postern/decision"
)

// BenchmarkAsk asks through an embedded NATS server, as a gateway asks policyd:
// the gateway connects over loopback TCP, and the node connects inside the
// server's process. In turns with the questions, the same run measures plain NATS
// requests of the same sizes, which are echoed without being decoded. x-echo is
// the number of questions answered per echo in the same time.
func BenchmarkAsk(b *testing.B) {
	for _, callers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) { benchmarkAsk(b, callers) })
	}
}

func benchmarkAsk(b *testing.B, callers int) {
	s := startNATS(b, -1)
	inside, err := Connect(ConnectConfig{InProcess: s, Logger: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(inside.Close)
	r, err := NewResponder(ResponderConfig{Conn: inside, Node: "n1", Decider: newDecider(), Logger: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	running(b, r.Serve)
	a := startAsker(b, s)
	if err := askOne(b, a, 1, 5*time.Second); err != nil {
		b.Fatal(err)
	}
	q := question(1)
	head := decision.BatchHead{Gateway: "gw1", ID: 1 << 20, AtLeast: decision.Mark{LogID: "log", Position: 10}}
	request := decision.AppendQuestion(decision.AppendBatch(nil, &head, 1), &q)
	reply := decision.AppendReply(nil, &decision.Reply{
		ReplyHead: decision.ReplyHead{ID: 1 << 20, Node: "n1", At: decision.Mark{LogID: "log", Position: 10}},
		Results:   []decision.Result{{Kind: decision.Ask, Verdict: decision.Verdict{Effect: decision.Pass, Position: 10}}},
	})
	if _, err := inside.Subscribe("echo", func(m *nats.Msg) { _ = m.Respond(reply) }); err != nil {
		b.Fatal(err)
	}
	outside := connect(b, s)

	const turns = 10
	var ask, echo time.Duration
	b.ResetTimer()
	for turn := range turns {
		n := b.N*(turn+1)/turns - b.N*turn/turns
		ask += inParallel(b, callers, n, func() func() error {
			qs, vs := []decision.Question{question(1)}, make([]decision.Verdict, 1)
			return func() error {
				err := a.Ask(b.Context(), qs, vs, 5*time.Second)
				if err == nil && (vs[0].Effect != decision.Pass || vs[0].LogID != "log") {
					err = fmt.Errorf("the verdict is %+v", vs[0])
				}
				return err
			}
		})
		b.StopTimer()
		echo += inParallel(b, callers, n, func() func() error {
			return func() error { _, err := outside.Request("echo", request, 5*time.Second); return err }
		})
		b.StartTimer()
	}
	b.ReportMetric(float64(echo)/float64(ask), "x-echo")
	b.ReportMetric(float64(b.N)/ask.Seconds(), "asks/s")
	b.ReportMetric(float64(b.N)/echo.Seconds(), "echoes/s")
	if c := a.core.counts; c.messages > 0 {
		b.ReportMetric(float64(c.requests)/float64(c.messages), "per-message")
	}
}

// inParallel makes n calls from the given number of callers. It returns how long
// they took.
func inParallel(b *testing.B, callers, n int, caller func() func() error) time.Duration {
	var left atomic.Int64
	left.Store(int64(n))
	begin := time.Now()
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			call := caller()
			for left.Add(-1) >= 0 {
				if err := call(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(begin)
}
