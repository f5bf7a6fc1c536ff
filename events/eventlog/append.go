package eventlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postern-im/postern/events"
)

const (
	// MaxCommits bounds one append. A writer with more commits must append several
	// times.
	MaxCommits = 1024

	// maxVersions bounds the tenants whose versions the log remembers. They need
	// about 100 bytes each, and reading one from the index costs tens of
	// microseconds. It is more than the tenants that an installation is made for.
	maxVersions = 1 << 18

	// maxBatch bounds the records of one append in bytes, because Pebble holds
	// a batch in memory twice.
	maxBatch = 16 << 20

	// batchOverhead is about the size of a record's keys and index entries in a batch.
	batchOverhead = 256
)

var errReadOnly = errors.New("the log is open for reading only")

// Append writes commits after an expected head, all or nothing, and returns nil
// once they are durable. The commits of one append cost one sync: this is group
// commit.
//
// Append sets Position and Previous; the caller sets everything else.
// TenantVersion must be the tenant's next one. On success each commit is as
// readers will read it, with times in whole microseconds of UTC. On error the
// commits are unchanged.
//
// The errors are: *events.ConflictError if the head is at another position;
// *events.DuplicateCommandError if the tenant's command id is in the log
// already or occurs twice in commits; an error for a commit that no reader
// would accept; events.ErrNoRoom if the disk is nearly full; ctx's error while
// waiting for another append. After these errors nothing was written. Once a
// write has begun it is not cancelled. If the write fails, it is unknown whether
// the commits are durable. Then this append and every later one return
// events.ErrFailed.
func (l *Log) Append(ctx context.Context, at events.Position, commits ...*events.Commit) error {
	if err := l.use(); err != nil {
		return err
	}
	defer l.users.Done()
	if err := l.lockWriting(ctx); err != nil {
		return err
	}
	defer l.unlockWriting()
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := l.append(at, commits); err != nil {
		return fmt.Errorf("eventlog: append at %d: %w", at, err)
	}
	return nil
}

// lockWriting waits until no append is running and prevents further ones. It
// gives up when ctx ends or the log is closed.
func (l *Log) lockWriting(ctx context.Context) error {
	select {
	case l.writing <- struct{}{}:
		return nil
	case <-l.closing:
		return events.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *Log) unlockWriting() { <-l.writing }

func (l *Log) append(at events.Position, commits []*events.Commit) error {
	h, err := l.writable()
	if err != nil {
		return err
	}
	if l.binding() != nil {
		return errBound
	}
	w := l.writer(h)
	read, err := w.addCommits(at, commits)
	if err != nil || len(commits) == 0 {
		return err
	}
	if err := l.writeRecords(w, nil, l.write); err != nil {
		return err
	}
	for i, c := range commits {
		*c = *read[i]
	}
	return nil
}

// Prepare checks commits as Append does, for an append after an expected head,
// and writes nothing. It returns the records that Append would write there. The
// commits are unchanged.
//
// The errors are those of Append.
func (l *Log) Prepare(at events.Position, commits ...*events.Commit) ([][]byte, error) {
	if err := l.use(); err != nil {
		return nil, err
	}
	defer l.users.Done()
	if err := l.lockWriting(context.Background()); err != nil { // waits for one write of the disk
		return nil, err
	}
	defer l.unlockWriting()
	records, err := l.prepare(at, commits)
	if err != nil {
		return nil, fmt.Errorf("eventlog: prepare at %d: %w", at, err)
	}
	return records, nil
}

func (l *Log) prepare(at events.Position, commits []*events.Commit) (records [][]byte, err error) {
	h, err := l.writable()
	if err != nil {
		return nil, err
	}
	w := l.writer(h)
	if _, err := w.addCommits(at, commits); err != nil {
		return nil, err
	}
	for _, a := range w.added {
		records = append(records, a.record)
	}
	return records, nil
}

// writable returns the head that the next write follows, or the reason why there
// can be no write. The caller holds writing.
func (l *Log) writable() (head, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.readOnly:
		return head{}, errReadOnly
	case l.failed, l.lost:
		return head{}, events.ErrFailed
	}
	return l.head, nil
}

// writeRecords writes the records of a writer, with the cursor if it is not nil, as
// one batch. write does so, and is responsible for the batch afterwards.
func (l *Log) writeRecords(w *writer, to *events.Cursor, write func(*pebble.Batch, head) error) error {
	b := l.db.NewBatchWithSize(w.size + batchOverhead*len(w.added))
	err := w.put(b)
	if to != nil {
		err = cmp.Or(err, b.Set([]byte(keyCursor), encodeCursor(*to), nil))
	}
	if err != nil {
		return cmp.Or(err, b.Close())
	}
	if err := write(b, w.head); err != nil {
		return err
	}
	l.latest = w.latest
	l.keepVersions(w.versions)
	return nil
}

// keepVersions remembers the newest versions of tenants.
func (l *Log) keepVersions(versions map[string]uint64) {
	if len(l.versions)+len(versions) > maxVersions {
		clear(l.versions)
	}
	for tenant, version := range versions {
		if p := l.versions[tenant]; p != nil {
			*p = version
			continue
		}
		l.versions[strings.Clone(tenant)] = &version // a clone, because tenant is a part of a record
	}
}

// write makes a batch durable and then advances the head. The batch is closed,
// unless there is an error: Pebble may still hold it then. If the write-ahead
// log fails, Pebble's Commit does not return but calls Config.Fatal. If the
// caller recovers from the panic there, failed stays set.
//
// Everything before the batch is durable then, too: Pebble's write-ahead log has one
// order, and a sync covers all that is before it.
func (l *Log) write(b *pebble.Batch, h head) error {
	l.mu.Lock()
	l.failed = true
	l.mu.Unlock()
	if err := b.Commit(pebble.Sync); err != nil {
		return fmt.Errorf("%w: %w", events.ErrFailed, err)
	}
	if err := l.highWater.write(l.LogID(), h); err != nil {
		return fmt.Errorf("%w: %w", events.ErrFailed, err)
	}
	l.mu.Lock()
	l.failed = false
	l.show(h)
	l.settleAt(h)
	l.mu.Unlock()
	return b.Close()
}

// show moves the head. The caller holds mu.
func (l *Log) show(h head) {
	l.head = h
	close(l.moved)
	l.moved = make(chan struct{})
}
