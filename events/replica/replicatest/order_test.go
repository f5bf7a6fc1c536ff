package replicatest_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/events/replica"
	"github.com/postern-im/postern/events/replica/replicatest"
)

// serve starts a node on a disk and closes it at the end of the test.
func serve(t *testing.T, name string, disk vfs.FS, connect replicatest.Connect) *replicatest.Node {
	t.Helper()
	n, err := replicatest.Serve(replicatest.Config{Node: name, Creator: name == "n1", FS: disk, Dir: "log", Connect: connect})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil && !errors.Is(err, events.ErrClosed) {
			t.Error(err)
		}
	})
	return n
}

func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	for end := time.Now().Add(time.Minute); !holds(); <-ticker.C {
		if time.Now().After(end) {
			t.Fatalf("timeout: %s", what)
		}
	}
}

func commit(version uint64) *events.Commit {
	return &events.Commit{
		Tenant: "acme", TenantVersion: version, Time: time.Unix(1_763_890_200, 0), Actor: "operator:root",
		CommandID: string(rune('a' + version)), Events: []events.Event{events.MemberRolesSet{JID: "anna@alpha.test"}},
	}
}

// TestUnknownOutcome appends while offers are lost. The outcome is unknown, and the
// same append may be repeated.
func TestUnknownOutcome(t *testing.T) {
	hub := replicatest.NewHub(1, 0)
	n := serve(t, "n1", vfs.NewMem(), hub.Connect)
	if err := n.Append(t.Context(), 0, commit(1)); !errors.Is(err, replica.ErrNotFollowing) && err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the node follows", func() bool { return n.Replica.Ready() == nil })
	hub.Lose(1)
	at, _ := n.Head()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := n.Append(ctx, at, commit(uint64(at)+1)); !errors.Is(err, events.ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a lost append: %v", err)
	}
	hub.Lose(0)
	again := commit(uint64(at) + 1)
	if err := n.Append(t.Context(), at, again); err != nil || again.Position != at+1 {
		t.Errorf("the same append again: %v, at %d", err, again.Position)
	}
	if err := n.Append(t.Context(), at+1); err != nil {
		t.Errorf("an append of nothing: %v", err)
	}
}

// TestLostOrder restarts a node whose order has lost entries that the node has
// applied.
func TestLostOrder(t *testing.T) {
	for name, lose := range map[string]func(hub *replicatest.Hub){
		"shorter than before": func(hub *replicatest.Hub) { hub.Truncate(len(hub.Entries()) - 1) },
		"grown again": func(hub *replicatest.Hub) {
			entries := hub.Entries()
			hub.Truncate(len(entries) - 1)
			for range entries {
				hub.Order(entries[1].Data) // a tick
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			hub, disk := replicatest.NewHub(1, 0), vfs.NewMem()
			n := serve(t, "n1", disk, hub.Connect)
			waitFor(t, "the node follows", func() bool { return n.Replica.Ready() == nil })
			if err := n.Append(t.Context(), 0, commit(1)); err != nil {
				t.Fatal(err)
			}
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
			lose(hub)
			n = serve(t, "n1", disk, hub.Connect)
			waitFor(t, "the node stops", func() bool { return n.Replica.Failure() != nil })
			t.Log(n.Replica.Failure())
			if n.Replica.Ready() == nil {
				t.Error("a node that is ahead of the order is ready")
			}
		})
	}
}

// TestFalseCopy lets a node join by way of a peer that copies other commits.
func TestFalseCopy(t *testing.T) {
	disk := vfs.NewMem()
	log, err := eventlog.Open(eventlog.Config{Dir: "log", FS: disk})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if err := log.Append(t.Context(), events.Position(i), commit(uint64(i+1))); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	hub := replicatest.NewHub(1, 0)
	creator := serve(t, "n1", disk, hub.Connect)
	waitFor(t, "the creator follows", func() bool { return creator.Replica.Ready() == nil })
	n := serve(t, "n2", vfs.NewMem(), func(node string, log *eventlog.Log) (replica.Sequencer, replica.Peers, func(), error) {
		sequencer, peers, end, err := hub.Connect(node, log)
		return sequencer, falsePeers{peers}, end, err
	})
	waitFor(t, "the node stops", func() bool { return n.Replica.Failure() != nil })
	if err := n.Replica.Failure(); !strings.Contains(err.Error(), "remove this node's data") {
		t.Error(err)
	}
	if head, _ := n.Head(); head != 4 || n.Replica.Status().Phase != replica.Stopped {
		t.Errorf("the head is at %d", head)
	}
}

// falsePeers copy another commit in the place of the last one.
type falsePeers struct{ replica.Peers }

func (p falsePeers) Copy(ctx context.Context, from, to events.Position, fn func([][]byte) error) error {
	return p.Peers.Copy(ctx, from, to, func(records [][]byte) error {
		last := len(records) - 1
		c, err := events.DecodeCommit(records[last])
		if err != nil {
			return err
		}
		c.Reason = "another one"
		if err := fn(records[:last]); err != nil {
			return err
		}
		return fn([][]byte{events.AppendCommit(nil, c)})
	})
}
