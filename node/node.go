// Package node is a policy node: it folds the log into a View, follows it,
// answers what gateways ask by that View, and carries out commands.
//
// It promises that nothing is answered before the View stands for the whole
// log, that every verdict is recorded before it is answered, that a node which
// cannot fold or record decides nothing any more, and that a command is
// answered once the View that decides includes it. Log and audit log are behind
// small interfaces of its own; it knows no network.
//
// A snapshot stands for the commits it was made of: a node that begins with one
// folds, before it answers, only what comes after it. Until a check in the
// background has read what stands before and folded it as well, at about
// 100,000 commits a second, the node decides by the snapshot unproven. A record
// that is not the one the chain names, a commit that does not fold, or another
// state than the snapshot's, stops the node deciding (Failure says why, and its
// process goes on, to be looked at); a snapshot that differs is replaced first
// by what the log makes, so that the next start is good. A node without
// snapshots has folded the whole log before it answers.
package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-im/postern/audit"
	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/projections"
)

// The errors of a node.
var (
	// ErrNotReady: the node has not folded the whole log yet.
	ErrNotReady = errors.New("the policy node has not caught up with its log yet")
	// ErrStopped: the node has met something after which it must not decide,
	// or its Run has ended.
	ErrStopped = errors.New("the policy node has stopped deciding")
	// ErrBusy: too many commands wait.
	ErrBusy = errors.New("too many commands wait: try again")
)

// A Log is the event log, as far as a node needs it; see events/logtest for
// what it promises.
type Log interface {
	Read(ctx context.Context, from events.Position, fn func(*events.Commit) error) error
	Wait(ctx context.Context, after events.Position) (events.Position, error)
	Append(ctx context.Context, at events.Position, commits ...*events.Commit) error
	ByCommand(tenant, commandID string) (events.Commit, bool, error)
}

// A Recorder writes the audit log.
type Recorder interface {
	// Record writes records of one batch, one or more, and returns when they
	// are as durable as they are promised to be. It is called from several
	// goroutines, and keeps nothing of what it is given.
	Record([]audit.Record) error
}

// Config is what a node needs. All down to Recorder are required.
type Config struct {
	// ID names the node in records.
	ID string
	// Log is the event log, LogID its id.
	Log   Log
	LogID string
	// Recorder writes the audit log.
	Recorder Recorder
	// Snapshots keep what was folded; nil: each start folds the whole log.
	Snapshots Snapshots
	// SnapshotEvery is the number of commits after which a snapshot is written;
	// zero is 100,000.
	SnapshotEvery int
	// OnRevocation is called after each commit that may have revoked sessions, with
	// the sessions to ask about again. It must not block. Nil ignores revocations.
	OnRevocation func(decision.Revocation)
	// Logger is told of progress and of what stops the node; nil is
	// slog.Default().
	Logger *slog.Logger
	// Metrics is where counters are registered; nil is nowhere.
	Metrics prometheus.Registerer
}

// A Node is one policy node.
type Node struct {
	cfg     Config
	metrics *metrics

	// view is the newest View, nil until the log has been folded. Only follow
	// stores it.
	view atomic.Pointer[projections.View]
	// began is set before view is.
	began beginning
	// ahead is whether the log's time is ahead of the clock, as far as has been
	// said. It is follow's.
	ahead bool
	// failure is why the node stopped deciding. It never becomes nil again.
	failure atomic.Pointer[error]
	// outage is set while decisions cannot be recorded. Whoever sets it hands it
	// to keepRecording through unrecorded, and keepRecording alone ends it, so
	// that there is room for it in the channel.
	outage     atomic.Pointer[outage]
	unrecorded chan *outage

	// commands wait for the writer, those of operators apart: see gather.
	commands, operators chan *execution
	written             chan struct{} // closed when no command is carried out any more

	scratch sync.Pool // of *[]audit.Record, empty

	mu      sync.Mutex    // guards what follows
	changed chan struct{} // closed and replaced with each new View or failure
}

// New returns a node that does nothing until Run.
func New(cfg Config) (*Node, error) {
	if cfg.ID == "" || cfg.Log == nil || cfg.LogID == "" || cfg.Recorder == nil {
		return nil, errors.New("a node needs an id, a log and its id, and a recorder")
	}
	if cfg.SnapshotEvery < 0 {
		return nil, errors.New("a node writes a snapshot each so many commits, not less than one")
	}
	cfg.SnapshotEvery = cmp.Or(cfg.SnapshotEvery, defaultSnapshotEvery)
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.OnRevocation == nil {
		cfg.OnRevocation = func(decision.Revocation) {}
	}
	n := &Node{
		cfg:       cfg,
		commands:  make(chan *execution, maxCommands),
		operators: make(chan *execution, maxCommands),
		written:   make(chan struct{}),
		changed:   make(chan struct{}),

		unrecorded: make(chan *outage, 1),
	}
	var err error
	if n.metrics, err = newMetrics(n, cfg.Metrics); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return n, nil
}

// Run folds the log behind its newest snapshot, follows it, carries out
// commands, writes snapshots and checks what stands before the one it began
// with, until ctx ends; a last snapshot may take ten seconds more. It returns
// an error when the log has failed, because the process must begin anew then. A
// node that stopped deciding for another reason keeps running, so that its
// operator can look at it: see Failure. One that could not record what it
// decided tries again each second, and then decides again.
func (n *Node) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := n.write(ctx); err != nil {
			cancel(err)
		}
	})
	wg.Go(func() { n.keepRecording(ctx) })
	wg.Go(func() { n.keepSnapshots(ctx) })
	wg.Go(func() { n.checkPast(ctx) })
	err := n.follow(ctx)
	if ctx.Err() != nil {
		err = nil
		if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
			err = cause // the writer's
		}
	}
	cancel(err)
	wg.Wait()
	n.fail(ErrStopped)
	return err
}

// View is the newest View; nil while there is none.
func (n *Node) View() *projections.View { return n.view.Load() }

// Failure is why the node has stopped deciding, or nil.
func (n *Node) Failure() error {
	if err := n.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// Ready is nil while the node decides, and else the reason why it does not: the
// Failure, ErrNotReady or ErrUnrecorded.
func (n *Node) Ready() error {
	if err := n.Failure(); err != nil {
		return err
	}
	if n.view.Load() == nil {
		return ErrNotReady
	}
	if o := n.outage.Load(); o != nil {
		return o.err
	}
	return nil
}

// State tells gateways how the node is.
func (n *Node) State() decision.State {
	return decision.State{At: n.mark(n.view.Load()), Ready: n.Ready() == nil}
}

func (n *Node) mark(v *projections.View) decision.Mark {
	if v == nil {
		return decision.Mark{LogID: n.cfg.LogID}
	}
	return decision.Mark{LogID: n.cfg.LogID, Position: uint64(v.Position())}
}

// fail stops the node deciding. The first reason stands.
func (n *Node) fail(err error) {
	if !n.failure.CompareAndSwap(nil, &err) {
		return
	}
	if !errors.Is(err, ErrStopped) {
		n.cfg.Logger.Error("this node decides nothing any more", "error", err)
	}
	n.change()
}

// publish makes v what the node decides by.
func (n *Node) publish(v *projections.View) {
	n.view.Store(v)
	n.change()
}

// change wakes whoever waits in await.
func (n *Node) change() {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.changed)
	n.changed = make(chan struct{})
}

// await returns the View once it has reached a position.
func (n *Node) await(ctx context.Context, p events.Position) (*projections.View, error) {
	for {
		n.mu.Lock()
		changed := n.changed
		n.mu.Unlock()
		if err := n.Failure(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrStopped, err)
		}
		if v := n.view.Load(); v != nil && v.Position() >= p {
			return v, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
