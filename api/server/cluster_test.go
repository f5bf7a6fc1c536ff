package server_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/api/server"
	"github.com/postern-im/postern/projections"
)

// TestClusterAlone: a stand-alone node says that it is alone, and shows its position
// and the hash of its log.
func TestClusterAlone(t *testing.T) {
	r := start(t, nil)
	r.do(t, "acme", acme())
	c, err := r.client.Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n := c.Nodes[0]
	if c.Clustered || c.Node != "test" || c.LogID == "" || c.Leader != "" || len(c.Nodes) != 1 || len(c.Copies) != 0 || len(c.Warnings) != 0 ||
		n.Node != "test" || n.Role != "alone" || n.Position != 1 || n.Decides != 1 || len(n.Hash) != 64 || n.Lag != 0 {
		t.Errorf("%+v", c)
	}
}

// TestClusterWarnings changes one thing of a cluster in health at a time.
func TestClusterWarnings(t *testing.T) {
	type cluster = api.Cluster
	silent := func(d time.Duration) func(*cluster) {
		return func(c *cluster) { c.Nodes[2].Heard = c.Nodes[2].Heard.Add(-d) }
	}
	both := func(edits ...func(*cluster)) func(*cluster) {
		return func(c *cluster) {
			for _, edit := range edits {
				edit(c)
			}
		}
	}
	for _, c := range []struct {
		name string
		edit func(*cluster)
		want string // the warnings, one a line
	}{
		{"health", func(*cluster) {}, ""},
		{"a node is silent", silent(8 * time.Second), "node n3 has not been heard from for 8s"},
		{"a node was never heard", func(c *cluster) { c.Nodes[2].Heard = time.Time{} }, "node n3 has not been heard from since node n1 was started"},
		{"a node has stopped", func(c *cluster) { c.Nodes[2].Stopped = true }, "node n3 has stopped for good: its log says why"},
		{"no majority", both(silent(time.Minute), func(c *cluster) { c.Nodes[1].Stopped = true }),
			"only 1 of 3 voters work and are heard by this node: without a majority there are no changes, and gateways stop passing stanzas after 20 seconds\n" +
				"node n2 has stopped for good: its log says why\nnode n3 has not been heard from for 1m0s"},
		{"no leader", func(c *cluster) { c.Leader = "" }, "no leader of the order is known: changes wait until there is one"},
		{"too few voters", func(c *cluster) { c.Nodes[2].Role = "decides" }, "the cluster has 2 voters, and can lose none of them: add voters up to 3"},
		{"a little behind", func(c *cluster) { c.Nodes[1].Position = 4001; c.Nodes[1].Hash = "aa" }, ""},
		{"far behind", func(c *cluster) { c.Nodes[1].Position = 1000; c.Nodes[1].Hash = "aa" }, "node n2 is 4000 commits behind"},
		{"an old proof", func(c *cluster) { c.Nodes[1].ProofAgeMicros = new(int64(6e6)) }, "node n2 proved 6s ago that its state is fresh: after 20 seconds, gateways do not use its answers"},
		{"no proof", func(c *cluster) { c.Nodes[1].ProofAgeMicros = nil }, "node n2 has no proof that its state is fresh: gateways do not use its answers"},
		{"a clock ahead", func(c *cluster) { c.Nodes[1].SkewMicros = new(int64(60e6)) }, "the clock of node n2 is 1m0s ahead of the clock of node n1"},
		{"a clock behind", func(c *cluster) { c.Nodes[1].SkewMicros = new(int64(-3e6)) }, "the clock of node n2 is 3s behind the clock of node n1"},
		{"two histories", func(c *cluster) { c.Nodes[2].Hash = "cc" },
			"nodes n1 and n3 have different histories at position 5000: compare them before any of them is used\n" +
				"nodes n2 and n3 have different histories at position 5000: compare them before any of them is used"},
		{"two versions", func(c *cluster) { c.Nodes[0].Level, c.Nodes[2].Level = 31, 31 }, "not upgraded yet: n2; changes that these versions cannot read are refused"},
		{"a copy is offline", func(c *cluster) { c.Copies[0] = api.ClusterCopy{Server: "n3-1", State: "offline", Lag: 9} }, "the copy of the order on n3-1 is offline, and lacks 9 entries"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				now := time.Now()
				source := func() api.Cluster {
					list := api.Cluster{Name: "acme", Leader: "n1", Copies: []api.ClusterCopy{{Server: "n1-1", State: "current"}}}
					for _, name := range []string{"n1", "n2", "n3"} {
						list.Nodes = append(list.Nodes, api.ClusterNode{
							Node: name, Role: "voter", Heard: now, Position: 5000, Hash: "ff", Decides: 5000,
							ProofAgeMicros: new(int64(4e5)), SkewMicros: new(int64(-7e5)), Level: 30,
						})
					}
					c.edit(&list)
					slices.Reverse(list.Nodes)
					return list
				}
				s, err := server.New(server.Config{Runner: broken{view: projections.New()}, Cluster: source, Node: "n1"})
				if err != nil {
					t.Fatal(err)
				}
				status, text := ask(t, s, true, "/v1/cluster")
				var got api.Cluster
				if err := json.Unmarshal([]byte(text), &got); err != nil || status != 200 || !got.Clustered || got.Nodes[0].Node != "n1" {
					t.Errorf("%d %s %v", status, text, err)
				}
				if said := strings.Join(got.Warnings, "\n"); said != c.want {
					t.Errorf("got\n%s\nwant\n%s", said, c.want)
				}
			})
		})
	}
}

// A crowd reports two gateways, one of them with an id that another one uses too.
type crowd struct{ *lobby }

func (crowd) Presence() []server.Presence {
	return []server.Presence{{Gateway: "edge2", Here: true, Twice: true}, {Gateway: "edge1", Expected: true}}
}

// TestClusterBeforeTheView: a node that is not ready shows the state of the cluster,
// with its gateways, and warns of those that use one id.
func TestClusterBeforeTheView(t *testing.T) {
	s, err := server.New(server.Config{Runner: broken{}, Gateways: crowd{new(lobby)}, Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	status, text := ask(t, s, true, "/v1/cluster")
	for _, want := range []string{
		`"gateways":[{"gateway":"edge1","connected":false},{"gateway":"edge2","connected":true,"twice":true}]`,
		"two gateways use the id edge2", `"clustered":false`, `"decides":0`,
	} {
		if status != 200 || !strings.Contains(text, want) {
			t.Errorf("%d %s: not in it: %s", status, text, want)
		}
	}
}

// TestRemoveClusterNode: the removal of a node is recorded before it begins, with its
// reason. A request that is refused removes nothing.
func TestRemoveClusterNode(t *testing.T) {
	r := start(t, nil)
	n := len(r.audit.since(0))
	got, err := r.client.RemoveClusterNode(t.Context(), "n3", api.ClusterRemove{Reason: "its disk is lost"})
	if err != nil || got.Node != "n3" || !slices.Equal(got.Removed, []string{"n3-00000000"}) {
		t.Fatalf("%+v, %v", got, err)
	}
	list := r.audit.since(n)
	if len(list) != 2 || list[0].Phase != "intent" || !list[0].durable || list[0].Reason != "its disk is lost" || !strings.HasSuffix(list[0].Path, "/n3/remove") || list[1].Phase != "result" {
		t.Errorf("recorded as %+v", list)
	}
	for _, c := range []struct{ node, reason string }{{"a b", ""}, {strings.Repeat("n", 65), ""}, {"n3", "a\nb"}} {
		_, err := r.client.RemoveClusterNode(t.Context(), c.node, api.ClusterRemove{Reason: c.reason})
		wantCode(t, c.node, err, api.CodeInvalid)
	}
	alone, err := server.New(server.Config{Runner: broken{view: projections.New()}, Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	q := httptest.NewRequestWithContext(server.WithCaller(t.Context(), "operator:test", true, "", false), http.MethodPost, "/v1/cluster/nodes/n3/remove", strings.NewReader("{}"))
	q.Header.Set("Content-Type", "application/json")
	if alone.ServeHTTP(w, q); w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "stand-alone") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestDiffClusterNode: the answer has the commits that only one of two nodes has, and
// counts those that it leaves out.
func TestDiffClusterNode(t *testing.T) {
	r := start(t, nil)
	d, err := r.client.ClusterDiff(t.Context(), "n3")
	if err != nil || d.Equal || d.Common != 2 || len(d.Sides) != 2 {
		t.Fatalf("%+v, %v", d, err)
	}
	if own := d.Sides[0]; own.Node != "test" || own.Position != 2 || len(own.Only) != 0 || own.More != 0 {
		t.Errorf("%+v", own)
	}
	if other := d.Sides[1]; other.Node != "n3" || other.Position != 4 || len(other.Only) != 1 || other.Only[0].Position != 3 || other.More != 1 {
		t.Errorf("%+v", other)
	}
	_, err = r.client.ClusterDiff(t.Context(), "a b")
	wantCode(t, "a name that no node has", err, api.CodeInvalid)
}
