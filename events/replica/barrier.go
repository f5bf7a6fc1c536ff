package replica

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/postern-im/postern/events"
)

// barrierPrefix begins the names under which nodes send challenges to themselves. No
// id of a gateway has a dot.
const barrierPrefix = "."

// newBarriers returns the number before a node's barriers. It is random, so that
// ticks of the node's previous process, which may be applied again, belong to another
// run.
func newBarriers() uint64 { return max(rand.Uint64()>>2, 1<<41) }

// barrierName is the name of this node's challenges to itself.
func (r *Replica) barrierName() string { return barrierPrefix + r.cfg.Node }

// Barrier returns a position of this node's log that includes every commit that was
// acknowledged before the call, by whichever node. A caller uses it before it answers
// from this node's state alone, without an append that would show that the state is
// the newest. Barrier offers a tick with a number of its own, and returns when this
// node has applied the tick.
func (r *Replica) Barrier(ctx context.Context) (events.Position, error) {
	name, number := r.barrierName(), r.barriers.Add(1)
	r.Heard(name, number)
	again := time.NewTicker(reofferEvery)
	defer again.Stop()
	for offer := true; ; {
		// The channel comes first, so that no change is missed.
		changed := r.Changed()
		position, _ := r.cfg.Log.Head()
		passed, err := r.passed(name, number, position)
		if err != nil {
			return 0, fmt.Errorf("wait for the newest state: %w", err)
		}
		if passed {
			return position, nil
		}
		if offer {
			r.tick()
		}
		select {
		case <-changed:
			offer = false
		case <-again.C:
			offer = true
		case <-ctx.Done():
			return 0, fmt.Errorf("wait for the newest state: %w", context.Cause(ctx))
		}
	}
}

// passed reports whether a tick with the number has been applied.
func (r *Replica) passed(name string, number uint64, at events.Position) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.failure != nil:
		return false, r.failure
	case r.phase != Following:
		return false, ErrNotFollowing
	}
	return r.proofs.newest(name, number, at) >= number, nil
}
