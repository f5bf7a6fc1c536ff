package natsserver

import (
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// TestMayVote asks whether the new log server n3-00000009 may vote.
func TestMayVote(t *testing.T) {
	t.Parallel()
	peers := []LogPeer{{Node: "n1"}, {Node: "n2"}, {Node: "n3"}}
	members := func(names ...string) (list []LogMember) {
		for _, name := range names {
			list = append(list, LogMember{Name: name, ID: "id of " + name, Node: nodeOf(name)})
		}
		return list
	}
	own := view{server: "n3-00000009"}
	fresh := []view{own, {server: "n1-00000001"}, {server: "n2-00000002"}}
	unnamed := LogMember{Name: "Server name unknown at this time (peerID: x3)", ID: "x3"}
	for name, test := range map[string]struct {
		views []view
		want  string // empty: it may
	}{
		"the first start":               {fresh, ""},
		"the first start, one is there": {[]view{own, {server: "n1-00000001"}, {server: "n2-00000002", members: members("n2-00000002")}}, ""},
		"not all at the first start":    {fresh[:2], "not heard: n2"},
		"alone":                         {fresh[:1], "not heard: n1, n2"},
		"a node more":                   {[]view{own, {server: "n1-00000001", leads: true, members: members("n1-00000001", "n2-00000002", "n4-00000004")}}, ""},
		"it votes already":              {[]view{own, {server: "n1-00000001", leads: true, members: members("n1-00000001", "n2-00000002", "n3-00000009")}}, ""},
		"a former one": {[]view{own, {server: "n1-00000001", leads: true, members: members("n1-00000001", "n2-00000002", "n3-00000003")}},
			"policyctl cluster remove n3-00000003"},
		"a former one, and no leader": {[]view{own, {server: "n2-00000002", members: members("n2-00000002", "n3-00000003")}}, "policyctl cluster remove n3-00000003. This works only while"},
		"one that lags behind": {[]view{own, {server: "n1-00000001", leads: true, members: members("n1-00000001", "n2-00000002")},
			{server: "n2-00000002", members: members("n3-00000003")}}, "policyctl cluster remove n3-00000003"},
		"one without a name": {[]view{own, {server: "n1-00000001", leads: true, members: append(members("n1-00000001", "n2-00000002"), unnamed)}},
			"policyctl cluster remove x3"},
		"one that another knows": {[]view{own, {server: "n1-00000001", leads: true, members: append(members("n1-00000001"), unnamed)},
			{server: "n2-00000002", members: []LogMember{{Name: "n4-00000004", ID: "x3", Node: "n4"}}}}, ""},
		"a follower's word about the leader": {[]view{own, {server: "n1-00000001", members: members("n1-00000001", "n2-00000002")}}, "not heard: n2"},
		"a twin":                             {append([]view{{server: "n3-00000008"}}, fresh...), "two nodes have the same id"},
	} {
		err := mayVote(own.server, peers, test.views)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

// TestMayRemove asks to take away the vote of one of three log servers.
func TestMayRemove(t *testing.T) {
	t.Parallel()
	list := func() []LogMember {
		return membersOf(&server.MetaClusterInfo{Leader: "n1-00000001", Peer: "x1", Replicas: []*server.PeerInfo{
			{Name: "n2-00000002", Peer: "x2", Current: true}, {Name: "n3-00000003", Peer: "x3", Offline: true},
		}})
	}
	for name, test := range map[string]struct {
		seen []string
		edit func([]LogMember)
		want string // empty: it may
	}{
		"nobody takes its place":            {[]string{"n1-00000001", "n2-00000002"}, nil, "join a new node first"},
		"its node waits":                    {[]string{"n1-00000001", "n2-00000002", "n3-00000009"}, nil, ""},
		"another node waits":                {[]string{"n1-00000001", "n2-00000002", "n4-00000009"}, nil, "join a new node first"},
		"its node waits, but one lags":      {[]string{"n1-00000001", "n2-00000002", "n3-00000009"}, func(l []LogMember) { l[1].Current = false }, "only 1 of the 2 others are current"},
		"its name is unknown, a node waits": {[]string{"n1-00000001", "n2-00000002", "n3-00000009"}, func(l []LogMember) { l[2].Name, l[2].Node = "unknown", "unknown" }, ""},
	} {
		l := list()
		if test.edit != nil {
			test.edit(l)
		}
		_, err := mayRemove(l, "x3", test.seen)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}
