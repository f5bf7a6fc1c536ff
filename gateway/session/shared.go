package session

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/internal/boottime"
	"github.com/postern-im/postern/xmpp/stanza"
	"github.com/postern-im/postern/xmpp/stream"
)

// Shared is the state that the sessions of one process share: the decider,
// buffers, and counters.
type Shared struct {
	decider   Decider
	logger    *slog.Logger
	questions atomic.Uint64 // the number of the last question
	batches   [2]sync.Pool  // of *batch, by direction

	// Effects counts verdicts acted on, by direction and effect.
	Effects [2][numEffects]atomic.Uint64
	// Faults counts stanzas with a [stanza.Fault], by direction and fault.
	Faults [2][stanza.NumFaults]atomic.Uint64
	// Stale counts verdicts that were not fresh when their stanza was written.
	Stale atomic.Uint64
	// Outages counts questions that got no verdict in time.
	Outages atomic.Uint64
	// Undecidable counts questions that a node could not decide.
	Undecidable atomic.Uint64
	// Throttled is the total time for which reading from clients was delayed, in
	// nanoseconds. The index is the rate that was exceeded.
	Throttled [numThrottled]atomic.Uint64
	// Clock measures the age of verdicts. It is boottime.Now unless it is set before
	// the first session.
	Clock boottime.Clock
	// Rates bound the rate at which each client may send. Set them before the
	// first session.
	Rates Rates

	large [2]*leaves // permits for large buffers, by direction
}

// numEffects is one more than the last effect.
const numEffects = decision.End + 1

// NewShared returns the shared state of sessions that ask d. Sessions log
// panics, verdicts that no rule gives, and edited stanzas that the framer refuses.
func NewShared(d Decider, logger *slog.Logger) (*Shared, error) {
	if d == nil || logger == nil {
		return nil, errors.New("session: a decider and a logger are needed")
	}
	s := &Shared{decider: d, logger: logger, Clock: boottime.Now}
	s.large = [2]*leaves{newLeaves(), newLeaves()}
	// Question numbers start at a random value, so that the questions of a
	// restarted gateway are not mistaken for retries of old ones.
	s.questions.Store(rand.Uint64())
	s.batches[decision.Out].New = func() any {
		return newBatch(stream.Config{Limits: stream.ClientLimits()})
	}
	s.batches[decision.In].New = func() any {
		return newBatch(stream.Config{Limits: stream.BackendLimits(), Lenient: true})
	}
	return s, nil
}

// roomFor waits for a large-buffer permit, for at most the given time, if b's
// next read needs a large buffer. The directions have separate permits, so that
// clients that send large stanzas slowly cannot delay a server.
func (s *Shared) roomFor(ctx context.Context, d decision.Direction, who *decision.Session, b *batch, most time.Duration) error {
	if b.large != nil || !b.grows() || 2*cap(b.buf) <= largeBuffer {
		return nil
	}
	wait, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	tenant, account := string(who.Tenant), string(who.Account)
	if err := s.large[d].take(wait, tenant, account); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &stream.Error{Condition: "resource-constraint", Text: "too many large stanzas at once"}
	}
	b.large = func() { s.large[d].give(tenant, account) }
	return nil
}
