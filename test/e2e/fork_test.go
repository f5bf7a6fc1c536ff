//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
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

// A forked cluster has two histories: the disks of n1 and n2 were put back to an
// earlier state, and went on from there without n3.
type forked struct {
	*cluster
	// Common is the newest position before the fork. After it, n3 has the suspension of
	// revoked, and n1 and n2 have a change of another account.
	common          uint64
	revoked, member account
	// Session is a session of member, which began before the fork.
	session *client.Client
}

// newFork makes a cluster with two histories. n3 runs, and has stopped.
func newFork(ctx context.Context, t *testing.T) *forked {
	t.Helper()
	c := &forked{cluster: newCluster(t, installation.ClusterConfig{Gateways: 1})}
	server := shared.servers[backend.Prosody]
	c.do(ctx, t, 0, "lab", api.RoleDefine{Role: "talk", Allow: everything()})
	c.revoked, c.member = newAccount(t, server, "revoked", "alpha.test"), newAccount(t, server, "member", "alpha.test")
	for _, a := range []account{c.revoked, c.member} {
		c.common = c.do(ctx, t, 0, "lab", api.MemberSet{JID: a.jid, Role: "talk"}).Position
	}
	c.awaitPosition(ctx, t, c.common)
	c.session = c.login(ctx, t, c.member)
	image := t.TempDir()
	for _, i := range []int{0, 1} {
		c.image(t, i, filepath.Join(image, c.Nodes[i].ID))
	}
	result := c.do(ctx, t, 0, "lab", api.MemberSuspend{JID: c.revoked.jid})
	if result.Position != c.common+1 {
		t.Fatalf("the suspension is at %d", result.Position)
	}
	c.awaitPosition(ctx, t, result.Position)
	c.stopNodes(t)
	for _, i := range []int{0, 1} {
		data := c.Nodes[i].Data()
		if err := errors.Join(os.RemoveAll(data), os.Rename(filepath.Join(image, c.Nodes[i].ID), data)); err != nil {
			t.Fatal(err)
		}
	}
	c.begin(ctx, t, 0, 1)
	c.do(ctx, t, 0, "lab", api.MemberSet{JID: "other@alpha.test", Role: "talk"})
	c.do(ctx, t, 1, "lab", api.MemberRemove{JID: "other@alpha.test"})
	if err := c.BeginNode(2); err != nil {
		t.Fatal(err)
	}
	return c
}

// image copies the data folder of a node as it is at one moment.
func (c *cluster) image(t *testing.T, node int, to string) {
	t.Helper()
	p := c.Nodes[node].Program
	if err := p.Pause(); err != nil {
		t.Fatal(err)
	}
	err := os.CopyFS(to, os.DirFS(c.Nodes[node].Data()))
	if err := errors.Join(err, p.Resume()); err != nil {
		t.Fatal(err)
	}
}

// stopNodes ends the programs of all nodes at once.
func (c *cluster) stopNodes(t *testing.T) {
	t.Helper()
	for _, n := range c.Nodes {
		if err := n.Program.Kill(); err != nil {
			t.Fatal(err)
		}
	}
}

// begin starts nodes, and waits until they are ready.
func (c *cluster) begin(ctx context.Context, t *testing.T, nodes ...int) {
	t.Helper()
	for _, i := range nodes {
		if err := c.BeginNode(i); err != nil {
			t.Fatal(err)
		}
	}
	for _, i := range nodes {
		if err := c.AwaitNode(ctx, i); err != nil {
			t.Fatal(err)
		}
	}
}

// jsonOf runs policyctl at a node, and reads its answer.
func jsonOf[T any](ctx context.Context, t *testing.T, c *cluster, node int, args ...string) (of T) {
	t.Helper()
	out, err := c.Policyctl(ctx, node, "", append([]string{"--json"}, args...)...)
	if err == nil {
		err = json.Unmarshal([]byte(out), &of)
	}
	if err != nil {
		t.Fatal(err)
	}
	return of
}

// refuses runs policyctl at a node, which must fail with these words.
func (c *cluster) refuses(ctx context.Context, t *testing.T, node int, words []string, args ...string) string {
	t.Helper()
	out, err := c.Policyctl(ctx, node, "", args...)
	if err == nil {
		t.Fatalf("policyctl %q was not refused: %s", args, out)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("not %q: %v", w, err)
		}
	}
	return out
}

// page waits until a page of a node has some words, and returns it.
func (c *cluster) page(ctx context.Context, t *testing.T, node int, path string, words ...string) string {
	t.Helper()
	text := ""
	for {
		if r, err := http.Get("http://" + c.Nodes[node].HTTP + path); err == nil {
			body, _ := io.ReadAll(r.Body)
			_ = r.Body.Close()
			text = string(body)
		}
		has := true
		for _, w := range words {
			has = has && strings.Contains(text, w)
		}
		if has {
			return text
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s of %s does not say %q: %s", path, c.Nodes[node].ID, words, text)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// login logs in at the gateway.
func (c *forked) login(ctx context.Context, t *testing.T, a account) *client.Client {
	t.Helper()
	return login(ctx, t, c.at(0, backend.Prosody).clientConfig(t, a, client.DirectTLS))
}

// seen checks what each node says of the fork.
func (c *forked) seen(ctx context.Context, t *testing.T) {
	t.Helper()
	c.page(ctx, t, 2, "/readyz", "two histories: this node has taken the commit", fmt.Sprintf("at %d", c.common+1), "policyctl cluster diff")
	for _, i := range []int{0, 1} {
		c.page(ctx, t, i, "/readyz", fmt.Sprintf("two histories: at %d node n3 has the commit", c.common+1), "policyctl cluster diff n3")
	}
	var s api.Cluster
	for len(s.Nodes) != 3 || !s.Nodes[0].Stopped || !s.Nodes[1].Stopped || !s.Nodes[2].Stopped {
		var err error
		if s, err = c.admins[0].Cluster(ctx); err != nil {
			t.Fatal(err)
		}
		wait(ctx, 20*time.Millisecond)
	}
	n1, n2, n3 := s.Nodes[0], s.Nodes[1], s.Nodes[2]
	if n1.Hash == n3.Hash || n1.Position != c.common+2 || n2.Position != c.common+2 || n1.Hash != n2.Hash || n3.Position != c.common+1 {
		t.Errorf("%+v", s.Nodes)
	}
	out := c.refuses(ctx, t, 0, nil, "cluster", "diff", "n3")
	for _, want := range []string{
		fmt.Sprintf("the same up to position %d", c.common), "only n1 has these commits", "other@alpha.test",
		"only n3 has these commits", "member suspended " + c.revoked.jid,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the difference does not say %q: %s", want, out)
		}
	}
}

// resolve gives the flags of a position and a node's data folder.
func (c *forked) resolve(node int, position uint64, flags ...string) []string {
	return append([]string{"cluster", "resolve", "--yes", "--data", c.Nodes[node].Data(), "--position", fmt.Sprint(position)}, flags...)
}

// A resolved is the answer of cluster resolve.
type resolved struct {
	File      string `json:"file"`
	LogServer string `json:"log_server"`
	LogID     string `json:"log_id"`
	OldLogID  string `json:"old_log_id"`
	GivenUp   uint64 `json:"given_up"`
}

// TestFork gives up the history of the one node that a majority does not agree with.
// The node joins again, and no session ends for it.
func TestFork(t *testing.T) {
	ctx := waiting(t)
	c := newFork(ctx, t)
	c.seen(ctx, t)
	c.refuses(ctx, t, 2, []string{"is in use: stop policyd, and repeat the command"}, c.resolve(2, c.common, "--discard")...)
	c.refuses(ctx, t, 2, []string{"has stopped", "policyctl cluster diff"}, "cluster", "join")
	c.stopNodes(t)
	done := jsonOf[resolved](ctx, t, c.cluster, 2, c.resolve(2, c.common, "--discard")...)
	if text, err := os.ReadFile(done.File); err != nil || done.GivenUp != 1 || !strings.Contains(string(text), "member suspended "+c.revoked.jid) || !strings.HasPrefix(done.LogServer, "n3-") {
		t.Errorf("%+v, %s, %v", done, text, err)
	}
	c.begin(ctx, t, 0, 1)
	if err := c.BeginNode(2); err != nil {
		t.Fatal(err)
	}
	c.page(ctx, t, 2, "/readyz", "policyctl cluster remove")
	// No running node has ever seen the former log server. The log servers may still
	// elect a leader.
	for {
		out, err := c.Policyctl(ctx, 0, "", "cluster", "remove", done.LogServer, "--yes")
		if err == nil {
			break
		}
		if !strings.Contains(err.Error(), "no leader at present") {
			t.Fatal(out, err)
		}
		wait(ctx, 200*time.Millisecond)
	}
	if out, err := c.Policyctl(ctx, 2, "", "cluster", "join"); err != nil {
		t.Fatal(out, err)
	}
	for _, e := range c.sameLogs(ctx, t) {
		for _, event := range e.Events {
			if strings.Contains(event.What, "suspended") {
				t.Errorf("a commit that was given up is back: %+v", e)
			}
		}
	}
	// The session from before the fork is still there.
	mayWrite(ctx, t, c.session, true)
	c.do(ctx, t, 2, "lab", api.MemberSuspend{JID: c.revoked.jid})
	c.sameLogs(ctx, t)
}

// TestForkTaken continues with the history of the one node that knows of a suspension.
// The others join again with empty folders. All sessions end, and the suspended account
// gets none.
func TestForkTaken(t *testing.T) {
	ctx := waiting(t)
	c := newFork(ctx, t)
	c.seen(ctx, t)
	list := filepath.Join(t.TempDir(), "given-up.txt")
	c.refuses(ctx, t, 0, []string{"node n1 answers, not n3: give the command on n3"}, "cluster", "resolve", "--take", "n3", "--file", list)
	out, err := c.Policyctl(ctx, 2, "", "cluster", "resolve", "--take", "n3", "--file", list)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(list)
	if info, gone := os.Stat(list); err != nil || gone != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v, %v", info, err, gone)
	}
	for _, want := range []string{"only n1 has these commits", "only n2 has these commits", "other@alpha.test", "n2-", "log servers"} {
		if !strings.Contains(out, want) || !strings.Contains(string(text), want) {
			t.Errorf("the list does not say %q: %s\n%s", want, out, text)
		}
	}
	if next := fmt.Sprintf("on n1: policyctl cluster resolve --discard --data DIR --position %d", c.common); !strings.Contains(out, next) {
		t.Errorf("not %q: %s", next, out)
	}
	c.refuses(ctx, t, 2, []string{"exists: give the name of a new file"}, "cluster", "resolve", "--take", "n3", "--file", list)
	c.refuses(ctx, t, 2, []string{"is in use: stop policyd, and repeat the command"}, c.resolve(2, c.common+1, "--take", "n3")...)
	c.stopNodes(t)
	c.refuses(ctx, t, 0, []string{"is the data folder of node n1, not of n3: run the command on n3"}, c.resolve(0, c.common+1, "--take", "n3")...)
	c.refuses(ctx, t, 2, []string{fmt.Sprintf("give --position %d", c.common+1)}, c.resolve(2, c.common, "--take", "n3")...)
	done := jsonOf[resolved](ctx, t, c.cluster, 2, c.resolve(2, c.common+1, "--take", "n3")...)
	if done.LogID == done.OldLogID || done.LogID == "" {
		t.Errorf("%+v", done)
	}
	for _, i := range []int{0, 1} {
		if given := jsonOf[resolved](ctx, t, c.cluster, i, c.resolve(i, c.common, "--discard")...); given.GivenUp != 2 || given.LogID != done.OldLogID {
			t.Errorf("%+v", given)
		}
	}
	c.begin(ctx, t, 0, 1, 2)
	for i := range c.Nodes {
		if out, err := c.Policyctl(ctx, i, "", "cluster", "join"); err != nil {
			t.Fatal(out, err)
		}
	}
	c.onlySuspended(ctx, t)
	s, err := c.admins[0].Status(ctx)
	if err != nil || s.LogID != done.LogID {
		t.Errorf("%+v, %v", s, err)
	}
	// The session of the old log ends, and is judged again.
	if _, err := c.session.Expect(ctx, client.IsStreamError); err != nil {
		t.Errorf("a session of the old log does not end: %v", err)
	}
	mayWrite(ctx, t, c.login(ctx, t, c.member), true)
	config := c.at(0, backend.Prosody).clientConfig(t, c.revoked, client.DirectTLS)
	if _, err := client.Login(ctx, config); err == nil {
		t.Error("the suspended account has a session")
	}
}

// onlySuspended checks that all nodes have n3's history.
func (c *forked) onlySuspended(ctx context.Context, t *testing.T) {
	t.Helper()
	log := c.sameLogs(ctx, t)
	if uint64(len(log)) != c.common+1 || len(log[c.common].Events) != 1 || log[c.common].Events[0].What != "member suspended "+c.revoked.jid+" by the operator" {
		t.Errorf("%+v", log[c.common:])
	}
}
