package node_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/node"
	"github.com/postern-im/postern/tenants"
)

// words returns an Enforcement as text.
func words(e tenants.Enforcement) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v %v +%v", e.How, e.Took, e.Margin)
	for _, r := range e.Nodes {
		if r.Reported {
			fmt.Fprintf(&b, " %s:%v", r.Node, r.Took)
		} else {
			fmt.Fprintf(&b, " %s:-", r.Node)
		}
	}
	return b.String()
}

// TestEnforcedAlone: at a node without a cluster, a position is enforced at once.
func TestEnforcedAlone(t *testing.T) {
	inBubble(t, nil, plain, func(t *testing.T, r *rig) {
		r.do("acme", "create", tenants.CreateTenant{})
		if e, err := r.Enforced(t.Context(), 1); err != nil || words(e) != "alone 0s +1s" {
			t.Errorf("%s, %v", words(e), err)
		}
		if _, err := r.Enforced(t.Context(), 2); !errors.Is(err, events.ErrNoSuchPosition) {
			t.Errorf("a position that does not exist: %v", err)
		}
	})
}

// TestEnforced: a position is enforced everywhere when every member has reported it,
// and when the lease has passed.
func TestEnforced(t *testing.T) {
	// A step sets the members at a time after the commit.
	type step struct {
		after   time.Duration
		members []node.Member
	}
	n1 := voter("n1", 1)
	apart := func(name string, stored, decides events.Position) node.Member {
		return node.Member{Node: name, Voter: true, Stored: stored, Decides: decides, Level: events.Level}
	}
	for _, c := range []struct {
		name  string
		steps []step
		want  string
	}{
		{"all at once", []step{{0, []node.Member{n1, voter("n2", 1), voter("n3", 1)}}}, "reported 0s +1s n1:0s n2:0s n3:0s"},
		{"one by one", []step{
			{0, []node.Member{n1, voter("n2", 1), voter("n3", 0)}},
			{3 * time.Millisecond, []node.Member{n1, voter("n2", 1), voter("n3", 1)}},
		}, "reported 3ms +1s n1:0s n2:0s n3:3ms"},
		{"a node that only decides counts", []step{
			{0, []node.Member{n1, voter("n2", 1), voter("n3", 1), {Node: "n4"}}},
			{time.Second, []node.Member{n1, voter("n2", 1), voter("n3", 1), {Node: "n4", Stored: 1, Decides: 1}}},
		}, "reported 1s +1s n1:0s n2:0s n3:0s n4:1s"},
		{"stored, but not decided from", []step{
			{0, []node.Member{n1, voter("n2", 1), apart("n3", 1, 0)}},
			{time.Second, []node.Member{n1, voter("n2", 1), apart("n3", 1, 1)}},
		}, "reported 1s +1s n1:0s n2:0s n3:1s"},
		{"a node is silent", []step{{0, []node.Member{n1, voter("n2", 1), voter("n3", 0)}}}, "bound 20s +0s n1:0s n2:0s n3:-"},
		{"the silent node is removed", []step{
			{0, []node.Member{n1, voter("n2", 1), voter("n3", 0)}},
			{5 * time.Second, []node.Member{n1, voter("n2", 1)}},
		}, "reported 0s +1s n1:0s n2:0s"},
		{"a node is put back", []step{
			{0, []node.Member{n1, voter("n2", 1), voter("n3", 0)}},
			{time.Second, []node.Member{n1, voter("n2", 0), voter("n3", 0)}},
			{2 * time.Second, []node.Member{n1, voter("n2", 0), voter("n3", 1)}},
			{3 * time.Second, []node.Member{n1, voter("n2", 1), voter("n3", 1)}},
		}, "reported 3s +1s n1:0s n2:3s n3:2s"},
		{"the list is wrong", []step{
			{0, []node.Member{n1, voter("n2", 1), voter("n3", 0)}},
			{time.Second, nil},
		}, "bound 20s +0s n1:0s"},
		{"the list lacks this node", []step{
			{0, []node.Member{n1, voter("n2", 1), voter("n3", 0)}},
			{time.Second, []node.Member{voter("n2", 1), voter("n3", 1)}},
		}, "bound 20s +0s n1:0s n2:0s n3:1s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cluster := newCouncil(voter("n1", 1), voter("n2", 1)) // the majority; n3 is unknown
			inBubble(t, cluster, plain, func(t *testing.T, r *rig) {
				cluster.set(c.steps[0].members...)
				synctest.Wait()
				r.do("acme", "create", tenants.CreateTenant{})
				for _, s := range c.steps[1:] {
					time.AfterFunc(s.after, func() { cluster.set(s.members...) })
				}
				// Each second the question is asked again. The times do not depend on it.
				for {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					e, err := r.Enforced(ctx, 1)
					cancel()
					if err != nil {
						t.Fatal(err)
					}
					if e.How == tenants.Pending {
						continue
					}
					if words(e) != c.want {
						t.Errorf("%s, want %s", words(e), c.want)
					}
					return
				}
			})
		})
	}
}

// TestEnforcedBeforeTheStart: for the positions that a node finds in its log at its
// start, the lease counts from the start, because the node does not know when they
// were acknowledged.
func TestEnforcedBeforeTheStart(t *testing.T) {
	cluster := newCouncil(voter("n1", 1), voter("n2", 0), voter("n3", 1))
	var l *eventlog.Log
	inBubble(t, cluster, func(e *eventlog.Log) node.Log { l = e; return e }, func(t *testing.T, r *rig) {
		r.do("acme", "create", tenants.CreateTenant{})
		<-time.After(time.Minute)
		late := run(t, node.Config{Log: l, LogID: l.LogID(), Cluster: cluster})
		defer late.stop()
		synctest.Wait()
		began := time.Now()
		e, err := late.Enforced(t.Context(), 1)
		if took := time.Since(began); err != nil || words(e) != "bound 20s +0s n1:0s n2:- n3:0s" || took != 20*time.Second {
			t.Errorf("%s, %v after %v", words(e), err, took)
		}
		if e, err := r.Enforced(t.Context(), 1); err != nil || words(e) != "bound 20s +0s n1:0s n2:- n3:0s" || time.Since(began) != 20*time.Second {
			t.Errorf("the first node: %s, %v", words(e), err)
		}
	})
}
