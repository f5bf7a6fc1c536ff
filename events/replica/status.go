package replica

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/postern-im/postern/events"
)

// notReadyAfter is the time without a tick after which a node says that it is not
// ready. Each node offers a tick each second, and an election of a leader after a
// crash takes longer than this.
const notReadyAfter = 3 * time.Second

// ErrTwin means that another process uses this node's name in the cluster.
var ErrTwin = errors.New("another node uses this node's name in the cluster: give one of them another id")

// ErrMute means that this node hears the order, but the order has none of this process's
// ticks yet. That lasts a moment after each start. Without an own tick, the node gives no
// proofs: see believe.
var ErrMute = errors.New("the node hears the cluster's order, but is not heard: the order has no tick of this node since it started, " +
	"so the node gives no proofs to gateways; if this lasts, check the connection to the log servers and this node's rights there")

// Failure returns the reason why the replica has stopped for good, or nil.
func (r *Replica) Failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failure
}

// Ready returns the reason why gateways should prefer other nodes, or nil. It is a
// hint that depends on this node's clock: no decision depends on it.
func (r *Replica) Ready() error {
	now := r.cfg.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.failure != nil:
		return r.failure
	case r.roster.hasTwin(now):
		return ErrTwin
	case r.phase != Following:
		return fmt.Errorf("the node is %v the cluster", r.phase)
	case r.mute:
		return ErrMute
	case r.lastTick.IsZero():
		return errors.New("the node has not applied a tick yet")
	case now.Sub(r.lastTick) > notReadyAfter:
		return fmt.Errorf("the node has applied no tick for %v: it may be cut off", now.Sub(r.lastTick).Truncate(time.Millisecond))
	}
	return nil
}

// Members returns this node and the nodes that it has heard of since it started,
// in the order of their names. Its own entry is heard now.
func (r *Replica) Members() []Member {
	s := r.state()
	own := memberOf(&s, r.cfg.Now())
	r.mu.Lock()
	defer r.mu.Unlock()
	list := append(r.roster.list(), own)
	slices.SortFunc(list, func(a, b Member) int { return cmp.Compare(a.Node, b.Node) })
	return list
}

// A Status is what operators and metrics see of a replica.
type Status struct {
	Phase      Phase
	Failure    error // the reason why it has stopped for good; nil: it has not
	Generation events.Generation
	Position   events.Position // the head of the log
	Hash       [32]byte
	Applied    uint64 // the number of the newest entry that has been applied
	// Foreign counts the entries of other generations since the start. A node that
	// does not belong to the cluster offers them, and no node takes them.
	Foreign  uint64
	LastTick time.Time // when a tick was applied; zero: none since the start
	// Proofs are the gateways that have a proof, with the time when the newest one
	// was applied.
	Proofs    map[string]time.Time
	Sequencer SequencerState
}

// Status returns the replica's present status.
func (r *Replica) Status() Status {
	position, hash := r.cfg.Log.Head()
	sequencer := r.cfg.Sequencer.State()
	r.mu.Lock()
	defer r.mu.Unlock()
	proven := make(map[string]time.Time, len(r.proofs.gateways))
	for name, g := range r.proofs.gateways {
		if name == r.proofs.own {
			continue // this node, not a gateway
		}
		proven[name] = g.newest
	}
	return Status{
		Phase: r.phase, Failure: r.failure, Generation: r.generation,
		Position: position, Hash: hash, Applied: r.applied, Foreign: r.foreign, LastTick: r.lastTick,
		Proofs: proven, Sequencer: sequencer,
	}
}
