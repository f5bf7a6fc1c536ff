// Package session is one bound session: two pumps, one for each direction.
// Each frames what comes, describes it, asks for verdicts, and then passes,
// edits, refuses or drops it, or ends the session.
//
// It promises that nothing goes on that no verdict let through, that a
// verdict is at most a second old when its stanza is handed over, that what
// passes is the peer's own bytes in their order, and that what was edited was
// framed again. A session that waits for its peers holds no buffer. It never
// decides by itself: where no verdict can be had it refuses, or ends.
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
	// maxVerdictAge is how old a verdict may be at hand-over: a part of the
	// bound on how long a revocation takes to be in force.
	maxVerdictAge = time.Second
	// holdOut and holdIn are how long reading waits in an outage, counted from
	// its start.
	holdOut = 5 * time.Second
	holdIn  = 30 * time.Second
	// IdleTimeout is for a client that sends nothing at all, not even white
	// space; clients that mean to stay ping every few minutes.
	IdleTimeout = 15 * time.Minute
	// partTimeout is for the next bytes of an element that has begun.
	partTimeout = time.Minute
	// writeTimeout is for one write of at most writePiece, a TLS record: a peer
	// that takes so little in that time is gone, or keeps the other side from
	// being served.
	writeTimeout = time.Minute
	writePiece   = 16 << 10
	// closeTimeout is for a peer's closing tag once the other side has sent
	// its own (RFC 6120 section 4.4).
	closeTimeout = 5 * time.Second
	// partingTimeout is for telling a peer why its stream ends.
	partingTimeout = 2 * time.Second
)

// A Decider gives verdicts. Ask fills vs, one for each of qs, in order. In an
// outage it waits for its end, until hold has passed since its start: an
// outage older than that is an error at once. On an error those without a
// verdict are left Undecided. It keeps neither slice.
type Decider interface {
	Ask(ctx context.Context, qs []decision.Question, vs []decision.Verdict, hold time.Duration) error
}

// Config is what a Session needs.
type Config struct {
	// Shared is what all sessions of the process have in common.
	Shared *Shared
	// The session's connections, bound, and what was read from them already.
	Client, Backend         net.Conn
	ClientRest, BackendRest []byte
	// Who the session is; its bytes are the Session's from now on.
	Who decision.Session
	// LogID names the log that Who.Opened is a position of. Positions of
	// another log say nothing about it, so a verdict made by one ends the
	// session.
	LogID string
	// Live is what else is shown of the session: how its client came in.
	Live decision.LiveSession
}

// A Session is one client's. It is run once.
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
	active          atomic.Int64     // when the last one was acted on, Unix seconds

	mu     sync.Mutex // guards the two below
	cause  error      // why it ends, once it does
	cancel context.CancelFunc
}

// New returns a Session that waits to be run.
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
	s.rest = [2][]byte{decision.Out: c.ClientRest, decision.In: c.BackendRest}
	return s, nil
}

// Run pumps until either side ends the session, policy does, or ctx is done,
// and closes both connections. The error says why it ended; it is a
// *stream.Error where the client was told one. Run is best called in a fresh
// goroutine: one whose stack has grown with a TLS handshake keeps it.
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

// Live tells how the session is. It waits for nothing.
func (s *Session) Live() decision.LiveSession {
	l := s.live
	l.Active = time.Unix(s.active.Load(), 0)
	l.PassedOut, l.RefusedOut = s.passed[decision.Out].Load(), s.refused[decision.Out].Load()
	l.PassedIn, l.RefusedIn = s.passed[decision.In].Load(), s.refused[decision.In].Load()
	return l
}

// count counts stanzas acted on.
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

// End ends the session from outside with a stream error to the client; the
// first reason counts. Run returns soon after.
func (s *Session) End(condition, text string) {
	s.ended(&stream.Error{Condition: condition, Text: text})
}

// errClosed: a peer has closed its stream, and the other one has been told.
var errClosed = errors.New("stream closed")

// ended takes note of why a pump has ended, or the session is to end. After a
// closing tag the other pump goes on for a while, because a peer may answer a
// closing tag with what it still has to say; after all else both end at once.
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

// close tells both peers that the session has ended, and closes their connections.
// Both pumps have ended before.
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

// Question returns a question that asks for nothing, whose verdict says
// whether the session goes on.
func (s *Session) Question() decision.Question {
	d := stanza.Descriptor{Kind: stanza.ClientStateKind}
	q := decision.NewQuestion(s.who, decision.Out, &d, nil)
	q.ID = s.shared.questions.Add(1)
	return q
}

// Apply ends the session if v, the verdict on its Question, says so.
func (s *Session) Apply(v *decision.Verdict) {
	s.judge(v)
	if v.Effect == decision.End {
		s.End(ending(v))
	}
}

// judge makes of a verdict by another log than the session's that the session
// ends: after a restore, the position it was opened at is one of a history
// that is no more.
func (s *Session) judge(v *decision.Verdict) {
	if v.Effect != decision.Undecided && v.LogID != s.logID {
		v.Effect, v.Reason = decision.End, decision.RolesChanged
	}
}

// ending is what a stream that v ends is closed with.
func ending(v *decision.Verdict) (condition, text string) {
	a := v.Answer()
	if a.Condition == "" || a.Type != "" {
		return "policy-violation", ""
	}
	return a.Condition, a.Text
}
