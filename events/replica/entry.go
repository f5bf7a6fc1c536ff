package replica

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/postern-im/postern/events"
)

// MaxEntry bounds an entry in bytes. It must fit into one NATS message, whose
// default limit is 1 MiB including headers. The records of a batch take at most
// events.MaxSize, so a commit that a stand-alone log accepts fits as well; the rest
// is for the lengths of the records.
const MaxEntry = events.MaxSize + 4<<10

// An Entry is one entry of the common order.
type Entry struct {
	// Seq is the entry's number in the order. Numbers rise from one entry to the
	// next; they may have gaps.
	Seq uint64
	// Data is the entry itself. Its first byte is its kind.
	Data []byte
}

// The kinds of entries. A node stops at a kind that it does not know, because a
// newer version may have written history in it.
const (
	kindBatch      = 1
	kindTick       = 2
	kindGeneration = 3
)

// ErrGap is the error of Sequencer.Follow when entries that do not expire are missing where
// this node reads the order. The node stops, because it may miss a revocation.
var ErrGap = errors.New("entries of the order are missing")

// ErrShort is the error of Sequencer.Follow when the order is known to end before
// the entry after which a node wants to follow. The node is then ahead of the
// order: the order has lost entries that the node has applied.
var ErrShort = errors.New("the order ends before the entries that this node has applied")

// A Sequencer puts entries into one order. It is trusted with one promise: all
// nodes read the same entries in the same order, and an entry that a node has read
// stays in the order, except that ticks expire.
type Sequencer interface {
	// Offer asks for an entry to be ordered. It does not block and has no answer:
	// the entry may be ordered once, twice, late or never.
	Offer(data []byte)
	// Follow calls fn with the entries after a number, in order, and waits for
	// more until ctx ends, fn returns an error, or the connection is lost. It calls
	// fn with an entry only once a majority of the voters has it on disk. Expired
	// ticks may be left out. The entries belong to fn until fn returns. If the order
	// is known to end before the number, the error is ErrShort. If entries other than ticks
	// are missing where this node reads, the error is ErrGap.
	Follow(ctx context.Context, after uint64, fn func([]Entry) error) error
	// State describes the sequencer to operators.
	State() SequencerState
}

// A SequencerState describes a sequencer to operators. No decision depends on it.
type SequencerState struct {
	// Leader is the node that leads the order; "" if none is known.
	Leader string
	// Last is the number of the newest entry that this node knows of.
	Last uint64
	// Peers are the nodes that store the order.
	Peers []SequencerPeer
}

// A SequencerPeer is a node that stores the order.
type SequencerPeer struct {
	Name    string
	Current bool   // it has all entries that the leader has acknowledged
	Offline bool   // the leader does not hear it
	Lag     uint64 // the entries that it does not have yet
}

// Peers reach the other nodes. Messages have no order and may be lost.
type Peers interface {
	// Tell sends this node's state to all other nodes. It does not block.
	Tell(state []byte)
	// Listen calls fn with the states that other nodes tell, until ctx ends. A
	// state belongs to fn until fn returns.
	Listen(ctx context.Context, fn func(state []byte)) error
	// Copy calls fn with the records from one position to another, both included,
	// in order and possibly in several parts. It asks the other nodes for them.
	Copy(ctx context.Context, from, to events.Position, fn func(records [][]byte) error) error
}

var (
	errMalformed = errors.New("malformed")
	errTooLarge  = errors.New("too large")
)

// A reader reads fields from the front of b. After the first error all fields
// are zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

// take returns the next n bytes, a part of the input. They are nil after an error.
func (r *reader) take(n uint64) []byte {
	if r.err != nil || n > uint64(len(r.b)) {
		r.fail(errMalformed)
		return nil
	}
	part := r.b[:n:n]
	r.b = r.b[n:]
	return part
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

// uvarint reads a number in its shortest form, so that each value has one encoding.
func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 1 && r.b[n-1] == 0 {
		r.fail(errMalformed)
		return 0
	}
	r.b = r.b[n:]
	return v
}

// bytes reads a length of at most limit and that many bytes, a part of the input.
func (r *reader) bytes(limit int) []byte {
	n := r.uvarint()
	if n > uint64(limit) {
		r.fail(errTooLarge)
		return nil
	}
	return r.take(n)
}

func (r *reader) string(limit int) string { return string(r.bytes(limit)) }

// name reads a string that must not be empty.
func (r *reader) name(limit int) string {
	s := r.string(limit)
	if s == "" {
		r.fail(errMalformed)
	}
	return s
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// fill reads as many bytes as dst has.
func (r *reader) fill(dst []byte) { copy(dst, r.take(uint64(len(dst)))) }

// finish returns the first error, or an error if input is left.
func (r *reader) finish() error {
	if len(r.b) > 0 {
		r.fail(errMalformed)
	}
	return r.err
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
