package overnats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
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
	// maxEntering is the number of waiting requests above which admissions and
	// openings wait for room. The rest is for questions: under overload, clients that
	// want to enter are turned away before the stanzas of sessions are.
	maxEntering = maxPending / 4 * 3
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

// A LinkConfig is one of a gateway's connections to NATS.
type LinkConfig struct {
	// Name names the link in logs and metrics. It is the URL of the server.
	Name string
	// Conn is the connection, made by Connect. Nobody closes it but its maker.
	Conn *nats.Conn
	// Link is the Link that was given to Connect. With it, the log can report why
	// the link is down. It may be nil.
	Link *Link
}

// Config is the configuration of an Asker.
type Config struct {
	// Links are the connections to NATS, at most MaxLinks. Policy nodes that are
	// connected to different servers need a link each. If several links reach the
	// same node, the node is asked over one of them.
	Links []LinkConfig
	// Gateway is this gateway's id (decision.IsToken). The rights of its NATS user
	// must be those of this id.
	Gateway string
	// OnRevocation is called once for each revocation, although each node publishes
	// it and several links may carry it. A revocation without a tenant means that
	// revocations may have been lost, because a connection was lost or a node
	// appeared or restarted. The callee must then ask about all sessions again. That
	// happens at most once a second. OnRevocation must not block, and is called from
	// several goroutines. If it is nil, revocations are ignored.
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
	cfg        Config
	clock      boottime.Clock
	challenges decision.Challenges
	links      []*asking
	latency    prometheus.Histogram // nil: no metrics, like those below
	proofAge   prometheus.Histogram
	outage     *prometheus.GaugeVec
	cause      atomic.Pointer[string] // see Cause

	calls   sync.Pool     // *call, not in use
	outs    sync.Pool     // *outbox
	started chan struct{} // closed when Run has begun
	wake    chan struct{} // notifies Run that the timer must fire sooner

	mu sync.Mutex // guards the fields below, and filling of each link
	// core is used only with the lock held. After each input to the core, flush
	// carries out the core's output and releases the lock.
	core   *core
	now    time.Duration // the time of the core's last input, which never goes back
	timer  time.Duration // when Run calls tick; zero: never
	room   chan struct{} // closed when a call ends; nil while no caller waits for room
	closed bool
}

// An asking is the Asker's end of one link.
type asking struct {
	LinkConfig
	index   int
	inbox   string // the prefix of reply subjects, including the final dot
	publish func(subject, reply string, msg []byte) error
	out     chan *outbox // for the link's sender
	filling *outbox      // being filled for the sender
}

// MaxLinks bounds the links of an Asker. Each link carries the announcements and
// revocations of its nodes.
const MaxLinks = maxLinks

// New returns an Asker that does nothing until Run.
func New(cfg Config) (*Asker, error) {
	if err := checkID("gateway", cfg.Gateway); err != nil {
		return nil, err
	}
	if len(cfg.Links) == 0 || len(cfg.Links) > maxLinks {
		return nil, fmt.Errorf("an asker needs 1 to %d connections, and has %d", maxLinks, len(cfg.Links))
	}
	for _, l := range cfg.Links {
		if l.Conn == nil {
			return nil, errors.New("an asker's link needs a connection")
		}
	}
	a := newAsker(cfg)
	if err := a.register(); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return a, nil
}

func newAsker(cfg Config) *Asker {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.OnRevocation == nil {
		cfg.OnRevocation = func(decision.Revocation) {}
	}
	clock := cfg.Clock.Or()
	a := &Asker{
		cfg:        cfg,
		clock:      clock,
		challenges: decision.NewChallenges(rand.Uint64(), clock()),
		started:    make(chan struct{}),
		wake:       make(chan struct{}, 1),
	}
	a.core = newCore(clock(), rand.Uint64(), len(cfg.Links), a.challenges)
	for i, l := range cfg.Links {
		a.links = append(a.links, &asking{
			LinkConfig: l, index: i, publish: publisher(l.Conn), out: make(chan *outbox, maxOutboxes),
			// The number is random, so a restarted gateway does not receive the replies to
			// its previous process, and a link does not receive those of another link.
			inbox: replyPrefix + cfg.Gateway + "." + strconv.FormatUint(rand.Uint64(), replyTokenBase) + ".",
		})
	}
	a.calls.New = func() any { return &call{finished: make(chan struct{}, 1)} }
	a.outs.New = func() any { return new(outbox) }
	return a
}

// lock takes the lock and returns the time.
func (a *Asker) lock() time.Duration {
	a.mu.Lock()
	a.now = max(a.now, a.clock())
	return a.now
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

// Available reports whether there is an outage, in which no node answers over any
// link, and how long it has lasted.
func (a *Asker) Available() (lasted time.Duration, out bool) {
	now := a.lock()
	defer a.mu.Unlock()
	if !a.core.out {
		return 0, false
	}
	return now - a.core.outSince, true
}

func (a *Asker) newCall(hold time.Duration, requests int) *call {
	k := a.calls.Get().(*call)
	k.at, k.hold = a.clock(), hold
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
	now, err := a.enter(ctx, k)
	if err != nil {
		return err
	}
	a.core.add(now, k)
	a.flush(now)
	select {
	case <-k.finished:
	case <-ctx.Done():
		now := a.lock()
		a.core.cancel(k, context.Cause(ctx))
		a.flush(now)
		<-k.finished
	}
	return k.err
}

// enter waits until there is room for the call. It returns nil and the time with the
// lock held, or an error with the lock released. Unless it waited, it does not read the
// clock again, because that is a system call.
func (a *Asker) enter(ctx context.Context, k *call) (now time.Duration, err error) {
	now = k.at
	select {
	case <-a.started:
	default:
		if err := a.await(ctx, k, a.started); err != nil {
			return 0, err
		}
		now = a.clock()
	}
	most := maxPending
	if k.entry() {
		most = maxEntering
	}
	a.mu.Lock()
	a.now = max(a.now, now)
	now = a.now
	for {
		switch {
		case a.closed:
			a.mu.Unlock()
			return 0, ErrClosed
		case a.core.expires(k) <= now:
			a.mu.Unlock()
			return 0, ErrUnavailable
		case a.core.pending+len(k.requests) <= most || a.core.pending == 0:
			return now, nil
		}
		if a.room == nil {
			a.room = make(chan struct{})
		}
		room := a.room
		a.mu.Unlock()
		if err := a.await(ctx, k, room); err != nil {
			return 0, err
		}
		now = a.lock()
	}
}

// await waits for ch, at most for the call's hold time.
func (a *Asker) await(ctx context.Context, k *call, ch <-chan struct{}) error {
	timer := time.NewTimer(k.at + k.hold - a.clock())
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
