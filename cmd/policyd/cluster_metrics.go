package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-im/postern/events/replica"
)

// A clusterCollector collects the metrics of this node's place in the cluster. Each
// node has its own view of the others, so a node that is cut off shows it itself.
type clusterCollector struct {
	id      string
	status  func() replica.Status
	members func() []replica.Member
	lost    func() int // nil: an operator's NATS servers order the log
	now     func() time.Time
}

func clusterDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("postern_cluster_"+name, help, labels, nil)
}

var (
	clusterFollowing = clusterDesc("following", "1 while the node follows the cluster's log; 0 while it joins, copies, or has stopped.")
	clusterFailed    = clusterDesc("failed", "1 once the node has stopped for good because of its log or a fork; the log line and status name the reason.")
	clusterTickAge   = clusterDesc("tick_age_seconds", "Time since the node applied a tick; no series before the first.")
	clusterProofAge  = clusterDesc("proof_age_seconds", "Time since the node applied the newest proof of a gateway, by gateway.", "gateway")
	clusterLeader    = clusterDesc("leader", "1 for the copy of the order that leads, as this node knows; no series without a leader. A copy is named after its node.", "copy")
	clusterCurrent   = clusterDesc("peer_current", "1 if a copy of the order has all entries that the leader has acknowledged.", "copy")
	clusterLag       = clusterDesc("peer_lag_entries", "Entries that a copy of the order does not have yet.", "copy")
	clusterForeign   = clusterDesc("foreign_entries_total", "Entries of another cluster or generation that the node has refused.")
	clusterMember    = clusterDesc("member_info", "1 for each node heard since the start, by node and release.", "node", "release")
	clusterPosition  = clusterDesc("member_position", "Position of the newest commit on the disk of a node, as it told it last, by node.", "node")
	clusterHeard     = clusterDesc("member_heard_age_seconds", "Time since another node was heard, by node.", "node")
	clusterMemberBad = clusterDesc("member_failed", "1 if a node says that it has stopped for good, by node.", "node")
	clusterLost      = clusterDesc("lost_votes", "Log servers that have a vote and are lost, because their node has given up its data or is not known; policyctl cluster status names them.")
	clusterTwice     = clusterDesc("member_twice", "1 while two processes with the id of a node are heard in turn, by node.", "node")
	clusterSkew      = clusterDesc("member_clock_ahead_seconds", "How far another node's clock was ahead of this node's when it was heard, by node; negative: behind. It includes the time that the message took.", "node")
)

// Describe implements prometheus.Collector.
func (c clusterCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		clusterFollowing, clusterFailed, clusterTickAge, clusterProofAge, clusterLeader, clusterCurrent, clusterLag, clusterForeign,
		clusterMember, clusterPosition, clusterHeard, clusterMemberBad, clusterSkew, clusterLost, clusterTwice,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c clusterCollector) Collect(ch chan<- prometheus.Metric) {
	s, now := c.status(), c.now()
	// The names come from other nodes. A name that is not UTF-8 would make no
	// metric, and the same series twice would spoil the whole answer.
	seen := make(map[string]bool)
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		for i, label := range labels {
			labels[i] = strings.ToValidUTF8(label, "\uFFFD")
		}
		series := fmt.Sprintf("%p %q", d, labels)
		if m, err := prometheus.NewConstMetric(d, prometheus.GaugeValue, value, labels...); err == nil && !seen[series] {
			seen[series] = true
			ch <- m
		}
	}
	gauge(clusterFollowing, oneIf(s.Phase == replica.Following && s.Failure == nil))
	gauge(clusterFailed, oneIf(s.Failure != nil))
	if !s.LastTick.IsZero() {
		gauge(clusterTickAge, now.Sub(s.LastTick).Seconds())
	}
	for gateway, at := range s.Proofs {
		gauge(clusterProofAge, now.Sub(at).Seconds(), gateway)
	}
	if s.Sequencer.Leader != "" {
		gauge(clusterLeader, 1, s.Sequencer.Leader)
	}
	for _, p := range s.Sequencer.Peers {
		gauge(clusterCurrent, oneIf(p.Current && !p.Offline), p.Name)
		gauge(clusterLag, float64(p.Lag), p.Name)
	}
	if c.lost != nil {
		gauge(clusterLost, float64(c.lost()))
	}
	ch <- prometheus.MustNewConstMetric(clusterForeign, prometheus.CounterValue, float64(s.Foreign))
	for _, m := range c.members() {
		gauge(clusterMember, 1, m.Node, m.Release)
		gauge(clusterPosition, float64(m.Position), m.Node)
		gauge(clusterMemberBad, oneIf(m.Failed), m.Node)
		if m.Node != c.id {
			gauge(clusterTwice, oneIf(m.Twice), m.Node)
			gauge(clusterHeard, now.Sub(m.Heard).Seconds(), m.Node)
			gauge(clusterSkew, m.Clock.Sub(m.Heard).Seconds(), m.Node)
		}
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
