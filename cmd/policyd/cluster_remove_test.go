package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/events/replica"
	"github.com/postern-im/postern/internal/natsserver"
)

// TestMayRemove asks a node of four to remove others.
func TestMayRemove(t *testing.T) {
	now := time.Unix(1000, 0)
	const unseen = "Server name unknown at this time (peerID: x5)"
	state := func() removal {
		return removal{
			node: "n1", server: "n1-00000001", now: now, connected: []string{"n1-00000001", "n2-00000002"},
			members: []natsserver.LogMember{
				{Name: "n1-00000001", ID: "x1", Node: "n1", Current: true, Heard: time.Second},
				{Name: "n2-00000002", ID: "x2", Node: "n2", Leader: true, Current: true},
				{Name: "n3-00000003", ID: "x3", Node: "n3", Heard: time.Minute},
				{Name: "n3-00000004", ID: "x4", Node: "n3", Heard: time.Hour},
				{Name: unseen, ID: "x5", Node: unseen},
			},
			heard:  []replica.Member{{Node: "n1", Heard: now}, {Node: "n2", Heard: now}, {Node: "n3", Heard: now.Add(-time.Minute)}},
			copies: []replica.SequencerPeer{{Name: "n1-00000001", Current: true}, {Name: "n2-00000002", Current: true}, {Name: "n3-00000003", Offline: true}},
		}
	}
	for _, c := range []struct {
		name, remove string
		edit         func(*removal)
		want         string // the ids of the log servers
		code         api.Code
		text         string
	}{
		{"a stopped node", "n3", nil, "x3 x4", "", ""},
		{"one log server", "n3-00000004", nil, "x4", "", ""},
		{"one that nobody has seen", "x5", nil, "x5", "", ""},
		{"an unknown node", "n9", nil, "", api.CodeNotFound, "it has: n1, n2, n3, x5 (a log server that no running node has seen)"},
		{"itself", "n1", nil, "", api.CodeConflict, "is the node that answers"},
		{"its own log server", "n1-00000001", nil, "", api.CodeConflict, "is the node that answers"},
		{"the leader", "n2", nil, "", api.CodeInUse, "n2-00000002 still runs"},
		{"a connected one", "n3-00000003", func(r *removal) { r.connected = append(r.connected, "n3-00000003") }, "", api.CodeInUse, "n3-00000003 still runs"},
		{"one that the leader hears", "n3-00000004", func(r *removal) { r.members[3].Current, r.members[3].Heard = true, time.Second }, "", api.CodeInUse, "n3-00000004 still runs"},
		{"a node that has come back", "n3", func(r *removal) { r.connected = append(r.connected, "n3-00000003"); r.heard[2].Heard = now }, "x4", "", ""},
		{"a node that waits", "n3", func(r *removal) { r.connected = append(r.connected, "n3-00000009") }, "x3 x4", "", ""},
		{"one whose node is heard", "n3", func(r *removal) { r.heard[2].Heard = now.Add(-2 * time.Second) }, "", api.CodeInUse, "heard 2s ago"},
		{"the former log server of a node that is heard", "n3-00000004", func(r *removal) { r.heard[2].Heard = now }, "x4", "", ""},
		{"while a copy is made", "n3", func(r *removal) { r.copies[1].Current, r.copies[1].Lag = false, 7 }, "", api.CodeConflict, "the copy of the order on n2-00000002 is not complete yet, it lacks 7 entries"},
		{"while a copy is made elsewhere", "n3-00000004", func(r *removal) { r.copies[1].Current = false }, "x4", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := state()
			if c.edit != nil {
				c.edit(&r)
			}
			list, err := r.targets(c.remove)
			if c.code != "" {
				refusedAs(t, err, c.code, c.text)
				return
			}
			var ids []string
			for _, m := range list {
				ids = append(ids, m.ID)
			}
			if got := strings.Join(ids, " "); err != nil || got != c.want {
				t.Errorf("removes %q, %v", got, err)
			}
		})
	}
}

// TestVoteWarnings names the log servers whose vote is lost.
func TestVoteWarnings(t *testing.T) {
	members := []natsserver.LogMember{
		{Name: "n1-00000001", ID: "x1", Node: "n1"}, {Name: "n2-00000002", ID: "x2", Node: "n2"}, {Name: "n3-00000003", ID: "x3", Node: "n3"},
	}
	more := append(slices.Clone(members), natsserver.LogMember{Name: "n3-00000004", ID: "x4", Node: "n3"}, natsserver.LogMember{Name: "unknown", ID: "x5", Node: "unknown"})
	for _, c := range []struct {
		name      string
		members   []natsserver.LogMember
		connected []string
		want      string
	}{
		{"all are there", members, []string{"n1-00000001", "n2-00000002", "n3-00000003"}, ""},
		{"one is down", members, []string{"n1-00000001", "n2-00000002"}, ""},
		{"its new one waits", members, []string{"n1-00000001", "n2-00000002", "n3-00000009"}, "lost: n3-00000003; if the node has lost or given up its data for good: policyctl cluster remove n3"},
		{"it came back", more[:4], []string{"n1-00000001", "n2-00000002", "n3-00000004"}, "lost: n3-00000003; if"},
		{"it came back and is down", more[:4], []string{"n1-00000001", "n2-00000002"}, "lost: n3-00000003, n3-00000004; if"},
		{"nobody knows it", more, []string{"n1-00000001", "n2-00000002", "n3-00000003", "n3-00000004"}, "no running node knows its name: start its node, or if that node is lost: policyctl cluster remove x5"},
	} {
		if got := strings.Join(voteWarnings(c.members, c.connected), "\n"); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// TestWipedNode lets a node lose its data several times. It gets no second vote, says
// what it waits for, and joins once its former vote is taken away.
func TestWipedNode(t *testing.T) {
	configs := clusterConfigs(t, 3)
	stops := beginAll(t, configs)
	client := api.NewClient(configs[0].Admin.Socket)
	t.Cleanup(client.Close)
	if _, err := client.Do(t.Context(), "acme", api.TenantCreate{}, api.CommandMeta{}); err != nil {
		t.Fatal(err)
	}
	wiped := configs[2]
	text, err := os.ReadFile(filepath.Join(wiped.logServerDir(), "ID"))
	if err != nil {
		t.Fatal(err)
	}
	former := strings.TrimSpace(string(text))
	for range 3 {
		if err := errors.Join(stops[2](), os.RemoveAll(wiped.Data)); err != nil {
			t.Fatal(err)
		}
		stops[2] = beginNode(t, wiped)
		awaitPart(t, wiped, "/readyz", func(text string) bool { return strings.Contains(text, "policyctl cluster remove "+former) })
	}
	warned := func(want string) func() bool {
		return func() bool {
			c, err := client.Cluster(t.Context())
			return err == nil && strings.Contains(strings.Join(c.Warnings, "\n"), want)
		}
	}
	eventually(t, "the status names the former log server", warned(former+"; if"))
	var out api.ClusterRemoved
	eventually(t, "the former vote is taken away", func() bool {
		out, err = client.RemoveClusterNode(t.Context(), "n3", api.ClusterRemove{Reason: "its disk is lost"})
		return err == nil
	})
	if len(out.Removed) != 1 || out.Removed[0] != former {
		t.Errorf("%+v", out)
	}
	awaitPage(t, wiped, "/readyz", "ok\n")
	eventually(t, "three current copies and no warning", func() bool {
		c, err := client.Cluster(t.Context())
		return err == nil && len(c.Copies) == 3 && len(c.Warnings) == 0
	})
}

// refusedAs fails the test unless an error has a code and a text.
func refusedAs(t *testing.T, err error, code api.Code, text string) {
	t.Helper()
	if e, ok := err.(*api.Error); !ok || e.Code != code || !strings.Contains(e.Text, text) {
		t.Errorf("%v, want %s: %s", err, code, text)
	}
}

// TestRemoveNode takes nodes out of a cluster of four. The rest continues.
func TestRemoveNode(t *testing.T) {
	configs := clusterConfigs(t, 4)
	stops := beginAll(t, configs)
	client := api.NewClient(configs[0].Admin.Socket)
	t.Cleanup(client.Close)
	remove := func(node string) (api.ClusterRemoved, error) {
		return client.RemoveClusterNode(t.Context(), node, api.ClusterRemove{Reason: "why"})
	}
	_, err := remove("n9")
	refusedAs(t, err, api.CodeNotFound, "it has: n1, n2, n3, n4")
	_, err = remove("n4")
	refusedAs(t, err, api.CodeInUse, "still runs")
	if err := stops[3](); err != nil {
		t.Fatal(err)
	}
	var out api.ClusterRemoved
	eventually(t, "the stopped node is removed", func() bool {
		out, err = remove("n4")
		return err == nil
	})
	if out.Node != "n4" || len(out.Removed) != 1 || len(out.Left) != 3 || slices.ContainsFunc(out.Left, func(s string) bool { return strings.HasPrefix(s, "n4-") }) {
		t.Errorf("%+v", out)
	}
	_, err = remove("n4")
	refusedAs(t, err, api.CodeNotFound, "it has: n1, n2, n3")
	eventually(t, "three current copies", func() bool {
		c, err := client.Cluster(t.Context())
		return err == nil && len(c.Copies) == 3 && !slices.ContainsFunc(c.Copies, func(c api.ClusterCopy) bool {
			return c.State != "current" || strings.HasPrefix(c.Server, "n4-")
		})
	})
	if result, err := client.Do(t.Context(), "acme", api.TenantCreate{}, api.CommandMeta{}); err != nil || !result.Changed {
		t.Errorf("%+v, %v", result, err)
	}
	// Of three, none can be removed.
	if err := stops[2](); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the log needs three", func() bool {
		_, err := remove("n3")
		return err != nil && strings.Contains(err.Error(), "join a new node first")
	})
}
