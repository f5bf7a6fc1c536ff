package replica

import (
	"os/exec"
	"regexp"
	"testing"

	"github.com/postern-im/postern/internal/mutants"
)

// Each of these tests seeds one bug and shows that the simulator catches it.

func TestCatchesLeaseCheckRemoved(t *testing.T) { catches(t, "lease check removed", "P3: ") }

func TestCatchesTickBelievedWhenSent(t *testing.T) { catches(t, "tick believed when sent", "P3: ") }

func TestCatchesProofAheadOfTheView(t *testing.T) {
	catches(t, "proof taken ahead of the View", "P3: ")
}

func TestCatchesProofNotCheckedAtHandOver(t *testing.T) {
	catches(t, "proof checked when asked and not at hand-over (model)", "P3: ")
}

func TestCatchesOutcomeFromReply(t *testing.T) { catches(t, "outcome taken from a reply", "P1: ") }

func TestCatchesLoserBatchApplied(t *testing.T) {
	catches(t, "loser batch applied", "stops without need: |P[26]: ")
}

func TestCatchesCursorBeforeRecords(t *testing.T) {
	catches(t, "cursor saved before records", "stops without need: ")
}

func TestCatchesPositionToldBeforeItIsDurable(t *testing.T) {
	catches(t, "position told before it is durable", "P1: ")
}

func TestCatchesTicksOfTheProcessBefore(t *testing.T) {
	catches(t, "ticks of the process before believed", "P3: .*all nodes had decided")
}

func TestCatchesWipedVoterUnderOldName(t *testing.T) {
	catches(t, "wiped voter under its old name (model)", "P2: |stops without need: ")
}

// catches runs the simulator with a bug, and fails if no schedule reports the
// violation, a regular expression.
func catches(t *testing.T, name, violation string) {
	t.Parallel()
	m, err := mutants.Named(name)
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := m.Overlay("../..", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-count=1", "-overlay="+overlay, "-run=^TestSimulate$", ".", "-sim.count=2000")
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Errorf("no schedule catches the bug")
	} else if !regexp.MustCompile(`schedule \d+, at \S+: .*(` + violation + `)`).Match(out) {
		t.Errorf("the simulator does not report %q:\n%s", violation, out)
	} else {
		t.Logf("%s", out)
	}
}
