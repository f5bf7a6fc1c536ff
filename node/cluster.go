package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/tenants"
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

// levelOf returns the lowest events.Level of a version that reads all events of a list.
func levelOf(list []events.Event) (level uint64) {
	for _, e := range list {
		level = max(level, events.LevelOf(e))
	}
	return level
}

// checkLevels returns the refusal of a command whose events some members cannot read, or
// nil. Such a member would stop deciding. A member that has not been heard from is of an
// unknown version: only the events that every version with clusters reads are safe.
func checkLevels(members []Member, level uint64) error {
	var old, unheard []string
	for _, m := range members {
		switch {
		case m.Level == 0 && level > events.ClusterLevel:
			unheard = append(unheard, m.Node)
		case m.Level != 0 && m.Level < level:
			old = append(old, m.Node)
		}
	}
	if len(old)+len(unheard) == 0 {
		return nil
	}
	slices.Sort(old)
	slices.Sort(unheard)
	return tenants.Errors{{Code: tenants.Conflict, Text: upgradeFirst(old, unheard)}}
}

// upgradeFirst returns the text of the refusal of a command whose events some members
// cannot read, or may not be able to read because they have not been heard from.
func upgradeFirst(old, unheard []string) string {
	var parts []string
	switch {
	case len(old) == 1:
		parts = append(parts, fmt.Sprintf("upgrade node %s first: its version cannot read this change, and it would stop deciding", old[0]))
	case len(old) > 1:
		parts = append(parts, fmt.Sprintf("upgrade nodes %s first: their versions cannot read this change, and they would stop deciding", strings.Join(old, ", ")))
	}
	if len(unheard) > 0 {
		parts = append(parts, fmt.Sprintf("start %s first: not heard from since this node started, so it is unknown whether the version there can read this change", strings.Join(unheard, ", ")))
	}
	parts = append(parts, "a node that is lost for good must be removed: policyctl cluster remove --help")
	return strings.Join(parts, "; ")
}
