package overnats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/internal/floodlog"
)

const (
	// maxWaiting bounds the messages received but not yet answered. Further
	// messages are dropped, and their Askers ask other nodes: a late answer would
	// be worse than none.
	maxWaiting = 1024
	// busyAfter is how long a batch may wait for a worker. Then the node answers
	// StatusBusy, which costs it much less than to decide, so the batches after it
	// do not wait as long.
	busyAfter = 10 * time.Millisecond
	// lookEach is how often the node's state is read, so that a change of its
	// readiness is announced soon.
	lookEach = 100 * time.Millisecond
	// goodbye is how long a node still answers after it has announced that it
	// stops. The announcement reaches gateways within milliseconds.
	goodbye = 200 * time.Millisecond
	// flushWithin bounds each wait for the connection while stopping.
	flushWithin = time.Second
)

// Decider is the policy node behind a Responder.
type Decider interface {
	// Answer answers b. It sets reply's Status and At. With StatusOK, it also
	// stores one result for each request in reply.Results, whose slice it may
	// reuse. It is called from several goroutines and must not keep b.
	Answer(b *decision.Batch, reply *decision.Reply)
	// State returns the state of the node. It is called often and must be cheap.
	State() decision.State
}

// ResponderConfig is the configuration of a Responder.
type ResponderConfig struct {
	// Conn is the connection, made by Connect. The Responder does not close it.
	Conn *nats.Conn
	// Link is the Link that was given to Connect. With it, the log can report why
	// there is no connection. It may be nil.
	Link *Link
	// Node is this node's id (decision.IsToken).
	Node string
	// Decider decides the batches.
	Decider Decider
	// Level is the highest number of an event that this node reads, for its
	// announcements.
	Level uint64
	// Oldest is the oldest version of batches that this node answers; zero means
	// every version. A node of a cluster cannot answer Wire1, which has no challenges.
	Oldest decision.Wire
	// Duplicate reports whether two gateways use an id, as the SessionDirectory does.
	// Neither is answered then. Nil means that no id is used twice.
	Duplicate func(gateway string) bool
	// OnChallenge is called for each challenge that a gateway publishes, from one
	// goroutine. It must not block. If it is nil, challenges are ignored.
	OnChallenge func(gateway string, challenge uint64)
	// Workers is how many batches are answered at the same time. Zero means
	// GOMAXPROCS.
	Workers int
	// Logger reports batches that could not be read or decided: the first of each
	// gateway at once, and the number of further ones later. Nil means
	// slog.Default().
	Logger *slog.Logger
	// Metrics registers the Responder's metrics. Nil means no metrics.
	Metrics prometheus.Registerer
}

// A Responder answers the batches of gateways over NATS, as one policy node.
type Responder struct {
	cfg  ResponderConfig
	boot uint64
	busy atomic.Int64 // nanoseconds of work by all workers
	age  queueAge

	refused *prometheus.CounterVec // batches that were not decided
	logger  *floodlog.Logger       // for messages that gateways cause
	twin    twin
	old     oldGateways
}

// NewResponder returns a Responder that does nothing until Serve.
func NewResponder(cfg ResponderConfig) (*Responder, error) {
	if err := checkID("node", cfg.Node); err != nil {
		return nil, err
	}
	if cfg.Conn == nil || cfg.Decider == nil {
		return nil, errors.New("a responder needs a connection and a decider")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Duplicate == nil {
		cfg.Duplicate = func(string) bool { return false }
	}
	if cfg.OnChallenge == nil {
		cfg.OnChallenge = func(string, uint64) {}
	}
	if cfg.Workers <= 0 {
		cfg.Workers = runtime.GOMAXPROCS(0)
	}
	r := &Responder{
		cfg: cfg, boot: rand.Uint64(),
		logger: floodlog.New(floodlog.Config{Logger: cfg.Logger, Key: "gateway"}),
	}
	if err := r.register(); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return r, nil
}

// Serve answers batches until ctx ends. Then it announces that the node stops,
// answers the batches already received, and returns nil. It returns an error if it
// cannot subscribe.
func (r *Responder) Serve(ctx context.Context) error {
	messages := make(chan *nats.Msg, maxWaiting)
	first, err := r.cfg.Conn.ChanQueueSubscribe(askSubject("", "*"), firstQueue, messages)
	if err != nil {
		return fmt.Errorf("subscribe for first contact: %w", err)
	}
	own, err := r.cfg.Conn.ChanSubscribe(askSubject(r.cfg.Node, "*"), messages)
	if err != nil {
		return errors.Join(fmt.Errorf("subscribe: %w", err), first.Unsubscribe())
	}
	notices, unsubscribe, err := r.subscribe()
	if err != nil {
		return errors.Join(err, first.Unsubscribe(), own.Unsubscribe())
	}
	defer unsubscribe()
	var wg, others sync.WaitGroup
	telling, stopTelling := context.WithCancel(context.WithoutCancel(ctx))
	defer stopTelling()
	others.Go(func() { r.logger.Run(telling) })
	others.Go(func() { r.hear(telling, notices) })
	for range r.cfg.Workers {
		wg.Go(func() { r.work(messages) })
	}
	r.announce(ctx)

	// Gateways may send batches until they receive the announcement. These batches are
	// still answered. Errors are ignored: without a connection, none can be answered.
	_ = r.cfg.Conn.FlushTimeout(flushWithin)
	<-time.After(goodbye)
	_ = first.Drain()
	_ = own.Drain()
	_ = r.cfg.Conn.FlushTimeout(flushWithin)
	for range r.cfg.Workers {
		messages <- nil // after the remaining messages
	}
	wg.Wait()
	_ = r.cfg.Conn.FlushTimeout(flushWithin)
	stopTelling()
	others.Wait()
	return nil
}

// Notify publishes a revocation to all gateways.
func (r *Responder) Notify(e decision.Revocation) error {
	if err := r.cfg.Conn.Publish(revocationSubject, decision.AppendRevocation(nil, &e)); err != nil {
		return fmt.Errorf("publish a revocation: %w", err)
	}
	return nil
}

// announce publishes the node's announcement each second and whenever its
// readiness changes, until ctx ends. It finally announces that the node is no
// longer ready.
func (r *Responder) announce(ctx context.Context) {
	look := time.NewTicker(lookEach)
	defer look.Stop()
	var last time.Time
	var lastBusy int64
	var wasReady bool
	var lost time.Time // when the connection was first found to be lost
	report := reporter{
		logger: r.cfg.Logger, out: "NATS is not connected: no gateway can ask", over: "NATS is connected",
		args: []any{"node", r.cfg.Node},
	}
	for {
		state, now := r.cfg.Decider.State(), time.Now()
		going := ctx.Err() != nil
		ready := state.Ready && !going && r.Ready() == nil
		if going || ready != wasReady || now.Sub(last) >= announceEach {
			busy := r.busy.Load()
			a := decision.Announcement{
				Node: r.cfg.Node, Boot: r.boot, Ready: ready, At: state.At,
				Load: load(busy-lastBusy, now.Sub(last), r.cfg.Workers),
				Wire: decision.NewestWire, Level: r.cfg.Level,
			}
			// Errors are ignored: without a connection no gateway needs it. The newer version
			// goes first, so that no gateway that reads it asks in the older one.
			_ = r.cfg.Conn.Publish(nodePrefix+r.cfg.Node, decision.AppendExtended(nil, &a))
			_ = r.cfg.Conn.Publish(announceSubject, decision.AppendAnnouncement(nil, &a))
			last, lastBusy, wasReady = now, busy, ready
		}
		if going {
			return
		}
		connected := r.cfg.Conn.IsConnected()
		if connected {
			lost = time.Time{}
		} else if lost.IsZero() {
			lost = now
		}
		report.look(now, !connected, lost, func() trouble { return unconnected(r.cfg.Link, r.cfg.Conn) })
		select {
		case <-ctx.Done():
		case <-look.C:
		}
	}
}

// load returns the part of the workers' time that was spent busy, in thousandths.
func load(busy int64, of time.Duration, workers int) uint16 {
	all := of.Nanoseconds() * int64(workers)
	if all <= 0 {
		return 0
	}
	return uint16(min(busy*decision.MaxLoad/all, decision.MaxLoad))
}
