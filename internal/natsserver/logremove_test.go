package natsserver_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/postern-im/postern/internal/natsserver"
	"github.com/postern-im/postern/internal/natsserver/natsservertest"
)

// TestReplaceLogServer loses the disk of a node. The node comes back as a new log
// server, and the former one is removed.
func TestReplaceLogServer(t *testing.T) {
	t.Parallel()
	c := natsservertest.New(t, 3)
	all := c.StartAll()
	eventually(t, "three current members", func() bool { return len(members(t, all[0])) == 3 })
	for _, m := range members(t, all[0]) {
		if by := (natsserver.LogMember{ID: m.ID}); !by.Is(m.Name) || by.Is(m.Name+"0") {
			t.Errorf("the server gives %s the id %s, which does not tell its name", m.Name, m.ID)
		}
	}
	lost := all[2].Name()
	if err := all[0].Remove(t.Context(), lost); err == nil || !strings.Contains(err.Error(), "join a new node first") {
		t.Errorf("one of three is removed: %v", err)
	}
	if err := all[0].Remove(t.Context(), "n9-00000000"); err == nil || !strings.Contains(err.Error(), "it has no vote") {
		t.Errorf("a server that does not exist is removed: %v", err)
	}
	named := func(name string) func(natsserver.LogMember) bool {
		return func(m natsserver.LogMember) bool { return m.Name == name && m.Node == "n3" }
	}
	// However often the node loses its disk, no vote is added.
	var again *natsserver.LogServer
	for range 4 {
		c.Stop(2)
		if err := os.RemoveAll(c.Configs[2].Dir); err != nil {
			t.Fatal(err)
		}
		again = c.Start(2)
		eventually(t, "the new server waits", func() bool {
			former, ok := errors.AsType[*natsserver.FormerError](again.Waiting())
			return ok && former.Former == lost
		})
	}
	if again.Name() == lost {
		t.Fatalf("the node without its disk is still %s", lost)
	}
	if text := again.Waiting().Error(); !strings.Contains(text, "policyctl cluster remove "+lost) {
		t.Errorf("it waits because %s", text)
	}
	if list, err := all[0].Members(t.Context()); err != nil || len(list) != 3 || !slices.ContainsFunc(list, named(lost)) {
		t.Errorf("while the new server waits, the members are %v, %v", list, err)
	}
	eventually(t, "the former server is removed", func() bool {
		err := all[0].Remove(t.Context(), lost)
		return err == nil || strings.Contains(err.Error(), "it has no vote")
	})
	c.AwaitVote(2)
	eventually(t, "three current members are left", func() bool {
		list := members(t, again)
		return len(list) == 3 && slices.ContainsFunc(list, named(again.Name())) && !slices.ContainsFunc(list, named(lost))
	})
}

// TestMembersWithoutMajority checks that a lone log server says that it has no
// leader, within its time.
func TestMembersWithoutMajority(t *testing.T) {
	t.Parallel()
	c := natsservertest.New(t, 3)
	s := c.Start(0)
	if list, err := s.Members(t.Context()); !errors.Is(err, natsserver.ErrNoLeader) {
		t.Errorf("members %v, %v", list, err)
	}
}

// TestFirstStartWithRestarts restarts one of three new log servers before any of them has
// a vote, and again when the first one has. In the end all have one, and no vote is lost.
func TestFirstStartWithRestarts(t *testing.T) {
	t.Parallel()
	c := natsservertest.New(t, 3)
	first := c.Start(0)
	second := c.Start(1)
	eventually(t, "two servers see each other", func() bool { return len(second.Seen()) == 2 })
	c.Stop(1)
	c.Start(2)
	eventually(t, "the first server waits for n2 only", func() bool {
		reason := first.Waiting()
		return reason != nil && strings.HasSuffix(reason.Error(), "not heard: n2")
	})
	c.Start(1)
	c.AwaitVote(0)
	c.Stop(1)
	c.Start(1)
	for i := range 3 {
		c.AwaitVote(i)
	}
	eventually(t, "three current members", func() bool { return len(members(t, first)) == 3 })
}
