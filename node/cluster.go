package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postern-im/postern/events"
)

// A Cluster is the set of nodes that share a log, as far as this node has heard from
// them. A node without a Cluster is the only writer of its log.
type Cluster interface {
	// Members returns every node that belongs to the cluster, this node included, and
	// also the nodes that have not been heard from for long. The channel is closed
	// when a newer list differs.
	Members() ([]Member, <-chan struct{})
	// Barrier returns a position that includes every commit that was acknowledged
	// before the call, by whichever node. It returns an error if it cannot find out.
	Barrier(ctx context.Context) (events.Position, error)
}

// A Member is one node of a cluster, as the node described itself in its last
// message. The messages may be lost and may arrive out of order, so a Member can be
// older than the node's state but never newer.
type Member struct {
	Node string
	// Voter is set if the node's copy of the log counts for a majority.
	Voter bool
	// Stored is the head of the node's log. It is zero if the node has not been heard
	// from since this node started.
	Stored events.Position
	// Decides is the position of the View from which the node decides.
	Decides events.Position
	// Level is the events.Level of the node's version. It is zero if the node has not
	// been heard from.
	Level uint64
}

// majorityWithin bounds the wait for a majority of voters after an append. In health,
// a majority announces a position within milliseconds.
const majorityWithin = 2 * time.Second

// confirm waits until a majority of voters have stored a position. If they do not
// within majorityWithin, the error is an events.ErrUnknown: the position is in this
// node's log, but the loss of this node could lose it.
func (n *Node) confirm(ctx context.Context, p events.Position) error {
	if n.cfg.Cluster == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, majorityWithin)
	defer cancel()
	for {
		members, changed := n.cfg.Cluster.Members()
		stored, voters := votes(members, p)
		if 2*stored > voters {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for a majority at %d, %d of %d nodes have it: %w", p, stored, voters, events.ErrUnknown)
		}
	}
}

// votes counts the voters, and those of them that have stored a position.
func votes(members []Member, p events.Position) (stored, voters int) {
	for _, m := range members {
		if !m.Voter {
			continue
		}
		voters++
		if m.Stored >= p {
			stored++
		}
	}
	return stored, voters
}

// members returns the members of the cluster, or nil if there is none.
func (n *Node) members() []Member {
	if n.cfg.Cluster == nil {
		return nil
	}
	members, _ := n.cfg.Cluster.Members()
	return members
}

// tooOld returns the names of the members that cannot read all events of a list. A
// member whose level is unknown is not among them: it stops at an event that it
// cannot read.
func tooOld(members []Member, list []events.Event) []string {
	level := uint64(0)
	for _, e := range list {
		level = max(level, events.LevelOf(e))
	}
	var names []string
	for _, m := range members {
		if m.Level != 0 && m.Level < level {
			names = append(names, m.Node)
		}
	}
	slices.Sort(names)
	return names
}

// upgradeFirst returns the text of the refusal of a command whose events some members
// cannot read.
func upgradeFirst(names []string) string {
	if len(names) == 1 {
		return fmt.Sprintf("upgrade node %s first: its version cannot read this change, and it would stop deciding", names[0])
	}
	return fmt.Sprintf("upgrade nodes %s first: their versions cannot read this change, and they would stop deciding", strings.Join(names, ", "))
}
