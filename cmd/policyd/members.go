package main

import (
	"context"
	"errors"
	"slices"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/replica"
	"github.com/postern-im/postern/node"
	"github.com/postern-im/postern/projections"
)

// members are the nodes of the cluster, as package node asks about them.
type members struct {
	replica *replica.Replica
	// configured are the nodes in the configuration. Only they vote. Another node that
	// was heard decides, and is waited for.
	configured []string
}

// Members implements node.Cluster.
func (m members) Members() ([]node.Member, <-chan struct{}) {
	changed := m.replica.Changed() // before the list, so that no change is missed
	left := slices.Clone(m.configured)
	var list []node.Member
	for _, r := range credited(m.replica.Members(), m.replica.Status().Generation.ID) {
		at := slices.Index(left, r.Node)
		if at >= 0 {
			left = slices.Delete(left, at, at+1)
		}
		list = append(list, node.Member{
			Node: r.Node, Voter: at >= 0, Stored: r.Position, Decides: r.Decides, Level: r.Level,
		})
	}
	for _, id := range left {
		list = append(list, node.Member{Node: id, Voter: true})
	}
	return list, changed
}

// credited takes the positions away from members whose positions say nothing about this
// node's log. Two processes with one id do not count, because the one may not have what
// the other tells. A node of another generation does not count, because its positions
// are those of another log: its disk was not emptied when the cluster began again.
func credited(list []replica.Member, generation [16]byte) []replica.Member {
	for i := range list {
		if list[i].Twice || list[i].Generation != generation {
			list[i].Position, list[i].Decides = 0, 0
		}
	}
	return list
}

// Barrier implements node.Cluster.
func (m members) Barrier(ctx context.Context) (events.Position, error) { return m.replica.Barrier(ctx) }

// stopWithReplica stops the node when its replica has stopped for good, until ctx ends. The
// replica gives no proofs any more, so gateways use no answer of this node, but commands,
// /readyz and the API must say so as well. The replica has reported the reason.
func (p *process) stopWithReplica(ctx context.Context) error {
	for {
		changed := p.cluster.replica.Changed() // before Failure, so that no change is missed
		if reason := p.cluster.replica.Failure(); reason != nil {
			p.node.Fail(reason)
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// tellDecides tells the other nodes from which position this node decides, and whether it
// has stopped, until ctx ends.
func (p *process) tellDecides(ctx context.Context) error {
	var at events.Position
	for first := true; ; first = false {
		v, err := p.node.AwaitView(ctx, func(v *projections.View) bool { return first || v.Position() > at })
		if reason := p.node.Failure(); reason != nil && !errors.Is(reason, node.ErrStopped) {
			p.cluster.replica.Fail(reason) // the node has reported it
		}
		if err != nil {
			return nil // the node has stopped, or ctx has ended
		}
		at = v.Position()
		p.cluster.replica.Decides(at)
	}
}
