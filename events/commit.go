package events

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	// MaxSize bounds a record. A commit must fit one NATS message, whose
	// default limit is 1 MiB, headers included. It holds about ten thousand
	// members' roles; who has more to say says it in several commands.
	MaxSize = 960 << 10

	// MaxID bounds tenant and command id in bytes: logs keep them in keys
	// behind one byte of length.
	MaxID = 255

	// maxTime is the last microsecond of the year 9999, the last that text
	// forms of time can say.
	maxTime = 253402300799999999
)

// AppendCommit appends the record of c to dst: canonical protobuf, as
// events.proto says. The same commit always gives the same bytes. It does not
// check c: whoever keeps a record first reads it back by DecodeCommit. An
// event that is nil or a pointer is a programmer's mistake and panics.
func AppendCommit(dst []byte, c *Commit) []byte {
	w := codec{out: dst}
	c.wire(&w)
	return w.out
}

// DecodeCommit reads one record. It accepts exactly what AppendCommit writes
// for a complete commit, so a record it accepts encodes to the same bytes
// again. Anything unknown, missing, out of order or left over is an error.
//
// The commit shares no memory with b. Its strings are parts of one copy of the
// record, so one of them keeps the whole: who keeps a few for long clones them.
func DecodeCommit(b []byte) (*Commit, error) {
	// Most commits have one event: its place is made with the commit.
	var c struct {
		Commit
		first [1]Event
	}
	c.Events = c.first[:0]
	if err := c.Decode(b); err != nil {
		return nil, err
	}
	return &c.Commit, nil
}

// Decode is DecodeCommit into c: what c held is overwritten, its list of events
// too. After an error c is of no use.
func (c *Commit) Decode(b []byte) error {
	if len(b) > MaxSize {
		return fmt.Errorf("events: record of %d bytes: %w", len(b), ErrTooLarge)
	}
	*c = Commit{Events: c.Events[:0]}
	r := codec{decoding: true, in: string(b)}
	c.wire(&r)
	r.finish()
	if r.err != nil {
		return fmt.Errorf("events: record: %w", r.err)
	}
	return nil
}

// Clone is a commit to keep where c will be decoded into again.
func (c *Commit) Clone() Commit {
	own := *c
	own.Events = slices.Clone(c.Events)
	return own
}

// Hash is the link of the chain: SHA-256 over a record, which contains the
// hash of the record before it.
func Hash(encoded []byte) [32]byte { return sha256.Sum256(encoded) }

func (c *Commit) wire(w *codec) {
	w.number(1, (*uint64)(&c.Position))
	w.id(2, &c.Tenant)
	w.number(3, &c.TenantVersion)
	w.time(4, &c.Time)
	w.name(5, &c.Actor)
	w.id(6, &c.CommandID)
	if w.decoding && c.CommandID == "" {
		w.fail(6, ErrMissing)
	}
	w.text(7, &c.Reason)
	w.hash(8, &c.Previous)
	w.events(9, &c.Events)
	w.commandHash(10, &c.CommandHash)
}

// commandHash is a hash that may be absent, and is then zero.
func (c *codec) commandHash(n protowire.Number, p *CommandHash) {
	if !c.decoding {
		if *p != (CommandHash{}) {
			c.out = protowire.AppendTag(c.out, n, protowire.BytesType)
			c.out = protowire.AppendBytes(c.out, p[:])
		}
		return
	}
	if !c.next(n, protowire.BytesType) {
		return
	}
	if b := c.bytes(n); copy(p[:], b) != len(p) || len(b) != len(p) || *p == (CommandHash{}) {
		c.fail(n, ErrMalformed)
	}
}

// time is a time in microseconds that must be after 1970.
func (c *codec) time(n protowire.Number, p *time.Time) {
	if !c.decoding {
		micros := uint64(p.UnixMicro()) // two's complement, as an int64 is
		c.number(n, &micros)
		return
	}
	var micros uint64
	c.number(n, &micros)
	if micros > maxTime { // a negative one, too
		c.fail(n, ErrMalformed)
		return
	}
	*p = time.UnixMicro(int64(micros)).UTC()
}

// events is the list of events, at least one.
func (c *codec) events(n protowire.Number, p *[]Event) {
	if !c.decoding {
		for _, e := range *p {
			m := c.enter(n)
			encodeEvent(c, e)
			c.leave(m)
		}
		return
	}
	for c.next(n, protowire.BytesType) {
		m := c.enter(n)
		e := decodeEvent(c)
		c.leave(m)
		if c.err != nil {
			c.err = fmt.Errorf("event %d: %w", len(*p)+1, c.err)
			return
		}
		*p = append(*p, e)
	}
	if len(*p) == 0 {
		c.fail(n, ErrMissing)
	}
}
