package session

import (
	"context"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/gateway/shares"
)

// Rates are how much a client may send. Over it, reading waits, so that TCP slows
// the client down; nothing is dropped. The zero Rate is no limit.
type Rates struct{ Bytes, Stanzas shares.Rate }

// Throttled are how long clients have been waited for, by what there was too much
// of, in nanoseconds.
const (
	ThrottledBytes = iota
	ThrottledStanzas
	numThrottled
)

// A pace is what a client has sent. It belongs to its pump.
type pace struct {
	bytes, stanzas     shares.Bucket
	newBytes, newCount int // since the last wait
}

// pace waits until the client has earned what it has sent so far. It uses no
// goroutine and reads nothing meanwhile.
func (p *pump) pace(ctx context.Context) error {
	if p.dir != decision.Out {
		return nil
	}
	now, rates := time.Now(), &p.s.shared.Rates
	wait, by := p.sent.bytes.Take(rates.Bytes, now, p.sent.newBytes), ThrottledBytes
	if w := p.sent.stanzas.Take(rates.Stanzas, now, p.sent.newCount); w > wait {
		wait, by = w, ThrottledStanzas
	}
	p.sent.newBytes, p.sent.newCount = 0, 0
	if t := p.from.final.Load(); t != 0 {
		wait = min(wait, time.Until(time.Unix(0, t)))
	}
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
	}
	p.s.shared.Throttled[by].Add(uint64(wait))
	return nil
}
