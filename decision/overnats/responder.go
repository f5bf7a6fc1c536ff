package overnats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"strings"
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

	refused *prometheus.CounterVec // batches that were not answered or got StatusBad
	logger  *floodlog.Logger       // for messages that gateways cause
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
	var wg, logging sync.WaitGroup
	telling, stopTelling := context.WithCancel(context.WithoutCancel(ctx))
	defer stopTelling()
	logging.Go(func() { r.logger.Run(telling) })
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
	logging.Wait()
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
		ready := state.Ready && !going
		if going || ready != wasReady || now.Sub(last) >= announceEach {
			busy := r.busy.Load()
			a := decision.Announcement{
				Node: r.cfg.Node, Boot: r.boot, Ready: ready, At: state.At,
				Load: load(busy-lastBusy, now.Sub(last), r.cfg.Workers),
			}
			// The error is ignored: without a connection no gateway needs it.
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

// work answers messages until it gets nil.
func (r *Responder) work(messages <-chan *nats.Msg) {
	w := worker{Responder: r}
	for m := <-messages; m != nil; m = <-messages {
		w.answer(m)
	}
}

// A worker answers one message at a time. It reuses its fields for each message.
type worker struct {
	*Responder
	batch decision.Batch
	reply decision.Reply
	out   []byte
}

// answer answers a message. If answering panics, only this message is affected: it
// gets no answer, or an answer with StatusBad.
func (w *worker) answer(m *nats.Msg) {
	begin := time.Now()
	defer func() { w.busy.Add(int64(time.Since(begin))) }()
	gateway := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	defer func() {
		if p := recover(); p != nil {
			w.panicked(gateway, p)
		}
	}()
	if token, ok := strings.CutPrefix(m.Reply, replyPrefix); !ok || !strings.HasPrefix(token, gateway+".") {
		w.refuse(refusedElsewhere, slog.LevelWarn, gateway, "a batch asks for its answer to be sent to another gateway")
		return
	}
	w.decide(gateway, m.Data)
	w.out = decision.AppendReply(w.out[:0], &w.reply)
	if err := w.cfg.Conn.Publish(m.Reply, w.out); err != nil {
		w.logger.Say(slog.LevelWarn, gateway, "a reply cannot be sent", "error", err)
	}
}

// decide fills the reply to a gateway's message. After any error, the reply has
// StatusBad and no result.
func (w *worker) decide(gateway string, msg []byte) {
	w.batch.ID = 0 // forget the previous batch
	defer func() {
		if p := recover(); p != nil {
			w.bad()
			w.panicked(gateway, p)
		}
	}()
	w.bad()
	err := decision.DecodeBatch(msg, &w.batch)
	w.reply.ID = w.batch.ID
	if err == nil && w.batch.Gateway != gateway {
		err = errors.New("it names another gateway")
	}
	if err != nil {
		w.refuse(refusedUnreadable, slog.LevelWarn, gateway, "a batch cannot be read", "error", err)
		return
	}
	w.cfg.Decider.Answer(&w.batch, &w.reply)
	w.reply.ID, w.reply.Node = w.batch.ID, w.cfg.Node
	if w.reply.Status == decision.StatusOK && len(w.reply.Results) != len(w.batch.Requests) {
		panic("overnats: a decider must give one result for each request")
	}
}

// bad sets the reply to StatusBad without results.
func (w *worker) bad() {
	w.reply.ReplyHead = decision.ReplyHead{ID: w.batch.ID, Node: w.cfg.Node, Status: decision.StatusBad}
	w.reply.Results = w.reply.Results[:0]
}

// The reasons for refusing a batch, as values of the metric's label.
const (
	refusedElsewhere  = "reply-to"   // its reply subject belongs to another gateway
	refusedUnreadable = "unreadable" // it cannot be decoded, or names another gateway
	refusedPanic      = "panic"      // a defect of this program
)

// refuse counts and logs a refused batch.
func (r *Responder) refuse(reason string, level slog.Level, gateway, message string, args ...any) {
	r.refused.WithLabelValues(reason).Inc()
	r.logger.Say(level, gateway, message, args...)
}

func (r *Responder) panicked(gateway string, p any) {
	r.refuse(refusedPanic, slog.LevelError, gateway, "answering a batch panicked; it is refused", "panic", p, "stack", string(debug.Stack()))
}
