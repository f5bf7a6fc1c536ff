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
	// MaxCommits bounds one append; a writer that has more waiting makes two.
	MaxCommits = 1024

	// maxBatch bounds the records of one append in bytes, because Pebble keeps
	// a batch in memory twice.
	maxBatch = 16 << 20
)

var errReadOnly = errors.New("the log is open for reading only")

// Append writes commits behind an expected head, all or nothing, and returns
// nil when they are durable. Several commits of one append cost one sync:
// that is the group commit.
//
// Append fills in Position and Previous; all else is given. TenantVersion must
// be the tenant's next. On success each commit is what every reader will read,
// times in whole microseconds of UTC; on error the commits are as they were.
//
// The errors: *events.ConflictError, when the head is another;
// *events.DuplicateCommandError, when a tenant's command id is in the log or
// stands twice in commits; a commit that no reader would accept;
// events.ErrNoRoom, on a disk that is nearly full; ctx's, while waiting for
// another append. After each of these nothing has happened. A
// write once begun is not called off. If it ends in any other way than well,
// whether it happened is not known, and this and every later append says
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

// lockWriting waits until no append is under way, and lets none begin; it gives
// up when ctx or the log ends.
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
		err = l.room(uint64(w.size), appendReserve)
	}
	if err != nil {
		return cmp.Or(err, w.batch.Close())
	}
	if err := l.write(w.batch, w.head); err != nil {
		return err // Pebble may still hold the batch: it is not closed
	}
	l.latest = w.latest
	for i, c := range commits {
		*c = *read[i]
	}
	return w.batch.Close()
}

// write makes a batch durable, then moves the head. When the write-ahead log
// fails, Pebble does not come back from Commit but calls Config.Fatal; if
// somebody recovers from the panic there, failed remains set.
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

// A writer makes the batch of one append.
type writer struct {
	log      *Log
	batch    *pebble.Batch
	head     head              // of the log with the batch so far
	latest   time.Time         // the newest time in it
	versions map[string]uint64 // of the tenants in the batch so far
	commands map[string]bool   // the command keys of the batch so far
	size     int
}

// addAll puts commits and the new head into the batch, and gives the commits
// as they will be read.
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

// add puts one commit into the batch, and gives it as it will be read.
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

// checkVersion refuses a tenant version that is not the next.
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
