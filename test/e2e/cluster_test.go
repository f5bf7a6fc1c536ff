//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/test/e2e/backend"
	"github.com/postern-im/postern/test/e2e/client"
	"github.com/postern-im/postern/test/e2e/installation"
)

// soak reports whether the long forms of the tests run.
func soak() bool { return os.Getenv("POSTERN_SOAK") != "" }

// A cluster is three policy nodes and two gateways in front of both servers. The
// tenant lab is on Prosody, and the tenant other on ejabberd.
type cluster struct {
	*installation.Cluster
	admins []*api.Client // of each node
}

// newCluster starts a cluster with the tenants. It is stopped at the end of the test.
func newCluster(t testing.TB, config installation.ClusterConfig) *cluster {
	t.Helper()
	c := startCluster(t, config)
	lab, other := shared.servers[backend.Prosody], shared.servers[backend.Ejabberd]
	for _, policy := range []string{strings.ReplaceAll(labPolicy, "@BACKEND@", lab.Addr()), strings.ReplaceAll(otherPolicy, "@BACKEND@", other.Addr())} {
		if _, err := c.Policyctl(t.Context(), 0, policy, "tenant", "create", "-f", "-"); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// startCluster starts a cluster as it is. It is stopped at the end of the test.
func startCluster(t testing.TB, config installation.ClusterConfig) *cluster {
	t.Helper()
	lab := shared.servers[backend.Prosody]
	bin, err := filepath.Abs(binaries)
	if err != nil {
		t.Fatal(err)
	}
	if config.Dir, err = os.MkdirTemp(shared.dir, "cluster-"); err != nil {
		t.Fatal(err)
	}
	config.Bin, config.Domains = bin, lab.Hosts()
	config.Certificate, config.Key = lab.FrontCertificate()
	in, err := installation.StartCluster(t.Context(), config)
	if in != nil {
		t.Cleanup(func() {
			if err := in.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{Cluster: in}
	for _, n := range in.Nodes {
		admin := api.NewClient(n.Socket)
		t.Cleanup(admin.Close)
		c.admins = append(c.admins, admin)
	}
	return c
}

// do runs a command at a node.
func (c *cluster) do(ctx context.Context, t testing.TB, node int, tenant string, cmd api.Command) api.Result {
	t.Helper()
	result, err := c.admins[node].Do(ctx, tenant, cmd, api.CommandMeta{})
	if err != nil {
		t.Fatalf("%s of tenant %s at %s: %v", cmd.Command(), tenant, c.Nodes[node].ID, err)
	}
	return result
}

// at is a gateway as the target of clients of a server.
func (c *cluster) at(gateway int, kind backend.Kind) target {
	g := c.Gateways[gateway]
	// Both servers' gateways show the certificate that Prosody's authority signed.
	return target{
		name: g.ID, server: shared.servers[kind], startTLS: g.StartTLS, directTLS: g.DirectTLS,
		caFile: shared.servers[backend.Prosody].CAFile(),
	}
}

// awaitPosition waits until all nodes have reached a position.
func (c *cluster) awaitPosition(ctx context.Context, t *testing.T, position uint64) {
	t.Helper()
	for i := range c.Nodes {
		for {
			status, err := c.admins[i].Status(ctx)
			if err == nil && status.Position >= position {
				break
			}
			select {
			case <-ctx.Done():
				t.Fatalf("%s has not reached %d: %+v, %v", c.Nodes[i].ID, position, status, err)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
}

// wholeLog returns the log of a node as policyctl prints it.
func (c *cluster) wholeLog(ctx context.Context, t *testing.T, node int) (all []api.LogEntry) {
	t.Helper()
	after := uint64(0)
	for {
		page, err := c.admins[node].Log(ctx, api.LogQuery{After: &after})
		if err != nil {
			t.Fatalf("the log of %s: %v", c.Nodes[node].ID, err)
		}
		if len(page.Entries) == 0 {
			return all
		}
		all = append(all, page.Entries...)
		after = page.NextAfter
	}
}

// sameLogs checks that the logs of all nodes are the same, and returns the log.
func (c *cluster) sameLogs(ctx context.Context, t *testing.T) []api.LogEntry {
	t.Helper()
	newest := uint64(0)
	for i := range c.Nodes {
		status, err := c.admins[i].Status(ctx)
		if err != nil {
			t.Fatalf("%s: %v", c.Nodes[i].ID, err)
		}
		newest = max(newest, status.Position)
	}
	c.awaitPosition(ctx, t, newest)
	first := c.wholeLog(ctx, t, 0)
	want, err := json.Marshal(first)
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i < len(c.Nodes); i++ {
		got, err := json.Marshal(c.wholeLog(ctx, t, i))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("the log of %s differs from the log of %s", c.Nodes[i].ID, c.Nodes[0].ID)
		}
	}
	for i, e := range first {
		if e.Position != uint64(i+1) {
			t.Fatalf("entry %d of the log is at position %d", i+1, e.Position)
		}
	}
	return first
}

// TestCluster gives and takes permissions at each node, and looks at sessions of
// both gateways in front of both servers.
func TestCluster(t *testing.T) {
	ctx := waiting(t)
	c := newCluster(t, installation.ClusterConfig{})
	for _, where := range []struct {
		tenant, domain string
		kind           backend.Kind
	}{{"lab", "alpha.test", backend.Prosody}, {"other", "gamma.test", backend.Ejabberd}} {
		c.do(ctx, t, 0, where.tenant, api.RoleDefine{Role: "talk", Allow: everything()})
		c.do(ctx, t, 1, where.tenant, api.RoleDefine{Role: "mute", Allow: everything(), Deny: []string{writePermission}})
		for node := range c.Nodes {
			for gateway := range c.Gateways {
				a := newAccount(t, shared.servers[where.kind], "spread", where.domain)
				c.do(ctx, t, node, where.tenant, api.MemberSet{JID: a.jid, Role: "talk"})
				config := c.at(gateway, where.kind).clientConfig(t, a, client.DirectTLS)
				me := login(ctx, t, config)
				mayWrite(ctx, t, me, true)
				result := c.do(ctx, t, (node+1)%len(c.Nodes), where.tenant, api.MemberSet{JID: a.jid, Role: "mute"})
				c.awaitPosition(ctx, t, result.Position)
				if _, err := me.Expect(ctx, client.IsStreamError); err != nil {
					t.Errorf("the session of %s at gateway %s does not end: %v", a.jid, c.Gateways[gateway].ID, err)
				}
				mayWrite(ctx, t, login(ctx, t, config), false)
			}
		}
	}
	c.sameLogs(ctx, t)
}

// writePermission is what a message needs.
const writePermission = "xmpp:account:messages:write"

// mayWrite checks whether a message to the own account comes back.
func mayWrite(ctx context.Context, t *testing.T, me *client.Client, may bool) {
	t.Helper()
	id := me.NewID()
	if err := me.Send(ctx, fmt.Sprintf("<message to='%s' id='%s' type='chat'><body>%s</body></message>", client.Escape(me.JID), id, id)); err != nil {
		t.Fatal(err)
	}
	e, err := me.Expect(ctx, func(e client.Element) bool { return e.Stanza("message") && e.Attr("id") == id })
	if err != nil {
		t.Fatal(err)
	}
	if got := e.Attr("type") != "error"; got != may {
		t.Errorf("%s: its message came back as %s", me.JID, e)
	}
}
