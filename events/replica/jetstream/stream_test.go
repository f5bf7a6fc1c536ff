package jetstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/postern-im/postern/events/replica"
	"github.com/postern-im/postern/internal/natsserver"
	"github.com/postern-im/postern/internal/natsserver/natsservertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// within bounds each wait of the tests. An election takes up to 20 s.
const within = 60 * time.Second

// eventually waits until done returns true.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within %v: %s", within, what)
		case <-tick.C:
		}
	}
}

// connect connects to a log server in this process.
func connect(t testing.TB, s *natsserver.LogServer) *nats.Conn {
	t.Helper()
	public, err := s.Key().PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := nats.Connect("", append(options(), nats.InProcessServer(s), nats.Nkey(public, s.Key().Sign))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// options are those of a connection that is never given up.
func options() []nats.Option {
	return []nats.Option{
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(50 * time.Millisecond), nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}
}

// background runs fn until the test ends, or until the returned function is
// called.
func background(t testing.TB, fn func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- fn(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// A book is the entries that a follower was handed.
type book struct {
	mu      sync.Mutex
	entries []replica.Entry
	groups  int
}

func (b *book) add(entries []replica.Entry) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.groups++
	for _, e := range entries {
		b.entries = append(b.entries, replica.Entry{Seq: e.Seq, Data: slices.Clone(e.Data)})
	}
	return nil
}

func (b *book) all() []replica.Entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.entries)
}

// A node is a Stream on a log server of its own.
type node struct {
	server *natsserver.LogServer
	conn   *nats.Conn
	stream *Stream
	stop   func() // of the stream
}

// join runs a Stream on a log server.
func join(t testing.TB, c *natsservertest.Cluster, i int, s *natsserver.LogServer) *node {
	t.Helper()
	n := &node{server: s, conn: connect(t, s)}
	n.stream = NewStream(StreamConfig{
		Conn: n.conn, Cluster: "acme", Create: i == 0,
		Seen:       func() (int, int) { return len(s.Seen()), len(c.Configs) },
		SyncAlways: s.SyncAlways, Logger: slog.New(slog.DiscardHandler),
	})
	n.stop = background(t, n.stream.Run)
	return n
}

// three starts three log servers, each with a Stream that is ready.
func three(t testing.TB) (*natsservertest.Cluster, []*node) {
	t.Helper()
	c := natsservertest.New(t, 3)
	var nodes []*node
	for i, s := range c.StartAll() {
		nodes = append(nodes, join(t, c, i, s))
	}
	for i, n := range nodes {
		eventually(t, fmt.Sprintf("node %d is ready", i), func() bool {
			select {
			case <-n.stream.Ready():
				return true
			default:
				return false
			}
		})
	}
	return c, nodes
}

func batch(text string, args ...any) []byte { return fmt.Appendf([]byte{1}, text, args...) }

// TestOrder offers entries on all nodes, and checks that all nodes read the same
// entries in the same order, a node that begins late too.
func TestOrder(t *testing.T) {
	t.Parallel()
	_, nodes := three(t)
	books := make([]book, 3)
	for i := range 2 {
		background(t, func(ctx context.Context) error { return nodes[i].stream.Follow(ctx, 0, books[i].add) })
	}
	const each = 200
	var offering sync.WaitGroup
	for i, n := range nodes {
		offering.Go(func() {
			for k := range each {
				for len(n.stream.offers) == maxOffers {
					pause(t.Context(), time.Millisecond)
				}
				n.stream.Offer(batch("%d of node %d", k, i))
			}
		})
	}
	offering.Wait()
	largest := append([]byte{1}, bytes.Repeat([]byte("x"), replica.MaxEntry-1)...)
	offer(t, nodes[0], largest, &books[1])
	background(t, func(ctx context.Context) error { return nodes[2].stream.Follow(ctx, 0, books[2].add) })
	for i := range books {
		eventually(t, fmt.Sprintf("node %d has all entries", i), func() bool { return books[i].has(largest) && len(books[i].all()) >= 3*each+1 })
	}
	for i := range books {
		checkSame(t, &books[0], &books[i])
		for k, e := range books[i].all() {
			if e.Seq != uint64(k+1) {
				t.Fatalf("node %d reads entry %d as number %d", i, e.Seq, k+1)
			}
		}
	}
	t.Logf("%d entries in %d groups", len(books[0].all()), books[0].groups)
}
