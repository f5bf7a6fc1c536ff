package node

import (
	"strings"
	"testing"

	"github.com/postern-im/postern/events"
)

// TestLevels: a command waits for the upgrade of each member that cannot read it, and for
// each member whose version is unknown, unless every version with clusters can read it.
func TestLevels(t *testing.T) {
	const end = "; a node that is lost for good must be removed: policyctl cluster remove --help"
	at := func(name string, level uint64) Member { return Member{Node: name, Level: level} }
	const next = events.ClusterLevel + 1
	for _, tt := range []struct {
		members []Member
		level   uint64
		want    string // empty: the command is run
	}{
		{nil, next, ""},
		{[]Member{at("n1", next), at("n2", next+1)}, next, ""},
		{[]Member{at("n1", next), at("n2", events.ClusterLevel), at("n3", 0)}, events.ClusterLevel, ""},
		{[]Member{at("n1", next), at("n2", events.ClusterLevel)}, next,
			"upgrade node n2 first: its version cannot read this change, and it would stop deciding" + end},
		{[]Member{at("n1", next), at("n3", 29), at("n2", 30)}, next,
			"upgrade nodes n2, n3 first: their versions cannot read this change, and they would stop deciding" + end},
		{[]Member{at("n1", next), at("n2", 0)}, next,
			"start n2 first: not heard from since this node started, so it is unknown whether the version there can read this change" + end},
		{[]Member{at("n1", next), at("n3", 0), at("n2", 30)}, next,
			"upgrade node n2 first: its version cannot read this change, and it would stop deciding; " +
				"start n3 first: not heard from since this node started, so it is unknown whether the version there can read this change" + end},
	} {
		got := ""
		if err := checkLevels(tt.members, tt.level); err != nil {
			got = err.Error()
		}
		if (got == "") != (tt.want == "") || !strings.HasSuffix(got, tt.want) {
			t.Errorf("%+v at %d: %q, want %q", tt.members, tt.level, got, tt.want)
		}
	}
}
