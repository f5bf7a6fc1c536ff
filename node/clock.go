package node

import (
	"time"

	"github.com/postern-im/postern/projections"
)

// aheadTolerance is how far the log's time may be ahead of this machine's clock
// before the node warns. Clocks are often corrected by less.
const aheadTolerance = 10 * time.Second

// notBefore returns the time of a new commit: now, or last, the time of the commit
// before it, if last is later. last can be later if the clock was set back. If a
// wrong clock has dated a commit far ahead, later commits get the same time until
// the clock has caught up: see watchClock.
func notBefore(last, now time.Time) time.Time {
	if now.Before(last) {
		return last
	}
	return now
}

// ahead returns how far the time of a View is ahead of the clock. It is zero if the
// time is not ahead or v is nil.
func ahead(v *projections.View) time.Duration {
	if v == nil {
		return 0
	}
	return max(time.Until(v.Time()), 0)
}

// watchClock logs once when the log's time gets ahead of the clock, and once when
// the clock has caught up. Only follow calls it.
func (n *Node) watchClock(v *projections.View) {
	d := ahead(v)
	if n.ahead == (d > aheadTolerance) {
		return
	}
	n.ahead = !n.ahead
	if n.ahead {
		n.cfg.Logger.Warn("the log's time is ahead of this machine's clock; new commits get the log's time until the clock has caught up: "+
			"check whether the clock is wrong now, or was wrong before", "position", v.Position(), "log", v.Time(), "ahead", d.Truncate(time.Second))
	} else {
		n.cfg.Logger.Info("the log's time agrees with this machine's clock again", "position", v.Position())
	}
}
