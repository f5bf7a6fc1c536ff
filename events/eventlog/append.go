package eventlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

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
	if err := l.writeRecords(w, nil); err != nil {
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

// A writer checks the records of one write, and puts them into a batch.
type writer struct {
	log      *Log
	head     head              // the log's head after the records so far
	added    []added           // the records so far
	size     int               // of them together
	latest   time.Time         // the newest time in the log with the records so far
	versions map[string]uint64 // of the tenants in the records so far
}

// An added is a record that was added, and its commit without the events.
type added struct {
	record []byte
	commit events.Commit
}

// writer returns a writer of records after the head h. The caller holds writing.
func (l *Log) writer(h head) *writer {
	return &writer{log: l, head: h, latest: l.latest, versions: map[string]uint64{}}
}

// A refusal is the reason why a record cannot be the next one. It is not an error
// of the disk.
type refusal struct {
	at  events.Position
	err error
}

func (r refusal) Error() string { return r.err.Error() }
func (r refusal) Unwrap() error { return r.err }

// addCommits adds the records of commits after an expected head, and checks them.
// It returns the commits as they will be read.
func (w *writer) addCommits(at events.Position, commits []*events.Commit) ([]*events.Commit, error) {
	if at != w.head.position {
		return nil, &events.ConflictError{Expected: at, Head: w.head.position}
	}
	if len(commits) == 0 {
		return nil, nil
	}
	if len(commits) > MaxCommits {
		return nil, fmt.Errorf("%d commits: %w", len(commits), events.ErrTooLarge)
	}
	read := make([]*events.Commit, len(commits))
	for i, given := range commits {
		c := *given
		c.Position = w.head.position + 1
		c.Previous = w.head.hash
		record := events.AppendCommit(nil, &c)
		read[i] = &events.Commit{}
		if err := w.add(record, read[i]); err != nil {
			return nil, fmt.Errorf("commit %d of %d: %w", i+1, len(commits), err)
		}
	}
	err := w.check()
	if r, ok := errors.AsType[refusal](err); ok {
		err = fmt.Errorf("commit %d of %d: %w", r.at-at, len(commits), r.err)
	}
	return read, err
}

// add adds the record of the next position, and decodes it into c. It checks the
// record by itself and against the chain; check does the rest.
func (w *writer) add(record []byte, c *events.Commit) error {
	next := w.head.position + 1
	if err := c.Decode(record); err != nil {
		return refusal{next, err}
	}
	if w.size += len(record); w.size > maxBatch {
		return events.ErrTooLarge
	}
	if c.Position != next {
		return refusal{next, positionError(c.Position)}
	}
	if c.Previous != w.head.hash {
		return refusal{next, errChain}
	}
	w.head = head{next, events.Hash(record)}
	w.added = append(w.added, added{record, *c})
	w.added[len(w.added)-1].commit.Events = nil // c may be used for the next record
	return nil
}

// check checks the records that were added against the log, and that there is
// room for them.
func (w *writer) check() error {
	if err := w.checkCommands(); err != nil {
		return err
	}
	for i := range w.added {
		if err := w.checkVersion(&w.added[i].commit); err != nil {
			return err
		}
	}
	return w.log.room(uint64(w.size), AppendReserve)
}

// put puts the records, their index entries and the new head into a batch.
func (w *writer) put(b *pebble.Batch) error {
	var index indexer
	var key [len(prefixCommit) + 8]byte
	for i := range w.added {
		c := &w.added[i].commit
		for _, e := range index.entries(c, w.latest) {
			if err := b.Set(e.key, e.value, nil); err != nil {
				return err
			}
		}
		if c.Time.After(w.latest) {
			w.latest = c.Time
		}
		if err := b.Set(appendKeyCommit(key[:0], c.Position), w.added[i].record, nil); err != nil {
			return err
		}
	}
	return b.Set([]byte(keyHead), encodeHead(w.head), nil)
}

// A command is the key of a record's command id, and the record's position.
type command struct {
	key string
	at  events.Position
}

// checkCommands refuses command ids that were used before, in the log or in the
// records. It looks them up in the order of their keys with one iterator: thus each
// block of the index is read at most once, and Bloom filters make most blocks
// unnecessary. Otherwise copying a long log would be forty times slower.
func (w *writer) checkCommands() error {
	commands := make([]command, len(w.added))
	for i := range w.added {
		c := &w.added[i].commit
		commands[i] = command{keyCommand(c.Tenant, c.CommandID), c.Position}
	}
	slices.SortFunc(commands, func(a, b command) int {
		return cmp.Or(strings.Compare(a.key, b.key), cmp.Compare(a.at, b.at))
	})
	iter, err := w.log.db.NewIter(&pebble.IterOptions{
		LowerBound: []byte(prefixCommand), UpperBound: after(prefixCommand), UseL6Filters: true,
	})
	if err != nil {
		return err
	}
	first, err := w.usedCommand(iter, commands)
	if err = cmp.Or(err, iter.Close()); err != nil || first.at == 0 {
		return err
	}
	return first
}

// usedCommand returns the refusal of the first record whose command id was used
// before, zeros if there is none. The commands are sorted.
func (w *writer) usedCommand(iter *pebble.Iterator, commands []command) (first refusal, err error) {
	refuse := func(at, used events.Position) {
		if first.at == 0 || at < first.at {
			c := &w.added[at-w.added[0].commit.Position].commit
			first = refusal{at, &events.DuplicateCommandError{Tenant: c.Tenant, CommandID: c.CommandID, Position: used}}
		}
	}
	for i, c := range commands {
		if i > 0 && c.key == commands[i-1].key {
			refuse(c.at, 0)
			continue
		}
		if !iter.SeekPrefixGE([]byte(c.key)) {
			if err := iter.Error(); err != nil {
				return first, err
			}
			continue
		}
		v, err := iter.ValueAndErr()
		if err != nil {
			return first, err
		}
		used, err := fromU64(v)
		if err != nil {
			return first, fmt.Errorf("command index: %w", err)
		}
		refuse(c.at, events.Position(used))
	}
	return first, nil
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
		return refusal{c.Position, fmt.Errorf("tenant %q is at version %d, not before %d", c.Tenant, version, c.TenantVersion)}
	}
	w.versions[c.Tenant] = c.TenantVersion
	return nil
}

// writeRecords makes the records of a writer durable, with the cursor if it is not
// nil.
func (l *Log) writeRecords(w *writer, to *events.Cursor) error {
	b := l.db.NewBatch()
	err := w.put(b)
	if to != nil {
		err = cmp.Or(err, b.Set([]byte(keyCursor), encodeCursor(*to), nil))
	}
	if err != nil {
		return cmp.Or(err, b.Close())
	}
	if err := l.write(b, w.head); err != nil {
		return err // Pebble may still hold the batch, so it is not closed
	}
	l.latest = w.latest
	l.keepVersions(w.versions)
	return b.Close()
}

// keepVersions remembers the newest versions of tenants. They must be durable.
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
