package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/postern-im/postern/internal/natsserver"
)

// lostVotes returns the log servers whose vote only weakens the cluster, by their
// node: the former ones of a node that has lost its data. A log server whose name is
// not known is under its own id, because its node is not known either. connected are
// the log servers that this node is connected to.
func lostVotes(members []natsserver.LogMember, connected []string) map[string][]string {
	lost := map[string][]string{}
	for _, m := range members {
		if slices.Contains(connected, m.Name) {
			continue
		}
		if !m.Named() {
			lost[m.ID] = []string{m.ID}
			continue
		}
		another := func(name string) bool { return nodeOfServer(name) == m.Node }
		twice := func(o natsserver.LogMember) bool { return o.Node == m.Node && o.Name != m.Name }
		if slices.ContainsFunc(connected, another) || slices.ContainsFunc(members, twice) {
			lost[m.Node] = append(lost[m.Node], m.Name)
		}
	}
	return lost
}

// nodeOfServer returns the node whose log server has a name.
func nodeOfServer(name string) string {
	node, _, _ := strings.Cut(name, "-")
	return node
}

// voteWarnings returns a warning for each node that has lost votes, with the command
// that takes them away.
func voteWarnings(members []natsserver.LogMember, connected []string) (list []string) {
	lost := lostVotes(members, connected)
	for _, node := range slices.Sorted(maps.Keys(lost)) {
		if names := lost[node]; names[0] == node {
			list = append(list, fmt.Sprintf("a log server with a vote is not connected, and no running node knows its name: start its node, or if that node is lost: policyctl cluster remove %s", node))
		} else {
			list = append(list, fmt.Sprintf("former log servers of node %s still have a vote, and count as lost: %s; if the node has lost or given up its data for good: policyctl cluster remove %s",
				node, strings.Join(names, ", "), node))
		}
	}
	return list
}
