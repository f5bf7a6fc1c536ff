package overnats

import (
	"slices"

	"github.com/postern-im/postern/decision"
)

// pruneOver is the number of abandoned requests above which the queues are
// pruned. Up to that number, they stay queued and are skipped.
const pruneOver = 1024

// A queue holds requests, oldest first. It may hold requests that are done, which
// are skipped.
type queue struct {
	list []*request
	head int // the index of the oldest; those before it have left
}

func (q *queue) len() int { return len(q.list) - q.head }

func (q *queue) push(r *request) { q.list = append(q.list, r) }

// front returns the oldest request that is not done, or nil.
func (q *queue) front() *request {
	for q.head < len(q.list) && q.list[q.head].done {
		q.pop()
	}
	if q.head == len(q.list) {
		q.list, q.head = q.list[:0], 0
		return nil
	}
	return q.list[q.head]
}

// pop removes the oldest request.
func (q *queue) pop() {
	q.list[q.head] = nil
	q.head++
	if q.head > pruneOver && 2*q.head > len(q.list) {
		q.list, q.head = slices.Delete(q.list, 0, q.head), 0
	}
}

// prune removes the requests that are done.
func (q *queue) prune() {
	q.list = slices.DeleteFunc(slices.Delete(q.list, 0, q.head), func(r *request) bool { return r.done })
	q.head = 0
}

// waiting holds the requests that wait to be sent. Requests that were sent and not
// answered come first. Admissions and openings come before questions: they are few,
// and a client that logs in has little time. But a message that could carry
// questions carries at most entryShare of them, so that a storm of log-ins does
// not stop the sessions.
type waiting struct {
	again, entries, questions queue
	dead                      int // requests of ended calls that may still be queued
}

// entryShare is the part of a message, as a divisor, that admissions and openings
// may fill while questions wait.
const entryShare = 4

// add queues a new request.
func (w *waiting) add(r *request) {
	if r.kind == decision.Ask {
		w.questions.push(r)
	} else {
		w.entries.push(r)
	}
}

// retry queues a request that was sent before.
func (w *waiting) retry(r *request) { w.again.push(r) }

// len returns the number of waiting requests, including those of ended calls.
func (w *waiting) len() int { return w.again.len() + w.entries.len() + w.questions.len() }

// any reports whether a request is waiting that is not done.
func (w *waiting) any() bool {
	return w.again.front() != nil || w.entries.front() != nil || w.questions.front() != nil
}

// abandon records that a call has ended with so many requests unanswered.
func (w *waiting) abandon(requests int) {
	if w.dead += requests; w.dead > pruneOver && 2*w.dead > w.len() {
		w.again.prune()
		w.entries.prune()
		w.questions.prune()
		w.dead = 0
	}
}

// first returns the queue of the request that is sent next in a message that may
// still carry so many admissions and openings. It returns nil if no request waits.
func (w *waiting) first(entries int) *queue {
	switch {
	case w.again.front() != nil:
		return &w.again
	case w.entries.front() != nil && (entries > 0 || w.questions.front() == nil):
		return &w.entries
	case w.questions.front() != nil:
		return &w.questions
	}
	return nil
}

// load moves waiting requests into a flight: as many as fit into a message, at
// most the given number, or a single request that must be alone.
func (w *waiting) load(f *flight, most int) {
	size, entries := 0, max(most/entryShare, 1)
	for len(f.requests) < most {
		q := w.first(entries)
		if q == nil {
			return
		}
		r := q.front()
		if len(f.requests) > 0 && (r.alone || size+len(r.body) > maxBatchBytes) {
			return
		}
		q.pop()
		size += len(r.body)
		f.requests = append(f.requests, r)
		if r.kind != decision.Ask {
			entries--
		}
		if r.alone {
			return
		}
	}
}
