package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/internal/natsserver/natsservertest"
)

// clusterConfigs are the configurations of the nodes of a new cluster, which the
// first node creates.
func clusterConfigs(t *testing.T, n int) []*config {
	t.Helper()
	// The log servers have loopback addresses of their own, so that tests that run at
	// the same time do not take each other's ports.
	network := fmt.Sprintf("127.%d.%d", 1+rand.IntN(250), rand.IntN(256))
	ca := natsservertest.NewCA(t)
	var peers []string
	for i := range n {
		peers = append(peers, fmt.Sprintf("n%d=%s.%d:6223", i+1, network, i+1))
	}
	var list []*config
	for i := range n {
		c := testConfig(t)
		c.ID = fmt.Sprintf("n%d", i+1)
		c.NATS.Gateways, c.NATS.ServerName = nil, "postern-"+c.ID
		host := fmt.Sprintf("%s.%d", network, i+1)
		c.Cluster.Name, c.Cluster.Listen, c.Cluster.Peers = "acme", host+":6223", peers
		c.Cluster.CA = ca.File
		c.Cluster.Cert, c.Cluster.Key = ca.Issue(t, c.ID, host)
		if err := c.Check(); err != nil {
			t.Fatal(err)
		}
		list = append(list, c)
	}
	create(t, list[0])
	return list
}

// create makes a new cluster of the log of a node that does not run.
func create(t *testing.T, c *config) {
	t.Helper()
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := eventlog.Open(eventlog.Config{Dir: c.logDir(), Clustered: true})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	position, hash := l.Head()
	g := events.Generation{Cluster: c.Cluster.Name, LogID: l.LogID(), Position: position, Hash: hash}
	copy(g.ID[:], fmt.Sprintf("%016d", rand.Int64()))
	if err := l.Bind(t.Context(), g, true); err != nil {
		t.Fatal(err)
	}
}

// beginAll runs all nodes until the test's end.
func beginAll(t *testing.T, configs []*config) (stops []func() error) {
	t.Helper()
	for _, c := range configs {
		stops = append(stops, beginNode(t, c))
	}
	for _, c := range configs {
		awaitPage(t, c, "/readyz", "ok\n")
	}
	return stops
}

// beginNode runs one node until the test's end, or until the returned function is called.
func beginNode(t *testing.T, c *config) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx, c, false) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return stop
}

// awaitPage waits until a page is a text.
func awaitPage(t *testing.T, c *config, path, want string) {
	t.Helper()
	awaitPart(t, c, path, func(text string) bool { return text == want })
}

// awaitPart waits until a page is as a test wants it.
func awaitPart(t *testing.T, c *config, path string, want func(string) bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !want(get(c, path)) {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s of %s: %s", path, c.ID, get(c, path))
		}
	}
}

// TestClusterOfThree gives commands to each node of a cluster. Each node answers by
// all of them, and all logs are the same.
func TestClusterOfThree(t *testing.T) {
	configs := clusterConfigs(t, 3)
	beginAll(t, configs)
	var clients []*api.Client
	for _, c := range configs {
		client := api.NewClient(c.Admin.Socket)
		t.Cleanup(client.Close)
		clients = append(clients, client)
	}
	newest := uint64(0)
	for round := range 4 {
		for i, client := range clients {
			result, err := client.Do(t.Context(), fmt.Sprintf("t%d-%d", round, i), api.TenantCreate{}, api.CommandMeta{})
			if err != nil {
				t.Fatal(err)
			}
			newest = max(newest, result.Position)
		}
	}
	if newest != 12 {
		t.Errorf("the newest position is %d", newest)
	}
	var cluster api.Cluster
	eventually(t, "the copies are alike", func() bool { // a busy disk syncs the newest commit a little later
		var err error
		cluster, err = clients[1].Cluster(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(cluster.Warnings) == 0
	})
	if !cluster.Clustered || cluster.Name != "acme" || len(cluster.Nodes) != 3 || len(cluster.Copies) != 3 {
		t.Errorf("the state of the cluster: %+v", cluster)
	}
	leads := func(n api.ClusterNode) bool { return n.Node == cluster.Leader }
	if !slices.ContainsFunc(cluster.Nodes, leads) {
		t.Errorf("the leader is %q", cluster.Leader)
	}
	for i, client := range clients {
		for {
			status, err := client.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if status.Position >= newest {
				if status.Tenants != 12 {
					t.Errorf("%s: %+v", configs[i].ID, status)
				}
				break
			}
		}
		other := configs[(i+1)%3].ID
		eventually(t, "the logs do not differ", func() bool {
			d, err := client.ClusterDiff(t.Context(), other)
			return err == nil && d.Equal && d.Common == 12 && d.Sides[0].Node == configs[i].ID && d.Sides[1].Node == other
		})
		_, err := client.ClusterDiff(t.Context(), configs[i].ID)
		refusedAs(t, err, api.CodeInvalid, "is the node that answers")
		_, err = client.ClusterDiff(t.Context(), "n9")
		refusedAs(t, err, api.CodeNotFound, "it has heard n1, n2, n3")
		if _, err := os.Stat(filepath.Join(configs[i].logServerDir(), "ID")); err != nil {
			t.Error(err)
		}
	}
}

// TestStopBeforeTheClusterIsThere stops a node that still waits for its cluster.
func TestStopBeforeTheClusterIsThere(t *testing.T) {
	c := clusterConfigs(t, 3)[1]
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx, c, false) }()
	awaitPage(t, c, "/readyz", "policyd is starting; its log server has no vote yet: "+
		"a new log server needs the leader of the others, or at the first start all of them: not heard: n1, n3\n")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestSocketBeforeTheClusterIsThere checks that a node whose socket cannot be made says
// so at once, and not after it has copied the log.
func TestSocketBeforeTheClusterIsThere(t *testing.T) {
	c := clusterConfigs(t, 3)[1]
	folder := t.TempDir()
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	c.Admin.Socket = filepath.Join(folder, "policyd.sock")
	if err := run(t.Context(), c, false); err == nil || !strings.Contains(err.Error(), "chmod 0700") {
		t.Errorf("an open folder of the socket: %v", err)
	}
}
