package replicatest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/logtest"
)

// within bounds each wait of the suite. It leaves room for an election of a leader
// on a busy machine.
const within = time.Minute

var names = []string{"n1", "n2", "n3"}

// Run runs the suite on clusters of three nodes. newTransport starts what the
// nodes of one cluster need, empty.
func Run(t *testing.T, newTransport func(t *testing.T) Connect) {
	t.Run("log", func(t *testing.T) {
		logtest.Run(t, func(t *testing.T) logtest.Place {
			c := newCluster(newTransport(t))
			t.Cleanup(func() { c.close(t, "n2", "n3") })
			return func() (logtest.Log, error) {
				return c.open()
			}
		})
	})
	for name, test := range map[string]func(*testing.T, *cluster){
		"all nodes read the same bytes": testSameBytes,
		"all nodes append":              testAllAppend,
		"restart of each":               testRestarts,
		"a node joins late":             testJoinsLate,
		"a log moves in":                testMovesIn,
		"a foreign cluster":             testForeign,
		"proofs":                        testProofs,
		"barrier":                       testBarrier,
		"members":                       testMembers,
	} {
		t.Run(name, func(t *testing.T) { test(t, newCluster(newTransport(t))) })
	}
}

// A cluster is a transport, and the disks and nodes that use it.
type cluster struct {
	connect Connect
	disks   map[string]vfs.FS
	nodes   map[string]*Node
}

func newCluster(connect Connect) *cluster {
	return &cluster{connect: connect, disks: map[string]vfs.FS{}, nodes: map[string]*Node{}}
}

// open starts the first node, and the others if they do not run. It returns when
// the node is ready.
func (c *cluster) open() (*Node, error) {
	n, err := c.start(names[0])
	for _, name := range names[1:] {
		if c.nodes[name] == nil && err == nil {
			_, err = c.start(name)
		}
	}
	if err != nil {
		return nil, err
	}
	return n, ready(n)
}

// start starts a node. The first node creates the cluster.
func (c *cluster) start(name string) (*Node, error) {
	if c.disks[name] == nil {
		c.disks[name] = vfs.NewMem()
	}
	n, err := Serve(Config{Node: name, Creator: name == names[0], FS: c.disks[name], Dir: "log", Connect: c.connect})
	if err == nil {
		c.nodes[name] = n
	}
	return n, err
}

// all starts all nodes, and closes them at the end of the test.
func (c *cluster) all(t *testing.T) []*Node {
	t.Helper()
	var list []*Node
	for _, name := range names {
		list = append(list, c.mustStart(t, name))
	}
	for _, n := range list {
		mustBeReady(t, n)
	}
	return list
}

// mustStart starts a node and closes it at the end of the test.
func (c *cluster) mustStart(t *testing.T, name string) *Node {
	t.Helper()
	n, err := c.start(name)
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

func (c *cluster) close(t *testing.T, names ...string) {
	for _, name := range names {
		if n := c.nodes[name]; n != nil {
			if err := n.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// ready waits until a node is ready.
func ready(n *Node) error { return readyUntil(n, nil) }

// readyUntil is ready, until a channel is closed. A node that nobody hears never gets
// ready.
func readyUntil(n *Node, dead <-chan struct{}) error {
	var last error
	if waitFor(func() bool {
		last = n.Replica.Ready()
		select {
		case <-dead:
			return true
		default:
			return last == nil || n.Replica.Failure() != nil
		}
	}) && last == nil {
		return nil
	}
	return fmt.Errorf("the node does not become ready: %w", last)
}

func mustBeReady(t *testing.T, n *Node) {
	t.Helper()
	if err := ready(n); err != nil {
		t.Fatal(err)
	}
}

// waitFor waits until a condition holds. It polls, because the conditions of other
// nodes cannot be waited for.
func waitFor(holds func() bool) bool {
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	for end := time.Now().Add(within); time.Now().Before(end); <-ticker.C {
		if holds() {
			return true
		}
	}
	return holds()
}

// commitOf returns a commit of a tenant that no other test writes to.
func commitOf(tenant string, version int) *events.Commit {
	return &events.Commit{
		Tenant: tenant, TenantVersion: uint64(version), Time: time.Unix(1_763_890_200, 0),
		Actor: "operator:root", CommandID: fmt.Sprintf("command %d", version),
		Events: []events.Event{events.MemberRolesSet{JID: "anna@alpha.test", Role: "lab:kiosk"}},
	}
}

// mustAppend appends a commit, wherever the head is.
func mustAppend(t *testing.T, n *Node, c *events.Commit) {
	t.Helper()
	if err := appendAnywhere(t.Context(), n, c); err != nil {
		t.Fatal(err)
	}
}

func appendAnywhere(ctx context.Context, n *Node, c *events.Commit) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	at, _ := n.Head()
	for {
		err := n.Append(ctx, at, c)
		conflict, ok := errors.AsType[*events.ConflictError](err)
		if !ok {
			return err
		}
		at = conflict.Head
	}
}

// same checks that all nodes have the same records, and a number of them.
func same(t *testing.T, nodes []*Node, count int) {
	t.Helper()
	var want [][]byte
	for i, n := range nodes {
		if !waitFor(func() bool { p, _ := n.Head(); return p >= events.Position(count) }) {
			p, _ := n.Head()
			t.Fatalf("node %d is at %d of %d: %v", i+1, p, count, n.Replica.Failure())
		}
		got, err := n.Records(1, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = got
		}
		if len(got) != count || !bytes.Equal(bytes.Join(got, nil), bytes.Join(want, nil)) {
			t.Fatalf("node %d has %d records of %d, or others than the first node", i+1, len(got), count)
		}
		if err := n.Verify(t.Context()); err != nil {
			t.Fatal(err)
		}
		if nodes[0].LogID() != n.LogID() {
			t.Errorf("node %d has log %s, the first node %s", i+1, n.LogID(), nodes[0].LogID())
		}
	}
}

func testSameBytes(t *testing.T, c *cluster) {
	nodes := c.all(t)
	for i := range 30 {
		mustAppend(t, nodes[i%3], commitOf("acme", i+1))
		same(t, nodes, i+1) // the next version follows it on every node
	}
}

func testAllAppend(t *testing.T, c *cluster) {
	const each = 40
	nodes := c.all(t)
	var all sync.WaitGroup
	for i, n := range nodes {
		for writer := range 2 {
			all.Go(func() {
				for v := range each {
					if err := appendAnywhere(t.Context(), n, commitOf(fmt.Sprintf("tenant %d of %d", writer, i), v+1)); err != nil {
						t.Errorf("node %d: %v", i+1, err)
						return
					}
				}
			})
		}
	}
	all.Wait()
	same(t, nodes, 3*2*each)
}

func testRestarts(t *testing.T, c *cluster) {
	nodes := c.all(t)
	version := 0
	for i, name := range names {
		if err := nodes[i].Close(); err != nil {
			t.Fatal(err)
		}
		// The other two go on, so the node has something to catch up with.
		version++
		mustAppend(t, nodes[(i+1)%3], commitOf("acme", version))
		nodes[i] = c.mustStart(t, name)
		mustBeReady(t, nodes[i])
		same(t, nodes, version)
		version++
		mustAppend(t, nodes[i], commitOf("acme", version))
		same(t, nodes, version)
	}
}

func testJoinsLate(t *testing.T, c *cluster) {
	nodes := []*Node{c.mustStart(t, "n1"), c.mustStart(t, "n2")}
	for _, n := range nodes {
		mustBeReady(t, n)
	}
	for i := range 20 {
		mustAppend(t, nodes[0], commitOf("acme", i+1))
	}
	nodes = append(nodes, c.mustStart(t, "n3"))
	mustBeReady(t, nodes[2])
	same(t, nodes, 20)
}

// testMovesIn makes a stand-alone log the beginning of a cluster.
func testMovesIn(t *testing.T, c *cluster) {
	disk := vfs.NewMem()
	c.disks["n1"] = disk
	position, id, err := fill(t.Context(), disk, 50)
	if err != nil {
		t.Fatal(err)
	}
	nodes := c.all(t)
	if got, _ := nodes[0].Head(); got != position || nodes[0].LogID() != id {
		t.Errorf("the log moved from %d to %d, from id %s to %s", position, got, id, nodes[0].LogID())
	}
	same(t, nodes, 50)
	mustAppend(t, nodes[2], commitOf("acme", 51))
	same(t, nodes, 51)
}

// testForeign starts a node whose data belong to another cluster's log.
func testForeign(t *testing.T, c *cluster) {
	n1 := c.mustStart(t, "n1")
	mustBeReady(t, n1)
	other := newCluster(c.connect)
	foreign := other.mustStart(t, "n1") // creates another generation of its own
	if !waitFor(func() bool { return foreign.Replica.Failure() != nil }) {
		t.Fatal("a node with another generation follows the order")
	}
	t.Log(foreign.Replica.Failure())
	if err := foreign.Append(t.Context(), 0, commitOf("acme", 1)); err == nil {
		t.Error("a stopped node appends")
	}
	if foreign.Replica.Ready() == nil || foreign.Replica.Prove("edge", 1, 1) != 0 {
		t.Error("a stopped node is ready, or proves something")
	}
	mustAppend(t, n1, commitOf("acme", 1))
}

// testProofs gives a challenge to one node and asks the others.
func testProofs(t *testing.T, c *cluster) {
	nodes := c.all(t)
	mustAppend(t, nodes[0], commitOf("acme", 1))
	same(t, nodes, 1)
	const base = 1 << 60
	nodes[1].Replica.Heard("edge", base+5)
	for i, n := range nodes {
		if !waitFor(func() bool { return n.Replica.Prove("edge", base+9, 1) == base+5 }) {
			t.Errorf("node %d does not prove the challenge that node 2 heard", i+1)
		}
		if got := n.Replica.Prove("edge", base+9, 0); got != 0 {
			t.Errorf("node %d proves %d for a View that is behind the proof", i+1, got)
		}
		if got := n.Replica.Prove("edge", 7, 1) + n.Replica.Prove("other", base+9, 1); got != 0 {
			t.Errorf("node %d proves %d for another run or gateway", i+1, got)
		}
	}
}

// testBarrier appends at one node and asks another for the newest state.
func testBarrier(t *testing.T, c *cluster) {
	nodes := c.all(t)
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	for v := range 20 {
		mustAppend(t, nodes[v%3], commitOf("acme", v+1))
		at, err := nodes[(v+1)%3].Replica.Barrier(ctx)
		if err != nil || at < events.Position(v+1) {
			t.Fatalf("after commit %d: %d, %v", v+1, at, err)
		}
	}
	if proofs := nodes[0].Replica.Status().Proofs; len(proofs) > 0 {
		t.Errorf("nodes are counted as gateways: %v", proofs)
	}
}

func testMembers(t *testing.T, c *cluster) {
	nodes := c.all(t)
	mustAppend(t, nodes[2], commitOf("acme", 1))
	for i, n := range nodes {
		if !waitFor(func() bool {
			members := n.Replica.Members()
			for _, m := range members {
				if m.Position != 1 || m.ProofAge < 0 || m.Failed {
					return false
				}
			}
			return len(members) == 3
		}) {
			t.Errorf("node %d knows %+v", i+1, n.Replica.Members())
		}
	}
}
