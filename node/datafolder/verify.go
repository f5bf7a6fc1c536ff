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

// Verify reads a log through: each record against the chain of hashes, each
// index against the records, and each snapshot against the View that its
// commits make. It returns the positions of the snapshots, newest first. The
// first fault ends it; a commit at fault is an *events.CorruptError. at is told
// each position that was read.
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
		return fmt.Errorf("the snapshot at %d is damaged; the commits up to there are good", v.Position())
	}
	of, err := projections.Decode(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return fmt.Errorf("the snapshot at %d: %w; the commits up to there are good", at, err)
	}
	if at != v.Position() || of.Hash() != v.Hash() {
		return fmt.Errorf("the snapshot at %d is damaged, or not what its commits come to; the commits up to there are good", v.Position())
	}
	return nil
}
