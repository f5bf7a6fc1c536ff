package replica

import (
	"testing"
	"time"
)

// TestTwoProcesses hears processes of one node. Only a process that is heard again after
// another one shows that two run.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		boots string // one a second
		want  bool
	}{
		{"one", "AAA", false},
		{"a restart", "AAB", false},
		{"two restarts", "ABC", false},
		{"two in turn", "ABA", true},
		{"three in turn", "ABCABC", true},
		{"it has just ended", "ABABBBB", true},
		{"it has ended", "ABABBBBBBB", false},
		{"a restart beside another", "ABAC", true},
	} {
		var r roster
		now := time.Unix(1000, 0)
		for _, boot := range test.boots {
			r.add(&state{Node: "n3", Boot: uint64(boot)}, now)
			now = now.Add(time.Second)
		}
		if got := r.list()[0].Twice; got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}
