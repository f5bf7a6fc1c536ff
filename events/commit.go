package events

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	// MaxSize bounds the encoding of a commit. It must fit into one NATS message,
	// whose default limit is 1 MiB including headers. A commit of this size can set
	// the roles of about ten thousand members. A larger change needs several
	// commands.
	MaxSize = 960 << 10

	// MaxID bounds tenant and command ids in bytes. Logs store them in keys, after
	// one byte for the length.
	MaxID = 255

	// maxTime is the last microsecond of the year 9999, because text forms of time
	// have four digits for the year.
	maxTime = 253402300799999999
)

// AppendCommit appends the encoding of c to dst. The encoding is canonical protobuf
// with the schema events.proto: the same commit always gives the same bytes.
// AppendCommit does not check c. Therefore a log decodes the bytes with DecodeCommit
// before it stores them. An event that is nil or a pointer is a
// programming mistake and panics.
func AppendCommit(dst []byte, c *Commit) []byte {
	w := codec{out: dst}
	c.wire(&w)
	return w.out
}

// DecodeCommit decodes one commit. It accepts only the bytes that AppendCommit
// writes for a complete commit, so an accepted commit encodes to the same bytes
// again. Fields that are unknown, missing, out of order or left over are an error.
//
// The commit shares no memory with b. All its strings are parts of one copy of b,
// so each string keeps the whole copy in memory. A caller that keeps a few strings
// for long should clone them.
func DecodeCommit(b []byte) (*Commit, error) {
	// Most commits have one event, so its slot is allocated with the commit.
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

// Decode decodes b into c, as DecodeCommit does. It overwrites c and reuses the
// list of events. After an error c must not be used.
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

// Clone returns a copy of c. The copy stays valid when Decode overwrites c.
func (c *Commit) Clone() Commit {
	own := *c
	own.Events = slices.Clone(c.Events)
	return own
}

// Hash returns the SHA-256 of an encoded commit. The next commit contains this
// hash, so the hashes chain the log.
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

// commandHash is a field with a hash. If the field is absent, the hash is zero.
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

// time is a field with a time in microseconds, which must be after 1970.
func (c *codec) time(n protowire.Number, p *time.Time) {
	if !c.decoding {
		micros := uint64(p.UnixMicro()) // two's complement, like a protobuf int64
		c.number(n, &micros)
		return
	}
	var micros uint64
	c.number(n, &micros)
	if micros > maxTime { // a negative number too
		c.fail(n, ErrMalformed)
		return
	}
	*p = time.UnixMicro(int64(micros)).UTC()
}

// events is the list of events, which must not be empty.
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
