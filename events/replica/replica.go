// Package replica keeps the logs of a cluster's nodes alike. It puts commits into
// one order with the other nodes, takes that order into this node's log, and proves
// to gateways how much of the order this node knows.
//
// A Sequencer orders entries: batches of commits, ticks, and the generation as the
// first entry. Each node reads the same entries in the same order and decides by one
// rule which batches become history: a batch for the next position is taken, a batch
// for a position that is taken lost the race. The outcome of an append is read from
// the node's own log, never from an answer, so a repeated or late offer does no
// harm. A node applies an entry as soon as it is ordered, and tells the others its
// position once its own disk has it.
//
// A node that finds anything else stops for good: an entry or a position that is
// missing, another commit than another node has, an entry of another cluster, an order
// that has lost what this node has applied. Failure then says why, and the node must
// decide nothing.
//
// Freshness needs no clock of a node. A gateway sends a challenge each second. Each
// node offers a tick each second with the challenges that it has heard. A node that
// has applied the tick knows everything that was acknowledged before the gateway
// sent the challenge, and says so with each answer: see Prove. The gateway compares
// the challenge with its own clock.
//
// The package never writes a commit that the order does not have, and it removes
// none.
package replica

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-im/postern/events"
)

// A Log is this node's log. Package events/eventlog documents the methods.
type Log interface {
	Head() (events.Position, [32]byte)
	Wait(ctx context.Context, after events.Position) (events.Position, error)
	Commit(p events.Position) (events.Commit, error)
	Prepare(at events.Position, commits ...*events.Commit) ([][]byte, error)
	Take(ctx context.Context, to events.Cursor, records [][]byte) error
	Settle(ctx context.Context) error
	Durable() (events.Position, [32]byte)
	Cursor() (events.Cursor, bool)
	Bind(ctx context.Context, g events.Generation, creator bool) error
	Generation() (g events.Generation, creator, ok bool)
}

// Config configures a Replica. The fields down to Peers are required.
type Config struct {
	// Node is this node's name in the cluster.
	Node string
	// Cluster is the cluster's name.
	Cluster string
	// Log is this node's log. Only the Replica writes to it while Run runs.
	Log Log
	// Sequencer orders the entries of all nodes.
	Sequencer Sequencer
	// Peers reach the other nodes.
	Peers Peers
	// Data names this node's data. It tells two nodes with one name apart, and a
	// node that has lost its disk from the node that it was.
	Data string
	// Boot is a random number of this process; zero means that New draws it.
	Boot uint64
	// Level is the highest event number that this node reads; zero means
	// events.Level.
	Level uint64
	// Release is the version of this node's program, for operators.
	Release string
	// Now is this node's clock, for what it tells operators; nil means time.Now. No
	// decision depends on it.
	Now func() time.Time
	// Logger logs progress and failures. Nil means slog.Default().
	Logger *slog.Logger
}

// A Replica is this node's part in the cluster. Its methods may be called
// concurrently.
type Replica struct {
	cfg Config

	// writing is held by the one Append that runs. It is a channel, so that waiting
	// for it can be cancelled.
	writing chan struct{}

	// began is signalled when the replica begins to follow the order.
	began chan struct{}
	// news is signalled when this node has something new to tell.
	news chan struct{}
	// taken is signalled when the log has taken records that are not durable yet.
	taken chan struct{}

	// barriers numbers the calls of Barrier, and this process's first ticks. The
	// numbers begin after firstBarrier.
	barriers     atomic.Uint64
	firstBarrier uint64

	// reading is the present pass over the order. Only follow and its callback use
	// it.
	reading reading

	// mu guards the fields below. It is never held during I/O.
	mu         sync.Mutex
	phase      Phase
	failure    error // the reason why the replica has stopped for good
	generation events.Generation
	applied    uint64 // the number of the newest entry that has been applied
	foreign    uint64 // entries of other generations
	// caughtUp is set when this node has applied a tick that this process has offered.
	// Until then, ticks prove nothing: see believe.
	caughtUp bool
	mute     bool // ticks were applied, but none that this process has offered
	lastTick time.Time
	proofs   proofs
	heard    heard
	roster   roster
	recent   recent
	decides  events.Position // see Decides
	// changed is closed and replaced when this node or another tells something new.
	changed chan struct{}
}

// A Phase is a stage in the life of a replica.
type Phase uint8

// The phases, in their order.
const (
	Joining   Phase = iota // it looks for the order's generation
	Copying                // it copies the commits before the generation from a peer
	Following              // it follows the order
	Stopped                // it has stopped for good: see Failure
)

func (p Phase) String() string {
	switch p {
	case Joining:
		return "joining"
	case Copying:
		return "copying"
	case Following:
		return "following"
	}
	return "stopped"
}

// New returns a Replica that does nothing until Run.
func New(cfg Config) (*Replica, error) {
	if cfg.Node == "" || len(cfg.Node) > maxName || len(cfg.Data) > maxName {
		return nil, fmt.Errorf("replica: a node needs a name of at most %d bytes", maxName)
	}
	if err := events.CheckClusterName(cfg.Cluster); err != nil {
		return nil, fmt.Errorf("replica: %w", err)
	}
	if cfg.Log == nil || cfg.Sequencer == nil || cfg.Peers == nil {
		return nil, errors.New("replica: a node needs a log, a sequencer and peers")
	}
	if cfg.Boot == 0 {
		var b [8]byte
		rand.Read(b[:]) // never fails
		cfg.Boot = binary.BigEndian.Uint64(b[:])
	}
	cfg.Level = cmp.Or(cfg.Level, events.Level)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	if len(cfg.Release) > maxName {
		cfg.Release = cfg.Release[:maxName]
	}
	r := &Replica{
		cfg: cfg, writing: make(chan struct{}, 1), began: make(chan struct{}, 1),
		news: make(chan struct{}, 1), taken: make(chan struct{}, 1), changed: make(chan struct{}),
		firstBarrier: newBarriers(),
	}
	r.barriers.Store(r.firstBarrier)
	r.proofs.own = r.barrierName()
	return r, nil
}

// start begins a new pass over the order, at the log's cursor.
func (r *Replica) start() {
	r.mu.Lock()
	generation := r.generation
	r.mu.Unlock()
	cursor, _ := r.cfg.Log.Cursor()
	position, hash := r.cfg.Log.Head()
	r.reading = reading{generation: generation, cursor: cursor, head: head{position, hash}}
}

// take applies entries: it takes their records into the log, and then believes
// their ticks. It is the callback of Sequencer.Follow.
func (r *Replica) take(ctx context.Context, entries []Entry) error {
	for len(entries) > 0 {
		position, hash := r.cfg.Log.Head()
		s, n, planned := r.reading.plan(head{position, hash}, entries)
		if len(s.records) > 0 {
			if err := r.ingest(ctx, s); err != nil {
				return err
			}
		}
		if err := r.believe(s, r.reading.last, r.reading.begun); err != nil {
			return err
		}
		if planned != nil {
			return planned
		}
		entries = entries[n:]
	}
	return nil
}

// ingest takes a step's records and cursor into the log together. They can be read at
// once, because a majority of the voters has them on disk; this node tells the others
// of them when its own disk has them too: see runSettle. A log that refuses the
// records has other commits than the order.
func (r *Replica) ingest(ctx context.Context, s step) error {
	err := r.cfg.Log.Take(ctx, s.cursor, s.records)
	if refused, ok := errors.AsType[*events.RecordError](err); ok {
		return &stopError{refused}
	}
	select {
	case r.taken <- struct{}{}:
	default:
	}
	return err
}

// believe takes the proofs of a step whose records are in the log. It first compares
// the other nodes' commits with its own.
//
// A process that has just started may know less than the process before it, which
// decided from commits that its disk had not synced. Old ticks in the order would
// then prove an old state once more. Therefore ticks count only from the first tick
// that this process has offered itself: the order has everything before it that the
// process before knew.
func (r *Replica) believe(s step, applied uint64, begun bool) error {
	for _, t := range s.ticks {
		if t.Position == 0 {
			continue
		}
		own, err := r.hashAt(t.Position)
		if err != nil {
			return fmt.Errorf("compare the commits at %d: %w", t.Position, err)
		}
		if own != t.Hash {
			return forked(t.Node, t.Position, t.Hash, own)
		}
	}
	now := r.cfg.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if begun && r.phase < Following {
		r.phase = Following
		r.announce()
		select {
		case r.began <- struct{}{}:
		default:
		}
	}
	r.foreign += s.foreign
	if s.head.position > 0 {
		r.recent.add(s.head)
	}
	for _, t := range s.ticks {
		if r.caughtUp = r.caughtUp || r.isOwn(&t.tick); !r.caughtUp {
			continue
		}
		if t.seq > r.applied { // otherwise the node reads it again, and it may be old
			r.lastTick = now
			if r.isOthers(&t.tick) {
				r.roster.twin(now)
			}
		}
		r.proofs.add(t.at.position, t.Challenges, now)
	}
	if len(s.ticks) > 0 {
		r.mute = !r.caughtUp
		r.change() // a Barrier may wait for one of them
	}
	r.applied = max(r.applied, applied)
	return nil
}

// isOwn reports whether this process has offered a tick.
func (r *Replica) isOwn(t *tick) bool {
	return t.Node == r.cfg.Node && slices.ContainsFunc(t.Challenges, func(c challenge) bool {
		return c.Gateway == r.barrierName() && c.Number > r.firstBarrier && c.Number <= r.barriers.Load()
	})
}

// isOthers reports whether another process with this node's name has offered a tick. Two
// processes with one copied data folder have log servers of one name, which do not
// connect to each other: they may hear nothing of each other but their ticks.
func (r *Replica) isOthers(t *tick) bool {
	return t.Node == r.cfg.Node && slices.ContainsFunc(t.Challenges, func(c challenge) bool {
		return c.Gateway == r.barrierName() && !sameRun(c.Number, r.firstBarrier)
	})
}

// hashAt returns the hash of this log's commit at a position up to the head.
func (r *Replica) hashAt(p events.Position) ([32]byte, error) {
	position, hash := r.cfg.Log.Head()
	if p == position {
		return hash, nil
	}
	next, err := r.cfg.Log.Commit(p + 1)
	return next.Previous, err
}

// tick offers the next tick.
func (r *Replica) tick() {
	position, hash := r.cfg.Log.Durable()
	r.mu.Lock()
	if r.phase != Following {
		r.mu.Unlock()
		return
	}
	// The number shows this process that the tick is its own, and another process with
	// this node's name that it is not: see isOwn and isOthers.
	r.heard.add(r.barrierName(), r.barriers.Add(1))
	t := tick{
		Node: r.cfg.Node, Generation: r.generation.ID,
		Position: position, Hash: hash, Level: r.cfg.Level,
		Challenges: r.heard.next(),
	}
	r.mu.Unlock()
	r.cfg.Sequencer.Offer(appendTick(nil, &t))
}

// tell sends this node's state to the other nodes.
func (r *Replica) tell() {
	s := r.state()
	r.cfg.Peers.Tell(appendState(nil, &s))
}

// state returns what this node tells about itself. Its position counts for a majority,
// so it is one that this node's disk has. The View may be ahead of it.
func (r *Replica) state() state {
	position, hash := r.cfg.Log.Durable()
	now := r.cfg.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	age := uint64(noTick)
	if !r.lastTick.IsZero() {
		age = uint64(max(now.Sub(r.lastTick), 0) / time.Millisecond)
	}
	return state{
		Node: r.cfg.Node, Boot: r.cfg.Boot, Data: r.cfg.Data, Generation: r.generation.ID,
		Position: position, Hash: hash, Level: r.cfg.Level, Decides: r.decides,
		Clock: uint64(max(now.UnixMilli(), 0)), Release: r.cfg.Release, Age: age, Failed: r.phase == Stopped,
	}
}

// told takes the state of another node. It stops this node if both have another
// commit at one position.
func (r *Replica) told(data []byte) {
	s, known, err := readState(data)
	if err != nil || !known {
		return // it informs, and the next one comes in a second
	}
	now := r.cfg.Now()
	var fork error
	twice := false
	r.mu.Lock()
	switch {
	case s.Node != r.cfg.Node:
		before := r.roster.members[s.Node].Twice
		r.roster.add(&s, now)
		twice = !before && r.roster.members[s.Node].Twice
		r.change()
		own, known := r.recent.at(s.Position)
		if known && s.Generation == r.generation.ID && own != s.Hash {
			fork = forked(s.Node, s.Position, s.Hash, own)
		}
	case s.Boot != r.cfg.Boot:
		r.roster.twin(now)
	}
	r.mu.Unlock()
	if twice {
		r.cfg.Logger.Error("two nodes use one id, and neither counts: stop one of them, and give it another id and an empty data folder", "node", s.Node)
	}
	if fork != nil {
		r.stop(fork)
	}
}

// Decides takes the position of the View from which this node decides.
func (r *Replica) Decides(p events.Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.decides = p
	r.announce()
}

// announce makes runTell tell this node's state soon. The caller holds mu.
func (r *Replica) announce() {
	r.change()
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// change wakes the callers of Changed. The caller holds mu.
func (r *Replica) change() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// Changed returns a channel that is closed when Members would return a newer list.
func (r *Replica) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// Fail stops the replica for good, because this node cannot decide from its log any more.
// The other nodes learn it from this node's state. The caller reports the reason.
func (r *Replica) Fail(reason error) (first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure != nil {
		return false
	}
	r.failure, r.phase = reason, Stopped
	r.announce()
	return true
}

// stop stops the replica for good, and reports the reason.
func (r *Replica) stop(reason error) {
	if r.Fail(reason) {
		r.cfg.Logger.Error("this node has stopped deciding: it no longer agrees with the cluster", "error", reason)
	}
}

// Heard takes a challenge that a gateway has sent to this node. The caller has
// checked that it comes from the gateway.
func (r *Replica) Heard(gateway string, challenge uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard.add(gateway, challenge)
}

// Prove returns the newest proven challenge of the gateway's run that sent a
// challenge, for a View at a position: the View includes everything that was
// acknowledged before the gateway sent the returned challenge. It returns 0 if
// there is no proof.
func (r *Replica) Prove(gateway string, challenge uint64, at events.Position) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure != nil {
		return 0
	}
	return r.proofs.newest(gateway, challenge, at)
}

// following returns the generation, and whether the replica follows its order.
func (r *Replica) following() (events.Generation, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.generation, r.phase == Following
}
