package node

import (
	"time"

	"github.com/postern-im/postern/projections"
)

// aheadTolerance is how far the log's time may be ahead of this machine's clock
// without a word: clocks are put right by less all the time.
const aheadTolerance = 10 * time.Second

// notBefore keeps a commit's time from going back behind its predecessor's when
// the clock was set back. One commit made by a clock far ahead therefore dates
// those after it, until the clock has come there: see watchClock.
func notBefore(last, now time.Time) time.Time {
	if now.Before(last) {
		return last
	}
	return now
}

// ahead is how far the time of a View is ahead of the clock; zero when it is
// not, or there is no View.
func ahead(v *projections.View) time.Duration {
	if v == nil {
		return 0
	}
	return max(time.Until(v.Time()), 0)
}

// watchClock says when the log's time has got ahead of the clock, and when that
// is over: once each, and not with each commit. It belongs to follow.
func (n *Node) watchClock(v *projections.View) {
	d := ahead(v)
	if n.ahead == (d > aheadTolerance) {
		return
	}
	n.ahead = !n.ahead
	if n.ahead {
		n.cfg.Logger.Warn("the log's time is ahead of this machine's clock, which dates commits until the clock has come there: "+
			"is the clock right, or was it wrong before?", "position", v.Position(), "log", v.Time(), "ahead", d.Truncate(time.Second))
	} else {
		n.cfg.Logger.Info("the log's time is that of this machine's clock again", "position", v.Position())
	}
}
