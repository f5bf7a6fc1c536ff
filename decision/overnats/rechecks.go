package overnats

import (
	"time"

	"github.com/postern-im/postern/decision"
)

const (
	// recheckEach is the shortest time between two recheckings of all sessions. If
	// several nodes start at once, the sessions are asked about once, and once more
	// after this time.
	recheckEach = time.Second
	// maxSeen bounds the revocations remembered. Each node publishes a revocation
	// within milliseconds, so a repetition is seldom further back. If it is, the
	// sessions are asked about again, which is correct.
	maxSeen = 1024
)

// rechecks decides which revocations the gateway must handle. Every node publishes
// every revocation, and a gateway may hear a node over several links, so it hears
// each revocation several times and handles it once. Any node that answers later
// has at least the revocation's position, because the core requires it.
type rechecks struct {
	out []decision.Revocation // the output

	seen   map[decision.Revocation]bool
	oldest []decision.Revocation // those in seen, as a ring once there are maxSeen
	place  int                   // the oldest of the ring

	allAt   time.Duration // when all sessions were last asked about; zero: never
	due     bool          // all sessions must be asked about again, recheckEach later
	dueMark decision.Mark
}

// one handles a revocation that a node has published.
func (r *rechecks) one(e decision.Revocation) {
	if r.seen[e] {
		return
	}
	if r.seen == nil {
		r.seen = make(map[decision.Revocation]bool)
	}
	if len(r.oldest) < maxSeen {
		r.oldest = append(r.oldest, e)
	} else {
		delete(r.seen, r.oldest[r.place])
		r.oldest[r.place] = e
		r.place = (r.place + 1) % maxSeen
	}
	r.seen[e] = true
	r.out = append(r.out, e)
}

// all handles that revocations up to m may have been missed.
func (r *rechecks) all(now time.Duration, m decision.Mark) {
	r.due, r.dueMark = true, m
	r.tick(now)
}

// tick asks about all sessions if that is due.
func (r *rechecks) tick(now time.Duration) {
	if !r.due || r.allAt != 0 && now-r.allAt < recheckEach {
		return
	}
	r.due, r.allAt = false, now
	r.out = append(r.out, decision.Revocation{LogID: r.dueMark.LogID, Position: r.dueMark.Position})
}

// next returns the time when tick must be called, or zero.
func (r *rechecks) next() time.Duration {
	if !r.due {
		return 0
	}
	return r.allAt + recheckEach
}
