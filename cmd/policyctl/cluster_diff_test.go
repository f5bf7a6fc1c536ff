package main

import (
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/api"
)

// TestClusterDiff shows logs that are the same, and logs that differ.
func TestClusterDiff(t *testing.T) {
	at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	d := &api.ClusterDiff{Equal: true, Common: 40, Sides: []api.ClusterSide{{Node: "n1", Position: 40}, {Node: "n3", Position: 40}}}
	var b strings.Builder
	writeClusterDiff(&b, d)
	if b.String() != "no difference: the logs are the same up to position 40\n" {
		t.Error(b.String())
	}
	d.Equal = false
	d.Sides[1] = api.ClusterSide{Node: "n3", Position: 44, More: 3, Only: []api.LogEntry{{
		Position: 41, Tenant: "acme", Time: at, Actor: "operator:local", Reason: "left", Events: []api.LogEvent{{Type: "x", What: "bob@alpha.test suspended"}},
	}}}
	b.Reset()
	writeClusterDiff(&b, d)
	want := `the logs are the same up to position 40

n1 has no other commits

only n3 has these commits, up to position 44:
POSITION  TIME                 TENANT  ACTOR           WHAT
41        2026-11-28 12:00:00  acme    operator:local  bob@alpha.test suspended
                                                       reason: left
and 3 later ones
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}
