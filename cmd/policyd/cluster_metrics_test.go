package main

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/postern-im/postern/events/replica"
)

func TestClusterMetrics(t *testing.T) {
	now := time.Unix(1000, 0)
	status := replica.Status{
		Phase: replica.Following, LastTick: now.Add(-2 * time.Second), Foreign: 3,
		Proofs: map[string]time.Time{"edge1": now.Add(-1500 * time.Millisecond)},
		Sequencer: replica.SequencerState{Leader: "n2", Peers: []replica.SequencerPeer{
			{Name: "n2", Current: true}, {Name: "n2"}, {Name: "n3", Current: true, Offline: true, Lag: 7},
		}},
	}
	c := clusterCollector{
		id: "n1", now: func() time.Time { return now },
		status: func() replica.Status { return status },
		members: func() []replica.Member {
			return []replica.Member{
				{Node: "n1", Position: 9, Release: "a", Heard: now, Clock: now},
				{Node: "n2", Position: 8, Release: "b\xff", Heard: now.Add(-4 * time.Second), Clock: now, Failed: true},
			}
		},
	}
	want := `
# TYPE postern_cluster_failed gauge
postern_cluster_failed 0
# TYPE postern_cluster_following gauge
postern_cluster_following 1
# TYPE postern_cluster_foreign_entries_total counter
postern_cluster_foreign_entries_total 3
# TYPE postern_cluster_leader gauge
postern_cluster_leader{copy="n2"} 1
# TYPE postern_cluster_member_clock_ahead_seconds gauge
postern_cluster_member_clock_ahead_seconds{node="n2"} 4
# TYPE postern_cluster_member_failed gauge
postern_cluster_member_failed{node="n1"} 0
postern_cluster_member_failed{node="n2"} 1
# TYPE postern_cluster_member_heard_age_seconds gauge
postern_cluster_member_heard_age_seconds{node="n2"} 4
# TYPE postern_cluster_member_info gauge
postern_cluster_member_info{node="n1",release="a"} 1
postern_cluster_member_info{node="n2",release="b�"} 1
# TYPE postern_cluster_member_position gauge
postern_cluster_member_position{node="n1"} 9
postern_cluster_member_position{node="n2"} 8
# TYPE postern_cluster_member_twice gauge
postern_cluster_member_twice{node="n2"} 0
# TYPE postern_cluster_peer_current gauge
postern_cluster_peer_current{copy="n2"} 1
postern_cluster_peer_current{copy="n3"} 0
# TYPE postern_cluster_peer_lag_entries gauge
postern_cluster_peer_lag_entries{copy="n2"} 0
postern_cluster_peer_lag_entries{copy="n3"} 7
# TYPE postern_cluster_proof_age_seconds gauge
postern_cluster_proof_age_seconds{gateway="edge1"} 1.5
# TYPE postern_cluster_tick_age_seconds gauge
postern_cluster_tick_age_seconds 2
`
	if got := withoutHelp(t, c); got != strings.TrimPrefix(want, "\n") {
		t.Errorf("got\n%s", got)
	}
	status = replica.Status{Phase: replica.Following, Failure: errors.New("fork")}
	got := withoutHelp(t, c)
	if strings.Contains(got, "tick_age") || strings.Contains(got, "leader") {
		t.Errorf("without a tick and a leader\n%s", got)
	}
	if !strings.Contains(got, "postern_cluster_failed 1\n") || !strings.Contains(got, "postern_cluster_following 0\n") {
		t.Errorf("after a failure\n%s", got)
	}
}

// withoutHelp returns the metrics of a collector in the text format.
func withoutHelp(t *testing.T, c clusterCollector) string {
	t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(c)
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(r, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	var kept strings.Builder
	for line := range strings.Lines(answer.Body.String()) {
		if !strings.HasPrefix(line, "# HELP") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}
