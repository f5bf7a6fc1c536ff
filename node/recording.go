package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	audit "github.com/postern-im/postern/audit/jsonl"
)

const (
	// resumeEach is the time between two attempts to record again.
	resumeEach = time.Second
	// remindEach is the time between two log lines about an outage.
	remindEach = time.Minute
)

// ErrUnrecorded means that the node gives no verdict, because a decision could not
// be recorded. The node tries again by itself.
var ErrUnrecorded = errors.New("decisions cannot be recorded")

// An outage is a time in which the node cannot record decisions.
type outage struct {
	since time.Time
	cause error // the first error of the Recorder
	err   error // the error that Ready returns
}

// stopRecording begins an outage, unless there is one. The node gives no verdict
// until keepRecording has written a record again.
func (n *Node) stopRecording(cause error) {
	o := &outage{since: time.Now(), cause: cause, err: fmt.Errorf("%w: %w", ErrUnrecorded, cause)}
	if n.outage.CompareAndSwap(nil, o) {
		n.unrecorded <- o
	}
}

// keepRecording waits for outages and ends each with resumeRecording, until ctx
// ends. No other function ends an outage.
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

// resumeRecording logs an outage, and tries each second to write a record about it.
// When this record is written, the outage ends. The records therefore show the
// outage before the first verdict that follows it.
func (n *Node) resumeRecording(ctx context.Context, o *outage) {
	const remedy = "make room on the disk of the records, or remove the cause that the error names; the node tries again each second and needs no restart"
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
