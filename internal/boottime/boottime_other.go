//go:build !linux

package boottime

import "time"

// start is an instant before every Now, so that Now is never zero.
var start = time.Now().Add(-time.Second)

// Now returns the time since shortly before the process was started, by Go's
// monotonic clock. This system has no clock that is known to run in suspend, so a
// verdict can look newer than it is after a suspend.
func Now() time.Duration { return time.Since(start) }
