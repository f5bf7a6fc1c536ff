package session

import (
	"context"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/internal/limit"
)

// Rates are the rates at which a client may send. Above them, the gateway
// delays reading, and TCP slows the client down; nothing is dropped. The zero
// Rate means no limit.
type Rates struct{ Bytes, Stanzas limit.Rate }

// Indices of [Shared.Throttled]: the rate that a client exceeded.
const (
	ThrottledBytes = iota
	ThrottledStanzas
	numThrottled
)

// A pace counts the bytes and stanzas a client has sent. It belongs to the pump
// that reads from the client.
type pace struct {
	bytes, stanzas     limit.Bucket
	newBytes, newCount int32 // since the last wait
}

// count counts bytes and stanzas read from a client.
func (p *pump) count(bytes, stanzas int) {
	if p.dir == decision.Out {
		p.s.sent.newBytes += int32(bytes)
		p.s.sent.newCount += int32(stanzas)
	}
}

// pace waits until the rates allow the bytes and stanzas that the client has sent
// so far. It uses no goroutine, and the pump reads nothing in the meantime.
func (p *pump) pace(ctx context.Context) error {
	if p.dir != decision.Out {
		return nil
	}
	now, rates, sent := time.Now(), &p.s.shared.Rates, &p.s.sent
	wait, by := sent.bytes.Take(rates.Bytes, now, int(sent.newBytes)), ThrottledBytes
	if w := sent.stanzas.Take(rates.Stanzas, now, int(sent.newCount)); w > wait {
		wait, by = w, ThrottledStanzas
	}
	sent.newBytes, sent.newCount = 0, 0
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
