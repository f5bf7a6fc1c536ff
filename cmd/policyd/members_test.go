package main

import (
	"slices"
	"testing"

	"github.com/postern-im/postern/events/replica"
	"github.com/postern-im/postern/node"
)

// TestUnheardMembers: a node that was not heard since the start counts for a majority and
// is waited for, however long ago the start was. Otherwise a process that has just started
// would be a majority of its own, and would say that a revocation is enforced everywhere
// while a node that it does not hear decides without it.
func TestUnheardMembers(t *testing.T) {
	m := members{unbound(t).cluster.replica, []string{"n1", "n2", "n3"}}
	list, _ := m.Members()
	for i := range list {
		list[i].Level = 0
	}
	want := []node.Member{{Node: "n1", Voter: true}, {Node: "n2", Voter: true}, {Node: "n3", Voter: true}}
	if !slices.Equal(list, want) {
		t.Errorf("%+v, want %+v", list, want)
	}
	m.configured = []string{"n2", "n3", "n4"}
	if list, _ := m.Members(); len(list) != 4 || list[0].Node != "n1" || list[0].Voter {
		t.Errorf("a node that the configuration does not name: %+v", list)
	}
}

// TestCredited: the positions of two processes with one id, and of a node of another
// generation, count neither for a majority nor as enforced.
func TestCredited(t *testing.T) {
	own, other := [16]byte{1}, [16]byte{2}
	list := credited([]replica.Member{
		{Node: "n1", Generation: own, Position: 7, Decides: 7},
		{Node: "n2", Generation: other, Position: 9, Decides: 9},
		{Node: "n3", Generation: own, Position: 8, Decides: 8, Twice: true},
	}, own)
	for i, want := range []uint64{7, 0, 0} {
		if uint64(list[i].Position) != want || uint64(list[i].Decides) != want {
			t.Errorf("%+v, want %d", list[i], want)
		}
	}
}
