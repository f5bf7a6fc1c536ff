package replica

import (
	"context"
	"errors"
	"fmt"

	"github.com/postern-im/postern/events"
)

// errFirst ends the reading of the first entry.
var errFirst = errors.New("the first entry has been read")

// join binds this node's log to the order's generation, unless it is bound already,
// and copies the commits before the generation from the other nodes.
func (r *Replica) join(ctx context.Context) error {
	g, _, bound := r.cfg.Log.Generation()
	if !bound {
		var err error
		if g, err = r.findGeneration(ctx); err != nil {
			return err
		}
	}
	if g.Cluster != r.cfg.Cluster {
		return stopf("the order and the data belong to the cluster %q, and this node is configured for the cluster %q: "+
			"correct name in [cluster]; a node that is to join another cluster needs an empty data folder", g.Cluster, r.cfg.Cluster)
	}
	if !bound {
		if err := r.cfg.Log.Bind(ctx, g, false); err != nil {
			return stopOr(err, "join the cluster %q: %w", g.Cluster, err)
		}
	}
	r.mu.Lock()
	r.generation = g
	r.mu.Unlock()
	return r.copyBefore(ctx, g)
}

// stopOr stops the node, unless err means that the log has failed or ctx has ended.
func stopOr(err error, format string, args ...any) error {
	for _, other := range []error{events.ErrFailed, events.ErrClosed, events.ErrNoRoom, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, other) {
			return fmt.Errorf(format, args...)
		}
	}
	return stopf(format, args...)
}

// findGeneration reads the first entry of the order.
func (r *Replica) findGeneration(ctx context.Context) (g events.Generation, err error) {
	follow := r.cfg.Sequencer.Follow(ctx, 0, func(entries []Entry) error {
		if len(entries) == 0 {
			return nil
		}
		if g, err = events.DecodeGeneration(entries[0].Data); err != nil {
			err = stopf("the order should begin with its generation: %w", err)
		}
		return errFirst
	})
	if err == nil && g.ID == [16]byte{} {
		err = fmt.Errorf("read the generation: %w", errors.Join(follow, ctx.Err()))
	}
	return g, err
}

// copyBefore copies the commits up to the generation's position. The log checks
// that they chain, and that the last one is the generation's.
func (r *Replica) copyBefore(ctx context.Context, g events.Generation) error {
	for {
		position, _ := r.cfg.Log.Head()
		if position >= g.Position {
			return r.cfg.Log.Settle(ctx)
		}
		r.mu.Lock()
		r.phase = max(r.phase, Copying) // a node that has stopped stays so: see Fail
		r.mu.Unlock()
		within, cancel := context.WithTimeout(ctx, copyWithin)
		err := r.cfg.Peers.Copy(within, position+1, g.Position, func(records [][]byte) error {
			return r.cfg.Log.Take(within, events.Cursor{Generation: g.ID}, records)
		})
		cancel()
		if refused, ok := errors.AsType[*events.RecordError](err); ok {
			return stopf("copy the commits before the cluster's beginning: %w; remove this node's data and let it join again", refused)
		}
		if now, _ := r.cfg.Log.Head(); err == nil && now == position {
			err = errors.New("no other node has sent any")
		}
		if now, _ := r.cfg.Log.Head(); err != nil && (now == position || ctx.Err() != nil) {
			return fmt.Errorf("copy the commits from %d: %w", position+1, err)
		}
	}
}
