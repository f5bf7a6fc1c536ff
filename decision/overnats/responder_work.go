package overnats

import (
	"errors"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postern-im/postern/decision"
)

// This file holds the Responder's workers, which answer batches.

// A queueAge tells how long the messages of a queue wait, although none of them has
// a time: it counts off the messages that were in the queue at one instant.
type queueAge struct {
	mu   sync.Mutex // guards the fields below
	at   time.Time
	left int // how many of the messages that were in the queue at that instant are not taken yet
}

// took records that a message was taken and how many messages were left. It returns
// a time for which the message has waited at least. A message that has waited twice
// as long as another limit is always found to have waited longer than the limit,
// because the messages are counted again each time that left becomes zero.
func (q *queueAge) took(now time.Time, left int) (waited time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.left > 0 {
		q.left--
		return now.Sub(q.at)
	}
	q.at, q.left = now, left
	return 0
}

// work answers messages until it gets nil.
func (r *Responder) work(messages <-chan *nats.Msg) {
	w := worker{Responder: r}
	for m := <-messages; m != nil; m = <-messages {
		w.answer(m, len(messages))
	}
}

// A worker answers one message at a time. It reuses its fields for each message.
type worker struct {
	*Responder
	batch decision.Batch
	reply decision.Reply
	out   []byte
}

// answer answers a message, behind which so many others wait. If answering panics,
// only this message is affected: it gets no answer, or an answer with StatusBad.
func (w *worker) answer(m *nats.Msg, behind int) {
	begin := time.Now()
	waited := w.age.took(begin, behind)
	defer func() { w.busy.Add(int64(time.Since(begin))) }()
	gateway := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	defer func() {
		if p := recover(); p != nil {
			w.panicked(gateway, p)
		}
	}()
	if token, ok := strings.CutPrefix(m.Reply, replyPrefix); !ok || !strings.HasPrefix(token, gateway+".") {
		w.refuse(refusedElsewhere, slog.LevelWarn, gateway, "a batch asks for its answer to be sent to another gateway")
		return
	}
	w.decide(gateway, m.Data, waited)
	w.out = decision.AppendReply(w.out[:0], &w.reply)
	if err := w.cfg.Conn.Publish(m.Reply, w.out); err != nil {
		w.logger.Say(slog.LevelWarn, gateway, "a reply cannot be sent", "error", err)
	}
}

// decide fills the reply to a gateway's message, which has waited for a worker for
// the given time. After any error, the reply has StatusBad and no result.
func (w *worker) decide(gateway string, msg []byte, waited time.Duration) {
	w.batch.ID = 0 // forget the previous batch
	defer func() {
		if p := recover(); p != nil {
			w.without(decision.StatusBad)
			w.panicked(gateway, p)
		}
	}()
	err := decision.DecodeBatch(msg, &w.batch)
	w.without(decision.StatusBad)
	named := w.batch.Gateway == gateway
	switch {
	case errors.Is(err, decision.ErrVersion) && named:
		w.without(decision.StatusVersion)
		w.refuse(refusedVersion, slog.LevelWarn, gateway, "a batch is of a newer version than this node reads", "remedy", "upgrade policy nodes before gateways")
		return
	case err == nil && !named:
		err = errors.New("it names another gateway")
	}
	if err != nil {
		w.refuse(refusedUnreadable, slog.LevelWarn, gateway, "a batch cannot be read", "error", err)
		return
	}
	if w.batch.Wire < w.cfg.Oldest {
		w.without(decision.StatusNotFresh)
		if w.old.asked(gateway, time.Now()) {
			w.refuse(refusedOld, slog.LevelWarn, gateway, "a gateway asks in an older version, which a node of a cluster cannot answer", "remedy", "upgrade this gateway")
		}
		return
	}
	if reason, status := w.declined(waited); reason != "" {
		w.refused.WithLabelValues(reason).Inc()
		w.without(status)
		return
	}
	w.cfg.Decider.Answer(&w.batch, &w.reply)
	w.reply.ID, w.reply.Node, w.reply.Wire = w.batch.ID, w.cfg.Node, w.batch.Wire
	if w.reply.Status != decision.StatusOK {
		return
	}
	if len(w.reply.Results) != len(w.batch.Requests) {
		panic("overnats: a decider must give one result for each request")
	}
	if w.batch.Wire >= decision.Wire2 && w.reply.Proven == decision.NoChallenge {
		panic("overnats: a decider must prove its state")
	}
}

// declined returns why a batch is answered without the Decider, and the status of
// the answer. An empty reason means that the Decider answers it.
//
// A gateway of Wire1 knows neither StatusBusy nor challenges. It would take a busy
// node for a failed one. Two such gateways with one id do not confuse any proof, so
// they are answered as they always were.
func (w *worker) declined(waited time.Duration) (reason string, status decision.Status) {
	switch {
	case w.Ready() != nil:
		return refusedTwin, decision.StatusNotFresh
	case w.batch.Wire < decision.Wire2:
		return "", decision.StatusOK
	case w.cfg.Duplicate(w.batch.Gateway):
		return refusedDuplicate, decision.StatusNotFresh
	case waited > busyAfter:
		return refusedBusy, decision.StatusBusy
	}
	return "", decision.StatusOK
}

// without sets the reply to a status without results.
func (w *worker) without(status decision.Status) {
	w.reply.ReplyHead = decision.ReplyHead{ID: w.batch.ID, Node: w.cfg.Node, Status: status, Wire: w.batch.Wire}
	w.reply.Results = w.reply.Results[:0]
}

// The reasons for not deciding a batch, as values of the metric's label.
const (
	refusedElsewhere  = "reply-to"   // its reply subject belongs to another gateway
	refusedUnreadable = "unreadable" // it cannot be decoded, or names another gateway
	refusedPanic      = "panic"      // a defect of this program
	refusedVersion    = "version"    // its version is newer than this program
	refusedOld        = "old"        // its version is older than a cluster can answer
	refusedBusy       = "busy"       // it has waited too long
	refusedDuplicate  = "duplicate"  // two gateways use its id
	refusedTwin       = "twin"       // another process uses this node's id
)

// refusals are all reasons.
var refusals = []string{
	refusedElsewhere, refusedUnreadable, refusedPanic, refusedVersion, refusedOld, refusedBusy, refusedDuplicate, refusedTwin,
}

// refuse counts and logs a refused batch.
func (r *Responder) refuse(reason string, level slog.Level, gateway, message string, args ...any) {
	r.refused.WithLabelValues(reason).Inc()
	r.logger.Say(level, gateway, message, args...)
}

func (r *Responder) panicked(gateway string, p any) {
	r.refuse(refusedPanic, slog.LevelError, gateway, "answering a batch panicked; it is refused", "panic", p, "stack", string(debug.Stack()))
}
