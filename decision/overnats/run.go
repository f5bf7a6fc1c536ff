package overnats

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postern-im/postern/decision"
)

// This file holds the Asker's goroutines, which pass events to the core.

// lookEachLink is how often the state of a connection is read. Its changes are also
// reported, but the NATS client drops a report if too many wait.
const lookEachLink = 250 * time.Millisecond

// Run sends and receives messages until ctx ends. Then it ends waiting calls with
// ErrClosed and returns nil. It returns an error if it cannot subscribe.
//
// The methods of a connection can block for seconds. Therefore each link has its own
// goroutines, and a link that is stuck delays no other.
func (a *Asker) Run(ctx context.Context) error {
	asking, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	replies := make(chan *nats.Msg, maxReplies)
	a.run(asking, replies, func(ctx context.Context, wg *sync.WaitGroup) {
		for _, l := range a.links {
			wg.Go(func() {
				if err := a.hear(ctx, l, replies); err != nil {
					fail(err)
				}
			})
		}
		wg.Go(func() { a.complain(ctx) })
	})
	if ctx.Err() == nil {
		return context.Cause(asking)
	}
	return nil
}

// run runs the Asker's goroutines until ctx ends: one reads replies, one for each
// link sends, and those that start adds to the group. The calling goroutine keeps
// the time.
func (a *Asker) run(ctx context.Context, replies chan *nats.Msg, start func(context.Context, *sync.WaitGroup)) {
	var wg sync.WaitGroup
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	wg.Go(func() { a.read(replies) })
	for _, l := range a.links {
		wg.Go(func() { a.send(running, l) })
	}
	start(running, &wg)
	a.keepTime(ctx)
	stop()
	replies <- nil
	wg.Wait()
}

// keepTime passes the time to the core until ctx ends. Then it ends all calls.
func (a *Asker) keepTime(ctx context.Context) {
	a.tick()
	close(a.started)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		a.mu.Lock()
		at := a.timer
		a.mu.Unlock()
		if at != 0 {
			timer.Reset(at - a.clock())
		}
		select {
		case <-ctx.Done():
			now := a.lock()
			a.closed = true
			a.core.close(ErrClosed)
			a.flush(now)
			return
		case <-a.wake:
		case <-timer.C:
			a.tick()
		}
	}
}

// tick calls the core's tick and flushes its output.
func (a *Asker) tick() {
	now := a.lock()
	a.timer = 0
	a.core.tick(now)
	a.core.rearm = true
	a.flush(now)
}

// read processes replies until it receives nil. Every waiting question depends on
// its goroutine, which therefore does nothing else.
func (a *Asker) read(replies <-chan *nats.Msg) {
	var reply decision.Reply
	for m := <-replies; m != nil; m = <-replies {
		a.reply(m, &reply)
	}
}

// reply passes a message from an inbox to the core. It decodes into r.
func (a *Asker) reply(m *nats.Msg, r *decision.Reply) {
	token := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	id, err := strconv.ParseUint(token, replyTokenBase, 64)
	if err != nil {
		return // this gateway never used this reply subject
	}
	if len(m.Data) == 0 && m.Header.Get("Status") == noRespondersCode {
		now := a.lock()
		a.core.lost(now, id)
		a.flush(now)
		return
	}
	err = decision.DecodeReply(m.Data, r)
	now := a.lock()
	if err != nil {
		a.core.malformed(now, id)
	} else {
		a.core.replied(now, id, r)
	}
	took, age := a.core.took, a.core.proofAge
	a.core.took, a.core.proofAge = 0, 0
	a.flush(now)
	if took > 0 && a.latency != nil {
		a.latency.Observe(took.Seconds())
		a.proofAge.Observe(age.Seconds())
	}
	if err != nil {
		a.cfg.Logger.Warn("a reply cannot be read", "error", err)
	}
}

// hear passes the state of a link, and the announcements and revocations that it
// carries, to the core until ctx ends. Over a link on which it has heard a node that
// reads challenges, it publishes one each second.
func (a *Asker) hear(ctx context.Context, l *asking, replies chan *nats.Msg) error {
	notices := make(chan *nats.Msg, noticeBuffer)
	unsubscribe, err := l.subscribe(replies, notices)
	if errors.Is(err, nats.ErrConnectionClosed) && ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	defer unsubscribe()
	status := l.Conn.StatusChanged()
	defer l.Conn.RemoveStatusListener(status)
	look := time.NewTicker(lookEachLink)
	defer look.Stop()
	tell := time.NewTicker(announceEach)
	defer tell.Stop()
	var announcement decision.Announcement
	challenged := false
	a.connection(l, l.Conn.IsConnected())
	for {
		select {
		case <-ctx.Done():
			return nil
		case now, ok := <-status:
			if !ok {
				status = nil // the connection is closed and will not reconnect
			}
			// The loss of the connection may not have been reported, so it is passed on even
			// if the connection is made again.
			a.connection(l, false)
			challenged = false
			if now == nats.CONNECTED {
				a.connection(l, true)
			}
		case <-look.C:
			a.connection(l, l.Conn.IsConnected())
		case <-tell.C:
			if challenged {
				a.challenge(l)
			}
		case m := <-notices:
			if err := a.notice(l, m, &announcement); err != nil {
				a.cfg.Logger.Warn("a notice cannot be read", "subject", m.Subject, "link", l.Name, "error", err)
			} else if !challenged && strings.HasPrefix(m.Subject, nodePrefix) {
				challenged = true
				a.challenge(l)
			}
		}
	}
}

// subscribe subscribes to replies and to notices. The caller must call unsubscribe.
func (l *asking) subscribe(replies, notices chan *nats.Msg) (unsubscribe func(), err error) {
	var subs []*nats.Subscription
	unsubscribe = func() {
		for _, sub := range subs {
			_ = sub.Unsubscribe() // the connection may be closed already, which does the same
		}
	}
	for _, s := range []struct {
		subject string
		ch      chan *nats.Msg
	}{{l.inbox + "*", replies}, {announceSubject, notices}, {nodePrefix + "*", notices}, {revocationSubject, notices}} {
		sub, err := l.Conn.ChanSubscribe(s.subject, s.ch)
		if err != nil {
			unsubscribe()
			return nil, fmt.Errorf("subscribe to %s: %w", s.subject, err)
		}
		subs = append(subs, sub)
	}
	return unsubscribe, nil
}

// connection passes the state of a link to the core.
func (a *Asker) connection(l *asking, up bool) {
	now := a.lock()
	a.core.connection(now, l.index, up)
	a.flush(now)
}

// notice passes an announcement or a revocation to the core.
func (a *Asker) notice(l *asking, m *nats.Msg, announcement *decision.Announcement) error {
	if m.Subject == revocationSubject {
		var e decision.Revocation
		if err := decision.DecodeRevocation(m.Data, &e); err != nil {
			return err
		}
		now := a.lock()
		a.core.revoked(now, e)
		a.flush(now)
		return nil
	}
	decode := decision.DecodeExtended
	if m.Subject == announceSubject {
		decode = decision.DecodeAnnouncement
	}
	if err := decode(m.Data, announcement); err != nil {
		return err
	}
	if id, extended := strings.CutPrefix(m.Subject, nodePrefix); extended && id != announcement.Node {
		return fmt.Errorf("it names node %q", announcement.Node)
	}
	now := a.lock()
	a.core.announced(now, l.index, announcement)
	a.flush(now)
	return nil
}
