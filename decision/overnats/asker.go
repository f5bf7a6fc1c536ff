package overnats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
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
	// maxNotices does so for announcements and endings.
	maxNotices = 4096
)

// Config is what an Asker needs.
type Config struct {
	// Conn is the connection, made by Connect. The Asker does not close it.
	Conn *nats.Conn
	// Gateway is this gateway's id (decision.IsToken), which its NATS user's
	// rights name.
	Gateway string
	// OnEnding hears of each notice that sessions are to be asked about
	// again; nil ignores them. It must not block.
	OnEnding func(decision.Ending)
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

	calls   sync.Pool     // *call, none of them waited for
	outs    sync.Pool     // *outbox
	started chan struct{} // closed when Run has begun
	wake    chan struct{} // tells Run that the timer is to fire sooner

	mu sync.Mutex // guards what follows
	// core is only ever touched between lock and unlock, which carries out
	// what it wants.
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
	if cfg.OnEnding == nil {
		cfg.OnEnding = func(decision.Ending) {}
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
	a.unlock()
	select {
	case <-k.finished:
	case <-ctx.Done():
		a.mu.Lock()
		a.core.cancel(k, context.Cause(ctx))
		a.unlock()
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

// An outbox is what is to be published when the lock is released.
type outbox struct {
	messages []message
	buffer   []byte
	failed   []uint64
}

type message struct {
	try            uint64
	subject, reply string
	from, to       int // of the buffer
}

// unlock carries out what the core wants and releases the lock. Publishing
// can block for as long as the connection's write deadline, so that is done
// without the lock.
func (a *Asker) unlock() {
	for {
		out := a.take()
		a.mu.Unlock()
		if out == nil {
			return
		}
		for _, m := range out.messages {
			if err := a.publish(m.subject, m.reply, out.buffer[m.from:m.to]); err != nil {
				out.failed = append(out.failed, m.try)
			}
		}
		failed := len(out.failed) > 0
		if failed {
			a.mu.Lock()
			for _, try := range out.failed {
				a.core.unsent(time.Now(), try)
			}
		}
		*out = outbox{messages: out.messages[:0], buffer: out.buffer[:0], failed: out.failed[:0]}
		a.outs.Put(out)
		if !failed {
			return
		}
	}
}

// take tells callers that their calls have ended, sets the timer, and builds
// the messages to be sent, if there are any.
func (a *Asker) take() *outbox {
	c := a.core
	if len(c.ended) > 0 {
		for i, k := range c.ended {
			k.finished <- struct{}{}
			c.ended[i] = nil
		}
		c.ended = c.ended[:0]
		if a.room != nil {
			close(a.room)
			a.room = nil
		}
	}
	a.arm()
	if len(c.sends) == 0 {
		return nil
	}
	out := a.outs.Get().(*outbox)
	for i, s := range c.sends {
		from := len(out.buffer)
		head := decision.BatchHead{Gateway: a.cfg.Gateway, ID: s.try, AtLeast: s.atLeast}
		out.buffer = decision.AppendBatch(out.buffer, &head, len(s.flight.requests))
		for _, r := range s.flight.requests {
			out.buffer = append(out.buffer, r.body...)
		}
		out.messages = append(out.messages, message{
			try:     s.try,
			subject: askSubject(s.node, a.cfg.Gateway),
			reply:   a.inbox + strconv.FormatUint(s.try, replyTokenBase),
			from:    from, to: len(out.buffer),
		})
		c.sends[i] = sending{}
	}
	c.sends = c.sends[:0]
	return out
}

// arm has Run's timer fire no later than the core needs.
func (a *Asker) arm() {
	if !a.core.rearm {
		return
	}
	a.core.rearm = false
	next := a.core.next(time.Now())
	if next.IsZero() || !a.timer.IsZero() && !next.Before(a.timer) {
		return
	}
	a.timer = next
	select {
	case a.wake <- struct{}{}:
	default: // it has been told and has not looked yet
	}
}

// Run asks and listens until ctx ends. It returns nil then, and an error when
// it cannot begin. Calls that wait end with ErrClosed.
func (a *Asker) Run(ctx context.Context) error {
	conn := a.cfg.Conn
	replies := make(chan *nats.Msg, maxReplies)
	notices := make(chan *nats.Msg, maxNotices)
	for _, s := range []struct {
		subject string
		ch      chan *nats.Msg
	}{{a.inbox + "*", replies}, {announceSubject, notices}, {endingSubject, notices}} {
		sub, err := conn.ChanSubscribe(s.subject, s.ch)
		if err != nil {
			return fmt.Errorf("subscribe to %s: %w", s.subject, err)
		}
		defer sub.Unsubscribe() //nolint:errcheck // the connection may be closed already, which does the same
	}
	status := conn.StatusChanged()
	defer conn.RemoveStatusListener(status)

	a.run(ctx, replies, notices, status, conn.IsConnected)
	return nil
}

// run runs the Asker's goroutines until ctx ends: one takes replies, one takes
// notices, and this one keeps the time.
func (a *Asker) run(ctx context.Context, replies, notices chan *nats.Msg, status <-chan nats.Status, connected func() bool) {
	var wg sync.WaitGroup
	wg.Go(func() { a.read(replies) })
	wg.Go(func() { a.hear(ctx, notices) })
	a.keepTime(ctx, status, connected)
	replies <- nil
	wg.Wait()
}

// keepTime tells the core of the time and the connection until ctx ends, and
// then ends all calls.
func (a *Asker) keepTime(ctx context.Context, status <-chan nats.Status, connected func() bool) {
	a.tick(connected())
	close(a.started)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		a.mu.Lock()
		at := a.timer
		a.mu.Unlock()
		if !at.IsZero() {
			timer.Reset(time.Until(at))
		}
		select {
		case <-ctx.Done():
			a.mu.Lock()
			a.closed = true
			a.core.close(ErrClosed)
			a.unlock()
			return
		case _, ok := <-status:
			if !ok {
				status = nil // the connection is closed for good
			}
			a.tick(connected())
		case <-a.wake:
		case <-timer.C:
			a.tick(connected())
		}
	}
}

// tick has the core do what is due.
func (a *Asker) tick(connected bool) {
	a.mu.Lock()
	a.timer = time.Time{}
	a.core.connection(time.Now(), connected)
	a.core.tick(time.Now())
	a.core.rearm = true
	a.unlock()
}

// read takes replies until it gets nil. It does nothing else, because each
// question waits for it.
func (a *Asker) read(replies <-chan *nats.Msg) {
	var reply decision.Reply
	for m := <-replies; m != nil; m = <-replies {
		a.reply(m, &reply)
	}
}

// reply gives the core what came to the inbox; r is scratch.
func (a *Asker) reply(m *nats.Msg, r *decision.Reply) {
	token := strings.TrimPrefix(m.Subject, a.inbox)
	id, err := strconv.ParseUint(token, replyTokenBase, 64)
	if err != nil {
		return // not what this gateway gave out
	}
	if len(m.Data) == 0 && m.Header.Get("Status") == noRespondersCode {
		a.mu.Lock()
		a.core.lost(time.Now(), id)
		a.unlock()
		return
	}
	err = decision.DecodeReply(m.Data, r)
	a.mu.Lock()
	if err != nil {
		a.core.malformed(time.Now(), id)
	} else {
		a.core.replied(time.Now(), id, r)
	}
	took := a.core.took
	a.core.took = 0
	a.unlock()
	if took > 0 && a.latency != nil {
		a.latency.Observe(took.Seconds())
	}
	if err != nil {
		a.cfg.Logger.Warn("a reply cannot be read", "error", err)
	}
}

// hear takes announcements and endings until ctx ends.
func (a *Asker) hear(ctx context.Context, notices <-chan *nats.Msg) {
	var announcement decision.Announcement
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-notices:
			if err := a.notice(m, &announcement); err != nil {
				a.cfg.Logger.Warn("a notice cannot be read", "subject", m.Subject, "error", err)
			}
		}
	}
}

func (a *Asker) notice(m *nats.Msg, announcement *decision.Announcement) error {
	if m.Subject == announceSubject {
		if err := decision.DecodeAnnouncement(m.Data, announcement); err != nil {
			return err
		}
		a.mu.Lock()
		a.core.announced(time.Now(), announcement)
		a.unlock()
		return nil
	}
	var e decision.Ending
	if err := decision.DecodeEnding(m.Data, &e); err != nil {
		return err
	}
	a.mu.Lock()
	a.core.sawMark(time.Now(), decision.Mark{LogID: e.LogID, Position: e.Position})
	a.unlock()
	a.cfg.OnEnding(e)
	return nil
}
