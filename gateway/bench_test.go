package gateway_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/gateway"
)

// passAll passes every stanza at no cost, so that a benchmark measures the
// gateway alone. Its verdicts name the same log as table's admissions, because a
// verdict from another log ends the session.
type passAll struct{ *table }

func (passAll) Ask(_ context.Context, qs []decision.Question, vs []decision.Verdict, _ time.Duration) error {
	for i := range qs {
		vs[i] = decision.Verdict{Effect: decision.Pass, LogID: "log", Freshness: justNow()}
	}
	return nil
}

// chat is a chat message of 338 bytes, as clients send them.
func chat() string {
	const begin = "<message xmlns='jabber:client' to='bob@a.test/phone' type='chat' id='6f1c2d0e-9a4b-4d57-8a31-1f0e6b7c5d22'><body>"
	const end = "</body><active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/><origin-id xmlns='urn:xmpp:sid:0' id='6f1c2d0e'/></message>"
	return begin + strings.Repeat("a", 338-len(begin)-len(end)) + end
}

// BenchmarkThroughput sends chat messages over TLS through the gateway to a
// sink. For comparison it sends the same bytes through a proxy that only
// decrypts TLS and copies. batch is the number of messages in one write.
func BenchmarkThroughput(b *testing.B) {
	for _, batch := range []int{1, 16} {
		b.Run(fmt.Sprintf("copy/batch=%d", batch), func(b *testing.B) {
			s, arrived := countingSink(b)
			defer s.stop()
			l := copyProxy(b, s.listener.Addr().String())
			defer l.Close()
			benchmarkThroughput(b, l.Addr().String(), batch, arrived)
		})
		b.Run(fmt.Sprintf("gateway/batch=%d", batch), func(b *testing.B) {
			s, arrived := countingSink(b)
			defer s.stop()
			g := serveGateway(b, passAll{newTable()}, s.listener.Addr().String(), nil)
			defer g.end(b)
			benchmarkThroughput(b, g.direct, batch, arrived)
			g.wantOnlyPassed(b, 1, b.N)
		})
	}
}

// end stops the gateway and waits for it.
func (s *served) end(b *testing.B) {
	b.Helper()
	s.stop()
	if err := <-s.done; err != nil {
		b.Error(err)
	}
}

// wantOnlyPassed fails a benchmark in which a session has ended or a stanza was
// not passed, because such a benchmark does not measure what its name says.
func (s *served) wantOnlyPassed(b *testing.B, sessions, stanzas int) {
	b.Helper()
	// The gateway counts a stanza after writing it, so the sink may have it
	// before it is counted.
	late := time.Now().Add(10 * time.Second)
	for s.gathered(b, "postern_gateway_stanzas_total", "pass") < float64(stanzas) && time.Now().Before(late) {
	}
	passed := s.gathered(b, "postern_gateway_stanzas_total", "pass")
	all := s.gathered(b, "postern_gateway_stanzas_total", "")
	if passed != float64(stanzas) || all != passed {
		b.Errorf("%v of %v stanzas passed, want %d", passed, all, stanzas)
	}
	open, ended := s.gathered(b, "postern_gateway_sessions", ""), s.gathered(b, "postern_gateway_sessions_ended_total", "")
	if open != float64(sessions) || ended != 0 {
		b.Errorf("%v sessions are open and %v have ended, want %d and none", open, ended, sessions)
	}
}

// gathered returns the sum of a counter or gauge over all label values, or over
// the metrics with one label value.
func (s *served) gathered(tb testing.TB, name, value string) (sum float64) {
	tb.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			has := value == ""
			for _, l := range m.GetLabel() {
				has = has || l.GetValue() == value
			}
			if has {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// arrivals counts received bytes and signals when enough have arrived.
type arrivals struct {
	want  atomic.Int64
	count atomic.Int64
	done  chan struct{}
}

func (a *arrivals) add(n int) {
	if a.count.Add(int64(n)) >= a.want.Load() {
		select {
		case a.done <- struct{}{}:
		default:
		}
	}
}

func countingSink(b *testing.B) (*sink, *arrivals) {
	s := startSink(b)
	a := &arrivals{done: make(chan struct{}, 1)}
	s.received = a.add
	return s, a
}

// benchTimeout bounds one measurement, so that a stuck benchmark fails.
const benchTimeout = time.Minute

func benchmarkThroughput(b *testing.B, address string, batch int, a *arrivals) {
	stanza := chat()
	a.want.Store(int64(b.N) * int64(len(stanza)))
	conn, r, err := dialDirect(address, "x")
	if err != nil {
		b.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(benchTimeout))
	// The sink sends nothing. If a client receives anything, it is a refusal or
	// the end of its stream.
	heard := make(chan string, 1)
	go func() {
		buf := make([]byte, 512)
		n, err := r.Read(buf)
		heard <- fmt.Sprintf("%q, %v", buf[:n], err)
	}()
	text := []byte(strings.Repeat(stanza, batch))
	b.SetBytes(int64(len(stanza)))
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; left -= batch {
		if _, err := conn.Write(text[:min(left, batch)*len(stanza)]); err != nil {
			b.Fatal(err)
		}
	}
	select {
	case <-a.done:
	case what := <-heard:
		b.Fatalf("after %d of %d bytes the client hears %s", a.count.Load(), a.want.Load(), what)
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "stanzas/s")
	if got := a.count.Load(); got != a.want.Load() {
		b.Errorf("%d bytes arrived, want %d", got, a.want.Load())
	}
	b.Cleanup(func() {
		_ = conn.Close()
		<-heard
	})
}

// copyProxy decrypts TLS from the client and copies bytes in both directions.
func copyProxy(b *testing.B, backend string) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	cert := gateway.NewCertificates("", true).For("a.test")
	go func() {
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			client := tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{*cert}, NextProtos: []string{"xmpp-client"}})
			server, err := net.Dial("tcp", backend)
			if err != nil {
				_ = raw.Close()
				return
			}
			go func() {
				_, _ = io.Copy(server, client)
				_ = server.Close()
			}()
			go func() {
				_, _ = io.Copy(client, server)
				_ = client.Close()
			}()
		}
	}()
	return l
}
