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

// passAll is a policy that costs nothing: what remains is the gateway.
type passAll struct{ *table }

func (passAll) Ask(_ context.Context, qs []decision.Question, vs []decision.Verdict, _ time.Duration) error {
	now := time.Now()
	for i := range qs {
		vs[i] = decision.Verdict{Effect: decision.Pass, AskedAt: now}
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
// sink, and the same bytes through a bare copy that only ends TLS, which is
// the floor. batch is how many the client writes at once.
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
			benchmarkThroughput(b, g.direct, batch, arrived)
			g.stop()
			if err := <-g.done; err != nil {
				b.Error(err)
			}
		})
	}
}

// arrivals counts bytes and tells when there are enough.
type arrivals struct {
	want  atomic.Int64
	count atomic.Int64
	done  chan struct{}
}

func (a *arrivals) add(n int) {
	if a.count.Add(int64(n)) == a.want.Load() {
		a.done <- struct{}{}
	}
}

func countingSink(b *testing.B) (*sink, *arrivals) {
	s := startSink(b)
	a := &arrivals{done: make(chan struct{}, 1)}
	s.received = a.add
	return s, a
}

func benchmarkThroughput(b *testing.B, address string, batch int, a *arrivals) {
	conn, r, err := dialDirect(address, "x")
	if err != nil {
		b.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, r) }()
	stanza := chat()
	text := []byte(strings.Repeat(stanza, batch))
	a.count.Store(0)
	a.want.Store(int64(b.N) * int64(len(stanza)))
	b.SetBytes(int64(len(stanza)))
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; left -= batch {
		if _, err := conn.Write(text[:min(left, batch)*len(stanza)]); err != nil {
			b.Fatal(err)
		}
	}
	<-a.done
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "stanzas/s")
	_ = conn.Close()
}

// copyProxy ends TLS and copies bytes both ways.
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
