package eventlog

import (
	"cmp"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postern-im/postern/events"
)

// The time index says of each entry whether its commit's time is before that
// of an earlier one, which a clock that was set back can bring about. Leaving
// these out, times never go back from one position to the next: that makes
// "the log at a time" one seek.
const (
	// inOrder and setBack are what stands in the time index.
	inOrder = ""
	setBack = "b"

	// timesMarked stands under keyTimes when every entry says which it is.
	timesMarked = "1"
)

// PositionAt gives the last position at which the log said no time after t:
// each commit up to it has a time not after t, and the next one, if there is
// one, has a later time. It is zero when t is before everything. A commit that
// a clock set back has dated before an earlier one counts as made at the
// earlier one's time, so that a later t never gives an earlier position.
func (l *Log) PositionAt(t time.Time) (events.Position, error) {
	if err := l.use(); err != nil {
		return 0, err
	}
	defer l.users.Done()
	h := l.durable()
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

// loadTimes learns the newest time, and marks the entries of a log that was
// written before they were marked. It reads the time index once then, and
// never again. A log open for reading stays as it is.
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

// markTimes marks the entries of commits that are dated before an earlier one:
// going through the index from its end, those whose position is not the lowest
// yet. It does so in batches, which may be done again; the mark that all is
// done comes with the last.
func (l *Log) markTimes() error {
	iter, err := l.db.NewIter(&pebble.IterOptions{LowerBound: []byte(prefixTime), UpperBound: after(prefixTime)})
	if err != nil {
		return err
	}
	b := l.db.NewBatch()
	lowest := events.Position(0) // of those met so far; zero: none
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

// entries are the index entries of a commit, given the newest time before it.
func entries(c *events.Commit, latest time.Time) [3]entry {
	order := inOrder
	if c.Time.Before(latest) {
		order = setBack
	}
	return [...]entry{
		{keyTenant(c.Tenant, c.Position), u64(c.TenantVersion)},
		{keyTime(c.Time, c.Position), order},
		{keyCommand(c.Tenant, c.CommandID), u64(uint64(c.Position))},
	}
}
