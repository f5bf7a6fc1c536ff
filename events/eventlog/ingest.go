package eventlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postern-im/postern/events"
)

// Ingest writes records that the log's cluster has ordered, byte by byte as they
// are, and moves the cursor. Records and cursor are one write with one sync, so the
// cursor is never durable without its records. Ingest returns nil once they are
// durable. Without records it only moves the cursor.
//
// The first record must have the position after the head. Otherwise the error
// is *events.ConflictError; a caller must skip records that the log has already.
// The cursor must be of the log's generation and not before the present one.
//
// The order of the cluster is history: a record in it either is the next one or
// must stop the log. Therefore Ingest refuses everything that the log's own Verify
// would find wrong, with *events.RecordError: a record that cannot be decoded or
// holds an event of a newer version, that does not chain, a tenant version that is
// not the next one, a command id that the tenant has used, and a record at the
// generation's position that is not the generation's. Append and Prepare refuse
// the same, so no sound node offers such a record. Nothing else is checked: times
// may step back, and the meaning of events is for the owner of the log.
//
// Command ids of records up to the generation's position are not looked up, which
// makes a copy several times faster. The generation's hash proves these records: they
// are those of the creator's log, which was verified. A copy with other records
// cannot get past that position.
//
// The other errors are events.ErrNoRoom, events.ErrTooLarge if the records have
// more than 16 MiB, ctx's error while waiting for another write, and the refusal of
// a log that is not bound. After all these errors NOTHING was written. If the write
// fails, this and every later write return events.ErrFailed, as with Append.
func (l *Log) Ingest(ctx context.Context, to events.Cursor, records [][]byte) error {
	return l.change(ctx, "ingest", func(h head) error { return l.ingest(h, to, records, l.write) })
}

func (l *Log) ingest(h head, to events.Cursor, records [][]byte, write func(*pebble.Batch, head) error) error {
	bound := l.binding()
	if bound == nil {
		return errUnbound
	}
	if to.Generation != bound.generation.ID {
		return errors.New("the cursor is of another generation")
	}
	if bound.cursor != nil && to.Seq < bound.cursor.Seq {
		return fmt.Errorf("the cursor would go back from %d to %d", bound.cursor.Seq, to.Seq)
	}
	w := l.writer(h)
	if err := w.addRecords(records, bound.generation); err != nil {
		return err
	}
	if err := l.writeRecords(w, &to, write); err != nil {
		return err
	}
	moved := *bound
	moved.cursor = &to
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bound = &moved
	return nil
}

// addRecords adds the records that follow the head, and checks them.
func (w *writer) addRecords(records [][]byte, g events.Generation) error {
	before := w.head.position
	err := w.tryRecords(records, g)
	r, ok := errors.AsType[refusal](err)
	if !ok {
		return err
	}
	if p, ok := r.err.(positionError); ok && r.at == before+1 {
		return &events.ConflictError{Expected: events.Position(p) - 1, Head: before}
	}
	return &events.RecordError{Position: r.at, Err: r.err}
}

func (w *writer) tryRecords(records [][]byte, g events.Generation) error {
	w.added, w.proven = make([]added, 0, len(records)), g.Position
	var c events.Commit
	for _, record := range records {
		if err := w.add(record, &c); err != nil {
			return err
		}
		if w.head.position == g.Position && w.head.hash != g.Hash {
			return refusal{g.Position, errors.New("the generation has another record there")}
		}
	}
	return w.check()
}

// A positionError is the refusal of a record of another position.
type positionError events.Position

func (e positionError) Error() string { return fmt.Sprintf("the record says %d", e) }

// Records returns the records from a position (0 and 1 both mean the first) in
// order, as they were written: as many as have at most limit bytes together, up to
// the head at the time of the call. Each has been checked against the hash chain.
// If even the first has more than limit bytes, the error is events.ErrTooLarge; a
// record never has more than events.MaxSize. Positions and *events.CorruptError
// are as in Read.
func (l *Log) Records(from events.Position, limit int) ([][]byte, error) {
	if err := l.use(); err != nil {
		return nil, err
	}
	defer l.users.Done()
	h := l.visible()
	from = max(from, 1)
	if from > h.position+1 {
		return nil, fmt.Errorf("eventlog: records from %d, the head is at %d: %w", from, h.position, events.ErrNoSuchPosition)
	}
	if from > h.position {
		return nil, nil
	}
	c, err := l.chain(from, h, true)
	if err != nil {
		return nil, err
	}
	var records [][]byte
	for p := from; p <= h.position; p++ {
		record := c.last.record
		if limit -= len(record); limit < 0 {
			break
		}
		if c.free, err = c.next(); err != nil {
			break
		}
		records = append(records, record)
	}
	if err == nil && len(records) == 0 {
		err = fmt.Errorf("eventlog: records from %d: %w", from, events.ErrTooLarge)
	}
	if err := cmp.Or(err, c.iter.Close()); err != nil {
		return nil, err
	}
	return records, nil
}
