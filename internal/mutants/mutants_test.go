package mutants_test

import (
	"testing"

	"github.com/postern-im/postern/internal/mutants"
)

// TestOverlay finds the passage of each bug, so that a change of the source is
// noticed here first.
func TestOverlay(t *testing.T) {
	names := map[string]bool{}
	for _, m := range mutants.All {
		if _, err := m.Overlay("../..", t.TempDir()); err != nil {
			t.Error(err)
		}
		if names[m.Name] || m.Old == m.New {
			t.Errorf("bug %q is there twice, or changes nothing", m.Name)
		}
		names[m.Name] = true
	}
	for _, version := range [][]mutants.Mutant{mutants.Next, mutants.Before} {
		if _, err := mutants.Overlay("../..", t.TempDir(), version...); err != nil {
			t.Error(err)
		}
	}
	if _, err := mutants.Named("none"); err == nil {
		t.Error("a bug that is not in the table is found")
	}
}
