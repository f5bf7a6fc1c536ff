package main

import (
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/api"
)

// TestClusterStatus shows a cluster in which one node has never been heard from, one is
// silent, and one only decides.
func TestClusterStatus(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	hash := strings.Repeat("0123456789abcdef", 4)
	s := &api.Cluster{
		Clustered: true, Node: "n1", Time: now, Name: "acme", Generation: "00ff", GenerationPosition: 5, LogID: "ab", Leader: "n2",
		Nodes: []api.ClusterNode{
			{Node: "n1", Role: "voter", Heard: now, Position: 12, Hash: hash, Decides: 12, ProofAgeMicros: new(int64(412_345)), Version: "v1", Level: 30, SkewMicros: new(int64(0))},
			{Node: "n2", Role: "voter", Heard: now.Add(-75 * time.Second), Position: 10, Hash: hash, Lag: 2, Decides: 9, ProofAgeMicros: new(int64(1_900_000)), Version: "v1", Level: 30, SkewMicros: new(int64(-2_500_000))},
			{Node: "n3", Role: "voter"},
			{Node: "n4", Role: "decides", Stopped: true, Heard: now.Add(-500 * time.Millisecond), Position: 12, Hash: hash, Decides: 12, Version: "v0", Level: 28, SkewMicros: new(int64(1_000))},
		},
		Copies:   []api.ClusterCopy{{Server: "n1-0a", State: "current"}, {Server: "n3-0c", State: "offline", Lag: 7}},
		Gateways: []api.ClusterGateway{{Gateway: "edge1", Connected: true}, {Gateway: "edge2", Twice: true}, {Gateway: "edge3"}, {Gateway: "edge4", Heard: now.Add(-3 * time.Minute)}},
	}
	var b strings.Builder
	writeCluster(&b, s)
	want := `cluster      acme
generation   00ff, begun at position 5
leader       n2
log          ab
answered by  n1 at 2026-11-28 12:00:00 UTC

NODE  ROLE          HEARD         POSITION  LAG  DECIDES  HASH          PROOF  CLOCK  LEVEL  VERSION
n1    voter         now           12        0    12       0123456789ab  412ms  +0s    30     v1
n2    voter         1m15s ago     10        2    9        0123456789ab  1.9s   -2.5s  30     v1
n3    voter         never         -         -    -        -             -      -      -      -
n4    decides only  stopped, now  12        0    12       0123456789ab  -      +1ms   28     v0

COPY   STATE    LACKS
n1-0a  current  0
n3-0c  offline  7

GATEWAY  STATE
edge1    connected
edge2    two gateways use this id
edge3    not heard since the node was started
edge4    last heard 3m0s ago
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}
