package overnats

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postern-im/postern/decision"
)

// This file holds the Asker's goroutines, which pass events to the core.

// Run sends and receives messages until ctx ends. Then it ends waiting calls with
// ErrClosed and returns nil. It returns an error if it cannot subscribe.
func (a *Asker) Run(ctx context.Context) error {
	conn := a.cfg.Conn
	replies := make(chan *nats.Msg, maxReplies)
	notices := make(chan *nats.Msg, noticeBuffer)
	for _, s := range []struct {
		subject string
		ch      chan *nats.Msg
	}{{a.inbox + "*", replies}, {announceSubject, notices}, {revocationSubject, notices}} {
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

// run runs the Asker's goroutines until ctx ends. One reads replies and one reads
// notices. The calling goroutine keeps the time.
func (a *Asker) run(ctx context.Context, replies, notices chan *nats.Msg, status <-chan nats.Status, connected func() bool) {
	var wg sync.WaitGroup
	wg.Go(func() { a.read(replies) })
	wg.Go(func() { a.hear(ctx, notices) })
	a.keepTime(ctx, status, connected)
	replies <- nil
	wg.Wait()
}

// keepTime passes the time and the state of the connection to the core until ctx
// ends. Then it ends all calls.
func (a *Asker) keepTime(ctx context.Context, status <-chan nats.Status, connected func() bool) {
	a.tick(connected())
	close(a.started)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	look := time.NewTicker(complainAfter / 4)
	defer look.Stop()
	r := reporter{
		logger: a.cfg.Logger, out: "no policy node answers: nothing passes", over: "a policy node answers",
		args: []any{"gateway", a.cfg.Gateway},
	}
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
			a.flush()
			return
		case now, ok := <-status:
			switch {
			case !ok:
				status = nil // the connection is closed and will not reconnect
			case now == nats.CONNECTED:
				a.cfg.OnRevocation(decision.Revocation{}) // revocations may have been missed
			}
			a.tick(connected())
		case <-a.wake:
		case now := <-look.C:
			a.report(&r, now)
		case <-timer.C:
			a.tick(connected())
		}
	}
}

// tick calls the core's tick and flushes its output.
func (a *Asker) tick(connected bool) {
	a.mu.Lock()
	a.timer = time.Time{}
	a.core.connection(time.Now(), connected)
	a.core.tick(time.Now())
	a.core.rearm = true
	a.flush()
}

// read processes replies until it receives nil. Every waiting question depends on
// its goroutine, which therefore does nothing else.
func (a *Asker) read(replies <-chan *nats.Msg) {
	var reply decision.Reply
	for m := <-replies; m != nil; m = <-replies {
		a.reply(m, &reply)
	}
}

// reply passes a message from the inbox to the core. It decodes into r.
func (a *Asker) reply(m *nats.Msg, r *decision.Reply) {
	token := strings.TrimPrefix(m.Subject, a.inbox)
	id, err := strconv.ParseUint(token, replyTokenBase, 64)
	if err != nil {
		return // this gateway never used this reply subject
	}
	if len(m.Data) == 0 && m.Header.Get("Status") == noRespondersCode {
		a.mu.Lock()
		a.core.lost(time.Now(), id)
		a.flush()
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
	a.flush()
	if took > 0 && a.latency != nil {
		a.latency.Observe(took.Seconds())
	}
	if err != nil {
		a.cfg.Logger.Warn("a reply cannot be read", "error", err)
	}
}

// hear processes announcements and revocations until ctx ends.
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
		anew := a.core.announced(time.Now(), announcement)
		a.flush()
		if anew {
			a.cfg.OnRevocation(decision.Revocation{Position: announcement.At.Position, LogID: announcement.At.LogID})
		}
		return nil
	}
	var e decision.Revocation
	if err := decision.DecodeRevocation(m.Data, &e); err != nil {
		return err
	}
	a.mu.Lock()
	a.core.sawMark(time.Now(), decision.Mark{LogID: e.LogID, Position: e.Position})
	a.flush()
	a.cfg.OnRevocation(e)
	return nil
}
