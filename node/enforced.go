package node

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/tenants"
)

// maxPassages bounds the times that are remembered for each node: the times at which
// the node reached its newest positions. An older position is then taken for reached
// at the oldest remembered time, which is later.
const maxPassages = 1024

// Enforced waits until a position is enforced everywhere. If ctx ends before, the
// Enforcement is tenants.Pending and says which nodes have reported. The error is
// events.ErrNoSuchPosition if this node does not decide from the position.
//
// A node that has not been heard from is waited for until the lease has passed, even
// if it is known to be down. It could be cut off from this node only, and lag behind.
func (n *Node) Enforced(ctx context.Context, p events.Position) (tenants.Enforcement, error) {
	for {
		changed := n.next()
		e, left, err := n.enforcement(p, time.Now())
		if err != nil || e.How != tenants.Pending {
			return e, err
		}
		bound := time.NewTimer(left)
		select {
		case <-changed:
		case <-bound.C:
		case <-ctx.Done():
			bound.Stop()
			return e, nil
		}
		bound.Stop()
	}
}

// enforcement returns the state of a position, and how long it is Pending at most.
func (n *Node) enforcement(p events.Position, now time.Time) (e tenants.Enforcement, left time.Duration, err error) {
	if v := n.view.Load(); v == nil || v.Position() < p {
		return tenants.Enforcement{Position: p}, 0, events.ErrNoSuchPosition
	}
	if n.cfg.Cluster == nil {
		return tenants.Enforcement{Position: p, How: tenants.Alone, Margin: decision.MaxAge}, 0, nil
	}
	e = n.progress.of(p, n.cfg.ID, now)
	return e, max(decision.Lease-e.Took, 0), nil
}

// keepReports records which positions the members of the cluster report, until ctx
// ends.
func (n *Node) keepReports(ctx context.Context) {
	if n.cfg.Cluster == nil {
		return
	}
	for {
		members, changed := n.cfg.Cluster.Members()
		n.progress.report(n.cfg.ID, members, time.Now())
		n.change()
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// A progress records when each node of a cluster reached which positions.
type progress struct {
	mu    sync.Mutex // guards the fields below
	nodes map[string]*passages
	// known is set if nodes has every member of the cluster. It is not set before the
	// first list of members, and after a list without this node, which is wrong.
	known bool
}

// reached records that this node's View is at a position.
func (g *progress) reached(own string, p events.Position, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.at(own).add(p, now)
}

// report records what the members report, and forgets the nodes that are no members
// any more. own is this node, whose own View is known better than by its reports.
func (g *progress) report(own string, members []Member, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	is := func(name string) func(Member) bool { return func(m Member) bool { return m.Node == name } }
	g.known = slices.ContainsFunc(members, is(own))
	for name := range g.nodes {
		if name != own && !slices.ContainsFunc(members, is(name)) {
			delete(g.nodes, name)
		}
	}
	for _, m := range members {
		if m.Node != own {
			g.at(m.Node).add(m.Decides, now)
		}
	}
}

// at returns the passages of a node. The caller holds the lock.
func (g *progress) at(node string) *passages {
	if g.nodes == nil {
		g.nodes = map[string]*passages{}
	}
	if g.nodes[node] == nil {
		g.nodes[node] = new(passages)
	}
	return g.nodes[node]
}

// of returns the state of a position that this node's own View has reached.
func (g *progress) of(p events.Position, own string, now time.Time) tenants.Enforcement {
	g.mu.Lock()
	defer g.mu.Unlock()
	e := tenants.Enforcement{Position: p, How: tenants.Reported, Margin: decision.MaxAge}
	if !g.known {
		e.How = tenants.Pending
	}
	began, _ := g.at(own).reached(p)
	for name, passed := range g.nodes {
		r := tenants.Report{Node: name}
		var at time.Time
		if at, r.Reported = passed.reached(p); r.Reported {
			r.Took = max(at.Sub(began), 0)
			e.Took = max(e.Took, r.Took)
		} else {
			e.How = tenants.Pending
		}
		e.Nodes = append(e.Nodes, r)
	}
	slices.SortFunc(e.Nodes, func(a, b tenants.Report) int { return cmp.Compare(a.Node, b.Node) })
	if e.How == tenants.Pending {
		if e.Took = now.Sub(began); e.Took >= decision.Lease {
			// The verdicts that gateways have are as old as their proofs.
			e.How, e.Took, e.Margin = tenants.Bounded, decision.Lease, 0
		}
	}
	return e
}

// passages are the newest positions that one node has reached, in ascending order,
// each with the time at which this node knew of it.
type passages []passage

type passage struct {
	position events.Position
	at       time.Time
}

// add records that the node is at a position. If the node is at an earlier position
// than before, for example because its disk was put back, it has not reached the
// later ones any more.
func (s *passages) add(p events.Position, at time.Time) {
	list := *s
	for len(list) > 0 && list[len(list)-1].position > p {
		list = list[:len(list)-1]
	}
	if len(list) == 0 || list[len(list)-1].position < p {
		list = append(list, passage{p, at})
	}
	if len(list) > maxPassages {
		list = slices.Delete(list, 0, len(list)-maxPassages)
	}
	*s = list
}

// reached returns when the node reached a position, and whether it has.
func (s passages) reached(p events.Position) (time.Time, bool) {
	i, _ := slices.BinarySearchFunc(s, p, func(a passage, p events.Position) int { return cmp.Compare(a.position, p) })
	if i == len(s) {
		return time.Time{}, false
	}
	return s[i].at, true
}
