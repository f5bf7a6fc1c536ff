package eventlog

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postern-im/postern/events"
)

// Verify checks the whole log: each record against the chain, each index entry
// against its record, each tenant's versions for gaps, and the hashes that the log
// knows of its origins and its generation. It returns the first bad
// position as *events.CorruptError. The log can be used meanwhile.
func (l *Log) Verify(ctx context.Context) error {
	return l.VerifyEach(ctx, func(*events.Commit) error { return nil })
}

// VerifyEach is Verify and also calls fn with each commit, as Read does. Only
// when it has returned nil are all indexes known to be good.
func (l *Log) VerifyEach(ctx context.Context, fn func(*events.Commit) error) error {
	if err := l.use(); err != nil {
		return err
	}
	defer l.users.Done()
	seed := maphash.MakeSeed()
	var want sums
	var index [len(indexes)]indexer
	versions := map[string]*uint64{}
	var last events.Position
	var latest time.Time
	err := l.Read(ctx, 1, func(c *events.Commit) error {
		last = c.Position
		version := versions[c.Tenant]
		if version == nil {
			version = new(uint64)
			versions[strings.Clone(c.Tenant)] = version // a clone, because the commit's memory is reused
		}
		if c.TenantVersion != *version+1 {
			return &events.CorruptError{Position: c.Position,
				Err: fmt.Errorf("version %d of tenant %q follows %d", c.TenantVersion, c.Tenant, *version)}
		}
		*version++
		for i, e := range l.entriesOf(&index, c, &latest) {
			want[i] += sumOf(seed, e.key, e.value)
		}
		return fn(c)
	})
	if err != nil {
		return err
	}
	known := []head{}
	for _, o := range l.Origins() {
		known = append(known, head{o.Position, o.Hash})
	}
	if g, _, bound := l.Generation(); bound && g.Position <= last { // otherwise the copy is incomplete
		known = append(known, head{g.Position, g.Hash})
	}
	for _, h := range known {
		if hash, err := l.hashAt(h.position); h.position > 0 && (err != nil || hash != h.hash) {
			return &events.CorruptError{Position: h.position, Err: cmp.Or(err, errChain)}
		}
	}
	got, err := l.sumIndexes(ctx, seed, last)
	if err == nil && got == want {
		return nil
	}
	if stop := l.interrupted(ctx); stop != nil {
		return stop
	}
	return cmp.Or(l.findIndexError(ctx, last), err)
}

// indexes are the prefixes of the indexes, in the order of entriesOf's results.
var indexes = [...]string{prefixTenant, prefixTime, prefixCommand}

// sums holds a sum for each index: the sum of a keyed hash of each entry, which
// does not depend on their order. One pass over an index thus shows that it
// holds exactly the expected entries.
type sums [len(indexes)]uint64

func sumOf(seed maphash.Seed, key, value []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	h.Write(key)
	h.WriteByte(byte(len(value))) // separates key and value
	h.Write(value)
	return h.Sum64()
}

// entriesOf returns the entries that this log must have for a commit, and
// updates latest with the commit's time. Each index has its own indexer.
func (l *Log) entriesOf(index *[len(indexes)]indexer, c *events.Commit, latest *time.Time) [len(indexes)]entry {
	all := [...]entry{index[0].tenant(c), index[1].time(c, *latest), index[2].command(c)}
	if !l.timesMarked {
		all[1].value = []byte(inOrder) // a log whose entries have no marks
	}
	if c.Time.After(*latest) {
		*latest = c.Time
	}
	return all
}

// sumIndexes sums the index entries of the commits up to last.
func (l *Log) sumIndexes(ctx context.Context, seed maphash.Seed, last events.Position) (got sums, err error) {
	for i, prefix := range indexes {
		err := l.scanIndex(ctx, prefix, last, func(key, value []byte) {
			got[i] += sumOf(seed, key, value)
		})
		if err != nil {
			return got, err
		}
	}
	return got, nil
}

// scanIndex calls fn with the entries of one index for commits up to last.
func (l *Log) scanIndex(ctx context.Context, prefix string, last events.Position, fn func(key, value []byte)) error {
	iter, err := l.db.NewIter(&pebble.IterOptions{LowerBound: []byte(prefix), UpperBound: after(prefix)})
	if err != nil {
		return err
	}
	for valid := iter.First(); valid && err == nil; valid = iter.Next() {
		var value []byte
		if value, err = iter.ValueAndErr(); err != nil {
			break
		}
		named := iter.Key()
		if prefix == prefixCommand {
			named = value
		}
		var p events.Position
		if p, err = positionOf(named); err == nil && p <= last {
			fn(iter.Key(), value)
		}
		err = cmp.Or(err, l.interrupted(ctx))
	}
	return cmp.Or(err, iter.Error(), iter.Close())
}

// findIndexError looks for the first commit with a missing entry, and then for
// an index with an entry that belongs to no commit.
func (l *Log) findIndexError(ctx context.Context, last events.Position) error {
	var latest time.Time
	var index [len(indexes)]indexer
	err := l.Read(ctx, 1, func(c *events.Commit) error {
		for _, want := range l.entriesOf(&index, c, &latest) {
			if err := l.verifyEntry(want); err != nil {
				return &events.CorruptError{Position: c.Position, Err: err}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, prefix := range indexes {
		var n events.Position
		if err := l.scanIndex(ctx, prefix, last, func(_, _ []byte) { n++ }); err != nil {
			return err
		}
		if n != last {
			return fmt.Errorf("eventlog: index %q has %d entries for %d commits: %w", prefix, n, last, errIndex)
		}
	}
	return nil
}

// verifyEntry checks one index entry.
func (l *Log) verifyEntry(want entry) error {
	got, found, err := l.get(string(want.key))
	if err != nil {
		return err
	}
	if !found || !bytes.Equal(got, want.value) {
		return fmt.Errorf("%w: %q", errIndex, want.key)
	}
	return nil
}
