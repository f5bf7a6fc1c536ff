package replica

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/postern-im/postern/events"
)

// stateVersion is the version of states that this package writes and reads. A node
// ignores a state of another version, and so its commands lack a majority while most
// nodes have a newer one. A later release therefore keeps the version and adds fields at
// the end: a reader ignores bytes after the fields that it knows.
const stateVersion = 1

// maxState bounds a state in bytes, with room for the fields of later releases.
const maxState = 4 << 10

// noTick is the encoded age of the newest tick when a node has applied none.
const noTick = 1<<40 - 1

// A state is the message in which a node tells the other nodes about itself.
type state struct {
	Node       string
	Boot       uint64 // random for each process
	Data       string // names the node's data
	Generation [16]byte
	// Position and Hash are the newest commit that the node's own disk has.
	Position events.Position
	Hash     [32]byte
	Level    uint64
	// Decides is the position of the View from which the node decides.
	Decides events.Position
	// Clock is the node's own clock, in milliseconds since 1970.
	Clock uint64
	// Release is the version of the node's program.
	Release string
	// Age is the time since the node applied its newest tick, in milliseconds;
	// noTick if it has applied none.
	Age uint64
	// Failed means that the node has stopped.
	Failed bool
}

func appendState(dst []byte, s *state) []byte {
	dst = append(dst, stateVersion)
	dst = appendString(dst, s.Node)
	dst = binary.BigEndian.AppendUint64(dst, s.Boot)
	dst = appendString(dst, s.Data)
	dst = append(dst, s.Generation[:]...)
	dst = binary.AppendUvarint(dst, uint64(s.Position))
	dst = append(dst, s.Hash[:]...)
	dst = binary.AppendUvarint(dst, s.Level)
	dst = binary.AppendUvarint(dst, uint64(s.Decides))
	dst = binary.AppendUvarint(dst, s.Clock)
	dst = appendString(dst, s.Release)
	dst = binary.AppendUvarint(dst, min(s.Age, noTick))
	if s.Failed {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// readState decodes a state. known is false if it has another version. It ignores fields
// that a later release has added.
func readState(data []byte) (s state, known bool, err error) {
	r := reader{b: data}
	if r.byte() != stateVersion && r.err == nil {
		return state{}, false, nil
	}
	s.Node = r.name(maxName)
	s.Boot = r.u64()
	s.Data = r.string(maxName)
	r.fill(s.Generation[:])
	s.Position = events.Position(r.uvarint())
	r.fill(s.Hash[:])
	s.Level = r.uvarint()
	s.Decides = events.Position(r.uvarint())
	s.Clock = r.uvarint()
	s.Release = r.string(maxName)
	if s.Age = r.uvarint(); s.Age > noTick {
		r.fail(errMalformed)
	}
	failed := r.byte()
	if failed > 1 {
		r.fail(errMalformed)
	}
	s.Failed = failed == 1
	if len(data) > maxState {
		r.fail(errTooLarge)
	}
	if r.err != nil {
		return state{}, true, fmt.Errorf("state of a node: %w", r.err)
	}
	return s, true, nil
}

// age is the time since the node applied its newest tick; ok is false if it has
// applied none.
func (s *state) age() (age time.Duration, ok bool) {
	return time.Duration(s.Age) * time.Millisecond, s.Age < noTick
}
