package eventlog

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postern-im/postern/events"
)

// Verify walks the whole log: each record against the chain, each index entry
// against its record, each tenant's versions for gaps. It reports the first
// position that fails as *events.CorruptError. The log stays in use meanwhile.
func (l *Log) Verify(ctx context.Context) error {
	if err := l.use(); err != nil {
		return err
	}
	defer l.users.Done()
	versions := map[string]uint64{}
	var last events.Position
	var latest time.Time
	err := l.Read(ctx, 1, func(c *events.Commit) error {
		last = c.Position
		versions[c.Tenant]++
		if c.TenantVersion != versions[c.Tenant] {
			return &events.CorruptError{Position: c.Position,
				Err: fmt.Errorf("version %d of tenant %q follows %d", c.TenantVersion, c.Tenant, versions[c.Tenant]-1)}
		}
		for _, want := range entries(c, latest) {
			if err := l.verifyEntry(want); err != nil {
				return &events.CorruptError{Position: c.Position, Err: err}
			}
		}
		if c.Time.After(latest) {
			latest = c.Time
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, prefix := range [...]string{prefixTenant, prefixTime, prefixCommand} {
		if err := l.verifyCount(ctx, prefix, last); err != nil {
			return err
		}
	}
	return nil
}

// verifyEntry looks for one index entry.
func (l *Log) verifyEntry(want entry) error {
	got, found, err := l.get(want.key)
	if err != nil {
		return err
	}
	if !l.timesMarked && strings.HasPrefix(want.key, prefixTime) {
		want.value = "" // of an older log, which does not say
	}
	if !found || string(got) != want.value {
		return fmt.Errorf("%w: %q", errIndex, want.key)
	}
	return nil
}

// verifyCount looks for entries of an index that no commit up to last made.
func (l *Log) verifyCount(ctx context.Context, prefix string, last events.Position) error {
	iter, err := l.db.NewIter(&pebble.IterOptions{LowerBound: []byte(prefix), UpperBound: after(prefix)})
	if err != nil {
		return err
	}
	var n events.Position
	for valid := iter.First(); valid && err == nil; valid = iter.Next() {
		named := iter.Key()
		if prefix == prefixCommand {
			named = iter.Value()
		}
		var p events.Position
		if p, err = positionOf(named); err == nil && p <= last {
			n++
		}
		err = cmp.Or(err, l.interrupted(ctx))
	}
	if err := cmp.Or(err, iter.Error(), iter.Close()); err != nil {
		return err
	}
	if n != last {
		return fmt.Errorf("eventlog: index %q has %d entries for %d commits: %w", prefix, n, last, errIndex)
	}
	return nil
}
