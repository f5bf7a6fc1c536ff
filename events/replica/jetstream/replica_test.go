package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/events/logtest"
	"github.com/postern-im/postern/events/replica"
	"github.com/postern-im/postern/events/replica/replicatest"
	"github.com/postern-im/postern/internal/natsserver"
)

// These are what replicas need.
var (
	_ replica.Sequencer = (*Stream)(nil)
	_ replica.Peers     = (*Peers)(nil)
)

// A transport connects replicas of the nodes n1, n2 and n3 to log servers.
type transport struct {
	serverOf func(node string) *natsserver.LogServer
}

// connect is a replicatest.Connect.
func (tr *transport) connect(node string, log *eventlog.Log) (replica.Sequencer, replica.Peers, func(), error) {
	server := tr.serverOf(node)
	public, err := server.Key().PublicKey()
	if err != nil {
		return nil, nil, nil, err
	}
	conn, err := nats.Connect("", append(options(), nats.InProcessServer(server), nats.Nkey(public, server.Key().Sign))...)
	if err != nil {
		return nil, nil, nil, err
	}
	_, creator, _ := log.Generation()
	_, followed := log.Cursor()
	stream := NewStream(StreamConfig{
		Conn: conn, Cluster: replicatest.ClusterName, Create: creator && !followed,
		SyncAlways: server.SyncAlways, Logger: slog.New(slog.DiscardHandler),
	})
	peers := NewPeers(PeersConfig{Conn: conn, Node: node, Source: log, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { complain(stream.Run(ctx)) })
	running.Go(func() { complain(peers.Run(ctx)) })
	return stream, peers, func() {
		cancel()
		running.Wait()
		conn.Close()
	}, nil
}

// complain panics with an error that no test expects.
func complain(err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		panic(err)
	}
}

// TestReplica runs the suite of all transports. Each cluster of the suite has a
// stream of its own. Clusters that exist at the same time have log servers of their
// own too.
func TestReplica(t *testing.T) {
	t.Parallel()
	var idle [][]*node
	replicatest.Run(t, func(sub *testing.T) replicatest.Connect {
		if len(idle) == 0 {
			idle = append(idle, servers(t))
		}
		nodes := idle[len(idle)-1]
		idle = idle[:len(idle)-1]
		sub.Cleanup(func() {
			removeStream(sub, nodes[0].conn)
			idle = append(idle, nodes)
		})
		tr := &transport{serverOf: func(node string) *natsserver.LogServer {
			return nodes[slices.Index([]string{"n1", "n2", "n3"}, node)].server
		}}
		return tr.connect
	})
}

// removeStream removes the stream, if there is one.
func removeStream(t *testing.T, conn *nats.Conn) {
	t.Helper()
	var answer struct {
		Error *apiError `json:"error"`
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	for ctx.Err() == nil {
		answer.Error = nil
		err := request(ctx, conn, "$JS.API.STREAM.DELETE."+streamName, nil, &answer)
		if err == nil && (answer.Error == nil || answer.Error.Code == codeNoStream) {
			return
		}
		pause(ctx, attempt)
	}
	t.Error(fmt.Errorf("remove the stream: %w", ctx.Err()))
}

// TestFaults cuts the power of the node that writes. Each case has a stream of its
// own.
func TestFaults(t *testing.T) {
	t.Parallel()
	cases := 6
	if os.Getenv("POSTERN_SOAK") == "1" {
		cases = 100
	}
	nodes := servers(t)
	tr := &transport{serverOf: func(node string) *natsserver.LogServer {
		return nodes[slices.Index([]string{"n1", "n2", "n3"}, node)].server
	}}
	logtest.RunFaults(t, cases, func() logtest.Machine {
		removeStream(t, nodes[0].conn)
		return replicatest.NewMachine(tr.connect, func() {
			// The servers order the published entries before the node starts again.
			for _, n := range nodes {
				if err := n.conn.FlushTimeout(within); err != nil {
					t.Error(err)
				}
			}
		})
	})
}
