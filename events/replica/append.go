package replica

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/postern-im/postern/events"
)

// reofferEvery is the time between two offers of one batch. A sequencer orders a
// batch within milliseconds, so a batch that is not there after this time was most
// likely lost.
const reofferEvery = 500 * time.Millisecond

// ErrNotFollowing means that this node does not follow the common order yet.
// Nothing was offered.
var ErrNotFollowing = errors.New("this node does not follow the cluster's order yet")

// Append offers commits for the positions after an expected head, all or nothing,
// and returns nil once the order has them, durably at a majority of the voters, and
// this node's log shows them. This node's own disk may not have them yet: a caller that
// needs copies on the nodes' disks counts the Position of Members.
//
// It is like the Append of eventlog, with the same errors before the offer. Its outcome
// is read from this node's own log and from nothing else: another commit at the first
// position is an *events.ConflictError. If ctx ends while the log still has nothing
// there, the error is events.ErrUnknown: the commits may be ordered later.
func (r *Replica) Append(ctx context.Context, at events.Position, commits ...*events.Commit) error {
	select {
	case r.writing <- struct{}{}:
		defer func() { <-r.writing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	a, err := r.prepare(at, commits)
	if err != nil {
		return fmt.Errorf("append at %d: %w", at, err)
	}
	if a == nil {
		return nil // there are no commits
	}
	if err := r.await(ctx, a); err != nil {
		return fmt.Errorf("append at %d: %w", at, err)
	}
	for i, c := range commits {
		read, err := events.DecodeCommit(a.records[i])
		if err != nil {
			return fmt.Errorf("append at %d: %w", at, err)
		}
		*c = *read
	}
	return nil
}

// An attempt is an append whose batch is offered.
type attempt struct {
	at      events.Position
	records [][]byte
	hash    [32]byte // of the first record
	batch   []byte
}

// prepare makes the batch of an append. It checks the commits against this node's
// log, which has all commits before them: the batch is taken only at this head.
func (r *Replica) prepare(at events.Position, commits []*events.Commit) (*attempt, error) {
	if err := r.Failure(); err != nil {
		return nil, err
	}
	records, err := r.cfg.Log.Prepare(at, commits...)
	if err != nil {
		return nil, err
	}
	g, following := r.following()
	if !following {
		return nil, ErrNotFollowing
	}
	batch, err := appendBatch(nil, g.ID, records)
	if err != nil || len(records) == 0 {
		return nil, err
	}
	return &attempt{at, records, events.Hash(records[0]), batch}, nil
}

// await offers an attempt again and again until the log shows its outcome.
func (r *Replica) await(ctx context.Context, a *attempt) error {
	for {
		r.cfg.Sequencer.Offer(a.batch)
		pause := reofferEvery/2 + rand.N(reofferEvery)
		waiting, cancel := context.WithTimeout(ctx, pause)
		_, waited := r.cfg.Log.Wait(waiting, a.at)
		cancel()
		if done, err := r.outcome(a); done {
			return err
		}
		switch failure := r.Failure(); {
		case ctx.Err() != nil:
			return fmt.Errorf("%w: %w", events.ErrUnknown, context.Cause(ctx))
		case failure != nil:
			return fmt.Errorf("%w: %w", events.ErrUnknown, failure)
		case waited != nil && !errors.Is(waited, context.DeadlineExceeded):
			return fmt.Errorf("%w: %w", events.ErrUnknown, waited)
		}
	}
}

// outcome returns the outcome of an attempt, once this node's log has a commit at
// its first position. A batch is taken whole, so the first record decides for all.
func (r *Replica) outcome(a *attempt) (done bool, err error) {
	position, _ := r.cfg.Log.Head()
	if position <= a.at {
		return false, nil
	}
	hash, err := r.hashAt(a.at + 1)
	if err != nil {
		return true, fmt.Errorf("%w: %w", events.ErrUnknown, err)
	}
	if hash != a.hash {
		return true, &events.ConflictError{Expected: a.at, Head: position}
	}
	return true, nil
}
