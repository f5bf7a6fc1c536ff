package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/projections"
)

const (
	// defaultSnapshotEvery is the number of commits between two snapshots. A start
	// folds at most about as many, which takes about a second.
	defaultSnapshotEvery = 100_000
	// A node that stops writes a last snapshot if the newest one is at least
	// SnapshotEvery/lastSnapshotShare commits old. lastSnapshotWithin bounds the
	// time for it.
	lastSnapshotShare  = 10
	lastSnapshotWithin = 10 * time.Second

	// The check of the commits before the snapshot reads at most checkStep commits
	// every checkPause. It thus uses only a part of one core, and checks a million
	// commits in ten seconds.
	checkStep  = 1000
	checkPause = 10 * time.Millisecond
)

// Snapshots stores encoded Views, so that a start need not fold the whole log. See
// events/eventlog for the guarantees. WriteSnapshot replaces a snapshot at the same
// position, and deletes it if the disk has no room for the new one.
type Snapshots interface {
	Snapshot(ctx context.Context, atMost events.Position) (at events.Position, r io.ReadCloser, found bool, err error)
	WriteSnapshot(ctx context.Context, at events.Position, write func(io.Writer) error) error
}

// beginning describes how the node has started. fold writes it before the first
// View is published. After that only checkPast changes it: see past.
type beginning struct {
	snapshot events.Position // of the snapshot used; zero: none
	// past is the View in the snapshot. Only checkPast reads it, to compare it with
	// the log. It then sets past to nil to free the memory.
	past *projections.View
	long bool // the fold took long, so a snapshot is written at once
}

// newestSnapshot returns the View in the newest valid snapshot, or the View of the
// empty log if there is none. A snapshot only saves time. If one cannot be read for
// any reason, an older snapshot or the commits themselves are used instead.
func (n *Node) newestSnapshot(ctx context.Context) *projections.View {
	if n.cfg.Snapshots == nil {
		return projections.New()
	}
	for atMost := ^events.Position(0); ; {
		at, r, found, err := n.cfg.Snapshots.Snapshot(ctx, atMost)
		if err != nil {
			n.cfg.Logger.Warn("no snapshot can be read; the node folds the whole log", "error", err)
		}
		if err != nil || !found {
			return projections.New()
		}
		v, err := projections.Decode(r)
		if err := errors.Join(err, r.Close()); err == nil && v.Position() == at {
			return v
		} else if err == nil {
			n.cfg.Logger.Warn("a snapshot is skipped", "position", at, "reason", fmt.Errorf("it holds the state at %d", v.Position()))
		} else {
			n.cfg.Logger.Warn("a snapshot is skipped", "position", at, "reason", err)
		}
		if at == 0 {
			return projections.New()
		}
		atMost = at - 1
	}
}

// keepSnapshots writes a snapshot each time the log has grown by SnapshotEvery
// commits, until ctx ends or the node fails, and a last one at the end. If a
// snapshot cannot be written, the error is logged and counted, and the next one is
// written when it is due.
func (n *Node) keepSnapshots(ctx context.Context) {
	if n.cfg.Snapshots == nil {
		return
	}
	v, err := n.Await(ctx, 0)
	if err != nil {
		return
	}
	every := events.Position(n.cfg.SnapshotEvery)
	last := n.began.snapshot
	if n.began.long && v.Position() > last {
		last = n.writeSnapshot(ctx, v, last)
	}
	for ctx.Err() == nil {
		if v, err = n.Await(ctx, last+every); err != nil {
			break
		}
		last = n.writeSnapshot(ctx, v, last)
	}
	if v := n.view.Load(); n.Failure() == nil && v.Position() >= last+max(every/lastSnapshotShare, 1) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastSnapshotWithin)
		defer cancel()
		n.writeSnapshot(ctx, v, last)
	}
}

// writeSnapshot writes a snapshot and returns its position, even if writing has
// failed. If ctx ended before it was written, it returns last, because the snapshot
// is then still due.
func (n *Node) writeSnapshot(ctx context.Context, v *projections.View, last events.Position) events.Position {
	begin := time.Now()
	err := n.cfg.Snapshots.WriteSnapshot(ctx, v.Position(), v.Encode)
	switch took := time.Since(begin); {
	case err == nil:
		n.metrics.snapshot.Set(float64(v.Position()))
		n.metrics.snapshotTime.Set(took.Seconds())
		n.cfg.Logger.Info("snapshot written", "position", v.Position(), "took", took)
	case ctx.Err() != nil:
		return last
	default:
		n.metrics.snapshotsFailed.Inc()
		n.cfg.Logger.Error("snapshot not written; the next start takes longer", "position", v.Position(), "error", err)
	}
	return v.Position()
}

// errChecked stops the reading at the position of the snapshot.
var errChecked = errors.New("checked")

// checkPast reads and folds the commits before the snapshot with which the node has
// started, because the start has not read them. If a record breaks the chain or a
// commit cannot be applied, the node stops deciding, as it would have at the start.
// It also stops if the state differs from the snapshot. For example, a version of
// the program with other rules may have written the snapshot. checkPast first
// replaces such a snapshot, or deletes it if there is no room, so that the next
// start does not use it. During the check, the node holds a second View in memory.
func (n *Node) checkPast(ctx context.Context) {
	if _, err := n.Await(ctx, 0); err != nil || n.began.snapshot == 0 {
		return
	}
	begin := time.Now()
	pause := time.NewTimer(0)
	defer pause.Stop()
	b := projections.NewBuilder()
	err := n.cfg.Log.Read(ctx, 1, func(c *events.Commit) error {
		if err := b.Apply(c); err != nil {
			return err
		}
		if c.Position == n.began.snapshot {
			return errChecked
		}
		if c.Position%checkStep != 0 {
			return nil
		}
		n.metrics.checked.Set(float64(c.Position))
		select {
		case <-pause.C:
			pause.Reset(checkPause)
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	switch {
	case errors.Is(err, errChecked) && !n.samePast(ctx, b.View()):
		n.fail(fmt.Errorf("the snapshot at %d differs from the state that the log gives: restart the node", n.began.snapshot))
	case errors.Is(err, errChecked):
		n.metrics.checked.Set(float64(n.began.snapshot))
		n.cfg.Logger.Info("the log before the snapshot is checked and undamaged", "position", n.began.snapshot, "took", time.Since(begin))
	case ctx.Err() != nil:
	case err == nil: // the log ends before its snapshot
		n.fail(&events.CorruptError{Position: n.began.snapshot, Err: events.ErrNoSuchPosition})
	default:
		n.fail(fmt.Errorf("check the log before the snapshot at %d: %w", n.began.snapshot, err))
	}
}

// samePast reports whether the View v, made from the log, is equal to the snapshot.
// If not, it replaces the snapshot with v. WriteSnapshot deletes the old snapshot
// before it writes v. The old one is therefore deleted even if there is no room for
// v, unless the disk is almost full.
func (n *Node) samePast(ctx context.Context, v *projections.View) bool {
	past := n.began.past
	n.began.past = nil
	if v.Hash() == past.Hash() {
		return true
	}
	if err := n.cfg.Snapshots.WriteSnapshot(ctx, v.Position(), v.Encode); err != nil {
		n.cfg.Logger.Error("no right snapshot was written in place of a wrong one", "position", v.Position(), "error", err)
	}
	return false
}
