//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
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
	c := newCluster(t, installation.ClusterConfig{})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	w := newWorkload(ctx, t, c, each)
	working, stopWorking := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.run(working, t)
	}()
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
	<-done
	w.judge(ctx, t, decision.Lease+overdue)
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
	ends, waits := w.during(func() {
		err = f.strike(ctx, c, node, long)
		if err == nil {
			err = c.awaitReady(ctx)
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
