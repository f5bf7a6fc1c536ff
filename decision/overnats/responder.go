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
	// maxWaiting bounds the messages received and not yet answered. What is
	// over is dropped, and its Asker asks elsewhere: an answer that comes
	// late is worth less than none.
	maxWaiting = 1024
	// lookEach is how often the node is asked whether it is still ready, so
	// that a change is announced at once.
	lookEach = 100 * time.Millisecond
	// goodbye is how long a node that goes still answers: gateways hear of it
	// within milliseconds.
	goodbye = 200 * time.Millisecond
	// flushWithin bounds each of the waits at the end.
	flushWithin = time.Second
)

// Decider is the policy node behind a Responder.
type Decider interface {
	// Answer answers b: it sets reply's Status and At and, with StatusOK,
	// puts one result for each request into reply.Results, whose slice it may
	// use again. It is called from several goroutines, and must not keep b.
	Answer(b *decision.Batch, reply *decision.Reply)
	// State tells how the node is. It is cheap.
	State() decision.State
}

// ResponderConfig is what a Responder needs.
type ResponderConfig struct {
	// Conn is the connection, made by Connect. The Responder does not close it.
	Conn *nats.Conn
	// Link is what Connect was given, so that the log can say why there is no
	// connection; nil knows less.
	Link *Link
	// Node is this node's id (decision.IsToken).
	Node string
	// Decider answers.
	Decider Decider
	// Workers is how many batches are answered at the same time; 0 is
	// GOMAXPROCS.
	Workers int
	// Logger hears of batches that could not be read or decided, of each
	// gateway once and then in sums; nil is slog.Default().
	Logger *slog.Logger
	// Metrics is where counters are registered; nil is nowhere.
	Metrics prometheus.Registerer
}

// A Responder answers what gateways ask over NATS, as one policy node.
type Responder struct {
	cfg  ResponderConfig
	boot uint64
	busy atomic.Int64 // nanoseconds the workers have worked

	refused *prometheus.CounterVec // batches without an answer or with a bad one
	logger  *floodlog.Logger       // what gateways cause
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

// Serve answers until ctx ends, then announces that the node is going, answers
// what has come in, and returns nil. It returns an error when it cannot begin.
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

	// What is sent to this node before all have heard that it goes is still
	// answered. Without a connection there is nothing to be had or said.
	_ = r.cfg.Conn.FlushTimeout(flushWithin)
	<-time.After(goodbye)
	_ = first.Drain()
	_ = own.Drain()
	_ = r.cfg.Conn.FlushTimeout(flushWithin)
	for range r.cfg.Workers {
		messages <- nil // behind what is left
	}
	wg.Wait()
	_ = r.cfg.Conn.FlushTimeout(flushWithin)
	stopTelling()
	logging.Wait()
	return nil
}

// Notify tells gateways of a revocation.
func (r *Responder) Notify(e decision.Revocation) error {
	if err := r.cfg.Conn.Publish(revocationSubject, decision.AppendRevocation(nil, &e)); err != nil {
		return fmt.Errorf("publish a revocation: %w", err)
	}
	return nil
}

// announce tells gateways of this node each second and whenever its readiness
// changes, until ctx ends, and at last that it is not ready any more.
func (r *Responder) announce(ctx context.Context) {
	look := time.NewTicker(lookEach)
	defer look.Stop()
	var last time.Time
	var lastBusy int64
	var wasReady bool
	var lost time.Time // when the connection was first seen not to be there
	report := reporter{
		logger: r.cfg.Logger, out: "NATS cannot be reached: no gateway can ask", over: "NATS is reached",
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
			// Without a connection nobody hears it, and nobody needs to.
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

// load is the part of the workers' time that was busy, in thousandths.
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

// A worker answers one message at a time; its fields are used again for each.
type worker struct {
	*Responder
	batch decision.Batch
	reply decision.Reply
	out   []byte
}

// answer answers a message. A panic while it does costs that message its
// answer, or gives it one that refuses, and nothing else.
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
		w.refuse(refusedElsewhere, slog.LevelWarn, gateway, "a batch wants its answer sent to somebody else")
		return
	}
	w.decide(gateway, m.Data)
	w.out = decision.AppendReply(w.out[:0], &w.reply)
	if err := w.cfg.Conn.Publish(m.Reply, w.out); err != nil {
		w.logger.Say(slog.LevelWarn, gateway, "a reply cannot be sent", "error", err)
	}
}

// decide fills the reply to a gateway's message. Whatever goes wrong, the
// reply says so and holds no result.
func (w *worker) decide(gateway string, msg []byte) {
	w.batch.ID = 0 // not the one before
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
		err = errors.New("it is in another gateway's name")
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

// bad makes the reply one that refuses the batch.
func (w *worker) bad() {
	w.reply.ReplyHead = decision.ReplyHead{ID: w.batch.ID, Node: w.cfg.Node, Status: decision.StatusBad}
	w.reply.Results = w.reply.Results[:0]
}

// The reasons why a batch is refused, as the metric names them.
const (
	refusedElsewhere  = "reply-to"   // its answer was to go to another gateway
	refusedUnreadable = "unreadable" // it cannot be decoded, or is in another's name
	refusedPanic      = "panic"      // a defect of this program
)

// refuse counts a batch, and tells of it.
func (r *Responder) refuse(reason string, level slog.Level, gateway, message string, args ...any) {
	r.refused.WithLabelValues(reason).Inc()
	r.logger.Say(level, gateway, message, args...)
}

func (r *Responder) panicked(gateway string, p any) {
	r.refuse(refusedPanic, slog.LevelError, gateway, "answering a batch panicked; it is refused", "panic", p, "stack", string(debug.Stack()))
}
