package eventlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postern-im/postern/events"
)

var (
	errChain = errors.New("the record does not match the hash chain")
	errGap   = errors.New("no record")
	errIndex = errors.New("the index names another record")
)

// Read calls fn with the commits from a position (0 and 1 both mean the first)
// to the head at the time of the call, in order. Each commit has been checked
// against the hash chain before. *events.CorruptError names the first position
// that fails the check. A commit belongs to fn only until fn returns, because
// later commits are read into the same memory. To keep it, fn clones it; the
// strings and events in it may be kept without cloning. fn may append to the
// log. If fn returns an error, Read ends and returns it unchanged. If from is the
// position after the head, there is nothing to read. If from is later, the error
// is events.ErrNoSuchPosition.
func (l *Log) Read(ctx context.Context, from events.Position, fn func(*events.Commit) error) error {
	if err := l.use(); err != nil {
		return err
	}
	defer l.users.Done()
	h := l.visible()
	from = max(from, 1)
	if from > h.position+1 {
		return fmt.Errorf("eventlog: read from %d, the head is at %d: %w", from, h.position, events.ErrNoSuchPosition)
	}
	if from > h.position {
		return nil
	}
	c, err := l.chain(from, h, false)
	if err != nil {
		return err
	}
	for p := from; p <= h.position && err == nil; p++ {
		if err = l.interrupted(ctx); err != nil {
			break
		}
		var commit *events.Commit
		if commit, err = c.next(); err == nil {
			err = fn(commit)
			c.free = commit
		}
	}
	return cmp.Or(err, c.iter.Close())
}

// interrupted returns the reason to end a long read early.
func (l *Log) interrupted(ctx context.Context) error {
	select {
	case <-l.closing:
		return events.ErrClosed
	default:
		return ctx.Err()
	}
}

// Commit returns the commit at a position, checked against the next one.
func (l *Log) Commit(p events.Position) (events.Commit, error) {
	if err := l.use(); err != nil {
		return events.Commit{}, err
	}
	defer l.users.Done()
	return l.commit(p, l.visible())
}

func (l *Log) commit(p events.Position, h head) (events.Commit, error) {
	if p == 0 || p > h.position {
		return events.Commit{}, fmt.Errorf("eventlog: commit %d, the head is at %d: %w", p, h.position, events.ErrNoSuchPosition)
	}
	c, err := l.chain(p, h, false)
	if err != nil {
		return events.Commit{}, err
	}
	commit, err := c.next()
	if err := cmp.Or(err, c.iter.Close()); err != nil {
		return events.Commit{}, err
	}
	return *commit, nil
}

// ByCommand returns the commit of a tenant's command, if the log has it.
func (l *Log) ByCommand(tenant, commandID string) (events.Commit, bool, error) {
	if err := l.use(); err != nil {
		return events.Commit{}, false, err
	}
	defer l.users.Done()
	if len(tenant) > events.MaxID || len(commandID) > events.MaxID {
		return events.Commit{}, false, nil // no commit has ids this long
	}
	h := l.visible()
	v, found, err := l.get(keyCommand(tenant, commandID))
	if err != nil || !found {
		return events.Commit{}, false, err
	}
	n, err := fromU64(v)
	if err != nil {
		return events.Commit{}, false, fmt.Errorf("eventlog: command index: %w", err)
	}
	p := events.Position(n)
	if p > h.position {
		return events.Commit{}, false, nil // not shown yet
	}
	commit, err := l.commit(p, h)
	if err == nil && (commit.Tenant != tenant || commit.CommandID != commandID) {
		err = &events.CorruptError{Position: p, Err: errIndex}
	}
	return commit, err == nil, err
}

// Tenant calls fn with one tenant's commits from a position to the head, in
// order. Each is checked against the next commit of the log, and the tenant's
// versions are checked for gaps. It is otherwise like Read, except that from
// may be any position and fn may keep each commit.
func (l *Log) Tenant(ctx context.Context, tenant string, from events.Position, fn func(*events.Commit) error) error {
	if err := l.use(); err != nil {
		return err
	}
	defer l.users.Done()
	if len(tenant) > events.MaxID {
		return nil
	}
	h := l.visible()
	iter, err := l.db.NewIter(&pebble.IterOptions{
		LowerBound: []byte(keyTenant(tenant, from)),
		UpperBound: []byte(keyTenant(tenant, h.position+1)),
	})
	if err != nil {
		return err
	}
	records, err := l.records(h)
	if err != nil {
		return cmp.Or(err, iter.Close())
	}
	version, known := uint64(0), from <= 1 // the previous commit's
	for valid := iter.First(); valid && err == nil; valid = iter.Next() {
		if err = l.interrupted(ctx); err != nil {
			break
		}
		var commit *events.Commit
		if commit, err = records.indexed(iter, tenant); err != nil {
			break
		}
		if known && commit.TenantVersion != version+1 {
			err = &events.CorruptError{Position: commit.Position, Err: errIndex}
			break
		}
		version, known = commit.TenantVersion, true
		err = fn(commit)
	}
	return cmp.Or(err, iter.Error(), records.iter.Close(), iter.Close())
}

// Newest calls fn with at most limit commits before a position, the newest
// first. The position 0 means past the head. Each commit is checked against the
// next one, and fn may keep it. It is otherwise like Read.
func (l *Log) Newest(ctx context.Context, before events.Position, limit int, fn func(*events.Commit) error) error {
	if err := l.use(); err != nil {
		return err
	}
	defer l.users.Done()
	h := l.visible()
	records, err := l.records(h)
	if err != nil {
		return err
	}
	p := h.position
	if before != 0 {
		p = min(p, before-1)
	}
	for ; p > 0 && limit > 0 && err == nil; p, limit = p-1, limit-1 {
		if err = cmp.Or(l.interrupted(ctx), records.to(p)); err != nil {
			break
		}
		var commit *events.Commit
		if commit, err = records.next(); err == nil {
			err = fn(commit)
		}
	}
	return cmp.Or(err, records.iter.Close())
}

// NewestOf is Newest for one tenant's commits. It finds them by the tenant's
// index, so other tenants' commits cost nothing. The versions are checked for
// gaps.
func (l *Log) NewestOf(ctx context.Context, tenant string, before events.Position, limit int, fn func(*events.Commit) error) error {
	if err := l.use(); err != nil {
		return err
	}
	defer l.users.Done()
	if len(tenant) > events.MaxID {
		return nil
	}
	h := l.visible()
	end := h.position + 1
	if before != 0 {
		end = min(end, before)
	}
	iter, err := l.db.NewIter(&pebble.IterOptions{
		LowerBound: []byte(keyTenant(tenant, 0)),
		UpperBound: []byte(keyTenant(tenant, end)),
	})
	if err != nil {
		return err
	}
	records, err := l.records(h)
	if err != nil {
		return cmp.Or(err, iter.Close())
	}
	version := uint64(0) // the following commit's; zero: unknown
	for valid := iter.Last(); valid && limit > 0 && err == nil; valid, limit = iter.Prev(), limit-1 {
		if err = l.interrupted(ctx); err != nil {
			break
		}
		var commit *events.Commit
		if commit, err = records.indexed(iter, tenant); err != nil {
			break
		}
		if version != 0 && commit.TenantVersion != version-1 {
			err = &events.CorruptError{Position: commit.Position, Err: errIndex}
			break
		}
		version = commit.TenantVersion
		err = fn(commit)
	}
	return cmp.Or(err, iter.Error(), records.iter.Close(), iter.Close())
}

// indexed returns the commit of the tenant index entry at an iterator.
func (c *chain) indexed(entry *pebble.Iterator, tenant string) (*events.Commit, error) {
	version, err := entry.ValueAndErr()
	if err != nil {
		return nil, err
	}
	p, err := positionOf(entry.Key())
	if err != nil {
		return nil, err
	}
	if p == 0 {
		return nil, errIndex
	}
	if err := c.to(p); err != nil {
		return nil, err
	}
	commit, err := c.next()
	if err != nil {
		return nil, err
	}
	if commit.Tenant != tenant || u64(commit.TenantVersion) != string(version) {
		return nil, &events.CorruptError{Position: p, Err: errIndex}
	}
	return commit, nil
}

// Since returns the position of the first commit, in the order of times, that
// is not before t. Clocks may step back, so some later positions may have
// earlier times. found is false if all commits are before t.
func (l *Log) Since(t time.Time) (p events.Position, found bool, err error) {
	if err := l.use(); err != nil {
		return 0, false, err
	}
	defer l.users.Done()
	h := l.visible()
	iter, err := l.db.NewIter(&pebble.IterOptions{
		LowerBound: []byte(keyTime(t, 0)),
		UpperBound: after(prefixTime),
	})
	if err != nil {
		return 0, false, err
	}
	for valid := iter.First(); valid && err == nil && !found; valid = iter.Next() {
		p, err = positionOf(iter.Key())
		found = err == nil && p <= h.position
	}
	if err := cmp.Or(err, iter.Error(), iter.Close()); err != nil || !found {
		return 0, false, err
	}
	return p, true, nil
}

// tenantVersion returns the version of a tenant's newest commit, zero if it has
// none. Only the running write may call it: only then does Pebble show nothing past
// the head.
func (l *Log) tenantVersion(tenant string) (uint64, error) {
	if version := l.versions[tenant]; version != nil {
		return *version, nil
	}
	prefix := tenantPrefix(prefixTenant, tenant)
	iter, err := l.db.NewIter(&pebble.IterOptions{LowerBound: []byte(prefix), UpperBound: after(prefix)})
	if err != nil {
		return 0, err
	}
	var version uint64
	if iter.Last() {
		version, err = fromU64(iter.Value())
	}
	return version, cmp.Or(err, iter.Error(), iter.Close())
}

// lastPosition returns the position of the newest record.
func (l *Log) lastPosition() (events.Position, error) {
	iter, err := l.db.NewIter(&pebble.IterOptions{LowerBound: []byte(prefixCommit), UpperBound: after(prefixCommit)})
	if err != nil {
		return 0, err
	}
	var p events.Position
	if iter.Last() {
		p, err = positionOf(iter.Key())
	}
	return p, cmp.Or(err, iter.Error(), iter.Close())
}
