package replicatest_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/postern-im/postern/events/replica/replicatest"
)

func TestHub(t *testing.T) {
	for name, loss := range map[string]float64{"sound": 0, "with losses": 0.005} {
		t.Run(name, func(t *testing.T) {
			replicatest.Run(t, func(t *testing.T) replicatest.Connect {
				running := goleak.IgnoreCurrent()
				t.Cleanup(func() { goleak.VerifyNone(t, running) })
				return replicatest.NewHub(1, loss).Connect
			})
		})
	}
}
