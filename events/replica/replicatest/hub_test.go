package replicatest_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/postern-im/postern/events/logtest"
	"github.com/postern-im/postern/events/replica/replicatest"
)

func TestHub(t *testing.T) {
	for name, loss := range map[string]float64{"sound": 0, "with losses": 0.005} {
		t.Run(name, func(t *testing.T) {
			running := goleak.IgnoreCurrent()
			t.Cleanup(func() { goleak.VerifyNone(t, running) })
			replicatest.Run(t, func(*testing.T) replicatest.Connect {
				return replicatest.NewHub(1, loss).Connect
			})
		})
	}
}

// TestPowerCuts cuts the power of the node that writes, and loses offers.
func TestPowerCuts(t *testing.T) {
	running := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, running) })
	seed := uint64(0)
	logtest.RunFaults(t, soak(10, 500), func() logtest.Machine {
		seed++
		hub := replicatest.NewHub(seed, 0.01)
		return replicatest.NewMachine(hub.Connect, hub.Settle)
	})
}

// soak returns the size of a test: the long one if POSTERN_SOAK is set,
// otherwise the short one.
func soak(short, long int) int {
	if os.Getenv("POSTERN_SOAK") == "1" {
		return long
	}
	return short
}
