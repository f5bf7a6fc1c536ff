package decision

import "time"

// NoChallenge is the number that stands for the absence of a challenge.
const NoChallenge uint64 = 0

// runSpan is the range of numbers that belongs to one run of a gateway: 2^40
// milliseconds are 34 years. The bases of two runs are random, so their ranges
// overlap once in two million pairs.
const runSpan = 1 << 40

// Challenges are the numbers by which one run of a gateway recognizes how old a
// state of the log is. A challenge is a random base plus the milliseconds since
// the run began. The gateway alone knows the base, and reads its own clock only, so
// a challenge that comes back proves an instant of the gateway's clock. No other
// clock is involved. The clock must not stop while the machine is suspended; see
// package internal/boottime.
type Challenges struct {
	base  uint64
	start time.Duration
}

// NewChallenges returns the challenges of a run that begins at start. The argument
// random must be a random number that no other run uses.
func NewChallenges(random uint64, start time.Duration) Challenges {
	// The base has 62 random bits, so that no challenge overflows. It is at least
	// runSpan, so that no challenge is NoChallenge.
	return Challenges{base: max(random>>2, runSpan), start: start}
}

// At returns the challenge of an instant of the run. It is rounded down to the
// millisecond, so it never names a later instant.
func (c Challenges) At(now time.Duration) uint64 {
	return c.base + uint64(max(now-c.start, 0)/time.Millisecond)
}

// Instant returns the instant of a challenge. ok is false if the challenge was not
// made by this run until now: another run made it, or nobody.
func (c Challenges) Instant(challenge uint64, now time.Duration) (at time.Duration, ok bool) {
	if challenge < c.base || challenge > c.At(now) {
		return 0, false
	}
	return c.start + time.Duration(challenge-c.base)*time.Millisecond, true
}

// SameRun reports whether the same run of a gateway made both challenges. Within a
// run, the greater challenge is the newer one.
func SameRun(a, b uint64) bool {
	if a == NoChallenge || b == NoChallenge {
		return false
	}
	return max(a, b)-min(a, b) < runSpan
}
