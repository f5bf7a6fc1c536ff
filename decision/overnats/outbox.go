package overnats

import (
	"context"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postern-im/postern/decision"
)

// The core lists messages to send and calls that have ended. flush passes the
// messages to the senders of the links and notifies the callers.

// maxOutboxes bounds the outboxes that wait for a link's sender. A link that takes
// no messages for so long is stuck, so the core asks over another link.
const maxOutboxes = 64

// An outbox holds messages for one link.
type outbox struct {
	messages []message
	buffer   []byte
}

type message struct {
	try            uint64 // zero: not a batch
	subject, reply string
	from, to       int // its bytes in the buffer
}

// flush carries out the core's output and releases the lock, which its caller must
// hold. now is the time of the core's last input.
//
// A link's connection can block until its write deadline. Therefore flush does not
// publish. The sender of the link does, so that a stuck link delays no other. If
// there is no other link, flush publishes itself, which saves a change of goroutine
// for each message.
func (a *Asker) flush(now time.Duration) {
	c := a.core
	var direct *outbox
	for len(c.sends) > 0 {
		a.fill()
		if len(a.links) == 1 {
			direct, a.links[0].filling = a.links[0].filling, nil
		} else {
			a.post(now)
		}
	}
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
	a.arm(now)
	rechecks := c.rechecks.out
	c.rechecks.out = nil
	a.mu.Unlock()
	if direct != nil {
		a.publish(a.links[0], direct)
	}
	for _, e := range rechecks {
		a.cfg.OnRevocation(e)
	}
}

// fill moves the core's messages to the outboxes of their links.
func (a *Asker) fill() {
	c := a.core
	for i, s := range c.sends {
		l := a.links[s.link]
		if l.filling == nil {
			l.filling = a.outs.Get().(*outbox)
		}
		out := l.filling
		from := len(out.buffer)
		head := decision.BatchHead{Gateway: a.cfg.Gateway, ID: s.try, AtLeast: s.atLeast, Wire: s.wire, Challenge: s.challenge}
		out.buffer = decision.AppendBatch(out.buffer, &head, len(s.flight.requests))
		for _, r := range s.flight.requests {
			out.buffer = append(out.buffer, r.body...)
		}
		out.messages = append(out.messages, message{
			try:     s.try,
			subject: askSubject(s.node, a.cfg.Gateway),
			reply:   l.inbox + strconv.FormatUint(s.try, replyTokenBase),
			from:    from, to: len(out.buffer),
		})
		c.sends[i] = sending{}
	}
	c.sends = c.sends[:0]
}

// post passes the outboxes to the senders. The core may then have more to send,
// because a sender that has no room fails its messages.
func (a *Asker) post(now time.Duration) {
	for _, l := range a.links {
		if out := l.filling; out != nil {
			l.filling = nil
			select {
			case l.out <- out:
			default:
				for _, m := range out.messages {
					a.core.unsent(now, m.try)
				}
				a.recycle(out)
			}
		}
	}
}

func (a *Asker) recycle(out *outbox) {
	clear(out.messages)
	*out = outbox{messages: out.messages[:0], buffer: out.buffer[:0]}
	a.outs.Put(out)
}

// send publishes the messages for a link until ctx ends.
func (a *Asker) send(ctx context.Context, l *asking) {
	for {
		select {
		case <-ctx.Done():
			return
		case out := <-l.out:
			a.publish(l, out)
		}
	}
}

// publish publishes the messages of an outbox. A batch that could not be published is
// lost at once, and its requests are sent over another link.
func (a *Asker) publish(l *asking, out *outbox) {
	var failed []uint64
	for _, m := range out.messages {
		if l.publish(m.subject, m.reply, out.buffer[m.from:m.to]) != nil {
			failed = append(failed, m.try)
		}
	}
	a.recycle(out)
	if len(failed) == 0 {
		return
	}
	now := a.lock()
	for _, try := range failed {
		a.core.unsent(now, try)
	}
	a.flush(now)
}

// challenge publishes the gateway's challenge over a link, for the nodes that read
// it. If the sender has no room, the challenge is left out: a node has the one of a
// second ago.
func (a *Asker) challenge(l *asking) {
	out := a.outs.Get().(*outbox)
	out.buffer = decision.AppendChallenge(out.buffer, a.challenges.At(a.clock()))
	out.messages = append(out.messages, message{subject: challengePrefix + a.cfg.Gateway, to: len(out.buffer)})
	select {
	case l.out <- out:
	default:
		a.recycle(out)
	}
}

// arm ensures that Run's timer fires no later than the core needs.
func (a *Asker) arm(now time.Duration) {
	if !a.core.rearm {
		return
	}
	a.core.rearm = false
	next := a.core.next(now)
	if next == 0 || a.timer != 0 && next >= a.timer {
		return
	}
	a.timer = next
	select {
	case a.wake <- struct{}{}:
	default: // Run was already woken and has not read the timer yet
	}
}

// publisher returns the function that publishes over a connection.
func publisher(conn *nats.Conn) func(subject, reply string, msg []byte) error {
	return func(subject, reply string, msg []byte) error {
		if reply == "" {
			return conn.Publish(subject, msg)
		}
		return conn.PublishRequest(subject, reply, msg)
	}
}
