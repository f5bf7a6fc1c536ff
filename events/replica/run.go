package replica

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/postern-im/postern/events"
)

const (
	// tickEvery is the time between two ticks of one node.
	tickEvery = time.Second

	// fullRate is the number of nodes up to which each offers a tick each second.
	// More nodes offer them less often, so that all together offer so many.
	fullRate = 8

	// tellEvery is the time between two states of a node that has no news.
	tellEvery = time.Second

	// tellGap is the average time between two states of a busy node at least, so that
	// a busy log does not cause a message for each commit.
	tellGap = 5 * time.Millisecond

	// tellBurst is the number of states that a node that was quiet tells without a
	// gap. A commit has two: the View has it, and the disk has it.
	tellBurst = 4

	// retryEvery is the time after which a lost connection to the sequencer or the
	// peers is tried again.
	retryEvery = time.Second

	// copyWithin bounds one try to copy commits from the peers. A try that made
	// progress is followed by another.
	copyWithin = time.Minute
)

// Run joins the cluster if this node has not yet, follows the order, offers ticks,
// and exchanges states with the other nodes. It ends with ctx. It returns an error
// if the log has failed, because the process must then restart. If the replica
// stops for another reason, Run continues, so that the other nodes and the operator
// see the node's state: see Failure.
func (r *Replica) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	all.Go(func() {
		if err := r.runFollow(ctx); err != nil {
			cancel(err)
		}
	})
	all.Go(func() {
		if err := r.runSettle(ctx); err != nil {
			cancel(err)
		}
	})
	all.Go(func() { r.runTicks(ctx) })
	all.Go(func() { r.runTell(ctx) })
	all.Go(func() {
		r.retry(ctx, "listen to the other nodes", func() error { return r.cfg.Peers.Listen(ctx, r.told) })
	})
	<-ctx.Done()
	all.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("replica: %w", err)
	}
	return nil
}

// retry calls fn again and again until ctx ends or the replica has stopped.
func (r *Replica) retry(ctx context.Context, act string, fn func() error) {
	for ctx.Err() == nil {
		err := fn()
		if err != nil && ctx.Err() == nil {
			r.cfg.Logger.Warn("cluster: "+act+" again in a second", "error", err)
		}
		if !pause(ctx, retryEvery) {
			return
		}
	}
}

// pause waits and reports whether ctx still runs.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// runFollow joins and follows until ctx ends or the replica stops. It returns an
// error if the log has failed.
func (r *Replica) runFollow(ctx context.Context) error {
	for ctx.Err() == nil && r.Failure() == nil {
		err := r.join(ctx)
		if err == nil {
			err = r.follow(ctx)
		}
		if err := r.judge(err); err != nil {
			return err
		}
		if ctx.Err() == nil && r.Failure() == nil {
			r.cfg.Logger.Warn("cluster: follow the order again in a second", "error", err)
			pause(ctx, retryEvery)
		}
	}
	return nil
}

// judge judges the error that has ended a pass over the order. It stops the replica
// for good if the error says so or if this node's log is damaged, and returns the error
// if the log has failed. Any other pass is repeated, for example while the disk is full.
func (r *Replica) judge(err error) error {
	_, stopped := errors.AsType[*stopError](err)
	corrupt, damaged := errors.AsType[*events.CorruptError](err)
	switch {
	case stopped, errors.Is(err, ErrShort), errors.Is(err, ErrGap):
		r.stop(err)
	case damaged:
		// It does not mend itself, and the commits behind it cannot be compared.
		r.stop(fmt.Errorf("%w; the disk of this node has damaged its log at position %d: check the disk (policyctl verify), "+
			"move the data folder away, and let the node join again with an empty one", err, corrupt.Position))
	case errors.Is(err, events.ErrFailed), errors.Is(err, events.ErrClosed):
		return err
	}
	return nil
}

// runSettle makes durable what the log has taken, and tells the other nodes, until ctx
// ends. Entries that come during one sync share the next one. It returns an error if
// the log has failed.
func (r *Replica) runSettle(ctx context.Context) error {
	for {
		select {
		case <-r.taken:
		case <-ctx.Done():
			return nil
		}
		if err := r.settle(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

// settle makes durable what the log shows, and has it told.
func (r *Replica) settle(ctx context.Context) error {
	if err := r.cfg.Log.Settle(ctx); err != nil {
		return fmt.Errorf("make the log durable: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.announce()
	return nil
}

// runTicks offers a tick each period and when the node begins to follow. As long
// as the order has no generation, the node that created it offers it.
func (r *Replica) runTicks(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.began:
		case <-timer.C:
		}
		r.offerGeneration()
		r.tick()
		nodes := len(r.Members())
		timer.Reset(tickEvery * time.Duration(max(nodes, fullRate)) / fullRate)
	}
}

// offerGeneration offers the generation that this node created, unless this node
// has applied an entry of its order.
func (r *Replica) offerGeneration() {
	g, creator, bound := r.cfg.Log.Generation()
	cursor, _ := r.cfg.Log.Cursor()
	_, following := r.following()
	if bound && creator && cursor.Seq == 0 && !following && r.Failure() == nil {
		r.cfg.Sequencer.Offer(events.AppendGeneration(nil, &g))
	}
}

// runTell tells this node's state when it has something new to tell, and each
// second.
func (r *Replica) runTell(ctx context.Context) {
	timer := time.NewTimer(tellEvery)
	defer timer.Stop()
	var g gaps
	for {
		r.tell()
		if wait := g.next(time.Now()); wait > 0 && !pause(ctx, wait) {
			return
		}
		timer.Reset(tellEvery)
		select {
		case <-r.news:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

// gaps spaces states out: tellBurst of them may follow each other at once, and the
// average is one each tellGap.
type gaps struct {
	paid time.Time // the time up to which the states so far use the average up
}

// next counts a state that is told now, and returns the time to wait before another.
func (g *gaps) next(now time.Time) time.Duration {
	if g.paid.Before(now) {
		g.paid = now
	}
	g.paid = g.paid.Add(tellGap)
	return g.paid.Sub(now) - (tellBurst-1)*tellGap
}

// follow follows the order from the log's cursor until an error.
func (r *Replica) follow(ctx context.Context) error {
	r.start()
	return r.cfg.Sequencer.Follow(ctx, r.reading.after(), func(entries []Entry) error {
		if err := r.Failure(); err != nil {
			return err
		}
		return r.take(ctx, entries)
	})
}
