package session

import (
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/xmpp/stanza"
	"github.com/postern-im/postern/xmpp/stream"
)

const (
	// maxBatch is how many stanzas are asked about at once, and so how many a
	// session may have outstanding per direction.
	maxBatch = 64
	// maxWrite bounds what is handed over in one write, and so how much
	// stands on verdicts that grow old while the peer takes it.
	maxWrite = 64 << 10
	// A buffer begins small, and grows to recordBuffer, a TLS record, where
	// there is more to read at once, and further for a large stanza; what has
	// grown larger than keepBuffer is given back after use.
	firstBuffer  = 4 << 10
	recordBuffer = 16 << 10
	keepBuffer   = 64 << 10
	// A buffer larger than largeBuffer, more than a client's stanza that may
	// pass needs, needs leave: in each direction there are at most maxLarge of
	// them at once in all sessions, so that one tenant's server, or clients
	// whose stanzas will be refused, cannot fill the gateway's memory. Of these
	// an account and a tenant have shares.
	largeBuffer = 512 << 10
	maxLarge    = 32
)

// A batch is what a pump works with while there is something to do, and
// borrows from a pool.
type batch struct {
	framer  *stream.Framer
	buf     []byte // what has been read and not handed over
	framed  int    // so much of it is entries
	filled  bool   // the last read took all the room there was
	entries []entry
	descs   []stanza.Descriptor
	recall  recall // what the questions were put with
	qs      []decision.Question
	vs      []decision.Verdict
	edits   [2][]byte // what an edit is written to, and the next one
	replies []byte
	began   time.Time // when the element that is not whole was first waited for
	large   func()    // gives back the leave to be large; nil without one
}

// An entry is one token of the buffer.
type entry struct {
	start, end int
	kind       entryKind
	q          int // its question, or the first one behind it
}

type entryKind uint8

const (
	isStanza  entryKind = iota // a verdict says what becomes of it
	isSpace                    // one space goes on
	isIgnored                  // between server and gateway only
)

func newBatch(c stream.Config) *batch {
	return &batch{framer: stream.NewFramer(c), buf: make([]byte, 0, firstBuffer)}
}

// reset makes b ready for the pool.
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

// clear forgets the entries, and what they point to.
func (b *batch) clear() {
	b.entries = b.entries[:0]
	clear(b.qs)
	clear(b.vs)
	b.qs, b.vs, b.replies = b.qs[:0], b.vs[:0], b.replies[:0]
	b.recall.memory, b.recall.answered = nil, b.recall.answered[:0]
}

// consume takes the framed bytes out of the buffer.
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

// room makes room for the next read.
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

// asked returns when the oldest verdict of the entries from at on, up to
// until, was asked for; the zero time if they need none.
func (b *batch) asked(at, until int) (oldest time.Time) {
	for _, e := range b.entries[at:until] {
		if e.kind != isStanza {
			continue
		}
		if t := b.vs[e.q].AskedAt; oldest.IsZero() || t.Before(oldest) {
			oldest = t
		}
	}
	return oldest
}
