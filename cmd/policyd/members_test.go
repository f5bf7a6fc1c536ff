package main

import (
	"testing"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/events/replica"
	"github.com/postern-im/postern/events/replica/jetstream"
	"github.com/postern-im/postern/node"
)

// TestUnheardMembers: if the configuration does not name the nodes, a process that has
// just started does not take those that it has heard for all. Otherwise it would say that
// a revocation is enforced everywhere while a node that hangs still decides without it.
func TestUnheardMembers(t *testing.T) {
	log, err := eventlog.Open(eventlog.Config{Dir: t.TempDir(), Clustered: true})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	r, err := replica.New(replica.Config{
		Node: "n1", Cluster: "acme", Log: log,
		Sequencer: jetstream.NewStream(jetstream.StreamConfig{}), Peers: jetstream.NewPeers(jetstream.PeersConfig{}),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		configured []string
		ran        time.Duration
		want       []node.Member
	}{
		{[]string{"n1", "n2"}, 0, []node.Member{{Node: "n1", Voter: true}, {Node: "n2", Voter: true}}},
		{nil, 0, []node.Member{{Node: "n1", Voter: true}, {Node: unheard}}},
		{nil, decision.Lease + time.Second, []node.Member{{Node: "n1", Voter: true}}},
	} {
		list, _ := members{r, test.configured, time.Now().Add(-test.ran)}.Members()
		for i := range list {
			list[i].Level = 0
		}
		if len(list) != len(test.want) || list[0] != test.want[0] || list[len(list)-1] != test.want[len(list)-1] {
			t.Errorf("%+v, want %+v", list, test.want)
		}
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
