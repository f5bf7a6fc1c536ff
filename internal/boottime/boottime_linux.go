package boottime

import (
	"time"

	"golang.org/x/sys/unix"
)

// Now returns the time since the machine was started, by CLOCK_BOOTTIME. If the
// system refuses to read this clock, Now returns zero, which counts as no time: no
// verdict is fresh then, and nothing passes.
func Now() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
