package overnats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-im/postern/decision"
)

const (
	// maxPending bounds the requests of all callers that wait: 64 outstanding
	// stanzas of a thousand busy sessions. Further callers wait to be let in.
	maxPending = 64 << 10
	// openHold is how long Admit and Open wait in an outage: a client that
	// has not bound yet has 15 s in all.
	openHold = 5 * time.Second
	// maxReplies bounds the replies received and not yet read. What is over
	// is dropped by the NATS client, and counts as a miss.
	maxReplies = 4096
	// noticeBuffer bounds the announcements and revocations received and not yet
	// read. The NATS client drops what is over.
	noticeBuffer = 4096
)

// Config is what an Asker needs.
type Config struct {
	// Conn is the connection, made by Connect. The Asker does not close it.
	Conn *nats.Conn
	// Link is what Connect was given, so that the log can say why nobody
	// answers; nil knows less.
	Link *Link
	// Gateway is this gateway's id (decision.IsToken), which its NATS user's
	// rights name.
	Gateway string
	// OnRevocation is called for each revocation. One without a tenant means
	// that revocations may have been lost, after a reconnect or when a node
	// appears or restarts: ask about all sessions again. It must not block. Nil
	// ignores revocations.
	OnRevocation func(decision.Revocation)
	// Logger hears what an operator must know; nil is slog.Default().
	Logger *slog.Logger
	// Metrics is where counters are registered; nil is nowhere.
	Metrics prometheus.Registerer
}

// An Asker asks policy nodes. Its methods may be called from everywhere, and
// wait until Run has begun.
type Asker struct {
	cfg     Config
	inbox   string // what reply subjects begin with, dot included
	publish func(subject, reply string, msg []byte) error
	latency prometheus.Histogram
	outage  *prometheus.GaugeVec // nil: no metrics

	calls   sync.Pool     // *call, none of them waited for
	outs    sync.Pool     // *outbox
	started chan struct{} // closed when Run has begun
	wake    chan struct{} // tells Run that the timer is to fire sooner

	mu sync.Mutex // guards what follows
	// core is touched only with the lock held. After each input the lock is
	// released by flush, which does what the core asks for.
	core   *core
	timer  time.Time     // when Run calls tick; zero: not at all
	room   chan struct{} // closed when a call ends, where somebody waits for room
	closed bool
}

// New returns an Asker that does nothing until Run.
func New(cfg Config) (*Asker, error) {
	if err := checkID("gateway", cfg.Gateway); err != nil {
		return nil, err
	}
	if cfg.Conn == nil {
		return nil, errors.New("an asker needs a connection")
	}
	a := newAsker(cfg, cfg.Conn.PublishRequest)
	if err := a.register(); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return a, nil
}

func newAsker(cfg Config, publish func(subject, reply string, msg []byte) error) *Asker {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.OnRevocation == nil {
		cfg.OnRevocation = func(decision.Revocation) {}
	}
	a := &Asker{
		cfg: cfg,
		// A gateway that was started anew does not hear its old replies.
		inbox:   replyPrefix + cfg.Gateway + "." + strconv.FormatUint(rand.Uint64(), replyTokenBase) + ".",
		publish: publish,
		started: make(chan struct{}),
		wake:    make(chan struct{}, 1),
		core:    newCore(time.Now(), rand.Uint64()),
	}
	a.calls.New = func() any { return &call{finished: make(chan struct{}, 1)} }
	a.outs.New = func() any { return new(outbox) }
	return a
}

// Ask asks each of qs and writes its verdict to the same place of vs, which
// is as long. It waits until all have one, ctx ends, or no node has answered
// for hold, counted from the beginning of the outage. With an error, the
// verdicts that are still missing are Undecided. The questions' bytes are not
// used any more when Ask returns.
func (a *Asker) Ask(ctx context.Context, qs []decision.Question, vs []decision.Verdict, hold time.Duration) error {
	if len(qs) != len(vs) {
		panic("overnats: as many verdicts as questions")
	}
	k := a.newCall(hold, len(qs))
	clear(vs)
	k.verdicts = vs
	for i := range qs {
		n := len(k.buffer)
		k.buffer = decision.AppendQuestion(k.buffer, &qs[i])
		if !k.add(decision.Ask, n) {
			return fmt.Errorf("question %d: %w", i, ErrBadRequest)
		}
	}
	err := a.do(ctx, k)
	a.freeCall(k, err)
	return err
}

// Admit asks whether a domain is served, and where.
func (a *Asker) Admit(ctx context.Context, domain string) (decision.Admission, error) {
	k := a.newCall(openHold, 1)
	k.buffer = decision.AppendAdmit(k.buffer, domain)
	k.add(decision.Admit, 0)
	err := a.do(ctx, k)
	admission := k.admission
	a.freeCall(k, err)
	if err != nil {
		return decision.Admission{}, fmt.Errorf("admit a domain: %w", err)
	}
	return admission, nil
}

// Open asks whether a session may begin.
func (a *Asker) Open(ctx context.Context, s decision.Session) (decision.Opening, error) {
	k := a.newCall(openHold, 1)
	k.buffer = decision.AppendOpen(k.buffer, &s)
	k.add(decision.Open, 0)
	err := a.do(ctx, k)
	opening := k.opening
	a.freeCall(k, err)
	if err != nil {
		return decision.Opening{}, fmt.Errorf("open a session: %w", err)
	}
	return opening, nil
}

// Available reports whether no node answers, and since when.
func (a *Asker) Available() (since time.Time, out bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.core.outSince, a.core.out
}

func (a *Asker) newCall(hold time.Duration, requests int) *call {
	k := a.calls.Get().(*call)
	k.at, k.hold = time.Now(), hold
	if cap(k.requests) < requests {
		k.requests = make([]request, 0, requests)
	}
	return k
}

// add notes that the buffer from n on is one more request, and tells whether
// it is short enough. A buffer that grows leaves the bodies where they were.
func (k *call) add(kind decision.RequestKind, n int) bool {
	k.requests = append(k.requests, request{
		call: k, index: len(k.requests), kind: kind, body: k.buffer[n:len(k.buffer):len(k.buffer)],
	})
	return len(k.buffer)-n <= decision.MaxQuestion
}

// freeCall keeps a call for use again. One that ended with an error may still
// be spoken of in the core, so it is left to the garbage collector.
func (a *Asker) freeCall(k *call, err error) {
	if err != nil {
		return
	}
	clear(k.requests)
	*k = call{requests: k.requests[:0], buffer: k.buffer[:0], finished: k.finished}
	a.calls.Put(k)
}

// do has the call's requests answered.
func (a *Asker) do(ctx context.Context, k *call) error {
	if err := a.enter(ctx, k); err != nil {
		return err
	}
	a.core.add(time.Now(), k)
	a.flush()
	select {
	case <-k.finished:
	case <-ctx.Done():
		a.mu.Lock()
		a.core.cancel(k, context.Cause(ctx))
		a.flush()
		<-k.finished
	}
	return k.err
}

// enter waits until there is room for the call and returns with the lock
// held, or without it and an error.
func (a *Asker) enter(ctx context.Context, k *call) error {
	select {
	case <-a.started:
	default:
		if err := await(ctx, k, a.started); err != nil {
			return err
		}
	}
	a.mu.Lock()
	for {
		switch {
		case a.closed:
			a.mu.Unlock()
			return ErrClosed
		case !a.core.expires(k).After(time.Now()):
			a.mu.Unlock()
			return ErrUnavailable
		case a.core.pending+len(k.requests) <= maxPending || a.core.pending == 0:
			return nil
		}
		if a.room == nil {
			a.room = make(chan struct{})
		}
		room := a.room
		a.mu.Unlock()
		if err := await(ctx, k, room); err != nil {
			return err
		}
		a.mu.Lock()
	}
}

// await waits for ch, not longer than the call holds.
func await(ctx context.Context, k *call, ch <-chan struct{}) error {
	timer := time.NewTimer(time.Until(k.at.Add(k.hold)))
	defer timer.Stop()
	select {
	case <-ch:
		return nil
	case <-timer.C:
		return ErrUnavailable
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
