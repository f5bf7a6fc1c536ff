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
	"github.com/postern-im/postern/xmpp/stanza"
	"github.com/postern-im/postern/xmpp/stream"
)

// Shared is what the sessions of one process have in common: who decides,
// buffers, and counters.
type Shared struct {
	decider   Decider
	logger    *slog.Logger
	questions atomic.Uint64 // the last question's number
	batches   [2]sync.Pool  // of *batch, by direction

	// Effects counts verdicts acted on, by direction and effect.
	Effects [2][numEffects]atomic.Uint64
	// Faults counts stanzas that could not be judged by their contents, by
	// direction and fault.
	Faults [2][stanza.NumFaults]atomic.Uint64
	// Stale counts verdicts that were too old at hand-over.
	Stale atomic.Uint64
	// Outages counts questions that nobody answered in time.
	Outages atomic.Uint64
	// Undecidable counts questions a node could not decide.
	Undecidable atomic.Uint64
	// Throttled is for how long clients were not read, in nanoseconds, by the
	// rate they had exceeded.
	Throttled [numThrottled]atomic.Uint64
	// Rates bound what a client sends. They are set before the first session.
	Rates Rates

	large [2]*leaves // to have large buffers, by direction
}

// numEffects is one more than the last effect.
const numEffects = decision.End + 1

// NewShared returns the shared state of sessions that ask d. The log hears of
// what must not be.
func NewShared(d Decider, logger *slog.Logger) (*Shared, error) {
	if d == nil || logger == nil {
		return nil, errors.New("session: a decider and a log are needed")
	}
	s := &Shared{decider: d, logger: logger}
	s.large = [2]*leaves{newLeaves(), newLeaves()}
	// Numbers of questions go on from a random one, so that those of a
	// restarted gateway are not taken for retries of old ones.
	s.questions.Store(rand.Uint64())
	s.batches[decision.Out].New = func() any {
		return newBatch(stream.Config{Limits: stream.ClientLimits()})
	}
	s.batches[decision.In].New = func() any {
		return newBatch(stream.Config{Limits: stream.BackendLimits(), Lenient: true})
	}
	return s, nil
}

// roomFor waits, at most so long, for the leave to make b's buffer large, if
// that is what it needs next. The leaves of one direction are not those of the
// other: clients that send large stanzas slowly hold up no server.
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
