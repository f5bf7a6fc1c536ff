package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/postern-im/postern/api"
)

type clusterStatus struct{}

// Help is the command's help.
func (*clusterStatus) Help() string {
	return `It shows the cluster as one node knows it: by default the node of the socket, with --server the first node that answers. Other nodes may know more; ask each of them if in doubt.

LAG is the number of commits that other nodes have and this one has not. DECIDES is the position from which the node decides. PROOF is the time since it proved that its state is fresh: gateways use no answer of a node whose proof is older than 20 seconds. CLOCK is how far its clock is ahead of the answering node's. COPY is the state of the order of changes on each server of the log.

Warnings are written to standard error, and do not change the exit code.

Examples:

    policyctl cluster status
    policyctl cluster status --json | jq .warnings`
}

// Run shows the state of the cluster.
func (c *clusterStatus) Run(ctx context.Context, a *app) error {
	s, err := a.client.Cluster(ctx)
	if err != nil {
		return err
	}
	if !a.json {
		for _, warning := range s.Warnings {
			a.warn(warning)
		}
	}
	return a.print(s, func(w io.Writer) { writeCluster(w, &s) })
}

func writeCluster(w io.Writer, s *api.Cluster) {
	t := &table{}
	if s.Clustered {
		t.add("cluster", s.Name)
		t.add("generation", fmt.Sprintf("%s, begun at position %d", s.Generation, s.GenerationPosition))
		t.add("leader", orDash(s.Leader))
	} else {
		t.add("cluster", "none: this node is stand-alone")
	}
	t.add("log", s.LogID)
	t.add("answered by", fmt.Sprintf("%s at %s UTC", s.Node, s.Time.UTC().Format(time.DateTime)))
	t.write(w)
	fmt.Fprintln(w)
	writeClusterNodes(w, s)
	if len(s.Copies) > 0 {
		fmt.Fprintln(w)
		t := &table{}
		t.add("COPY", "STATE", "LACKS")
		for _, c := range s.Copies {
			t.add(c.Server, c.State, number(c.Lag))
		}
		t.write(w)
	}
	if len(s.Gateways) > 0 {
		fmt.Fprintln(w)
		t := &table{}
		t.add("GATEWAY", "STATE")
		for _, g := range s.Gateways {
			t.add(g.Gateway, clusterGatewayState(s, &g))
		}
		t.write(w)
	}
}

func writeClusterNodes(w io.Writer, s *api.Cluster) {
	t := &table{}
	t.add("NODE", "ROLE", "HEARD", "POSITION", "LAG", "DECIDES", "HASH", "PROOF", "CLOCK", "LEVEL", "VERSION")
	for _, n := range s.Nodes {
		if n.Heard.IsZero() {
			t.add(n.Node, roleWordsOf(n.Role), "never", "-", "-", "-", "-", "-", "-", "-", "-")
			continue
		}
		heard := ago(s.Time.Sub(n.Heard))
		if n.Stopped {
			heard = "stopped, " + heard
		}
		t.add(n.Node, roleWordsOf(n.Role), heard, number(n.Position), number(n.Lag), number(n.Decides), orDash(short(n.Hash)),
			span(n.ProofAgeMicros, ""), span(n.SkewMicros, "+"), levelWords(n.Level), orDash(n.Version))
	}
	t.write(w)
}

func roleWordsOf(role string) string {
	if role == "decides" {
		return "decides only"
	}
	return role
}

// short returns the beginning of a hash, which is enough to compare two of them.
func short(hash string) string { return hash[:min(len(hash), 12)] }

func levelWords(level uint64) string {
	if level == 0 {
		return "-"
	}
	return number(level)
}

// ago returns how long ago something was. Less than a second is now.
func ago(d time.Duration) string {
	if d < time.Second {
		return "now"
	}
	return d.Truncate(time.Second).String() + " ago"
}

// span returns a time on the wire in words, with plus before a time that is not
// negative.
func span(n *int64, plus string) string {
	if n == nil {
		return "-"
	}
	if *n < 0 {
		plus = ""
	}
	return plus + (time.Duration(*n) * time.Microsecond).Round(time.Millisecond).String()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func clusterGatewayState(s *api.Cluster, g *api.ClusterGateway) string {
	switch {
	case g.Twice:
		return "two gateways use this id"
	case g.Connected:
		return "connected"
	case g.Heard.IsZero():
		return "not heard since the node was started"
	}
	return "last heard " + ago(s.Time.Sub(g.Heard))
}
