package main

import (
	"testing"

	"github.com/postern-im/postern/events/replica"
)

// TestUnproven checks for which nodes the status of the cluster warns that they give no
// proofs.
func TestUnproven(t *testing.T) {
	joined := [16]byte{1}
	for name, test := range map[string]struct {
		member replica.Member
		want   bool
	}{
		"with a proof":   {replica.Member{Generation: joined}, false},
		"not heard":      {replica.Member{Generation: joined, ProofAge: -1}, true},
		"not joined yet": {replica.Member{ProofAge: -1}, false},
		"stopped":        {replica.Member{Generation: joined, ProofAge: -1, Failed: true}, false},
	} {
		if got := unproven(&test.member); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
