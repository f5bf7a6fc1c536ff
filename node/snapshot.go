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
	// defaultSnapshotEvery is how many commits a start has to fold at worst,
	// give or take those made while a snapshot was written: about a second's.
	defaultSnapshotEvery = 100_000
	// lastSnapshotShare: at its end a node writes a snapshot when it is a
	// share of SnapshotEvery behind, and within lastSnapshotWithin.
	lastSnapshotShare  = 10
	lastSnapshotWithin = 10 * time.Second

	// The records before the snapshot a node began with are checked in the
	// background, checkStep at a time and at most that many each checkPause:
	// some part of a core, and a million commits in ten seconds.
	checkStep  = 1000
	checkPause = 10 * time.Millisecond
)

// Snapshots keep what has been folded, so that the next start need not fold it
// again; see events/eventlog for what it promises. To them a View is bytes.
type Snapshots interface {
	Snapshot(ctx context.Context, atMost events.Position) (at events.Position, r io.ReadCloser, found bool, err error)
	WriteSnapshot(ctx context.Context, at events.Position, write func(io.Writer) error) error
}

// beginning is how the node has begun. fold writes it before the first View is
// published. After that only checkPast changes it: see past.
type beginning struct {
	snapshot events.Position // the one begun with; zero: none
	// past is the View that the snapshot holds. checkPast alone reads it, and
	// sets it to nil when it has compared it, so that its memory is free.
	past *projections.View
	long bool // the fold took long enough to spare the next start
}

// newestSnapshot gives the View of the newest snapshot that is one, or that of
// the empty log. A snapshot only spares time: one that cannot be read is passed
// over, whatever the reason, for an older one or for the commits themselves.
func (n *Node) newestSnapshot(ctx context.Context) *projections.View {
	if n.cfg.Snapshots == nil {
		return projections.New()
	}
	for atMost := ^events.Position(0); ; {
		at, r, found, err := n.cfg.Snapshots.Snapshot(ctx, atMost)
		if err != nil {
			n.cfg.Logger.Warn("no snapshot can be read; the whole log is folded", "error", err)
		}
		if err != nil || !found {
			return projections.New()
		}
		v, err := projections.Decode(r)
		if err := errors.Join(err, r.Close()); err == nil && v.Position() == at {
			return v
		} else if err == nil {
			n.cfg.Logger.Warn("a snapshot is passed over", "position", at, "reason", fmt.Errorf("it holds the state at %d", v.Position()))
		} else {
			n.cfg.Logger.Warn("a snapshot is passed over", "position", at, "reason", err)
		}
		if at == 0 {
			return projections.New()
		}
		atMost = at - 1
	}
}

// keepSnapshots writes a snapshot each time the log has grown by SnapshotEvery
// commits, and one at the end, until ctx ends or the node fails. One that could
// not be written is logged and counted, and tried again when the next is due.
func (n *Node) keepSnapshots(ctx context.Context) {
	if n.cfg.Snapshots == nil {
		return
	}
	v, err := n.await(ctx, 0)
	if err != nil {
		return
	}
	every := events.Position(n.cfg.SnapshotEvery)
	last := n.began.snapshot
	if n.began.long && v.Position() > last {
		last = n.writeSnapshot(ctx, v, last)
	}
	for ctx.Err() == nil {
		if v, err = n.await(ctx, last+every); err != nil {
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

// writeSnapshot writes one, and gives its position, written or not; the last
// one's when ctx has ended before it was written, for then it is still due.
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
		n.cfg.Logger.Error("snapshot not written; the next start folds more", "position", v.Position(), "error", err)
	}
	return v.Position()
}

var errChecked = errors.New("checked")

// checkPast reads what stands before the snapshot the node began with, which
// nobody has looked at: a record that is not the one the chain names stops the
// node deciding, as it would have at the start. So does a snapshot that is not
// what the records make: a version with other rules of folding may have written
// it. That one is replaced first, so that the next start is good. Meanwhile the
// node holds a second View.
func (n *Node) checkPast(ctx context.Context) {
	if _, err := n.await(ctx, 0); err != nil || n.began.snapshot == 0 {
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
		n.fail(fmt.Errorf("the snapshot at %d is not what the log makes: start again", n.began.snapshot))
	case errors.Is(err, errChecked):
		n.metrics.checked.Set(float64(n.began.snapshot))
		n.cfg.Logger.Info("the log before the snapshot is good", "position", n.began.snapshot, "took", time.Since(begin))
	case ctx.Err() != nil:
	case err == nil: // the log ends before its snapshot
		n.fail(&events.CorruptError{Position: n.began.snapshot, Err: events.ErrNoSuchPosition})
	default:
		n.fail(fmt.Errorf("check the log before the snapshot at %d: %w", n.began.snapshot, err))
	}
}

// samePast reports whether what the log makes is what the snapshot held, and
// writes the snapshot anew where it is not.
func (n *Node) samePast(ctx context.Context, v *projections.View) bool {
	past := n.began.past
	n.began.past = nil
	if v.Hash() == past.Hash() {
		return true
	}
	if err := n.cfg.Snapshots.WriteSnapshot(ctx, v.Position(), v.Encode); err != nil {
		n.cfg.Logger.Error("a wrong snapshot was not replaced", "position", v.Position(), "error", err)
	}
	return false
}
