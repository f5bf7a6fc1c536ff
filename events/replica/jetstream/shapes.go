package jetstream

import (
	"errors"

	"github.com/postern-im/postern/events"
)

// MaxEntry is replica.MaxEntry.
const MaxEntry = events.MaxSize + 4<<10

// Entry is replica.Entry.
type Entry struct {
	Seq  uint64
	Data []byte
}

// SequencerState is replica.SequencerState.
type SequencerState struct {
	Leader string
	Last   uint64
	Peers  []SequencerPeer
}

// SequencerPeer is replica.SequencerPeer.
type SequencerPeer struct {
	Name    string
	Current bool
	Offline bool
	Lag     uint64
}

// ErrShort is replica.ErrShort.
var ErrShort = errors.New("the order ends before the entries that this node has applied")
