//go:build e2e

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/internal/mutants"
	"github.com/postern-im/postern/test/e2e/installation"
)

// slowestDecision bounds the wait for a decision while nodes restart one by one.
const slowestDecision = 2 * time.Second

// An upgrade moves a cluster under load from the present release to a later one and back.
type upgrade struct {
	c *cluster
	w *workload
	// next and before are the folders of the programs of the later release, and of the
	// gateway of the release before clusters. Empty is the present release.
	next, before string
}

// TestUpgrade upgrades a cluster under load by the steps of docs/RUNBOOK.md: nodes one at a
// time, then gateways; and back: gateways, then nodes. No restart of a node may end a
// session or leave a stanza unanswered. A change that only the later release can read is
// refused until the last node is upgraded. A node that meets such a change all the same
// stops, and continues after its upgrade. At last a gateway that is too old asks.
func TestUpgrade(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	u := &upgrade{next: t.TempDir(), before: t.TempDir()}
	built := make(chan error, 2)
	go func() { built <- buildWith(ctx, u.next, mutants.Next, "policyd", "gateway") }()
	u.c = newCluster(t, installation.ClusterConfig{})
	if err := <-built; err != nil {
		t.Fatal(err)
	}
	go func() { built <- buildWith(ctx, u.before, mutants.Before, "gateway") }()
	u.policyctl(ctx, t, 0, "gateway", "add", "spare", "--out", filepath.Join(t.TempDir(), "seed"))

	u.w = newWorkload(ctx, t, u.c, 1)
	working, stopWorking := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		u.w.run(working, t)
	}()
	defer func() { stopWorking(); <-done }()
	u.up(ctx, t)
	u.back(ctx, t)
	u.unheard(ctx, t)
	u.met(ctx, t)
	if err := <-built; err != nil {
		t.Fatal(err)
	}
	u.tooOld(ctx, t)
	stopWorking()
	<-done
	u.w.judge(ctx, t, decision.Lease+overdue)
	if slowest := u.w.slowest(); slowest > slowestDecision {
		t.Errorf("a decision took %v", slowest)
	}
}

// up upgrades all nodes and then all gateways. Until the last node is upgraded, the
// refusal of the new change names the nodes that are left.
func (u *upgrade) up(ctx context.Context, t *testing.T) {
	t.Helper()
	u.node(ctx, t, 0, u.next)
	u.refused(ctx, t, 0, "upgrade nodes n2, n3 first")
	u.node(ctx, t, 1, u.next)
	u.refused(ctx, t, 1, "upgrade node n3 first")
	u.node(ctx, t, 2, u.next)
	for gateway := range u.c.Gateways {
		u.gateway(ctx, t, gateway, u.next)
	}
}

// back goes back to the present release, which works because no change was made that
// only the later one knows. The short form goes back with the gateways and one node.
func (u *upgrade) back(ctx context.Context, t *testing.T) {
	t.Helper()
	for gateway := range u.c.Gateways {
		u.gateway(ctx, t, gateway, "")
	}
	u.node(ctx, t, 2, "")
	u.refused(ctx, t, 0, "upgrade node n3 first")
	if !soak() {
		return
	}
	for _, bin := range []string{"", u.next} {
		for _, node := range []int{1, 0} {
			u.node(ctx, t, node, bin)
		}
	}
}

// unheard stops the last node of the present release. The new change is refused also
// while the node is down, and at a node that has not heard it at all.
func (u *upgrade) unheard(ctx context.Context, t *testing.T) {
	t.Helper()
	u.stop(t, 2)
	u.start(ctx, t, 1, u.next)
	u.refused(ctx, t, 0, "upgrade node n3 first")
	u.refused(ctx, t, 1, "start n3 first")
	u.start(ctx, t, 2, u.next)
}

// met makes the change while a node is down, and starts the node in the present release.
// The node meets the change in the order, stops for good, and decides nothing. After its
// upgrade it continues with the same data. Then its own log has the change, and the node
// stops again when it is started in the present release.
func (u *upgrade) met(ctx context.Context, t *testing.T) {
	t.Helper()
	u.stop(t, 2)
	u.c.do(ctx, t, 1, "", api.GatewayRemove{ID: "spare"})
	u.stops(ctx, t, "a newer version wrote the commit after")
	u.node(ctx, t, 2, u.next)
	u.stop(t, 2)
	u.stops(ctx, t, "a newer version wrote the commit at")
	u.node(ctx, t, 2, u.next)
}

// stops starts the last node in the present release, and requires that it stops for a
// reason which it names.
func (u *upgrade) stops(ctx context.Context, t *testing.T, why string) {
	t.Helper()
	n := u.c.Nodes[2]
	n.Bin = ""
	ends, waits := u.w.during(func() {
		if err := u.c.BeginNode(2); err != nil {
			t.Fatal(err)
		}
		u.await(ctx, t, n.Log(), why)
		before := u.decided(ctx, t)
		wait(ctx, time.Second)
		if after := u.decided(ctx, t); after != before {
			t.Errorf("the stopped node has decided: %s, then %s", before, after)
		}
	})
	if len(ends) > 0 || waits > 0 {
		t.Errorf("a stopped node: sessions ended: %v; stanzas went unanswered: %d", ends, waits)
	}
	if err := u.c.Ready(ctx, n.HTTP); err == nil || !strings.Contains(err.Error(), "upgrade this node") {
		t.Errorf("/readyz of the stopped node: %v", err)
	}
	out, err := u.c.Policyctl(ctx, 0, "", "cluster", "status")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out, "stopped") {
		t.Errorf("the status of the cluster does not say that the node has stopped:\n%s", out)
	}
}

// tooOld starts a gateway of the release before clusters. It gets no answer, and the logs
// of both sides say so.
func (u *upgrade) tooOld(ctx context.Context, t *testing.T) {
	t.Helper()
	g := u.c.Gateways[1]
	if err := g.Program.Stop(); err != nil {
		t.Fatal(err)
	}
	g.Bin = u.before
	if err := u.c.BeginGateway(1); err != nil {
		t.Fatal(err)
	}
	u.await(ctx, t, g.Log(), "check that both programs have the same version")
	u.await(ctx, t, u.c.Nodes[0].Log(), "upgrade this gateway")
	u.gateway(ctx, t, 1, u.next)
}

// node replaces the program of a node, and requires that no client notices.
func (u *upgrade) node(ctx context.Context, t *testing.T, node int, bin string) {
	t.Helper()
	began := time.Now()
	ends, waits := u.w.during(func() { u.start(ctx, t, node, bin) })
	t.Logf("%s: %v", u.c.Nodes[node].ID, time.Since(began))
	if len(ends) > 0 || waits > 0 {
		t.Errorf("%s: sessions ended: %v; stanzas went unanswered: %d", u.c.Nodes[node].ID, ends, waits)
	}
}

// start starts a node with another program, after a stop if the node runs, and waits
// until it follows.
func (u *upgrade) start(ctx context.Context, t *testing.T, node int, bin string) {
	t.Helper()
	u.stop(t, node)
	u.c.Nodes[node].Bin = bin
	ctx, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	if err := u.c.StartNode(ctx, node); err != nil {
		t.Fatal(err)
	}
	u.policyctl(ctx, t, node, "cluster", "join")
}

// stop stops a node that runs.
func (u *upgrade) stop(t *testing.T, node int) {
	t.Helper()
	n := u.c.Nodes[node]
	if n.Program == nil {
		return
	}
	if err := n.Program.Stop(); err != nil {
		t.Fatal(err)
	}
	n.Program = nil
}

// gateway replaces the program of a gateway. Its sessions end.
func (u *upgrade) gateway(ctx context.Context, t *testing.T, gateway int, bin string) {
	t.Helper()
	began := time.Now()
	g := u.c.Gateways[gateway]
	if err := g.Program.Stop(); err != nil {
		t.Fatal(err)
	}
	g.Bin = bin
	ctx, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	if err := u.c.StartGateway(ctx, gateway); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %v", g.ID, time.Since(began))
}

func (u *upgrade) policyctl(ctx context.Context, t *testing.T, node int, args ...string) {
	t.Helper()
	if _, err := u.c.Policyctl(ctx, node, "", args...); err != nil {
		t.Fatal(err)
	}
}

// refused requires that a node refuses the change that only the later release can read.
func (u *upgrade) refused(ctx context.Context, t *testing.T, node int, why string) {
	t.Helper()
	_, err := u.c.Policyctl(ctx, node, "", "gateway", "remove", "spare", "--yes")
	if err == nil || !strings.Contains(err.Error(), why) {
		t.Errorf("%s: %v, want %q", u.c.Nodes[node].ID, err, why)
	}
}

// await waits until a log has a text.
func (u *upgrade) await(ctx context.Context, t *testing.T, log, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	for {
		said, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(said), text) {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("the log %s does not say %q; it ends with:\n%s", log, text, said[max(0, len(said)-2000):])
		}
		wait(ctx, againAfter)
	}
}

// decided returns the counts of decisions of the last node.
func (u *upgrade) decided(ctx context.Context, t *testing.T) (counts string) {
	t.Helper()
	text, err := u.c.Metrics(ctx, u.c.Nodes[2].HTTP)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "postern_node_verdicts_total") {
			counts += line
		}
	}
	if counts == "" {
		t.Fatal("the node counts no decisions")
	}
	return counts
}
