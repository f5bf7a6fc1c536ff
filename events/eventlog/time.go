package eventlog

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postern-im/postern/events"
)

// Each entry of the time index says whether its commit's time is before the
// time of an earlier commit, which can happen when a clock is set back. Without
// such entries, times never decrease from one position to the next, so "the log
// at a time" costs one seek.
const (
	// inOrder and setBack are the values of the time index.
	inOrder = ""
	setBack = "b"

	// timesMarked is the value under keyTimes once every entry has its mark.
	timesMarked = "1"
)

// PositionAt returns the last position at or before a time: each commit up to
// it has a time not after t, and the next commit has a later time. It is zero
// if t is before all commits. After a clock was set back, a commit can have an
// earlier time than a commit before it. PositionAt then treats the latest time so
// far as the commit's time. Therefore a later t never gives an earlier position.
func (l *Log) PositionAt(t time.Time) (events.Position, error) {
	if err := l.use(); err != nil {
		return 0, err
	}
	defer l.users.Done()
	h := l.visible()
	if t.UnixMicro() < 0 {
		return 0, nil
	}
	iter, err := l.db.NewIter(&pebble.IterOptions{
		LowerBound: []byte(keyTime(t.Add(time.Microsecond), 0)),
		UpperBound: after(prefixTime),
	})
	if err != nil {
		return 0, err
	}
	last := h.position
	done := false
	for valid := iter.First(); valid && err == nil && !done; valid = iter.Next() {
		var p events.Position
		if p, err = positionOf(iter.Key()); err != nil || p == 0 {
			err = cmp.Or(err, errIndex)
			break
		}
		last = min(last, p-1)
		done = l.timesMarked && string(iter.Value()) != setBack
	}
	if err := cmp.Or(err, iter.Error(), iter.Close()); err != nil {
		return 0, fmt.Errorf("eventlog: position at %v: %w", t, err)
	}
	return last, nil
}

// loadTimes reads the newest time. If an earlier version has written time entries
// without marks, it reads the time index once and marks them. It does not change a
// log that is open for reading.
func (l *Log) loadTimes() error {
	v, _, err := l.get(keyTimes)
	if err != nil {
		return err
	}
	l.timesMarked = string(v) == timesMarked
	if !l.timesMarked && !l.readOnly {
		if err := l.markTimes(); err != nil {
			return fmt.Errorf("mark the time index: %w", err)
		}
		l.timesMarked = true
	}
	iter, err := l.db.NewIter(&pebble.IterOptions{LowerBound: []byte(prefixTime), UpperBound: after(prefixTime)})
	if err != nil {
		return err
	}
	if iter.Last() {
		l.latest, err = timeOf(iter.Key())
	}
	return cmp.Or(err, iter.Error(), iter.Close())
}

// markTimes marks the entries of commits whose time is before an earlier
// commit's. Going backwards through the index, these are the entries whose
// position is not the lowest so far. It works in batches that may be repeated;
// the last batch records that all entries are marked.
func (l *Log) markTimes() error {
	iter, err := l.db.NewIter(&pebble.IterOptions{LowerBound: []byte(prefixTime), UpperBound: after(prefixTime)})
	if err != nil {
		return err
	}
	b := l.db.NewBatch()
	lowest := events.Position(0) // the lowest position so far; zero: none
	for valid := iter.Last(); valid && err == nil; valid = iter.Prev() {
		var p events.Position
		if p, err = positionOf(iter.Key()); err != nil {
			break
		}
		if lowest != 0 && p > lowest {
			err = b.Set(append([]byte(nil), iter.Key()...), []byte(setBack), nil)
		} else {
			lowest = p
		}
		if err == nil && b.Len() > chunkSize {
			err = b.Commit(pebble.NoSync)
			b.Reset()
		}
	}
	if err := cmp.Or(err, iter.Error(), iter.Close()); err != nil {
		return cmp.Or(err, b.Close())
	}
	if err := b.Set([]byte(keyTimes), []byte(timesMarked), nil); err != nil {
		return err
	}
	return cmp.Or(b.Commit(pebble.Sync), b.Close())
}

// An indexer makes the entries of commits. It reuses its memory: an entry is valid
// until the next call.
type indexer struct{ buffer []byte }

// entry returns the entry whose key is the first bytes of b, and keeps b's memory.
func (x *indexer) entry(b []byte, key int) entry {
	x.buffer = b
	return entry{b[:key:key], b[key:]}
}

func (x *indexer) record(p events.Position, record []byte) entry {
	x.buffer = appendKeyCommit(x.buffer[:0], p)
	return entry{x.buffer, record}
}

func (x *indexer) tenant(c *events.Commit) entry {
	b := appendKeyTenant(x.buffer[:0], c.Tenant, c.Position)
	return x.entry(binary.BigEndian.AppendUint64(b, c.TenantVersion), len(b))
}

// time returns the entry of the time index. latest is the newest time before the
// commit.
func (x *indexer) time(c *events.Commit, latest time.Time) entry {
	order := inOrder
	if c.Time.Before(latest) {
		order = setBack
	}
	b := appendKeyTime(x.buffer[:0], c.Time, c.Position)
	return x.entry(append(b, order...), len(b))
}

func (x *indexer) command(c *events.Commit) entry {
	b := appendKeyCommand(x.buffer[:0], c.Tenant, c.CommandID)
	return x.entry(binary.BigEndian.AppendUint64(b, uint64(c.Position)), len(b))
}
