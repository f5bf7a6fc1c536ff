package main

import (
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/events/replica"
)

// report returns what this node knows of its cluster, for the admin API.
func (m *membership) report() api.Cluster {
	s := m.replica.Status()
	out := api.Cluster{
		Name: s.Generation.Cluster, Generation: hex.EncodeToString(s.Generation.ID[:]), GenerationPosition: uint64(s.Generation.Position),
		Leader: s.Sequencer.Leader,
	}
	left := slices.Clone(m.configured)
	for _, r := range m.replica.Members() {
		n := clusterNode(&r)
		n.Role = "decides"
		if at := slices.Index(left, r.Node); at >= 0 {
			n.Role = "voter"
			left = slices.DeleteFunc(left, func(id string) bool { return id == r.Node })
		}
		out.Nodes = append(out.Nodes, n)
		if warning := stopped(&r, m.id, s.Failure); warning != "" {
			out.Warnings = append(out.Warnings, warning)
		}
		if unproven(&r) {
			out.Warnings = append(out.Warnings, fmt.Sprintf("node %s gives no proofs: it has applied no tick of its own since it started, so gateways use none of its answers. "+
				"If this lasts longer than some seconds, the node hears the order and is not heard: its /readyz says more", r.Node))
		}
		if r.Twice {
			out.Warnings = append(out.Warnings, fmt.Sprintf("two nodes use the id %s: neither counts for changes; stop one of them, and give it another id and an empty data folder", r.Node))
		}
	}
	for _, id := range left {
		out.Nodes = append(out.Nodes, api.ClusterNode{Node: id, Role: "voter"})
	}
	for _, c := range s.Sequencer.Peers {
		if c.Name == "" {
			continue // while there is no leader, its copy has no name
		}
		state := "behind"
		switch {
		case c.Offline:
			state = "offline"
		case c.Current:
			state = "current"
		}
		out.Copies = append(out.Copies, api.ClusterCopy{Server: c.Name, State: state, Lag: c.Lag})
	}
	if m.logServer != nil {
		out.Warnings = append(out.Warnings, voteWarnings(m.logServer.Votes(), m.logServer.Seen())...)
	}
	return out
}

// stopped returns the warning about a node that has stopped for good, or "". own is the
// node that answers, and failure its reason, which the other nodes do not know.
func stopped(r *replica.Member, own string, failure error) string {
	switch {
	case !r.Failed:
		return ""
	case r.Node == own && failure != nil:
		return fmt.Sprintf("node %s has stopped deciding for good: %v", r.Node, failure)
	}
	return fmt.Sprintf("node %s has stopped deciding for good: its log and its /readyz say why", r.Node)
}

// unproven reports whether a node has joined and runs, but has applied no tick since it
// started that counts for proofs.
func unproven(r *replica.Member) bool {
	return r.Generation != [16]byte{} && r.ProofAge < 0 && !r.Failed
}

// clusterNode converts a member to its form on the wire, without its role.
func clusterNode(r *replica.Member) api.ClusterNode {
	n := api.ClusterNode{
		Node: r.Node, Heard: r.Heard.UTC(), Stopped: r.Failed,
		Position: uint64(r.Position), Hash: hex.EncodeToString(r.Hash[:]), Decides: uint64(r.Decides),
		Version: r.Release, Level: r.Level, SkewMicros: new(r.Clock.Sub(r.Heard).Microseconds()),
	}
	if r.ProofAge >= 0 {
		n.ProofAgeMicros = new(r.ProofAge.Microseconds())
	}
	return n
}
