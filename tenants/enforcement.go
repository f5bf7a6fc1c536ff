package tenants

import (
	"time"

	"github.com/postern-im/postern/events"
)

// How says why a position is enforced everywhere.
type How uint8

// The reasons. The zero value means that the position may not be enforced everywhere
// yet.
const (
	Pending  How = iota
	Alone        // this node is the only one, and decides from the position
	Reported     // every node has reported that it decides from the position
	Bounded      // the lease has passed: no gateway uses an older verdict
)

var hows = [...]string{Pending: "pending", Alone: "alone", Reported: "reported", Bounded: "bound"}

func (h How) String() string {
	if int(h) >= len(hows) {
		h = Pending
	}
	return hows[h]
}

// An Enforcement says whether a position is enforced everywhere: whether no gateway
// hands a stanza over on a verdict from an older state.
type Enforcement struct {
	Position events.Position
	How      How
	// Took is the time from this node's own View reaching the position until the
	// position was enforced everywhere, or until now.
	Took time.Duration
	// Margin is how long a gateway may still use a verdict that it asked for before.
	Margin time.Duration
	// Nodes are the nodes of the cluster, ordered by name.
	Nodes []Report
}

// A Report says whether a node has reported that it decides from a position.
type Report struct {
	Node     string
	Reported bool
	// Took is the time from this node's own View reaching the position until the
	// report.
	Took time.Duration
}
