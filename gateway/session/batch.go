package session

import (
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/xmpp/stanza"
	"github.com/postern-im/postern/xmpp/stream"
)

const (
	// maxBatch bounds the entries of a batch, and therefore the questions in one
	// call of the Decider. A session has no more unanswered questions than that
	// in each direction.
	maxBatch = 64
	// maxWrite bounds a write of several stanzas. Whether their verdicts are fresh
	// is checked only before the write, and a slow peer can read them much later.
	maxWrite = 64 << 10
	// A buffer starts with firstBuffer bytes. It grows to recordBuffer, a TLS
	// record, if more can be read at once, and further for a large stanza. A
	// buffer larger than keepBuffer is released after use.
	firstBuffer  = 4 << 10
	recordBuffer = 16 << 10
	keepBuffer   = 64 << 10
	// A buffer larger than largeBuffer needs a permit. A client's stanza within
	// the size limit never needs one. In each direction, all sessions
	// together have at most maxLarge permits, so that neither one tenant's
	// server nor clients with oversized stanzas can fill the gateway's memory.
	// The permits of one account and of one tenant are limited further.
	largeBuffer = 512 << 10
	maxLarge    = 32
)

// A batch holds the buffers of a pump that has work to do. It is borrowed from
// a pool.
type batch struct {
	framer  *stream.Framer
	buf     []byte // bytes read and not yet written
	framed  int    // how many of them are framed as entries
	filled  bool   // the last read filled the buffer
	entries []entry
	descs   []stanza.Descriptor
	recall  recall // the session's memory, for building the questions
	qs      []decision.Question
	vs      []decision.Verdict
	edits   [2][]byte // a stanza with its to address replaced; with the verdict's edit
	replies []byte
	began   time.Time // when the incomplete element's first byte was read
	large   func()    // returns the large-buffer permit; nil without one
}

// An entry is one token of the buffer.
type entry struct {
	start, end int
	kind       entryKind
	q          int // the index of its question, or of the next one if it has none
}

type entryKind uint8

const (
	isStanza  entryKind = iota // a verdict decides what happens to it
	isSpace                    // it is forwarded as one space
	isIgnored                  // it is between server and gateway, and not forwarded
)

func newBatch(c stream.Config) *batch {
	return &batch{framer: stream.NewFramer(c), buf: make([]byte, 0, firstBuffer)}
}

// reset prepares b for the pool.
func (b *batch) reset() {
	b.framer.Reset()
	b.clear()
	b.buf, b.framed, b.began = b.buf[:0], 0, time.Time{}
	if b.large != nil {
		b.large()
		b.large = nil
	}
	kept := 0
	for i := range b.descs {
		kept += b.descs[i].Size()
	}
	if kept > keepBuffer {
		b.descs, b.qs = nil, nil
	}
	if cap(b.buf) > keepBuffer {
		b.buf = make([]byte, 0, firstBuffer)
	}
	for i := range b.edits {
		if cap(b.edits[i]) > keepBuffer {
			b.edits[i] = nil
		}
	}
	if cap(b.replies) > keepBuffer {
		b.replies = nil
	}
}

// clear removes the entries and everything they refer to.
func (b *batch) clear() {
	b.entries = b.entries[:0]
	clear(b.qs)
	clear(b.vs)
	b.qs, b.vs, b.replies = b.qs[:0], b.vs[:0], b.replies[:0]
	b.recall.memory, b.recall.answered = nil, b.recall.answered[:0]
}

// consume removes the framed bytes from the buffer.
func (b *batch) consume() {
	if b.framed > 0 {
		b.began = time.Time{}
	}
	b.buf = b.buf[:copy(b.buf, b.buf[b.framed:])]
	b.framed = 0
}

// grows reports whether the next read needs a larger buffer.
func (b *batch) grows() bool {
	return cap(b.buf)-len(b.buf) < firstBuffer/2 || b.filled && cap(b.buf) < recordBuffer
}

// room returns free space for the next read.
func (b *batch) room() []byte {
	if b.grows() {
		grown := make([]byte, len(b.buf), 2*cap(b.buf))
		copy(grown, b.buf)
		b.buf = grown
	}
	return b.buf[len(b.buf):cap(b.buf)]
}

// desc returns a Descriptor for the next question.
func (b *batch) desc() *stanza.Descriptor {
	if len(b.descs) == len(b.qs) {
		b.descs = append(b.descs, stanza.Descriptor{})
	}
	return &b.descs[len(b.qs)]
}

// stanzas returns how many of the entries with indices at to until-1 are stanzas.
func (b *batch) stanzas(at, until int) (n uint64) {
	for _, e := range b.entries[at:until] {
		if e.kind == isStanza {
			n++
		}
	}
	return n
}

// fresh reports whether every verdict on the entries with indices at to until-1 is
// fresh.
func (b *batch) fresh(at, until int, now time.Duration) bool {
	for _, e := range b.entries[at:until] {
		if e.kind == isStanza && !b.vs[e.q].Fresh(now) {
			return false
		}
	}
	return true
}
