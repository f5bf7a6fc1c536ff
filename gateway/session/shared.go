package session

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/xmpp/stream"
)

// Shared is what the sessions of one process have in common: who decides,
// buffers, and counters.
type Shared struct {
	decider   Decider
	log       *slog.Logger
	questions atomic.Uint64 // the last question's number
	batches   [2]sync.Pool  // of *batch, by direction

	// Effects counts verdicts acted on, by direction and effect.
	Effects [2][numEffects]atomic.Uint64
	// Stale counts verdicts that were too old at hand-over.
	Stale atomic.Uint64
	// Outages counts questions that nobody answered in time.
	Outages atomic.Uint64
}

// numEffects is one more than the last effect.
const numEffects = decision.End + 1

// NewShared returns the shared state of sessions that ask d. The log hears of
// what must not be.
func NewShared(d Decider, log *slog.Logger) (*Shared, error) {
	if d == nil || log == nil {
		return nil, errors.New("session: a decider and a log are needed")
	}
	s := &Shared{decider: d, log: log}
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
