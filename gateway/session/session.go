// Package session runs one bound session with two pumps, one for each
// direction. A pump frames the incoming bytes, describes each stanza and asks
// for verdicts. Then it passes, edits, refuses or drops each stanza, or ends
// the session.
//
// It promises: no stanza passes without a verdict that allows it; a verdict is
// fresh (decision.Freshness) when its stanza is written, or else it is asked for
// again; unedited stanzas keep their bytes and their order; edited stanzas are framed again. An idle session
// holds no buffer. The package never decides by itself: without a verdict it
// refuses the stanza or ends the session.
package session

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/xmpp/stanza"
	"github.com/postern-im/postern/xmpp/stream"
)

// Bounds of a session.
const (
	// In an outage, a pump waits for verdicts until the outage has lasted
	// holdOut (client stanzas) or holdIn (server stanzas). Meanwhile the pump
	// does not read.
	holdOut = 5 * time.Second
	holdIn  = 30 * time.Second
	// IdleTimeout closes the session of a client that sends nothing at all, not
	// even white space. A client that wants to stay connected pings every few
	// minutes.
	IdleTimeout = 15 * time.Minute
	// partTimeout is the time to receive the rest of an incomplete element.
	partTimeout = time.Minute
	// writeTimeout bounds the write of one piece: at most writePiece bytes, the
	// size of a TLS record. If a peer does not accept a piece in that time, the
	// session ends, because a stuck peer blocks the other peer.
	writeTimeout = time.Minute
	writePiece   = 16 << 10
	// closeTimeout is the time to wait for a peer's closing tag after the other
	// peer has sent its closing tag (RFC 6120 section 4.4).
	closeTimeout = 5 * time.Second
	// partingTimeout bounds the last write: a stream error and the closing tag.
	partingTimeout = 2 * time.Second
)

// A Decider returns verdicts. Ask fills vs with the verdicts on qs, in order.
// In an outage, Ask waits until the outage ends or has lasted for hold. If it has
// lasted longer already, Ask returns an error at once. After an error, questions
// without a verdict are left Undecided. Ask does not retain the slices.
type Decider interface {
	Ask(ctx context.Context, qs []decision.Question, vs []decision.Verdict, hold time.Duration) error
}

// Config configures a Session.
type Config struct {
	// Shared is the state that all sessions of the process share.
	Shared *Shared
	// The session's connections after binding, and the bytes already read from
	// them.
	Client, Backend         net.Conn
	ClientRest, BackendRest []byte
	// The identity of the session. The Session takes ownership of its bytes.
	Who decision.Session
	// LogID names the log to which the position Who.Opened belongs. A node with
	// another log cannot compare its revocations with this position, so a
	// verdict from another log ends the session.
	LogID string
	// Live reports how the client connected. New fills in the other fields.
	Live decision.LiveSession
}

// A Session is the session of one client. It can be run once.
type Session struct {
	shared          *Shared
	who             decision.Session
	logID           string
	memory          memory
	client, backend runningLeg
	rest            [2][]byte // by direction
	live            decision.LiveSession
	sent            pace
	passed, refused [2]atomic.Uint64 // stanzas, by direction
	active          atomic.Int64     // when the last stanza was acted on, in Unix seconds

	mu     sync.Mutex // guards the fields below
	cause  error      // why the session ends; nil while it runs
	cancel context.CancelFunc
}

// New returns a Session that is ready to run.
func New(c Config) (*Session, error) {
	if c.Shared == nil || c.Client == nil || c.Backend == nil {
		return nil, errors.New("session: shared state and both connections are needed")
	}
	s := &Session{shared: c.Shared, who: c.Who, logID: c.LogID}
	s.live = c.Live
	s.live.ID, s.live.Tenant, s.live.Account = string(c.Who.ID), string(c.Who.Tenant), string(c.Who.Account)
	s.live.Resource, s.live.Grant = string(c.Who.Resource), string(c.Who.Grant)
	s.live.Opened, s.live.LogID, s.live.Since = c.Who.Opened, c.LogID, time.Now()
	s.active.Store(s.live.Since.Unix())
	s.client.conn, s.backend.conn = c.Client, c.Backend
	s.client.clock, s.backend.clock = c.Shared.Clock, c.Shared.Clock
	s.rest = [2][]byte{decision.Out: c.ClientRest, decision.In: c.BackendRest}
	return s, nil
}

// Run runs the pumps until a peer or a verdict ends the session or ctx is done,
// and then closes both connections. The error is the cause; it wraps a
// *stream.Error if Run sends one to the client. Run should be called in a new
// goroutine, because a TLS handshake leaves its goroutine with a large stack.
func (s *Session) Run(ctx context.Context) error {
	unhook := context.AfterFunc(ctx, func() { s.End("system-shutdown", "") })
	defer unhook()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.mu.Lock()
	s.cancel = cancel
	ended := s.cause != nil
	s.mu.Unlock()
	if !ended {
		s.pump(ctx)
	}
	return s.close()
}

// pump runs both pumps until both have ended.
func (s *Session) pump(ctx context.Context) {
	in := &pump{s: s, dir: decision.In, from: &s.backend, to: &s.client, rest: s.rest[decision.In]}
	out := &pump{s: s, dir: decision.Out, from: &s.client, to: &s.backend, rest: s.rest[decision.Out]}
	s.rest = [2][]byte{}
	var wg sync.WaitGroup
	wg.Go(func() { s.ended(in.guard(ctx)) })
	s.ended(out.guard(ctx))
	wg.Wait()
}

// Live returns the current state of the session. It does not block.
func (s *Session) Live() decision.LiveSession {
	l := s.live
	l.Active = time.Unix(s.active.Load(), 0)
	l.PassedOut, l.RefusedOut = s.passed[decision.Out].Load(), s.refused[decision.Out].Load()
	l.PassedIn, l.RefusedIn = s.passed[decision.In].Load(), s.refused[decision.In].Load()
	return l
}

// count counts stanzas that were acted on.
func (s *Session) count(d decision.Direction, e decision.Effect, n uint64) {
	s.shared.Effects[d][e].Add(n)
	switch e {
	case decision.Pass, decision.Clamp, decision.Strip:
		s.passed[d].Add(n)
	case decision.Refuse, decision.Drop:
		s.refused[d].Add(n)
	}
	s.active.Store(time.Now().Unix())
}

// End ends the session with a stream error to the client. Run returns soon
// after. If the session is ending already, End has no effect, except that it
// ends the wait for a closing tag.
func (s *Session) End(condition, text string) {
	s.ended(&stream.Error{Condition: condition, Text: text})
}

// errClosed means that one peer has sent its closing tag and the gateway has
// sent one to the other peer.
var errClosed = errors.New("stream closed")

// ended records why a pump has ended or the session should end. After a closing
// tag, the other pump continues for at most closeTimeout, because a peer may still send
// stanzas before its own closing tag. After any other cause, both pumps end at
// once.
func (s *Session) ended(err error) {
	s.mu.Lock()
	first := s.cause == nil || errors.Is(s.cause, errClosed)
	if first {
		s.cause = err
	}
	cancel := s.cancel
	s.mu.Unlock()
	if !first {
		return
	}
	if errors.Is(err, errClosed) {
		until := time.Now().Add(closeTimeout)
		s.client.lastRead(until)
		s.backend.lastRead(until)
		return
	}
	if cancel != nil {
		cancel()
	}
	s.client.abort()
	s.backend.abort()
}

// close tells both peers that the session has ended and closes their
// connections. Both pumps must have ended.
func (s *Session) close() error {
	s.mu.Lock()
	cause := s.cause
	s.mu.Unlock()
	s.client.urgent.Store(true)
	s.backend.urgent.Store(true)
	var told *stream.Error
	errors.As(cause, &told)
	s.client.end(told)
	s.backend.end(nil)
	_ = s.backend.conn.Close()
	_ = s.client.conn.Close()
	return cause
}

// Question returns a question that asks for no permission. Its verdict shows
// whether the session may continue.
func (s *Session) Question() decision.Question {
	d := stanza.Descriptor{Kind: stanza.ClientStateKind}
	q := decision.NewQuestion(s.who, decision.Out, &d, nil)
	q.ID = s.shared.questions.Add(1)
	return q
}

// Apply ends the session if v, the verdict on its Question, is End. Otherwise it
// reports whether v is fresh, and so shows that the session may continue.
func (s *Session) Apply(v *decision.Verdict) (answered bool) {
	s.judge(v)
	if v.Effect == decision.End {
		s.End(ending(v))
		return true
	}
	return v.Effect != decision.Undecided && v.Fresh(s.shared.Clock())
}

// judge turns a verdict from another log into an End. Such a verdict occurs
// after a restore: the session was opened at a position of the log before the
// restore, and this position means nothing in the restored log.
func (s *Session) judge(v *decision.Verdict) {
	if v.Effect != decision.Undecided && v.LogID != s.logID {
		v.Effect, v.Reason = decision.End, decision.RolesChanged
	}
}

// ending returns the condition and text of the stream error for v, a verdict
// that ends the session.
func ending(v *decision.Verdict) (condition, text string) {
	a := v.Answer()
	if a.Condition == "" || a.Type != "" {
		return "policy-violation", ""
	}
	return a.Condition, a.Text
}
