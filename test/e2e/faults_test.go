//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/test/e2e/installation"
)

const (
	// overdue is how much later than the bound a receiver may have a stanza: the
	// time from the gateway's write to the receiver's read on a busy machine.
	overdue = time.Second
	// recovery bounds the time in which a cluster recovers from any one fault.
	recovery = time.Minute
	// calm is the time between two faults.
	calm = 3 * time.Second
	// smallDisk is the disk of a node that can be filled. The node decides nothing with
	// less than 128 MiB free, and half an hour's records and log need 100 MiB.
	smallDisk = 512 << 20
)

// A fault is something that happens to a running cluster and is over at the end.
type fault struct {
	name string
	// single faults concern one node of three: no session may end, and no stanza
	// may go unanswered.
	single bool
	strike func(ctx context.Context, c *cluster, node int, long time.Duration) error
}

// faults are all faults. The node that they concern is the leader in every second
// round.
var faults = []fault{
	{"kill", true, func(ctx context.Context, c *cluster, node int, long time.Duration) error {
		if err := c.Nodes[node].Program.Kill(); err != nil {
			return err
		}
		wait(ctx, long)
		return c.StartNode(ctx, node)
	}},
	{"hang", true, func(ctx context.Context, c *cluster, node int, long time.Duration) error {
		p := c.Nodes[node].Program
		if err := p.Pause(); err != nil {
			return err
		}
		wait(ctx, long)
		return p.Resume()
	}},
	{"cut off from the nodes", true, func(ctx context.Context, c *cluster, node int, long time.Duration) error {
		c.Isolate(node)
		wait(ctx, long)
		c.Mend()
		return nil
	}},
	{"deaf", true, func(ctx context.Context, c *cluster, node int, long time.Duration) error {
		c.Deafen(node)
		wait(ctx, long)
		c.Mend()
		return nil
	}},
	{"cut off from the gateways", true, func(ctx context.Context, c *cluster, node int, long time.Duration) error {
		c.Separate(node)
		wait(ctx, long)
		c.Mend()
		return nil
	}},
	{"slow", true, func(ctx context.Context, c *cluster, node int, long time.Duration) error {
		for other := range c.Nodes {
			if other != node {
				c.Route(node, other).Slow(200 * time.Millisecond)
				c.Route(other, node).Slow(200 * time.Millisecond)
			}
		}
		wait(ctx, long)
		c.Mend()
		return nil
	}},
	{"full disk", true, fullDisk},
	{"full disk of the leader", true, fullDisk},
	{"kill a gateway", false, func(ctx context.Context, c *cluster, node int, long time.Duration) error {
		gateway := node % len(c.Gateways)
		if err := c.Gateways[gateway].Program.Kill(); err != nil {
			return err
		}
		wait(ctx, long)
		return c.StartGateway(ctx, gateway)
	}},
	{"hang a gateway", false, func(ctx context.Context, c *cluster, node int, long time.Duration) error {
		p := c.Gateways[node%len(c.Gateways)].Program
		if err := p.Pause(); err != nil {
			return err
		}
		wait(ctx, long)
		return p.Resume()
	}},
	{"restart of all nodes", false, func(ctx context.Context, c *cluster, _ int, _ time.Duration) error {
		for _, n := range c.Nodes {
			if err := n.Program.Kill(); err != nil {
				return err
			}
		}
		for i := range c.Nodes {
			if err := c.BeginNode(i); err != nil {
				return err
			}
		}
		return nil
	}},
	{"no majority", false, func(ctx context.Context, c *cluster, node int, long time.Duration) error {
		for other := range c.Nodes {
			c.Isolate(other)
		}
		wait(ctx, long)
		c.Mend()
		return nil
	}},
}

// fullDisk fills a node's disk to the last block, and empties it again.
func fullDisk(ctx context.Context, c *cluster, node int, long time.Duration) error {
	if err := c.Fill(node); err != nil {
		return err
	}
	wait(ctx, long)
	return c.Free(node)
}

// smallLeader returns the leader, which has a small disk. If the leader has none, it is
// killed first, so that another node leads.
func (c *cluster) smallLeader(ctx context.Context) (leader int, err error) {
	for {
		if leader, err = c.awaitLeader(ctx); err != nil || c.Small(leader) {
			return leader, err
		}
		if err := c.Nodes[leader].Program.Kill(); err != nil {
			return 0, err
		}
		wait(ctx, calm)
		if err := c.StartNode(ctx, leader); err != nil {
			return 0, err
		}
		if err := c.awaitCopies(ctx); err != nil {
			return 0, err
		}
	}
}

// awaitReady waits until all nodes decide again.
func (c *cluster) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	for i := range c.Nodes {
		if err := c.AwaitNode(ctx, i); err != nil {
			return fmt.Errorf("after a fault: %w", err)
		}
	}
	return nil
}

// awaitCopies waits until the leader knows that each node has a copy of the order with
// all its entries.
func (c *cluster) awaitCopies(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	for {
		missing := c.missingCopies(ctx)
		if len(missing) == 0 {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%w: no current copy of the order at %v", ctx.Err(), missing)
		}
		wait(ctx, againAfter)
	}
}

// missingCopies returns the nodes without a current copy of the order, or all nodes if
// the leader is not known.
func (c *cluster) missingCopies(ctx context.Context) (missing []string) {
	var text string
	if leader, err := c.leader(ctx); err == nil {
		asking, cancel := context.WithTimeout(ctx, time.Second)
		text, _ = c.Metrics(asking, c.Nodes[leader].HTTP) // no answer, no copies
		cancel()
	}
	for _, n := range c.Nodes {
		// A copy has the name of its log server: the node's id and eight digits.
		current := regexp.MustCompile(fmt.Sprintf(`(?m)^postern_cluster_peer_current\{copy="%s-[0-9a-f]{8}"\} 1$`, n.ID))
		if !current.MatchString(text) {
			missing = append(missing, n.ID)
		}
	}
	return missing
}

// TestFaults strikes a cluster under load with faults, and judges what clients and
// administrators saw. The soak form strikes for half an hour, and longer each time.
// POSTERN_FAULT is a part of the names of the faults to strike with; empty: all.
func TestFaults(t *testing.T) {
	long, until, each := 5*time.Second, 1*time.Minute, 2
	if soak() {
		long, until, each = 30*time.Second, 30*time.Minute, 4
	}
	chosen := slices.DeleteFunc(slices.Clone(faults), func(f fault) bool { return !strings.Contains(f.name, os.Getenv("POSTERN_FAULT")) })
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	c := newCluster(t, installation.ClusterConfig{SmallDisk: smallDisk})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	w := newWorkload(ctx, t, c, each)
	before, err := c.hold(ctx)
	if err != nil {
		t.Fatal(err)
	}
	working, stopWorking := context.WithCancel(ctx)
	var most sample
	var running sync.WaitGroup
	running.Go(func() { w.run(working, t) })
	running.Go(func() { most = c.watchResources(working, t) })
	wait(ctx, calm)
	end := time.Now().Add(until)
	for round := 0; time.Now().Before(end) && !t.Failed(); round++ {
		for _, at := range random.Perm(len(chosen)) {
			if time.Now().After(end) || t.Failed() {
				break
			}
			strike(ctx, t, c, w, chosen[at], random, long)
		}
	}
	stopWorking()
	running.Wait()
	w.judge(ctx, t, decision.Lease+overdue)
	c.checkResources(ctx, t, before, most)
}

// strike lets one fault happen and checks what it must not cause.
func strike(ctx context.Context, t *testing.T, c *cluster, w *workload, f fault, random *rand.Rand, long time.Duration) {
	t.Helper()
	node := random.IntN(len(c.Nodes))
	if random.IntN(2) == 0 {
		if at, err := c.leader(ctx); err == nil {
			node = at
		}
	}
	var err error
	switch {
	case f.name == "full disk of the leader":
		if node, err = c.smallLeader(ctx); err != nil {
			t.Fatalf("%s: %v", f.name, err)
		}
	case f.name == "full disk" && !c.Small(node):
		node = 1 + random.IntN(len(c.Nodes)-1)
	}
	ends, waits := w.during(func() {
		err = f.strike(ctx, c, node, long)
		if err == nil {
			err = c.awaitReady(ctx)
		}
		// A node without a current copy counts as lost: the next fault would be a second one.
		if err == nil {
			err = c.awaitCopies(ctx)
		}
		wait(ctx, calm)
	})
	t.Logf("%s (%s): ends %v, unanswered %d", f.name, c.Nodes[node].ID, ends, waits)
	if err != nil {
		t.Errorf("%s (%s): %v", f.name, c.Nodes[node].ID, err)
	}
	if f.single && (len(ends) > 0 || waits > 0) {
		t.Errorf("%s (%s): sessions ended: %v; stanzas went unanswered: %d", f.name, c.Nodes[node].ID, ends, waits)
	}
}
