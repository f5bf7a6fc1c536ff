package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	audit "github.com/postern-im/postern/audit/jsonl"
	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/events/replica"
	"github.com/postern-im/postern/events/replica/jetstream"
	"github.com/postern-im/postern/node"
)

// unbound returns the parts of a node that has not joined its cluster. They do not run.
func unbound(t *testing.T) *process {
	t.Helper()
	log, err := eventlog.Open(eventlog.Config{Dir: t.TempDir(), Clustered: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	r, err := replica.New(replica.Config{
		Node: "n1", Cluster: "acme", Log: log,
		Sequencer: jetstream.NewStream(jetstream.StreamConfig{}), Peers: jetstream.NewPeers(jetstream.PeersConfig{}),
	})
	if err != nil {
		t.Fatal(err)
	}
	n, err := node.New(node.Config{ID: "n1", Log: log, LogID: log.LogID(), Recorder: &audit.Writer{}})
	if err != nil {
		t.Fatal(err)
	}
	return &process{events: log, node: n, cluster: &membership{id: "n1", replica: r}}
}

// TestStoppedReplicaStopsTheNode: a fork stops the node too, and the report of the cluster
// has the reason.
func TestStoppedReplicaStopsTheNode(t *testing.T) {
	p := unbound(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	done := make(chan error, 1)
	go func() { done <- p.stopWithReplica(ctx) }()
	fork := errors.New("two histories")
	p.cluster.replica.Fail(fork)
	if _, err := p.node.Await(ctx, 1); !errors.Is(err, fork) || !errors.Is(p.node.Ready(), fork) {
		t.Errorf("the node waits with %v, and is ready: %v", err, p.node.Ready())
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := strings.Join(p.cluster.report().Warnings, "\n"); got != "node n1 has stopped deciding for good: two histories" {
		t.Errorf("the report warns: %s", got)
	}
	if got := stopped(&replica.Member{Node: "n2", Failed: true}, "n1", fork); !strings.Contains(got, "n2") || strings.Contains(got, "histories") {
		t.Errorf("the warning about another node: %s", got)
	}
}

// TestGatewaysWait: the server of a node that still copies its cluster's log, or that has
// stopped before it knows its gateways, does not open. It would turn each gateway away as
// unknown.
func TestGatewaysWait(t *testing.T) {
	for name, copies := range map[string]bool{"it copies": true, "it has its copy": false} {
		p := unbound(t)
		p.cluster.copies = copies
		k := newKeyring(nil, nil, slog.New(slog.DiscardHandler))
		k.node, k.copied = p.node, p.cluster.awaitCopy
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := k.copied(ctx); (err != nil) != copies {
			t.Errorf("%s: waits: %v", name, err)
		}
		damage := errors.New("the log is corrupt")
		p.node.Fail(damage)
		p.cluster.replica.Fail(damage)
		if err := k.Run(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		<-k.ended
		select {
		case <-k.known:
			t.Errorf("%s: the server opens without users", name)
		default:
		}
	}
}
