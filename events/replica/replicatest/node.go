package replicatest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/events/replica"
)

// ClusterName is the name of the clusters in tests.
const ClusterName = "acme"

// Connect connects a node to the others. The returned function ends the
// connection.
type Connect func(node string, log *eventlog.Log) (replica.Sequencer, replica.Peers, func(), error)

// Config says which node Open starts.
type Config struct {
	Node string
	// Creator makes the log's present content the beginning of the cluster, unless
	// the log belongs to one already.
	Creator bool
	FS      vfs.FS // nil means the disk
	Dir     string
	Connect Connect
}

// A Node is a running replica with its log. Append, Close and Verify are those of
// a log, so that package logtest can test it.
type Node struct {
	*eventlog.Log
	Replica *replica.Replica

	connectionEnd func()
	cancel        context.CancelFunc
	running       sync.WaitGroup
	err           error // of Run; it may be read after running
}

// Serve opens a node's log and runs its replica until Close.
func Serve(c Config) (*Node, error) {
	log, err := eventlog.Open(eventlog.Config{Dir: c.Dir, FS: c.FS, Clustered: true})
	if err != nil {
		return nil, err
	}
	n := &Node{Log: log}
	if err := n.connect(c); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	n.running.Go(func() { n.err = n.Replica.Run(ctx) })
	return n, nil
}

func (n *Node) connect(c Config) error {
	if _, _, bound := n.Generation(); c.Creator && !bound {
		position, hash := n.Head()
		g := events.Generation{Cluster: ClusterName, LogID: n.LogID(), Position: position, Hash: hash}
		rand.Read(g.ID[:]) // never fails
		if err := n.Bind(context.Background(), g, true); err != nil {
			return err
		}
	}
	sequencer, peers, end, err := c.Connect(c.Node, n.Log)
	if err != nil {
		return fmt.Errorf("connect %s: %w", c.Node, err)
	}
	n.connectionEnd = end
	n.Replica, err = replica.New(replica.Config{
		Node: c.Node, Cluster: ClusterName, Log: n.Log, Sequencer: sequencer, Peers: peers,
		Logger: slog.New(slog.DiscardHandler),
	})
	return err
}

// Append appends by way of the cluster.
func (n *Node) Append(ctx context.Context, at events.Position, commits ...*events.Commit) error {
	return n.Replica.Append(ctx, at, commits...)
}

// Close stops the node.
func (n *Node) Close() error {
	n.cancel()
	n.running.Wait()
	n.connectionEnd()
	return errors.Join(n.err, n.Log.Close())
}

// fill makes a stand-alone log with commits, and returns its head and id.
func fill(ctx context.Context, disk vfs.FS, count int) (events.Position, string, error) {
	log, err := eventlog.Open(eventlog.Config{Dir: "log", FS: disk})
	if err != nil {
		return 0, "", err
	}
	for i := range count {
		if err := log.Append(ctx, events.Position(i), commitOf("acme", i+1)); err != nil {
			return 0, "", errors.Join(err, log.Close())
		}
	}
	position, _ := log.Head()
	return position, log.LogID(), log.Close()
}
