// Package boottime reads the time since the machine was started, including the
// time for which it was suspended.
//
// A gateway measures the age of a verdict with this clock. Neither clock of package
// time would do. Go's monotonic clock is CLOCK_MONOTONIC, which stops while the
// machine is suspended: a verdict from before a night in suspend would still look
// new. The wall clock can be set back by an operator or by NTP.
//
// Everybody who uses the clock gets it as a func() time.Duration in a
// configuration, so that tests can replace it. In a configuration, nil means Now.
package boottime

import "time"

// A Clock returns the current time of this machine's boot-time clock. Only two
// times of the same process may be compared.
type Clock func() time.Duration

// Or returns the clock, or Now if it is nil.
func (c Clock) Or() Clock {
	if c == nil {
		return Now
	}
	return c
}
