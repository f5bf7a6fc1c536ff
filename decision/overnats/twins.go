package overnats

import (
	"encoding/binary"
	"log/slog"
	"time"
)

// This file finds two gateways that use one id, as where a configuration was
// copied with its key. Each works, but a node that asks the id about sessions
// takes the first answer, which has the sessions of one of them only.

// twinsFor is how long an id counts as used twice after the last sign of it.
const twinsFor = 5 * announceEach

// goes and here are the states of an announcement: the gateway goes, or is here.
const (
	goes = 0
	here = 1
)

// announcement is what a gateway says each second: its state, and a number that
// this run of it has alone.
func announcement(state byte, run uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{state}, run)
}

func readAnnouncement(b []byte) (state byte, run uint64, ok bool) {
	if len(b) != 1+8 || b[0] > here {
		return 0, 0, false
	}
	return b[0], binary.BigEndian.Uint64(b[1:]), true
}

// runs are the runs that were heard under one id.
type runs struct {
	last, before uint64
	twins        time.Time // when both were last heard in turn
}

// hear takes a run that is here. A gateway that was started again is heard by
// its new number only; one whose old number is heard again is two.
func (r *runs) hear(run uint64, now time.Time) {
	switch run {
	case r.last:
	case r.before:
		r.last, r.before, r.twins = run, r.last, now
	default:
		r.last, r.before = run, r.last
	}
}

// twice reports whether the id is used twice.
func (r *runs) twice(now time.Time) bool {
	return r != nil && !r.twins.IsZero() && now.Sub(r.twins) < twinsFor
}

// sayTwins tells the operator.
func (d *SessionDirectory) sayTwins(gateway string) {
	d.often.Say(slog.LevelError, gateway, "two gateways use the same id: what is said of their sessions is not whole",
		"remedy", "give each an id of its own, named in gateways of policyd's [nats], and the seed file that is made for it")
}
