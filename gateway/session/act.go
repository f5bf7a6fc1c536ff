package session

import (
	"errors"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/xmpp/stanza"
	"github.com/postern-im/postern/xmpp/stream"
)

// act acts on the entry at index at. If this entry passes unchanged, act writes
// it together with the entries directly after it that also pass unchanged, up
// to maxWrite bytes. It returns the index of the next entry.
func (p *pump) act(b *batch, at int) (next int, err error) {
	for next = at; next < len(b.entries) && p.plain(b, next); next++ {
		if next > at && b.entries[next].end-b.entries[at].start > maxWrite {
			break
		}
	}
	if next > at {
		return next, p.pass(b, at, next)
	}
	e := b.entries[at]
	switch {
	case e.kind == isIgnored:
		return at + 1, nil
	case e.kind == isSpace:
		return at + 1, p.sent(p.to.write([]byte(" ")))
	}
	q, v := &b.qs[e.q], &b.vs[e.q]
	effect := v.Effect
	if effect != decision.End && q.Desc.Fault != stanza.NoFault && effect < decision.Refuse {
		// No rule passes a stanza that could not be described. A verdict that
		// does is a bug, so the stanza is dropped.
		p.s.shared.logger.Error("verdict passes a stanza that could not be described", "session", string(p.s.who.ID), "fault", int(q.Desc.Fault))
		effect = decision.Drop
	}
	switch effect {
	case decision.Pass, decision.Clamp, decision.Strip:
		err = p.edit(b, e)
	case decision.Refuse:
		p.refuse(b, e, v)
	case decision.Drop:
		p.drop(b, e, v)
	case decision.End:
		condition, text := ending(v)
		err = &stream.Error{Condition: condition, Text: text}
	}
	if !errors.Is(err, errStale) {
		p.s.count(p.dir, effect, 1)
	}
	return at + 1, err
}

// plain reports whether the bytes of the entry are forwarded unchanged.
func (p *pump) plain(b *batch, at int) bool {
	e := b.entries[at]
	if e.kind == isSpace {
		return e.end-e.start == 1 && b.buf[e.start] == ' '
	}
	if e.kind != isStanza {
		return false
	}
	d := &b.qs[e.q].Desc
	return b.vs[e.q].Effect == decision.Pass && d.Fault == stanza.NoFault && !p.rewrites(d)
}

// rewrites reports whether the to attribute must be replaced by the prepared
// address on which the decision is based. A stanza from the server needs no such
// edit, because it is always addressed to the session.
func (p *pump) rewrites(d *stanza.Descriptor) bool {
	return p.dir == decision.Out && d.ToEdited
}

// pass writes the entries with indices at to next-1 in one write.
func (p *pump) pass(b *batch, at, next int) error {
	bytes := b.buf[b.entries[at].start:b.entries[next-1].end]
	stanzas := b.stanzas(at, next)
	if stanzas == 0 {
		return p.sent(p.to.write(bytes))
	}
	for _, e := range b.entries[at:next] {
		if e.kind == isStanza {
			p.s.memory.note(p.dir, &b.qs[e.q].Desc)
		}
	}
	err := p.sent(p.to.pass(bytes, func(now time.Duration) bool { return b.fresh(at, next, now) }))
	for _, e := range b.entries[at:next] {
		if e.kind == isStanza {
			p.settle(&b.qs[e.q], err)
		}
	}
	if err == nil {
		p.s.count(p.dir, decision.Pass, stanzas)
	}
	return err
}

// settle updates the memory after the attempt to write a stanza. A request is
// forgotten when it is answered, or when it could not be written.
func (p *pump) settle(q *decision.Question, err error) {
	answered := q.Outstanding && err == nil
	withdrawn := q.Desc.Kind == stanza.IQ && isRequest(&q.Desc) && err != nil
	if answered || withdrawn {
		p.s.memory.forget(p.dir, &q.Desc)
	}
}

// sent returns the cause with which the session ends if a write to p.to has failed.
// errStale does not end the session.
func (p *pump) sent(err error) error {
	if err != nil && !errors.Is(err, errStale) {
		return p.writeFailure(p.to, err)
	}
	return err
}

// edit writes an edited copy of the entry. After each edit, the copy is framed
// again, before the next edit and before it is written. A copy that the framer
// refuses is not written.
func (p *pump) edit(b *batch, e entry) error {
	q, v := &b.qs[e.q], &b.vs[e.q]
	raw, err := b.buf[e.start:e.end], error(nil)
	if p.rewrites(&q.Desc) {
		raw, err = b.splice(0, raw, func(dst, raw []byte, el stream.Element) []byte {
			return stanza.AppendWithTo(dst, raw, el, q.Desc.To.Bytes())
		})
	}
	if err == nil && v.Effect == decision.Clamp {
		raw, err = b.splice(1, raw, stanza.AppendClamped)
	}
	if err == nil && v.Effect == decision.Strip {
		raw, err = b.splice(1, raw, stanza.AppendStripped)
	}
	if err == nil {
		_, err = b.framer.ParseStanza(raw)
	}
	if err != nil {
		b.framer.Reset() // otherwise its error would end the stream
		p.s.shared.logger.Warn("edited stanza is not well-formed any more", "session", string(p.s.who.ID), "err", err)
		p.refuse(b, e, &decision.Verdict{Effect: decision.Refuse, Reason: decision.NotAcceptable})
		return nil
	}
	p.s.memory.note(p.dir, &q.Desc)
	err = p.sent(p.to.pass(raw, v.Fresh))
	p.settle(q, err)
	return err
}

// splice frames raw and writes the result of edit to one of the edit buffers.
func (b *batch) splice(buffer int, raw []byte, edit func(dst, raw []byte, el stream.Element) []byte) ([]byte, error) {
	el, err := b.framer.ParseStanza(raw)
	if err != nil {
		return nil, err
	}
	b.edits[buffer] = edit(b.edits[buffer][:0], raw, el)
	return b.edits[buffer], nil
}

// refuse answers the sender of the entry. It does not answer an entry that is
// an answer itself, because two peers could then answer each other forever.
func (p *pump) refuse(b *batch, e entry, v *decision.Verdict) {
	d := &b.qs[e.q].Desc
	if !isStanzaKind(d) || d.Type == stanza.Error || d.Type == stanza.Result {
		return
	}
	if v.Reason == decision.Outage && d.Kind == stanza.Message && d.Marks&(stanza.HasContent|stanza.IsInvite) == 0 {
		return // chat states and receipts, which no user has written
	}
	a := v.Answer()
	if a.Type == "" || a.Condition == "" {
		return
	}
	r := stanza.Reply{Type: a.Type, Condition: a.Condition, Text: a.Text}
	p.tooBig(e, v, &r)
	if a.Denied {
		r.Permission, r.Position = v.Permission, v.Position
	}
	// A fault of the element does not matter, because only its header is read.
	el, _ := b.framer.ParseStanza(b.buf[e.start:e.end])
	if !el.Valid() {
		return
	}
	if p.dir == decision.In {
		r.To = d.From.Bytes()
	} else if string(d.To.Bytes()) != string(p.s.who.Account) {
		r.From = answeredFrom(el, d)
	}
	b.replies = stanza.AppendError(b.replies, el, r)
}

// answeredFrom returns the from address of the answer to a client's stanza: the
// address that the stanza was sent to. For presence, and if the address cannot
// be prepared, it is the address as the client wrote it. In presence errors, a
// client recognizes by this form which room it could not join.
func answeredFrom(el stream.Element, d *stanza.Descriptor) []byte {
	if d.Kind != stanza.Presence && !d.To.IsZero() {
		return d.To.Bytes()
	}
	to, _ := el.Attr("to")
	if len(to) > stanza.MaxAddress {
		return nil
	}
	return to
}

// drop drops the entry. A push from the account's own server gets a result, so
// that the server does not send it again.
func (p *pump) drop(b *batch, e entry, v *decision.Verdict) {
	d := &b.qs[e.q].Desc
	if p.dir != decision.In || v.Reason != decision.PushRefused || d.Kind != stanza.IQ || d.Type != stanza.Set {
		return
	}
	el, _ := b.framer.ParseStanza(b.buf[e.start:e.end])
	if el.Valid() {
		b.replies = stanza.AppendResult(b.replies, el, d.From.Bytes(), nil)
	}
}

// answer sends the replies to the peer that sent the stanzas.
func (p *pump) answer(b *batch) error {
	if len(b.replies) == 0 {
		return nil
	}
	err := p.from.write(b.replies)
	if err == nil || errors.Is(err, errEnded) {
		return nil // our closing tag was sent, so the peer expects no answer
	}
	return p.writeFailure(p.from, err)
}
