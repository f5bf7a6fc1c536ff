//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/test/e2e/client"
	"github.com/postern-im/postern/test/e2e/installation"
)

// past is how long a test watches for stanzas after the bound.
const past = 6 * time.Second

// A cut is a way in which a revocation does not reach the place where it is enforced.
// It lasts from before the revocation until past the bound.
type cut struct {
	name string
	// strike makes the cut. The node is the only one that gateways reach, unless the
	// name says something else.
	strike func(c *cluster, node int) error
	// acked happens after the acknowledgement, if it is given.
	acked func(ctx context.Context, c *cluster, node int) error
	// passes means that stanzas pass for some time after the acknowledgement, so that
	// the cut is known to have worked.
	passes bool
}

// alone separates all gateways from all nodes but one.
func alone(c *cluster, node int) {
	for other := range c.Nodes {
		if other != node {
			c.Separate(other)
		}
	}
}

// hang stops a program for longer than the bound.
func hang(ctx context.Context, p interface {
	Pause() error
	Resume() error
}) error {
	if err := p.Pause(); err != nil {
		return err
	}
	wait(ctx, decision.Lease+time.Second)
	return p.Resume()
}

var cuts = []cut{
	{"isolated", func(c *cluster, node int) error {
		alone(c, node)
		c.Isolate(node)
		return nil
	}, nil, true},
	{"deaf", func(c *cluster, node int) error {
		alone(c, node)
		c.Deafen(node)
		return nil
	}, nil, true},
	{"mute", func(c *cluster, node int) error {
		alone(c, node)
		for other := range c.Nodes {
			if other != node {
				c.Route(node, other).CutForward()
				c.Route(other, node).CutBack()
			}
		}
		return nil
	}, nil, false},
	{"isolated, and the node hangs", func(c *cluster, node int) error {
		alone(c, node)
		c.Isolate(node)
		return nil
	}, func(ctx context.Context, c *cluster, node int) error {
		return hang(ctx, c.Nodes[node].Program)
	}, false},
	{"isolated, and a gateway hangs", func(c *cluster, node int) error {
		alone(c, node)
		c.Isolate(node)
		return nil
	}, func(ctx context.Context, c *cluster, node int) error {
		return hang(ctx, c.Gateways[0].Program)
	}, false},
	{"isolated, and the node is started again", func(c *cluster, node int) error {
		alone(c, node)
		c.Isolate(node)
		return nil
	}, func(ctx context.Context, c *cluster, node int) error {
		if err := c.Nodes[node].Program.Kill(); err != nil {
			return err
		}
		return c.BeginNode(node)
	}, false},
	{"isolated, reached by a slow link", func(c *cluster, node int) error {
		alone(c, node)
		c.Isolate(node)
		for gateway := range c.Gateways {
			c.Edge(gateway, node).Slow(300 * time.Millisecond)
		}
		return nil
	}, nil, false},
	{"gateways hear no node but reach all", func(c *cluster, node int) error {
		for gateway := range c.Gateways {
			for node := range c.Nodes {
				c.Edge(gateway, node).CutBack()
			}
		}
		return nil
	}, nil, false},
	{"gateways hear all nodes but reach the isolated one only", func(c *cluster, node int) error {
		c.Isolate(node)
		for gateway := range c.Gateways {
			for other := range c.Nodes {
				if other != node {
					c.Edge(gateway, other).CutForward()
				}
			}
		}
		return nil
	}, nil, false},
}

// TestStranded revokes once while gateways hear only a node that the revocation does
// not reach, and looks at the stanzas that the servers hand to a receiver. Unlike the
// accounts of TestFaults, the accounts stay revoked past the bound, so that no later
// grant explains a stanza. Each cut takes longer than the bound, so the short form has
// only the first. POSTERN_FAULT is a part of the names of the cuts; empty: all.
func TestStranded(t *testing.T) {
	c := newCluster(t, installation.ClusterConfig{})
	ctx, stop := context.WithCancel(t.Context())
	w := newWorkload(ctx, t, c, 2)
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.send(ctx, t)
	}()
	defer func() { stop(); <-done }()
	chosen := os.Getenv("POSTERN_FAULT")
	for i, cut := range cuts {
		if i > 0 && chosen == "" && !soak() {
			break
		}
		if !strings.Contains(cut.name, chosen) {
			continue
		}
		t.Run(cut.name, func(t *testing.T) {
			for _, a := range w.accounts {
				c.do(ctx, t, 0, a.tenant, api.MemberSet{JID: a.jid, Role: "talk"})
			}
			stranded(ctx, t, w, cut, i%len(c.Nodes))
		})
	}
}

func stranded(ctx context.Context, t *testing.T, w *workload, cut cut, node int) {
	t.Helper()
	c := w.c
	defer func() {
		c.Mend()
		if err := c.awaitReady(ctx); err != nil {
			t.Error(err)
		}
	}()
	began := w.now()
	for _, a := range w.accounts {
		for w.passed(a.jid, began) == 0 {
			if w.now()-began > recovery {
				t.Fatalf("no stanza of %s passes before the cut", a.jid)
			}
			wait(ctx, stanzaEach)
		}
	}
	if err := cut.strike(c, node); err != nil {
		t.Fatal(err)
	}
	wait(ctx, time.Second)
	acked := map[string]time.Duration{}
	for _, a := range w.accounts {
		c.do(ctx, t, (node+1)%len(c.Nodes), a.tenant, api.MemberSet{JID: a.jid, Role: "mute"})
		acked[a.jid] = w.now()
	}
	if cut.acked != nil {
		if err := cut.acked(ctx, c, node); err != nil {
			t.Fatal(err)
		}
	}
	for _, at := range acked {
		wait(ctx, at+decision.Lease+past-w.now())
	}
	after := 0
	for jid, at := range acked {
		after += w.passed(jid, at)
		if late := w.passed(jid, at+decision.Lease+overdue); late > 0 {
			t.Errorf("%d stanzas of %s were handed over past the bound", late, jid)
		}
		t.Logf("%s: %d after the acknowledgement, the last after %v", jid, w.passed(jid, at), w.lastPassed(jid)-at)
	}
	if cut.passes && after == 0 {
		t.Error("no stanza passed after the acknowledgement: the cut cut nothing")
	}
}

// send sends and receives without giving commands.
func (w *workload) send(ctx context.Context, t *testing.T) {
	peers := map[*peer]bool{}
	ends := make(chan struct{})
	running := 0
	begin := func(f func()) {
		running++
		go func() { f(); ends <- struct{}{} }()
	}
	for _, a := range w.accounts {
		if !peers[a.to] {
			peers[a.to] = true
			begin(func() { w.receive(ctx, a.to) })
			begin(func() { keep(ctx, a.to.c) })
		}
		begin(func() {
			for ctx.Err() == nil {
				w.session(ctx, t, a)
			}
		})
	}
	for range running {
		<-ends
	}
}

// keepEach is how often a receiver writes to itself. A client that reads nothing for
// 30 seconds gives up, and a cut lasts about as long.
const keepEach = 5 * time.Second

// keep lets a client go on while nobody else writes to it.
func keep(ctx context.Context, c *client.Client) {
	for c.Send(ctx, fmt.Sprintf("<message to='%s' id='keep'/>", client.Escape(c.JID))) == nil {
		wait(ctx, keepEach)
	}
}

// passed counts the stanzas of an account that were handed over after a time. An
// empty account means all.
func (w *workload) passed(jid string, after time.Duration) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.history.Stanzas {
		if s.Passed && (jid == "" || s.Account == jid) && s.Decided > after {
			n++
		}
	}
	return n
}

// lastPassed is when a stanza of an account was handed over last.
func (w *workload) lastPassed(jid string) (last time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.history.Stanzas {
		if s.Passed && s.Account == jid {
			last = max(last, s.Decided)
		}
	}
	return last
}
