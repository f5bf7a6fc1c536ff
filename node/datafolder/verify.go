package datafolder

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/projections"
)

// Verify reads a log completely. It checks each record against the hash chain, each
// index against the records, and each snapshot against the View made from the commits
// up to its position. It calls at with the position of each commit. It stops at the
// first fault, and returns the positions of the snapshots, newest first. If a commit
// is faulty, the error is an *events.CorruptError.
func Verify(ctx context.Context, l *eventlog.Log, at func(events.Position)) ([]events.Position, error) {
	list, err := l.Snapshots()
	if err != nil {
		return nil, err
	}
	b := projections.NewBuilder()
	err = l.VerifyEach(ctx, func(c *events.Commit) error {
		if err := b.Apply(c); err != nil {
			return &events.CorruptError{Position: c.Position, Err: err}
		}
		at(c.Position)
		if !slices.Contains(list, c.Position) {
			return nil
		}
		v := b.View()
		b = projections.BuilderFrom(v)
		return verifySnapshot(ctx, l, v)
	})
	return list, err
}

// verifySnapshot compares the snapshot at a View's position with that View.
func verifySnapshot(ctx context.Context, l *eventlog.Log, v *projections.View) error {
	at, r, found, err := l.Snapshot(ctx, v.Position())
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("the snapshot at %d is damaged; the commits up to it are undamaged", v.Position())
	}
	of, err := projections.Decode(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return fmt.Errorf("the snapshot at %d: %w; the commits up to it are undamaged", at, err)
	}
	if at != v.Position() || of.Hash() != v.Hash() {
		return fmt.Errorf("the snapshot at %d is damaged, or differs from the state that its commits give; the commits up to it are undamaged", v.Position())
	}
	return nil
}
