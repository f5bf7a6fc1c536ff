// Package node is a policy node. It folds the log into a View, that is, it applies
// the commits in order. It then follows the log, answers the questions of gateways
// from the View, and runs commands.
//
// The node answers nothing before the View includes the whole log. It records every
// verdict before it answers. If it cannot fold or record, it gives no verdict. It
// answers a command only after the View includes the command's commit. The log and
// the audit log are behind small interfaces of this package. The package does not
// use the network.
//
// A snapshot is a View that an earlier run has folded. A node that starts from a
// snapshot begins to answer when it has folded the commits after the snapshot. In
// the background, it then reads and folds the commits before the snapshot as well,
// about 100,000 a second, to check the snapshot. If a record breaks the chain, a
// commit cannot be applied, or the state differs from the snapshot's, the node stops
// deciding. Failure returns the cause; the process stays up for inspection. If the
// snapshot differs, the node first replaces it with the folded state, so that the
// next start is correct. If the disk has no room for the new snapshot, the node
// deletes the wrong one. The next start then uses an older snapshot, which is
// checked in the same way, or the whole log. A node without snapshots folds the
// whole log before it answers.
package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	audit "github.com/postern-im/postern/audit/jsonl"
	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/projections"
)

// The errors of a node.
var (
	// ErrNotReady means that the node has not folded the whole log yet.
	ErrNotReady = errors.New("the policy node has not caught up with its log yet")
	// ErrStopped means that a failure has stopped the node deciding, or that Run
	// has ended.
	ErrStopped = errors.New("the policy node has stopped deciding")
	// ErrBusy means that the queue of commands is full.
	ErrBusy = errors.New("too many commands wait: try again")
)

// A Log is the event log, as far as a node needs it. Package events/logtest
// documents and tests its guarantees.
type Log interface {
	Read(ctx context.Context, from events.Position, fn func(*events.Commit) error) error
	Wait(ctx context.Context, after events.Position) (events.Position, error)
	Append(ctx context.Context, at events.Position, commits ...*events.Commit) error
	ByCommand(tenant, commandID string) (events.Commit, bool, error)
}

// A Recorder writes the audit log.
type Recorder interface {
	// Ready returns an error if Record is known to fail now.
	Ready() error
	// Record writes the records of one batch, and returns when they are as durable
	// as the Recorder promises. It may be called by several goroutines at once. It
	// does not keep the records.
	Record([]audit.Record) error
}

// A Prover proves how new the node's state is. A node in a cluster needs one, because
// other nodes append to the log too.
type Prover interface {
	// Prove returns the newest challenge of the gateway for which a state at
	// position at is proven: the state includes every commit that was acknowledged
	// before the gateway made the challenge. It belongs to the same run of the
	// gateway as the given challenge. Prove returns decision.NoChallenge if there is
	// none. It is called for each batch.
	Prove(gateway string, challenge uint64, at events.Position) uint64
	// Ready returns an error if gateways should rather ask another node.
	Ready() error
}

// Config configures a Node. The fields down to Recorder are required.
type Config struct {
	// ID identifies the node in records.
	ID string
	// Log is the event log, and LogID is its id.
	Log   Log
	LogID string
	// Recorder writes the audit log.
	Recorder Recorder
	// Cluster is the set of nodes that share the log. If it is nil, this node is the
	// only writer of its log.
	Cluster Cluster
	// Snapshots stores snapshots. If it is nil, each start folds the whole log.
	Snapshots Snapshots
	// SnapshotEvery is the number of commits after which a snapshot is written;
	// zero means 100,000.
	SnapshotEvery int
	// Prover proves the node's state to gateways. Nil means that the node stands
	// alone: nothing else appends to the log, so the newest View is always proven.
	Prover Prover
	// OnRevocation is called after each commit that may have revoked sessions, with
	// the sessions to ask about again. It must not block. If it is nil, revocations
	// are ignored.
	OnRevocation func(decision.Revocation)
	// Logger logs progress and failures. Nil means slog.Default().
	Logger *slog.Logger
	// Metrics registers the node's metrics. Nil means that they are not exported.
	Metrics prometheus.Registerer
}

// A Node is one policy node.
type Node struct {
	cfg     Config
	metrics *metrics

	// view is the newest View, nil until the log has been folded. Only follow
	// stores it.
	view atomic.Pointer[projections.View]
	// began is set before view.
	began beginning
	// ahead is true if the newest log line about the clock said that the log's time
	// is ahead. Only follow uses it.
	ahead bool
	// failure is the error that stopped the node deciding. It never becomes nil
	// again.
	failure atomic.Pointer[error]
	// outage is set while decisions cannot be recorded. The goroutine that sets it
	// sends it to keepRecording through unrecorded. Only keepRecording resets it, so
	// the channel always has room for the next one.
	outage     atomic.Pointer[outage]
	unrecorded chan *outage

	// The queues of commands for the writer: of tenants, and of operators. See
	// gather.
	commands, operators chan *execution
	written             chan struct{} // closed when the writer has stopped

	scratch sync.Pool // of *[]audit.Record, empty

	// progress records what the members of the cluster report. It is not used
	// without a Cluster.
	progress progress

	mu      sync.Mutex    // guards changed
	changed chan struct{} // closed and replaced with each new View, failure or report
}

// New returns a node that does nothing until Run.
func New(cfg Config) (*Node, error) {
	if cfg.ID == "" || cfg.Log == nil || cfg.LogID == "" || cfg.Recorder == nil {
		return nil, errors.New("a node needs an id, a log and its id, and a recorder")
	}
	if cfg.SnapshotEvery < 0 {
		return nil, errors.New("a node needs a positive number of commits between snapshots")
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

// Run folds the log after its newest snapshot and follows it, runs commands, writes
// snapshots, and checks the commits before the snapshot with which it started. It
// ends with ctx, but may take ten seconds more to write a last snapshot. It returns
// an error if the log has failed, because the process must then restart. If the
// node stops deciding for another reason, Run continues, so that the operator can
// inspect the node: see Failure. If a decision could not be recorded, the node
// gives no verdict, tries each second to record again, and then resumes.
func (n *Node) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// A node that cannot record is not ready from the start, and not only after the
	// first question.
	if err := n.cfg.Recorder.Ready(); err != nil {
		n.stopRecording(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := n.write(ctx); err != nil {
			cancel(err)
		}
	})
	wg.Go(func() { n.keepRecording(ctx) })
	wg.Go(func() { n.keepReports(ctx) })
	wg.Go(func() { n.keepSnapshots(ctx) })
	wg.Go(func() { n.checkPast(ctx) })
	err := n.follow(ctx)
	if ctx.Err() != nil {
		err = nil
		if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
			err = cause // the error of write
		}
	}
	cancel(err)
	wg.Wait()
	n.fail(ErrStopped)
	return err
}

// View returns the newest View, or nil until the log has been folded.
func (n *Node) View() *projections.View { return n.view.Load() }

// Failure returns the error that has stopped the node deciding, or nil.
func (n *Node) Failure() error {
	if err := n.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// Ready returns nil while gateways should ask this node, else the reason why they
// should not: the Failure, ErrNotReady, ErrUnrecorded, or the Prover's reason.
func (n *Node) Ready() error {
	if err := n.decides(); err != nil || n.cfg.Prover == nil {
		return err
	}
	return n.cfg.Prover.Ready()
}

// decides returns nil while the node itself is able to decide. The Prover's Ready
// is only advice: a node that is cut off from the others still decides while its
// proofs are young enough for the gateway, which alone can tell.
func (n *Node) decides() error {
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

// State returns the node's state for gateways.
func (n *Node) State() decision.State {
	return decision.State{At: n.mark(n.view.Load()), Ready: n.Ready() == nil}
}

func (n *Node) mark(v *projections.View) decision.Mark {
	if v == nil {
		return decision.Mark{LogID: n.cfg.LogID}
	}
	return decision.Mark{LogID: n.cfg.LogID, Position: uint64(v.Position())}
}

// fail stops the node deciding, and reports the reason. Only the first call has an
// effect.
func (n *Node) fail(err error) {
	if n.Fail(err) && !errors.Is(err, ErrStopped) {
		n.cfg.Logger.Error("this node has stopped deciding", "error", err)
	}
}

// Fail stops the node deciding for good, because its log no longer agrees with the
// cluster. The caller reports the reason. Only the first call has an effect.
func (n *Node) Fail(reason error) (first bool) {
	if !n.failure.CompareAndSwap(nil, &reason) {
		return false
	}
	n.change()
	return true
}

// publish makes v the View from which the node decides.
func (n *Node) publish(v *projections.View) {
	if n.cfg.Cluster != nil {
		n.progress.reached(n.cfg.ID, v.Position(), time.Now())
	}
	n.view.Store(v)
	n.change()
}

// change wakes the goroutines that wait for a View, a failure or a report.
func (n *Node) change() {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.changed)
	n.changed = make(chan struct{})
}

// next returns a channel that is closed at the next change: see change.
func (n *Node) next() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.changed
}

// Await returns the View once it has reached a position. The error is the cause of
// ctx, or ErrStopped if the node has stopped deciding.
func (n *Node) Await(ctx context.Context, p events.Position) (*projections.View, error) {
	return n.AwaitView(ctx, func(v *projections.View) bool { return v.Position() >= p })
}

// AwaitView returns the newest View once good returns true for it. It checks each new
// View, but it can skip Views that are replaced at once. It returns an error when the
// node has stopped deciding or ctx ends.
func (n *Node) AwaitView(ctx context.Context, good func(*projections.View) bool) (*projections.View, error) {
	for {
		changed := n.next()
		if err := n.Failure(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrStopped, err)
		}
		if v := n.view.Load(); v != nil && good(v) {
			return v, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
