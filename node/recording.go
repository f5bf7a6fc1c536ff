package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postern-im/postern/audit"
)

const (
	// resumeEach is how often a node that cannot record tries again.
	resumeEach = time.Second
	// remindEach is how often it says meanwhile that it still cannot.
	remindEach = time.Minute
)

// ErrUnrecorded: the node decides nothing, because it could not record what it
// decided. It tries again by itself.
var ErrUnrecorded = errors.New("decisions cannot be recorded")

// An outage is a time in which the node cannot record.
type outage struct {
	since time.Time
	cause error // what the Recorder said first
	err   error // what Ready says
}

// stopRecording makes the node decide nothing until keepRecording has written a
// record again.
func (n *Node) stopRecording(cause error) {
	o := &outage{since: time.Now(), cause: cause, err: fmt.Errorf("%w: %w", ErrUnrecorded, cause)}
	if n.outage.CompareAndSwap(nil, o) {
		n.unrecorded <- o
	}
}

// keepRecording waits until records cannot be written, tries again until they
// can, and says so, until ctx ends. It alone lets the node decide again.
func (n *Node) keepRecording(ctx context.Context) {
	for {
		select {
		case o := <-n.unrecorded:
			n.resumeRecording(ctx, o)
		case <-ctx.Done():
			return
		}
	}
}

// resumeRecording ends an outage. What it tries to write is the record of that
// outage: so the records themselves tell of it, and every verdict given later
// stands behind that.
func (n *Node) resumeRecording(ctx context.Context, o *outage) {
	const remedy = "make room on the disk of the records, or put right what the error names; the node tries again each second and needs no restart"
	n.cfg.Logger.Error("decisions cannot be recorded: this node gives no verdict until they can", "error", o.cause, "remedy", remedy)
	said := time.Now()
	try := time.NewTicker(resumeEach)
	defer try.Stop()
	for {
		select {
		case <-try.C:
		case <-ctx.Done():
			return
		}
		now := time.Now()
		err := n.cfg.Recorder.Record([]audit.Record{{
			Kind: audit.Resumed, Time: now, Node: n.cfg.ID, Position: n.State().At.Position,
			Stopped: o.since, Cause: o.cause.Error(),
		}})
		if err == nil {
			n.cfg.Logger.Info("decisions are recorded again", "stopped", now.Sub(o.since).Truncate(time.Millisecond))
			n.outage.Store(nil)
			return
		}
		if now.Sub(said) >= remindEach {
			said = now
			n.cfg.Logger.Error("decisions still cannot be recorded: this node gives no verdict", "since", o.since, "error", err, "remedy", remedy)
		}
	}
}
