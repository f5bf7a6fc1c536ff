package main

import (
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
			node: "n1", server: "n1-01", now: now, connected: []string{"n1-01", "n2-02"},
			members: []natsserver.LogMember{
				{Name: "n1-01", ID: "x1", Node: "n1", Current: true, Heard: time.Second},
				{Name: "n2-02", ID: "x2", Node: "n2", Leader: true, Current: true},
				{Name: "n3-03", ID: "x3", Node: "n3", Heard: time.Minute},
				{Name: "n3-04", ID: "x4", Node: "n3", Heard: time.Hour},
				{Name: unseen, ID: "x5", Node: unseen},
			},
			heard:  []replica.Member{{Node: "n1", Heard: now}, {Node: "n2", Heard: now}, {Node: "n3", Heard: now.Add(-time.Minute)}},
			copies: []replica.SequencerPeer{{Name: "n1-01", Current: true}, {Name: "n2-02", Current: true}, {Name: "n3-03", Offline: true}},
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
		{"one log server", "n3-04", nil, "x4", "", ""},
		{"one that nobody has seen", "x5", nil, "x5", "", ""},
		{"an unknown node", "n9", nil, "", api.CodeNotFound, "it has: n1, n2, n3, x5 (a log server that no running node has seen)"},
		{"itself", "n1", nil, "", api.CodeConflict, "is the node that answers"},
		{"its own log server", "n1-01", nil, "", api.CodeConflict, "is the node that answers"},
		{"the leader", "n2", nil, "", api.CodeInUse, "n2-02 still runs"},
		{"a connected one", "n3", func(r *removal) { r.connected = append(r.connected, "n3-03") }, "", api.CodeInUse, "n3-03 still runs"},
		{"one that the leader hears", "n3", func(r *removal) { r.members[3].Current, r.members[3].Heard = true, time.Second }, "", api.CodeInUse, "n3-04 still runs"},
		{"one whose node is heard", "n3", func(r *removal) { r.heard[2].Heard = now.Add(-2 * time.Second) }, "", api.CodeInUse, "heard 2s ago"},
		{"the former log server of a node that is heard", "n3-04", func(r *removal) { r.heard[2].Heard = now }, "x4", "", ""},
		{"while a copy is made", "n3", func(r *removal) { r.copies[1].Current, r.copies[1].Lag = false, 7 }, "", api.CodeConflict, "the copy of the order on n2-02 is not complete yet, it lacks 7 entries"},
		{"while a copy is made elsewhere", "n3-04", func(r *removal) { r.copies[1].Current = false }, "x4", "", ""},
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
