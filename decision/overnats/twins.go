package overnats

import (
	"encoding/binary"
	"log/slog"
	"slices"
	"time"
)

// This file finds two gateways with the same id, which happens when a
// configuration is copied together with its key. A node keeps one challenge for each
// id, so it could prove its state to one of the two at most. And a node that queries
// their sessions takes the first answer, which has the sessions of one gateway only.
// Nodes therefore answer neither.

// twinsFor is how long an id counts as used twice after the last evidence.
const twinsFor = 5 * announceEach

// The states of a gateway's announcement: the gateway is stopping, or running.
const (
	goes = 0
	here = 1
)

// announcement encodes the message that a gateway publishes each second. It has
// the gateway's state and a random number that identifies this run of its process.
func announcement(state byte, run uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{state}, run)
}

func readAnnouncement(b []byte) (state byte, run uint64, ok bool) {
	if len(b) != 1+8 || b[0] > here {
		return 0, 0, false
	}
	return b[0], binary.BigEndian.Uint64(b[1:]), true
}

// keptRuns is the number of runs of one id that are remembered. More copies than this
// that announce themselves always in the same order are not found.
const keptRuns = 8

// runs are the last runs that announced themselves under one id.
type runs struct {
	recent []uint64  // the run that was heard last is at the end
	twins  time.Time // when an older run was last seen after a newer one
}

// hear records the announcement of a run. After a restart only the new number
// appears. If an old number appears again, two gateways use the id. With several
// copies, the old number may be older than the one before the last.
func (r *runs) hear(run uint64, now time.Time) {
	i := slices.Index(r.recent, run)
	switch {
	case i < 0:
		r.recent = slices.Delete(r.recent, 0, max(len(r.recent)-keptRuns+1, 0))
	case i == len(r.recent)-1:
		return
	default:
		r.recent, r.twins = slices.Delete(r.recent, i, i+1), now
	}
	r.recent = append(r.recent, run)
}

// twice reports whether the id is used twice.
func (r *runs) twice(now time.Time) bool {
	return r != nil && !r.twins.IsZero() && now.Sub(r.twins) < twinsFor
}

// sayTwins logs that two gateways use the same id, and from where.
func (d *SessionDirectory) sayTwins(gateway string) {
	var args []any
	if d.Addresses != nil {
		args = append(args, "addresses", d.Addresses(gateway))
	}
	d.often.Say(slog.LevelError, gateway, "two gateways use the same id: neither is answered, and lists of their sessions are incomplete",
		append(args, "remedy", "stop one of them, or give it an id and a key of its own: policyctl gateway add ID")...)
}

// Duplicate reports whether another gateway uses this gateway's id at present. Policy
// nodes find the same out and answer neither. A policyd of an older version does not let
// the gateway hear it.
func (r *SessionReporter) Duplicate() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.runs.twice(time.Now())
}

// hear takes an announcement under this gateway's id, its own ones too. It reports
// whether two gateways use the id.
func (r *SessionReporter) hear(b []byte) bool {
	state, run, ok := readAnnouncement(b)
	if !ok {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if state == goes {
		r.runs = runs{} // as nodes do: at most one is left
		return false
	}
	now := time.Now()
	r.runs.hear(run, now)
	return r.runs.twice(now)
}

// Duplicate reports whether two gateways use the id at present.
func (d *SessionDirectory) Duplicate(gateway string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.runs[gateway].twice(time.Now())
}

// duplicates returns how many ids two gateways use. The caller holds the lock.
func (d *SessionDirectory) duplicates(now time.Time) (n int) {
	for _, r := range d.runs {
		if r.twice(now) {
			n++
		}
	}
	return n
}
