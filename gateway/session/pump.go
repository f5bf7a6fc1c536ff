package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/xmpp/stanza"
	"github.com/postern-im/postern/xmpp/stream"
)

// A pump carries one direction of a session.
type pump struct {
	s        *Session
	dir      decision.Direction
	from, to *runningLeg
	rest     []byte  // bytes read before the session began
	first    [1]byte // the read buffer while the pump is idle
}

// guard runs the pump. A panic is a bug in our code; guard recovers from it and
// ends only this session.
func (p *pump) guard(ctx context.Context) (err error) {
	defer func() {
		if r := recover(); r != nil {
			p.s.shared.logger.Error("panic in a session", "session", string(p.s.who.ID), "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			err = &stream.Error{Condition: "internal-server-error"}
		}
	}()
	return p.run(ctx)
}

func (p *pump) run(ctx context.Context) error {
	for {
		if err := p.wait(); err != nil {
			return err
		}
		if err := p.burst(ctx); err != nil {
			return err
		}
		if err := p.pace(ctx); err != nil {
			return err
		}
	}
}

// wait returns when there is something to read. It holds no buffer while it
// waits.
func (p *pump) wait() error {
	if len(p.rest) > 0 {
		return nil
	}
	if p.dir == decision.Out {
		p.from.arm(IdleTimeout)
	} else {
		p.from.unlimited()
	}
	n, err := p.from.conn.Read(p.first[:])
	p.count(n, 0)
	if n == 0 {
		return p.readFailure(err)
	}
	return nil
}

// burst processes the peer's data until the buffer is empty.
func (p *pump) burst(ctx context.Context) error {
	pool := &p.s.shared.batches[p.dir]
	b := pool.Get().(*batch)
	defer func() {
		b.reset()
		pool.Put(b)
	}()
	if len(p.rest) > 0 {
		b.buf = append(b.buf, p.rest...)
		p.rest = nil
	} else {
		b.buf = append(b.buf, p.first[0])
	}
	for {
		framing := p.frame(b)
		if len(b.entries) > 0 {
			if err := p.work(ctx, b); err != nil {
				return err
			}
		}
		if framing != nil {
			return p.framingFailure(framing)
		}
		read := len(b.entries) < maxBatch
		p.count(0, len(b.qs))
		b.clear()
		if b.consume(); len(b.buf) == 0 {
			return nil
		}
		if err := p.pace(ctx); err != nil {
			return err
		}
		if read {
			if err := p.read(ctx, b); err != nil {
				return err
			}
		}
	}
}

// read reads more of an incomplete element. The deadline counts from the
// element's first byte, so a peer gains nothing by sending one byte at a time.
func (p *pump) read(ctx context.Context, b *batch) error {
	if b.began.IsZero() {
		b.began = time.Now()
	}
	left := time.Until(b.began.Add(partTimeout))
	if err := p.s.shared.roomFor(ctx, p.dir, &p.s.who, b, left); err != nil {
		return err
	}
	p.from.arm(left)
	room := b.room()
	n, err := p.from.conn.Read(room)
	p.count(n, 0)
	b.buf, b.filled = b.buf[:len(b.buf)+n], n == len(room)
	if n == 0 {
		return p.readFailure(err)
	}
	return nil
}

// errStreamClosed means that framing has reached a closing tag.
var errStreamClosed = errors.New("closing tag")

// A backendError is a stream error from the backend.
type backendError struct{ condition string }

func (e *backendError) Error() string { return "stream error from the backend: " + e.condition }

// frame turns the complete tokens in the buffer into entries. The entries
// before an error are valid.
func (p *pump) frame(b *batch) error {
	for len(b.entries) < maxBatch && b.framed < len(b.buf) {
		kind, n, err := b.framer.Next(b.buf[b.framed:], false)
		if err != nil {
			return err
		}
		e := entry{start: b.framed, end: b.framed + n, q: len(b.qs)}
		switch kind {
		case stream.Incomplete:
			return nil
		case stream.Close:
			return errStreamClosed
		case stream.Space:
			e.kind = isSpace
		case stream.Stanza:
			el := b.framer.Element()
			if p.dir == decision.In && string(el.Space()) == stream.NSStreams {
				if string(el.Local()) == "error" {
					return &backendError{streamCondition(el)}
				}
				e.kind = isIgnored
				break
			}
			p.ask(b, el)
		}
		b.entries = append(b.entries, e)
		b.framed += n
	}
	return nil
}

// ask adds the question about el.
func (p *pump) ask(b *batch, el stream.Element) {
	d := b.desc()
	d.Describe(el)
	b.recall.memory = &p.s.memory
	b.qs = append(b.qs, decision.NewQuestion(p.s.who, p.dir, d, &b.recall))
	q := &b.qs[len(b.qs)-1]
	q.ID = p.s.shared.questions.Add(1)
	if fault := q.Desc.Fault; fault != stanza.NoFault {
		p.s.shared.Faults[p.dir][fault].Add(1)
	}
	b.vs = append(b.vs, decision.Verdict{})
}

func streamCondition(el stream.Element) string {
	for c := el.FirstChild(); c.Valid(); c = c.NextSibling() {
		if string(c.Space()) == stream.NSErrors && string(c.Local()) != "text" {
			return string(c.Local())
		}
	}
	return ""
}

// maxStale is the number of times in a row that the verdict on a stanza may not be
// fresh, so that it is asked for again. After that, the session ends.
const maxStale = 3

// work gets the verdicts on the entries and acts on them in order. It sends the
// answers even if the session ends at a later entry.
func (p *pump) work(ctx context.Context, b *batch) error {
	return errors.Join(p.actAll(ctx, b), p.answer(b))
}

func (p *pump) actAll(ctx context.Context, b *batch) error {
	if len(b.qs) > 0 {
		if err := p.decide(ctx, b.qs, b.vs); err != nil {
			return err
		}
	}
	stale := 0
	for at := 0; at < len(b.entries); {
		next, err := p.act(b, at)
		if errors.Is(err, errStale) {
			p.s.shared.Stale.Add(1)
			if stale++; stale > maxStale {
				return &stream.Error{Condition: "system-shutdown", Text: "access control is too slow"}
			}
			from := b.entries[at].q
			if err := p.decide(ctx, b.qs[from:], b.vs[from:]); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		at, stale = next, 0
	}
	return nil
}

var errUndecided = errors.New("no verdict")

// decide asks for verdicts and fills vs. If a client's stanza gets no verdict in
// time, it is refused, since the client can send it again. A server's stanza must
// not be lost silently, so decide returns an error, which ends the session.
func (p *pump) decide(ctx context.Context, qs []decision.Question, vs []decision.Verdict) error {
	hold := holdOut
	if p.dir == decision.In {
		hold = holdIn
	}
	clear(vs)
	err := p.s.shared.decider.Ask(ctx, qs, vs, hold)
	if errors.Is(err, decision.ErrUndecidable) {
		err = p.oneByOne(ctx, qs, vs, hold)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	undecided := uint64(0)
	for i := range vs {
		p.s.judge(&vs[i])
		if vs[i].Effect == decision.Undecided || vs[i].Effect >= numEffects {
			vs[i] = decision.Verdict{Effect: decision.Refuse, Reason: decision.Outage}
			undecided++
		}
	}
	p.s.shared.Outages.Add(undecided)
	if p.dir == decision.In && undecided > 0 {
		told := &stream.Error{Condition: "system-shutdown", Text: decision.Outage.Answer().Text}
		return fmt.Errorf("ask: %w: %w", cmp.Or(err, errUndecided), told)
	}
	return nil
}

// oneByOne asks each question without a verdict separately, because one of them
// cannot be decided. That stanza is refused or dropped, like a stanza that cannot
// be described. Thus a stranger who sends such a stanza cannot end the
// recipient's session.
func (p *pump) oneByOne(ctx context.Context, qs []decision.Question, vs []decision.Verdict, hold time.Duration) error {
	for i := range qs {
		if vs[i].Effect != decision.Undecided {
			continue
		}
		err := p.s.shared.decider.Ask(ctx, qs[i:i+1], vs[i:i+1], hold)
		if errors.Is(err, decision.ErrUndecidable) {
			p.s.shared.Undecidable.Add(1)
			vs[i] = p.undecidable(&qs[i].Desc)
			vs[i].LogID = p.s.logID
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *pump) undecidable(d *stanza.Descriptor) decision.Verdict {
	switch request := d.Kind == stanza.IQ && isRequest(d); {
	case p.dir == decision.In && request:
		return decision.Verdict{Effect: decision.Refuse, Reason: decision.UnavailableUndescribable}
	case p.dir == decision.In || d.Type == stanza.Result || d.Type == stanza.Error:
		return decision.Verdict{Effect: decision.Drop, Reason: decision.NotAcceptable}
	}
	return decision.Verdict{Effect: decision.Refuse, Reason: decision.NotAcceptable}
}

// readFailure returns the cause with which the session ends after a failed
// read.
func (p *pump) readFailure(err error) error {
	if p.from.final.Load() != 0 {
		return errClosed // the peer had enough time to send its closing tag
	}
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return &stream.Error{Condition: "connection-timeout"}
	case p.dir == decision.In:
		return fmt.Errorf("read from the backend: %w: %w", err, &stream.Error{Condition: "remote-connection-failed"})
	case errors.Is(err, io.EOF):
		return errors.New("the client closed the connection")
	}
	return fmt.Errorf("read from the client: %w", err)
}

// framingFailure returns the cause with which the session ends after a framing
// error or the end of a stream.
func (p *pump) framingFailure(err error) error {
	var wire *stream.Error
	var server *backendError
	switch {
	case errors.Is(err, errStreamClosed):
		p.to.end(nil)
		return errClosed
	case errors.As(err, &server):
		return fmt.Errorf("%w: %w", err, &stream.Error{Condition: relayedCondition(server.condition)})
	case p.dir == decision.In:
		return fmt.Errorf("framing from the backend: %v: %w", err, &stream.Error{Condition: "internal-server-error"})
	case errors.As(err, &wire):
		return wire
	}
	return err
}

// relayedCondition returns the condition to send to the client after a stream
// error from the backend. Conditions that are also true for the client's stream
// stay the same. All others become undefined-condition.
func relayedCondition(c string) string {
	switch c {
	case "conflict", "connection-timeout", "host-gone", "policy-violation", "reset",
		"resource-constraint", "system-shutdown", "not-authorized":
		return c
	}
	return "undefined-condition"
}

// writeFailure returns the cause with which the session ends after a failed
// write to l.
func (p *pump) writeFailure(l *runningLeg, err error) error {
	if l == &p.s.backend {
		return fmt.Errorf("write to the backend: %w: %w", err, &stream.Error{Condition: "remote-connection-failed"})
	}
	return fmt.Errorf("write to the client: %w", err)
}

// isStanzaKind reports whether d is a message, presence or iq.
func isStanzaKind(d *stanza.Descriptor) bool {
	return d.Kind == stanza.Message || d.Kind == stanza.Presence || d.Kind == stanza.IQ
}
