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
	"github.com/postern-im/postern/internal/boottime"
)

const (
	// maxPending bounds the requests of all waiting callers: 64 outstanding
	// stanzas for each of a thousand busy sessions. Further callers wait until
	// there is room for their requests.
	maxPending = 64 << 10
	// openHold is how long Admit and Open wait in an outage. A client has 15 s in
	// total until it must be bound.
	openHold = 5 * time.Second
	// maxReplies bounds the replies received but not yet processed. The NATS
	// client drops further replies, and each of them counts as a miss.
	maxReplies = 4096
	// noticeBuffer bounds the announcements and revocations received but not yet
	// processed. The NATS client drops further ones.
	noticeBuffer = 4096
)

// Config is the configuration of an Asker.
type Config struct {
	// Conn is the connection, made by Connect. The Asker does not close it.
	Conn *nats.Conn
	// Link is the Link that was given to Connect. With it, the log can report why
	// no node answers. It may be nil.
	Link *Link
	// Gateway is this gateway's id (decision.IsToken). The rights of its NATS user
	// must be those of this id.
	Gateway string
	// OnRevocation is called for each revocation. A revocation without a tenant
	// means that revocations may have been lost, because the connection was lost
	// or a node appeared or restarted. The callee must then ask about all sessions
	// again. OnRevocation must not block. If it is nil, revocations are ignored.
	OnRevocation func(decision.Revocation)
	// Clock dates the answers. Nil means boottime.Now.
	Clock boottime.Clock
	// Logger reports outages and unreadable messages. Nil means slog.Default().
	Logger *slog.Logger
	// Metrics registers the Asker's metrics. Nil means no metrics.
	Metrics prometheus.Registerer
}

// An Asker asks policy nodes. Its methods are safe for concurrent use. Ask, Admit
// and Open wait until Run has begun.
type Asker struct {
	cfg     Config
	inbox   string // the prefix of reply subjects, including the final dot
	publish func(subject, reply string, msg []byte) error
	latency prometheus.Histogram
	outage  *prometheus.GaugeVec // nil: no metrics

	calls   sync.Pool     // *call, not in use
	outs    sync.Pool     // *outbox
	started chan struct{} // closed when Run has begun
	wake    chan struct{} // notifies Run that the timer must fire sooner

	mu sync.Mutex // guards the fields below
	// core is used only with the lock held. After each input to the core, flush
	// carries out the core's output and releases the lock.
	core   *core
	timer  time.Time     // when Run calls tick; zero: never
	room   chan struct{} // closed when a call ends; nil while no caller waits for room
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
		// The number is random, so a restarted gateway does not receive the replies
		// to its previous process.
		inbox:   replyPrefix + cfg.Gateway + "." + strconv.FormatUint(rand.Uint64(), replyTokenBase) + ".",
		publish: publish,
		started: make(chan struct{}),
		wake:    make(chan struct{}, 1),
		core:    newCore(time.Now(), cfg.Clock.Or(), rand.Uint64()),
	}
	a.calls.New = func() any { return &call{finished: make(chan struct{}, 1)} }
	a.outs.New = func() any { return new(outbox) }
	return a
}

// Ask asks all questions of qs and stores the verdict of qs[i] in vs[i]. Both
// slices must have the same length. Ask waits until all verdicts have arrived, ctx
// ends, or an outage has lasted for hold. If it returns an error, the missing
// verdicts are Undecided. After it returns, it no longer uses the questions'
// bytes.
func (a *Asker) Ask(ctx context.Context, qs []decision.Question, vs []decision.Verdict, hold time.Duration) error {
	if len(qs) != len(vs) {
		panic("overnats: Ask needs as many verdicts as questions")
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

// Admit asks whether a domain is served, and at which backends.
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

// Available reports whether there is an outage, in which no node answers, and
// when it began.
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

// add adds a request whose body is the buffer from n on. It reports whether the
// body is short enough. If the buffer grows later, the earlier bodies stay valid,
// because they keep the old array.
func (k *call) add(kind decision.RequestKind, n int) bool {
	k.requests = append(k.requests, request{
		call: k, index: len(k.requests), kind: kind, body: k.buffer[n:len(k.buffer):len(k.buffer)],
	})
	return len(k.buffer)-n <= decision.MaxQuestion
}

// freeCall puts a call into the pool. After an error the core may still refer to
// the call, so it is left to the garbage collector.
func (a *Asker) freeCall(k *call, err error) {
	if err != nil {
		return
	}
	clear(k.requests)
	*k = call{requests: k.requests[:0], buffer: k.buffer[:0], finished: k.finished}
	a.calls.Put(k)
}

// do passes the call to the core and waits until it ends.
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

// enter waits until there is room for the call. It returns nil with the lock held,
// or an error with the lock released.
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

// await waits for ch, at most for the call's hold time.
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
