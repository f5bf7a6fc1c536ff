package eventlog

import (
	"bytes"
	"cmp"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postern-im/postern/events"
)

// A chain reads records in order and returns only checked ones. A record is good
// if the next record holds its hash; the newest record is good if the head holds
// its hash. Therefore a chain reads one record ahead.
type chain struct {
	iter *pebble.Iterator
	head head
	at   events.Position // position of last
	last link            // the record read ahead
	free *events.Commit  // an unused commit to decode the next record into, or nil
	keep bool            // the records' bytes are kept in the links
}

// A link is a record that was read.
type link struct {
	commit *events.Commit
	hash   [32]byte
	record []byte // nil unless the chain keeps the records
}

// chain returns a chain that begins at from, which must be between 1 and the
// head. The caller closes its iter.
func (l *Log) chain(from events.Position, h head, keep bool) (*chain, error) {
	// Begin one record earlier: the first record must hold its hash.
	before := max(from, 2) - 1
	iter, err := l.db.NewIter(&pebble.IterOptions{
		LowerBound: []byte(keyCommit(before)),
		UpperBound: []byte(keyCommit(h.position + 1)),
	})
	if err != nil {
		return nil, err
	}
	c := &chain{iter: iter, head: h, keep: keep}
	if err := c.begin(before, from); err != nil {
		return nil, cmp.Or(err, iter.Close())
	}
	return c, nil
}

// records returns a chain that has no position yet: the caller must call to before
// next. The caller closes its iter.
func (l *Log) records(h head) (*chain, error) {
	iter, err := l.db.NewIter(&pebble.IterOptions{
		LowerBound: []byte(keyCommit(1)),
		UpperBound: []byte(keyCommit(h.position + 1)),
	})
	if err != nil {
		return nil, err
	}
	return &chain{iter: iter, head: h}, nil
}

// to moves to the record at p. The following call of next checks this record
// against the record after it, and returns its commit. The move costs a seek,
// unless p is next in order.
func (c *chain) to(p events.Position) error {
	if c.at == p && c.last.commit != nil {
		return nil
	}
	c.iter.SeekGE([]byte(keyCommit(p)))
	l, err := c.read(p)
	if err != nil {
		return err
	}
	if p == 1 && l.commit.Previous != [32]byte{} {
		return &events.CorruptError{Position: p, Err: errChain}
	}
	c.at, c.last = p, l
	return nil
}

// begin reads the record at from and checks it against the record before it.
func (c *chain) begin(before, from events.Position) error {
	c.iter.First()
	first, err := c.read(before)
	if err != nil {
		return err
	}
	if from == before { // position 1
		if first.commit.Previous != [32]byte{} {
			return &events.CorruptError{Position: from, Err: errChain}
		}
		c.at, c.last = from, first
		return nil
	}
	c.at, c.last = before, first
	_, err = c.next()
	return err
}

// next returns the next commit, known to be good.
func (c *chain) next() (*events.Commit, error) {
	if c.at == c.head.position {
		if c.last.hash != c.head.hash {
			return nil, &events.CorruptError{Position: c.at, Err: errChain}
		}
		commit := c.last.commit
		c.last = link{}
		return commit, nil
	}
	c.iter.Next()
	ahead, err := c.read(c.at + 1)
	if err != nil {
		return nil, err
	}
	if ahead.commit.Previous != c.last.hash {
		return nil, c.blame(ahead)
	}
	commit := c.last.commit
	c.at, c.last = c.at+1, ahead
	return commit, nil
}

// blame decides which of two records that do not match is bad. If the record after
// the second one, or the head, confirms the second one, the first one is bad.
// Otherwise the second one is bad.
func (c *chain) blame(ahead link) error {
	vouched := c.at+1 == c.head.position && ahead.hash == c.head.hash
	if c.at+1 < c.head.position {
		c.iter.Next()
		third, err := c.read(c.at + 2)
		vouched = err == nil && third.commit.Previous == ahead.hash
	}
	if vouched {
		return &events.CorruptError{Position: c.at, Err: errChain}
	}
	return &events.CorruptError{Position: c.at + 1, Err: errChain}
}

// read decodes the record at the iterator, which must be the record of p.
func (c *chain) read(p events.Position) (link, error) {
	if !c.iter.Valid() {
		return link{}, unreadable(p, cmp.Or(c.iter.Error(), errGap))
	}
	var key [len(prefixCommit) + 8]byte
	if !bytes.Equal(c.iter.Key(), appendKeyCommit(key[:0], p)) {
		return link{}, &events.CorruptError{Position: p, Err: errGap}
	}
	record, err := c.iter.ValueAndErr()
	if err != nil {
		return link{}, unreadable(p, err)
	}
	commit, err := c.decode(record)
	if err != nil {
		return link{}, &events.CorruptError{Position: p, Err: err}
	}
	if commit.Position != p {
		return link{}, &events.CorruptError{Position: p, Err: fmt.Errorf("the record says %d", commit.Position)}
	}
	l := link{commit: commit, hash: events.Hash(record)}
	if c.keep {
		l.record = bytes.Clone(record)
	}
	return l, nil
}

func (c *chain) decode(record []byte) (*events.Commit, error) {
	if c.free == nil {
		return events.DecodeCommit(record)
	}
	commit := c.free
	c.free = nil
	return commit, commit.Decode(record)
}

// unreadable distinguishes a missing or damaged record from a disk that does
// not answer.
func unreadable(p events.Position, err error) error {
	if err == errGap || pebble.IsCorruptionError(err) {
		return &events.CorruptError{Position: p, Err: err}
	}
	return fmt.Errorf("eventlog: read %d: %w", p, err)
}
