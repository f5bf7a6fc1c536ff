package overnats

import (
	"strconv"
	"time"

	"github.com/postern-im/postern/decision"
)

// The core lists messages to send and calls that have ended. flush sends the
// messages and notifies the callers.

// An outbox holds messages that are published after the lock is released.
type outbox struct {
	messages []message
	buffer   []byte
	failed   []uint64
}

type message struct {
	try            uint64
	subject, reply string
	from, to       int // its bytes in the buffer
}

// flush carries out the core's output and releases the lock, which its caller
// must hold. Publishing can block until the connection's write deadline, so flush
// publishes after it has released the lock.
func (a *Asker) flush() {
	for {
		out := a.drain()
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

// drain empties the core's lists. It notifies the callers of ended calls, sets the
// timer, and builds the messages to send. It returns nil if there are no messages.
func (a *Asker) drain() *outbox {
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

// arm ensures that Run's timer fires no later than the core needs.
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
	default: // Run was already woken and has not read the timer yet
	}
}
