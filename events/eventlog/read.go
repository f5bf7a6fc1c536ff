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
	errChain = errors.New("the record is not the one the chain names")
	errGap   = errors.New("no record")
	errIndex = errors.New("the index names another record")
)

// Read gives the commits from a position (0 and 1 are the first) to the head
// as it is when Read begins, in order. Each has been checked against the hash
// chain before fn sees it: *events.CorruptError names the first position that
// fails. The commit is fn's until fn returns: the next ones are read into the
// same memory. To keep it, fn clones it; strings and events of it can be kept as
// they are. fn may append to the log. An error of fn ends the reading and is
// returned as it is. From one past the head there is nothing to read; from
// further on the answer is events.ErrNoSuchPosition.
func (l *Log) Read(ctx context.Context, from events.Position, fn func(*events.Commit) error) error {
	if err := l.use(); err != nil {
		return err
	}
	defer l.users.Done()
	h := l.durable()
	from = max(from, 1)
	if from > h.position+1 {
		return fmt.Errorf("eventlog: read from %d, the head is at %d: %w", from, h.position, events.ErrNoSuchPosition)
	}
	if from > h.position {
		return nil
	}
	c, err := l.chain(from, h)
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

// interrupted says why a long read must end early.
func (l *Log) interrupted(ctx context.Context) error {
	select {
	case <-l.closing:
		return events.ErrClosed
	default:
		return ctx.Err()
	}
}

// Commit gives the commit at a position, checked against the one after it.
func (l *Log) Commit(p events.Position) (events.Commit, error) {
	if err := l.use(); err != nil {
		return events.Commit{}, err
	}
	defer l.users.Done()
	return l.commit(p, l.durable())
}

func (l *Log) commit(p events.Position, h head) (events.Commit, error) {
	if p == 0 || p > h.position {
		return events.Commit{}, fmt.Errorf("eventlog: commit %d, the head is at %d: %w", p, h.position, events.ErrNoSuchPosition)
	}
	c, err := l.chain(p, h)
	if err != nil {
		return events.Commit{}, err
	}
	commit, err := c.next()
	if err := cmp.Or(err, c.iter.Close()); err != nil {
		return events.Commit{}, err
	}
	return *commit, nil
}

// ByCommand gives the commit of a tenant's command, if the log has it.
func (l *Log) ByCommand(tenant, commandID string) (events.Commit, bool, error) {
	if err := l.use(); err != nil {
		return events.Commit{}, false, err
	}
	defer l.users.Done()
	if len(tenant) > events.MaxID || len(commandID) > events.MaxID {
		return events.Commit{}, false, nil // no commit can have them
	}
	h := l.durable()
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
		return events.Commit{}, false, nil // not durable yet
	}
	commit, err := l.commit(p, h)
	if err == nil && (commit.Tenant != tenant || commit.CommandID != commandID) {
		err = &events.CorruptError{Position: p, Err: errIndex}
	}
	return commit, err == nil, err
}

// Tenant gives one tenant's commits from a position to the head, in order.
// Each is checked against the commit after it, and their versions for gaps.
// Else as Read, but that any position may be asked from, and fn may keep each
// commit.
func (l *Log) Tenant(ctx context.Context, tenant string, from events.Position, fn func(*events.Commit) error) error {
	if err := l.use(); err != nil {
		return err
	}
	defer l.users.Done()
	if len(tenant) > events.MaxID {
		return nil
	}
	h := l.durable()
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
	version, known := uint64(0), from <= 1 // of the commit before
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

// Newest gives commits from the newest one before a position back, at most
// limit of them; before zero stands for past the head. Each is checked against
// the commit after it, and fn may keep it. Else as Read.
func (l *Log) Newest(ctx context.Context, before events.Position, limit int, fn func(*events.Commit) error) error {
	if err := l.use(); err != nil {
		return err
	}
	defer l.users.Done()
	h := l.durable()
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

// NewestOf gives one tenant's commits as Newest gives all: found by the
// tenant's index, whatever others have written since. Their versions are
// checked for gaps.
func (l *Log) NewestOf(ctx context.Context, tenant string, before events.Position, limit int, fn func(*events.Commit) error) error {
	if err := l.use(); err != nil {
		return err
	}
	defer l.users.Done()
	if len(tenant) > events.MaxID {
		return nil
	}
	h := l.durable()
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
	version := uint64(0) // of the commit after; zero: not known
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

// indexed gives the commit that the entry of the tenant index an iterator
// stands at is of.
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

// Since gives the position of the first commit, in the order of their times,
// that is not before t. Clocks may step back, so a few later positions can
// hold earlier times. found is false when all are before t.
func (l *Log) Since(t time.Time) (p events.Position, found bool, err error) {
	if err := l.use(); err != nil {
		return 0, false, err
	}
	defer l.users.Done()
	h := l.durable()
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

// tenantVersion gives the version of a tenant's newest commit; zero when it
// has none. Only for the one append under way, when Pebble shows no more than
// what is durable.
func (l *Log) tenantVersion(tenant string) (uint64, error) {
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

// lastPosition gives the position of the newest record.
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
