package replica

import (
	"encoding/binary"
	"fmt"

	"github.com/postern-im/postern/events"
)

const (
	// tickVersion is the version of ticks that this package writes and the newest
	// that it reads. A node ignores a tick of a newer version, which only leaves it
	// without the tick's proofs.
	tickVersion = 1

	// maxName bounds the names of nodes and gateways in bytes.
	maxName = 255

	// maxGateways bounds the gateways whose challenges a node keeps. A node with
	// more of them leaves the further gateways without proofs, so they ask other
	// nodes. It bounds the size of a tick as well.
	maxGateways = 1024

	// maxRuns is the number of runs of one gateway whose challenges a node keeps:
	// the present run, and the one that it has just replaced.
	maxRuns = 2

	// maxChallenges bounds the challenges of one tick.
	maxChallenges = maxGateways * maxRuns
)

// A tick is an entry that each node offers each second. It says which challenges
// the node had heard from gateways when it offered the tick. A node that has applied
// a tick has also applied everything that was acknowledged before the tick was
// offered, so it knows more than any challenge in the tick is old.
type tick struct {
	Node       string
	Generation [16]byte
	// Position and Hash are the durable head of the node that offered the tick.
	Position events.Position
	Hash     [32]byte
	// Level is the highest event number that the node reads.
	Level      uint64
	Challenges []challenge
}

// A challenge is a number that a gateway has sent: a random base of the gateway's
// process plus the milliseconds since the process started.
type challenge struct {
	Gateway string
	Number  uint64
}

// sameRun reports whether two challenges come from one process of a gateway. The
// bases of two processes are random numbers of 62 bits, and a process does not run
// for 2^40 milliseconds, which are 34 years.
func sameRun(a, b uint64) bool { return max(a, b)-min(a, b) < 1<<40 }

// appendTick appends the encoding of t to dst.
func appendTick(dst []byte, t *tick) []byte {
	dst = append(dst, kindTick, tickVersion)
	dst = appendString(dst, t.Node)
	dst = append(dst, t.Generation[:]...)
	dst = binary.AppendUvarint(dst, uint64(t.Position))
	dst = append(dst, t.Hash[:]...)
	dst = binary.AppendUvarint(dst, t.Level)
	for _, c := range t.Challenges {
		dst = appendString(dst, c.Gateway)
		dst = binary.BigEndian.AppendUint64(dst, c.Number)
	}
	return dst
}

// readTick decodes a tick. known is false if a newer version wrote it.
func readTick(data []byte) (t tick, known bool, err error) {
	if len(data) > MaxEntry {
		return tick{}, true, fmt.Errorf("tick of %d bytes: %w", len(data), errTooLarge)
	}
	r := reader{b: data}
	if r.byte() != kindTick {
		r.fail(errMalformed)
	}
	version := r.byte()
	if version > tickVersion {
		return tick{}, false, nil
	}
	if version == 0 {
		r.fail(errMalformed)
	}
	t.Node = r.name(maxName)
	r.fill(t.Generation[:])
	t.Position = events.Position(r.uvarint())
	r.fill(t.Hash[:])
	t.Level = r.uvarint()
	for r.err == nil && len(r.b) > 0 {
		if len(t.Challenges) == maxChallenges {
			r.fail(errTooLarge)
			break
		}
		t.Challenges = append(t.Challenges, challenge{Gateway: r.name(maxName), Number: r.u64()})
	}
	if err := r.finish(); err != nil {
		return tick{}, true, fmt.Errorf("tick: %w", err)
	}
	return t, true, nil
}
