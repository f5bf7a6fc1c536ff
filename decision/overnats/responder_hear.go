package overnats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/internal/floodlog"
)

// This file holds the part of a Responder that hears other processes: the
// challenges of gateways, and another node with its own id.

const (
	// maxHeard bounds the challenges and announcements received but not yet
	// processed: one of each gateway and some of nodes. The NATS client drops
	// further ones, and each is repeated a second later.
	maxHeard = maxGateways + 4*maxNodes
	// twinFor is how long a node's id counts as used twice after the other process
	// was last heard: three intervals of announcements.
	twinFor = 3 * announceEach
)

// errTwin means that another process announces this node's id.
var errTwin = errors.New("another process uses the id of this policy node: neither decides until one is stopped")

// oldAfter is how long a gateway asks in a version that this node does not answer, before
// the log names it. A gateway asks in the oldest version until it has heard a node.
const oldAfter = 3 * announceEach

// oldGateways are the gateways that ask in a version that this node does not answer. A
// gateway of a later version may do so too, but it sends challenges.
type oldGateways struct {
	mu    sync.Mutex           // guards since
	since map[string]time.Time // the first batch since the gateway's last challenge
}

// asked records a batch. It reports whether the gateway is of an old version.
func (o *oldGateways) asked(gateway string, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	since, known := o.since[gateway]
	if !known && len(o.since) < maxGateways {
		if o.since == nil {
			o.since = map[string]time.Time{}
		}
		since, o.since[gateway] = now, now
	}
	return known && now.Sub(since) >= oldAfter
}

// challenged records that the gateway sends challenges.
func (o *oldGateways) challenged(gateway string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.since, gateway)
}

// A twin is the other process that uses a node's id. This happens when a node's
// configuration, or its whole data, is copied and started elsewhere. Each copy would
// take its own log for the newest. Nobody knows which copy is meant, so both refuse.
type twin struct {
	heard atomic.Pointer[time.Time] // when it was last heard; nil: never
}

// Ready returns an error while another process uses the id of this node.
func (r *Responder) Ready() error {
	if at := r.twin.heard.Load(); at != nil && time.Since(*at) < twinFor {
		return errTwin
	}
	return nil
}

// subscribe subscribes to the messages for hear.
func (r *Responder) subscribe() (notices chan *nats.Msg, unsubscribe func(), err error) {
	notices = make(chan *nats.Msg, maxHeard)
	var subs []*nats.Subscription
	unsubscribe = func() {
		for _, s := range subs {
			_ = s.Unsubscribe() // the connection may be closed already, which does the same
		}
	}
	for _, subject := range []string{announceSubject, nodePrefix + "*", challengePrefix + "*"} {
		s, err := r.cfg.Conn.ChanSubscribe(subject, notices)
		if err != nil {
			unsubscribe()
			return nil, nil, fmt.Errorf("subscribe to %s: %w", subject, err)
		}
		subs = append(subs, s)
	}
	return notices, unsubscribe, nil
}

// hear processes notices until ctx ends.
func (r *Responder) hear(ctx context.Context, notices <-chan *nats.Msg) {
	var a decision.Announcement
	often := floodlog.New(floodlog.Config{Logger: r.cfg.Logger, Key: "node", Every: complainEach})
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-notices:
			if r.notice(m, &a) {
				often.Say(slog.LevelError, r.cfg.Node, errTwin.Error(), "this_boot", r.boot, "other_boot", a.Boot, "other_position", a.At.Position,
					"remedy", "stop the process that was started by mistake, and give each policy node its own id, key and data")
			}
		}
	}
}

// notice processes one message. It reports whether the message is the announcement
// of a twin, which it decodes into a. It ignores a message that it cannot read: the
// only harm is that a challenge is a second older, or a twin is found a second later.
func (r *Responder) notice(m *nats.Msg, a *decision.Announcement) (twin bool) {
	if gateway, ok := strings.CutPrefix(m.Subject, challengePrefix); ok {
		challenge, err := decision.DecodeChallenge(m.Data)
		if err == nil && decision.IsToken(gateway) {
			r.old.challenged(gateway)
			if !r.cfg.Duplicate(gateway) {
				r.cfg.OnChallenge(gateway, challenge)
			}
		}
		return false
	}
	decode := decision.DecodeAnnouncement
	if m.Subject != announceSubject {
		decode = decision.DecodeExtended
	}
	if decode(m.Data, a) != nil || a.Node != r.cfg.Node || a.Boot == r.boot {
		return false
	}
	now := time.Now()
	r.twin.heard.Store(&now)
	return true
}
