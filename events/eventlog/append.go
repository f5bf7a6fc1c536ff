package eventlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postern-im/postern/events"
)

const (
	// MaxCommits bounds one append. A writer with more commits must append several
	// times.
	MaxCommits = 1024

	// maxBatch bounds the records of one append in bytes, because Pebble holds
	// a batch in memory twice.
	maxBatch = 16 << 20
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
	w := l.writer(h, l.db.NewBatch())
	_, read, err := w.addCommits(at, commits)
	if err == nil {
		err = w.batch.Set([]byte(keyHead), encodeHead(w.head), nil)
	}
	if err != nil || len(commits) == 0 {
		return cmp.Or(err, w.batch.Close())
	}
	if err := l.write(w.batch, w.head); err != nil {
		return err // Pebble may still hold the batch, so it is not closed
	}
	l.latest = w.latest
	for i, c := range commits {
		*c = *read[i]
	}
	return w.batch.Close()
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
	h, err := l.writable()
	if err == nil {
		var records [][]byte
		if records, _, err = l.writer(h, nil).addCommits(at, commits); err == nil {
			return records, nil
		}
	}
	return nil, fmt.Errorf("eventlog: prepare at %d: %w", at, err)
}

// writable returns the head that the next write follows, or the reason why there
// can be no write. The caller holds writing.
func (l *Log) writable() (head, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.readOnly:
		return head{}, errReadOnly
	case l.failed:
		return head{}, events.ErrFailed
	}
	return l.head, nil
}

// write makes a batch durable and then advances the head. If the write-ahead
// log fails, Pebble's Commit does not return but calls Config.Fatal. If the
// caller recovers from the panic there, failed stays set.
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
	defer l.mu.Unlock()
	l.failed = false
	l.head = h
	close(l.moved)
	l.moved = make(chan struct{})
	return nil
}

// A writer checks the records of one write, and adds them to its batch.
type writer struct {
	log      *Log
	batch    *pebble.Batch     // nil: the records are only checked
	head     head              // the log's head after the records so far
	latest   time.Time         // the newest time in the log with the records so far
	versions map[string]uint64 // of the tenants in the records so far
	commands map[string]bool   // the command keys of the records so far
	size     int
}

// writer returns a writer of records after the head h. The caller holds writing.
func (l *Log) writer(h head, b *pebble.Batch) *writer {
	return &writer{log: l, batch: b, head: h, latest: l.latest, versions: map[string]uint64{}, commands: map[string]bool{}}
}

// A refusal is the reason why a record cannot be the next one. It is not an error
// of the disk.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// addCommits encodes commits as the records after an expected head, and adds the
// records. It returns the records, and the commits as they will be read.
func (w *writer) addCommits(at events.Position, commits []*events.Commit) ([][]byte, []*events.Commit, error) {
	if at != w.head.position {
		return nil, nil, &events.ConflictError{Expected: at, Head: w.head.position}
	}
	if len(commits) > MaxCommits {
		return nil, nil, fmt.Errorf("%d commits: %w", len(commits), events.ErrTooLarge)
	}
	records, read := make([][]byte, len(commits)), make([]*events.Commit, len(commits))
	for i, given := range commits {
		c := *given
		c.Position = w.head.position + 1
		c.Previous = w.head.hash
		records[i] = events.AppendCommit(nil, &c)
		var err error
		if read[i], err = w.add(records[i]); err != nil {
			return nil, nil, fmt.Errorf("commit %d of %d: %w", i+1, len(commits), err)
		}
	}
	if len(commits) == 0 {
		return nil, nil, nil
	}
	return records, read, w.log.room(uint64(w.size), AppendReserve)
}

// add adds the record of the next position. It returns the commit as it will be
// read.
func (w *writer) add(record []byte) (*events.Commit, error) {
	c, err := events.DecodeCommit(record)
	if err != nil {
		return nil, refusal{err}
	}
	if w.size += len(record); w.size > maxBatch {
		return nil, events.ErrTooLarge
	}
	if c.Position != w.head.position+1 {
		return nil, refusal{positionError(c.Position)}
	}
	if c.Previous != w.head.hash {
		return nil, refusal{errChain}
	}
	if err := w.checkCommand(c); err != nil {
		return nil, err
	}
	if err := w.checkVersion(c); err != nil {
		return nil, err
	}
	w.head = head{c.Position, events.Hash(record)}
	if w.batch != nil {
		for _, e := range entries(c, w.latest) {
			if err := w.batch.Set([]byte(e.key), []byte(e.value), nil); err != nil {
				return nil, err
			}
		}
		if err := w.batch.Set([]byte(keyCommit(c.Position)), record, nil); err != nil {
			return nil, err
		}
	}
	if c.Time.After(w.latest) {
		w.latest = c.Time
	}
	return c, nil
}

// checkCommand refuses a command id that was used before.
func (w *writer) checkCommand(c *events.Commit) error {
	key := keyCommand(c.Tenant, c.CommandID)
	duplicate := &events.DuplicateCommandError{Tenant: c.Tenant, CommandID: c.CommandID}
	if w.commands[key] {
		return refusal{duplicate}
	}
	w.commands[key] = true
	v, found, err := w.log.get(key)
	if err != nil || !found {
		return err
	}
	p, err := fromU64(v)
	if err != nil {
		return fmt.Errorf("command index: %w", err)
	}
	duplicate.Position = events.Position(p)
	return refusal{duplicate}
}

// checkVersion refuses a tenant version that is not the next one.
func (w *writer) checkVersion(c *events.Commit) error {
	version, known := w.versions[c.Tenant]
	if !known {
		var err error
		if version, err = w.log.tenantVersion(c.Tenant); err != nil {
			return err
		}
	}
	if version == math.MaxUint64 || c.TenantVersion != version+1 {
		return refusal{fmt.Errorf("tenant %q is at version %d, not before %d", c.Tenant, version, c.TenantVersion)}
	}
	w.versions[c.Tenant] = c.TenantVersion
	return nil
}
