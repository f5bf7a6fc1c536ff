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
	l.mu.Lock()
	h, failed := l.head, l.failed
	l.mu.Unlock()
	switch {
	case l.readOnly:
		return errReadOnly
	case failed:
		return events.ErrFailed
	case at != h.position:
		return &events.ConflictError{Expected: at, Head: h.position}
	case len(commits) == 0:
		return nil
	case len(commits) > MaxCommits:
		return fmt.Errorf("%d commits: %w", len(commits), events.ErrTooLarge)
	}
	w := writer{log: l, batch: l.db.NewBatch(), head: h, latest: l.latest, versions: map[string]uint64{}, commands: map[string]bool{}}
	read, err := w.addAll(commits)
	if err == nil {
		err = l.room(uint64(w.size), AppendReserve)
	}
	if err != nil {
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
	if err := l.highWater.write(l.logID, h); err != nil {
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

// A writer builds the batch of one append.
type writer struct {
	log      *Log
	batch    *pebble.Batch
	head     head              // the log's head after the batch so far
	latest   time.Time         // the newest time in the log with the batch so far
	versions map[string]uint64 // of the tenants in the batch so far
	commands map[string]bool   // the command keys of the batch so far
	size     int
}

// addAll adds commits and the new head to the batch. It returns the commits as
// they will be read.
func (w *writer) addAll(commits []*events.Commit) ([]*events.Commit, error) {
	read := make([]*events.Commit, len(commits))
	for i, c := range commits {
		var err error
		if read[i], err = w.add(*c); err != nil {
			return nil, fmt.Errorf("commit %d of %d: %w", i+1, len(commits), err)
		}
	}
	return read, w.batch.Set([]byte(keyHead), encodeHead(w.head), nil)
}

// add adds one commit to the batch. It returns the commit as it will be read.
func (w *writer) add(given events.Commit) (*events.Commit, error) {
	given.Position = w.head.position + 1
	given.Previous = w.head.hash
	record := events.AppendCommit(nil, &given)
	c, err := events.DecodeCommit(record)
	if err != nil {
		return c, err
	}
	if w.size += len(record); w.size > maxBatch {
		return c, events.ErrTooLarge
	}
	if err := w.checkCommand(c); err != nil {
		return c, err
	}
	if err := w.checkVersion(c); err != nil {
		return c, err
	}
	w.head = head{c.Position, events.Hash(record)}
	for _, e := range entries(c, w.latest) {
		if err := w.batch.Set([]byte(e.key), []byte(e.value), nil); err != nil {
			return c, err
		}
	}
	if c.Time.After(w.latest) {
		w.latest = c.Time
	}
	return c, w.batch.Set([]byte(keyCommit(c.Position)), record, nil)
}

// checkCommand refuses a command id that was used before.
func (w *writer) checkCommand(c *events.Commit) error {
	key := keyCommand(c.Tenant, c.CommandID)
	duplicate := &events.DuplicateCommandError{Tenant: c.Tenant, CommandID: c.CommandID}
	if w.commands[key] {
		return duplicate
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
	return duplicate
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
		return fmt.Errorf("tenant %q is at version %d, not before %d", c.Tenant, version, c.TenantVersion)
	}
	w.versions[c.Tenant] = c.TenantVersion
	return nil
}
