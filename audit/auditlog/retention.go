package auditlog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postern-im/postern/audit"
)

// A Retention says which records may be removed.
type Retention struct {
	// Until bounds the search: no record from then on is removed.
	Until time.Time
	// Keep returns the time from which on the records of a tenant must be kept. The
	// records of the installation, marks among them, have no tenant and are never
	// removed.
	Keep func(tenant string) time.Time
}

// pruneBatch bounds the entries that are removed with one write.
const pruneBatch = 1 << 12

// Prune removes the entries that a retention does not keep. An entry is removed if its
// newest record is older than its tenant's time. Its leaf hash stays, so the tree and
// all proofs stay as they are. A mark in the log says how far entries may be missing,
// before the first is removed; the mark names the actor. Prune returns the number of
// entries that it has removed, also with an error.
func (l *Log) Prune(ctx context.Context, at time.Time, r Retention, by string) (count uint64, err error) {
	if err := l.use(); err != nil {
		return 0, err
	}
	defer l.users.Done()
	var leaves []uint64
	scanned := errors.New("all old entries were read")
	err = l.Entries(ctx, 0, uint64(l.Tree().N), func(leaf uint64, e *audit.Entry, bad error) error {
		switch {
		case errors.Is(bad, ErrRemoved):
			return nil
		case bad != nil:
			return nil // Verify reports it; it is not ours to remove
		case e.Items[0].Time >= r.Until.UnixMicro():
			return scanned
		case len(e.Tenant) > 0 && e.Items[len(e.Items)-1].Time < r.Keep(string(e.Tenant)).UnixMicro():
			leaves = append(leaves, leaf)
		}
		return nil
	})
	if err != nil && !errors.Is(err, scanned) {
		return 0, fmt.Errorf("find entries to remove: %w", err)
	}
	if len(leaves) == 0 {
		return 0, nil
	}
	last := leaves[len(leaves)-1]
	mark := &audit.Group{At: at, Records: []audit.Record{{Kind: audit.MarkKind, Body: &audit.Mark{
		Mark: audit.PrunedMark, By: by, Values: []string{strconv.FormatUint(last, 10)},
	}}}}
	if err := l.hand(&pending{group: mark, done: make(chan error, 1)}); err != nil {
		return 0, fmt.Errorf("record that entries are removed: %w", err)
	}
	for len(leaves) > 0 {
		if err := ctx.Err(); err != nil {
			return count, err
		}
		n := min(len(leaves), pruneBatch)
		if err := l.removeEntries(leaves[:n]); err != nil {
			return count, fmt.Errorf("remove entries from %d: %w", leaves[0], err)
		}
		count += uint64(n)
		leaves = leaves[n:]
	}
	return count, nil
}

// removeEntries replaces entries by their leaf hashes.
func (l *Log) removeEntries(leaves []uint64) error {
	b := l.db.NewBatch()
	defer b.Close()
	for _, leaf := range leaves {
		v, err := l.get(key(prefixEntry, leaf))
		if err != nil {
			return err
		}
		h, err := leafHash(v)
		if err != nil {
			return &DamagedError{leaf, err}
		}
		if err := b.Set(key(prefixEntry, leaf), append([]byte{removed}, h[:]...), nil); err != nil {
			return err
		}
	}
	return b.Commit(pebble.Sync)
}
