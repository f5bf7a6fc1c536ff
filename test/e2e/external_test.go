//go:build e2e

package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/test/e2e/backend"
	"github.com/postern-im/postern/test/e2e/installation"
)

// operators are three NATS servers of an operator, with the configuration of
// docs/CLUSTER.md. Each policy node has the seed of a user with the rights in it.
type operators struct {
	dir, bin  string
	listen    []string // addresses for clients
	routes    []string
	seeds     []string // files, one for each policy node
	keys      []string // their public keys
	manager   string   // the file of the seed of a user with all rights
	managers  string   // its public key
	servers   []*backend.Program
	ca        *x509.CertPool
	configure string // the text in docs/CLUSTER.md
}

// newOperators starts the servers.
func newOperators(ctx context.Context, t *testing.T) *operators {
	t.Helper()
	o := &operators{dir: t.TempDir(), servers: make([]*backend.Program, 3)}
	root := filepath.Join("..", "..")
	build := exec.CommandContext(ctx, "go", "build", "-o", o.dir, "github.com/nats-io/nats-server/v2")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build nats-server: %v: %s", err, out)
	}
	o.bin = filepath.Join(o.dir, "nats-server")
	guide, err := os.ReadFile(filepath.Join(root, "docs", "CLUSTER.md"))
	if err != nil {
		t.Fatal(err)
	}
	const begin = "```\nserver_name: nats1\n"
	_, rest, ok := strings.Cut(string(guide), begin)
	text, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatal("docs/CLUSTER.md has no configuration of a NATS server")
	}
	o.configure = strings.TrimPrefix(begin, "```\n") + text
	addrs, err := backend.FreeAddrs(6)
	if err != nil {
		t.Fatal(err)
	}
	o.listen, o.routes = addrs[:3], addrs[3:]
	host, _, _ := strings.Cut(addrs[0], ":")
	policyctl(ctx, t, "cluster", "init", "--name", "theirs", "--nodes", fmt.Sprintf("n1=%s,n2=%s,n3=%s", host, host, host), "--out", filepath.Join(o.dir, "pki"))
	pem, err := os.ReadFile(o.file(0, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	o.ca = x509.NewCertPool()
	o.ca.AppendCertsFromPEM(pem)
	for i := range 3 {
		seed, key := newSeed(t, filepath.Join(o.dir, fmt.Sprintf("n%d.nkey", i+1)))
		o.seeds, o.keys = append(o.seeds, seed), append(o.keys, key)
	}
	o.manager, o.managers = newSeed(t, filepath.Join(o.dir, "manager.nkey"))
	for i := range o.servers {
		o.start(t, i)
	}
	t.Cleanup(func() {
		for _, s := range o.servers {
			if err := s.Stop(); err != nil {
				t.Error(err)
			}
		}
	})
	return o
}

func policyctl(ctx context.Context, t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(ctx, filepath.Join(binaries, "policyctl"), args...).CombinedOutput(); err != nil {
		t.Fatalf("policyctl %q: %v: %s", args, err, out)
	}
}

// newSeed writes a new seed to a file, and returns the file and the public key.
func newSeed(t *testing.T, file string) (path, public string) {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err == nil {
		public, err = pair.PublicKey()
	}
	if err == nil {
		err = os.WriteFile(file, seed, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return file, public
}

// file is the path of a file of a server's certificates.
func (o *operators) file(server int, name string) string {
	return filepath.Join(o.dir, "pki", fmt.Sprintf("n%d", server+1), name)
}

// start starts a server with the text of the guide, in which only the names, addresses,
// files and keys are replaced. The manager, who makes settings unsafe, is added.
func (o *operators) start(t *testing.T, i int) {
	t.Helper()
	text := strings.NewReplacer(
		"server_name: nats1", fmt.Sprintf("server_name: nats%d", i+1),
		"0.0.0.0:4222", o.listen[i], "0.0.0.0:6222", o.routes[i],
		"nats1:6222", o.routes[0], "nats2:6222", o.routes[1], "nats3:6222", o.routes[2],
		"/etc/nats/nats.crt", o.file(i, "cluster.crt"), "/etc/nats/nats.key", o.file(i, "cluster.key"), "/etc/nats/ca.crt", o.file(i, "ca.crt"),
		"/var/lib/nats", filepath.Join(o.dir, fmt.Sprintf("store%d", i+1)),
		"UKEYOFN1", o.keys[0], "UKEYOFN2", o.keys[1], "UKEYOFN3", o.keys[2],
		"users: [", "users: [\n      { nkey: "+o.managers+" }",
	).Replace(o.configure)
	config := filepath.Join(o.dir, fmt.Sprintf("nats%d.conf", i+1))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if o.servers[i], err = backend.StartProgram(filepath.Join(o.dir, fmt.Sprintf("nats%d.log", i+1)), o.bin, "-c", config); err != nil {
		t.Fatal(err)
	}
}

// settings are the settings of a node in [cluster], with a seed.
func (o *operators) settings(seed string) string {
	var urls []string
	for _, addr := range o.listen {
		urls = append(urls, fmt.Sprintf("%q", "tls://"+addr))
	}
	return fmt.Sprintf("nats_urls = [%s]\nnats_ca = %q\nnats_seed_file = %q\nnodes = [\"n1\", \"n2\", \"n3\"]", strings.Join(urls, ", "), o.file(0, "ca.crt"), seed)
}

// connect connects with a seed.
func (o *operators) connect(seed string) (*nats.Conn, error) {
	auth, err := nats.NkeyOptionFromSeed(seed)
	if err != nil {
		return nil, err
	}
	return nats.Connect("tls://"+strings.Join(o.listen, ",tls://"), auth, nats.Secure(&tls.Config{RootCAs: o.ca, MinVersion: tls.VersionTLS13}),
		nats.MaxReconnects(-1), nats.ReconnectWait(againAfter))
}

// A stream is what JetStream answers about a stream.
type stream struct {
	Error   json.RawMessage `json:"error"`
	Config  map[string]any  `json:"config"`
	Cluster struct {
		Leader string `json:"leader"`
	} `json:"cluster"`
}

// ask sends a request to JetStream until it is answered without an error.
func (o *operators) ask(ctx context.Context, t *testing.T, conn *nats.Conn, subject string, body any) (s stream) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	for {
		s = stream{}
		m, err := conn.Request(subject, text, time.Second)
		if err == nil {
			err = json.Unmarshal(m.Data, &s)
		}
		if err == nil && s.Error == nil {
			return s
		}
		if ctx.Err() != nil {
			t.Fatalf("%s: %v %s", subject, err, s.Error)
		}
		wait(ctx, againAfter)
	}
}

// leader returns the index of the server that leads the stream.
func (o *operators) leader(ctx context.Context, t *testing.T, conn *nats.Conn) int {
	t.Helper()
	name := o.ask(ctx, t, conn, "$JS.API.STREAM.INFO.POSTERN", nil).Cluster.Leader
	for i := range o.servers {
		if name == fmt.Sprintf("nats%d", i+1) {
			return i
		}
	}
	t.Fatalf("the stream is led by %q", name)
	return 0
}

// TestExternalServers runs a cluster on an operator's NATS servers, which have the
// configuration of docs/CLUSTER.md. It gives and takes permissions at all nodes, kills one
// server and then the leader, and makes the mistakes that an operator can make.
func TestExternalServers(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	o := newOperators(ctx, t)
	seeds := append([]string(nil), o.seeds...)
	c := newCluster(t, installation.ClusterConfig{Servers: func(node int) string { return o.settings(seeds[node]) }})
	manager, err := o.connect(o.manager)
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	if conn, err := o.connect(filepath.Join(c.Gateways[0].Dir, "seed")); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("a gateway's key at the servers: %v", err)
		if err == nil {
			conn.Close()
		}
	}

	w := newWorkload(ctx, t, c, 1)
	working, stopWorking := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.run(working, t)
	}()
	defer func() { stopWorking(); <-done }()
	wait(ctx, calm)
	leader := o.leader(ctx, t, manager)
	for _, victim := range []int{(leader + 1) % 3, leader} {
		ends, waits := w.during(func() {
			if err := o.servers[victim].Kill(); err != nil {
				t.Fatal(err)
			}
			wait(ctx, calm)
			o.start(t, victim)
			if err := c.awaitReady(ctx); err != nil {
				t.Error(err)
			}
			wait(ctx, calm)
		})
		t.Logf("nats%d killed, leader %t: ends %v, unanswered %d", victim+1, victim == leader, ends, waits)
		if len(ends) > 0 || waits > 0 {
			t.Error("the loss of one server was noticed")
		}
	}
	stopWorking()
	<-done
	w.judge(ctx, t, decision.Lease+overdue)

	u := &upgrade{c: c, w: w}
	// fails starts the last node, and requires that it says why it does not follow.
	fails := func(name, why string) {
		t.Helper()
		u.stop(t, 2)
		if err := os.Truncate(c.Nodes[2].Log(), 0); err != nil {
			t.Fatal(err)
		}
		if err := c.BeginNode(2); err != nil {
			t.Fatal(err)
		}
		u.await(ctx, t, c.Nodes[2].Log(), why)
		t.Log(name)
	}
	seeds[2], _ = newSeed(t, filepath.Join(o.dir, "strange.nkey"))
	fails("an unknown key", "do not know the key in nats_seed_file")
	seeds[2] = o.seeds[2]
	config := o.ask(ctx, t, manager, "$JS.API.STREAM.INFO.POSTERN", nil).Config
	config["discard"] = "old"
	config["max_msgs"] = 1_000_000
	o.ask(ctx, t, manager, "$JS.API.STREAM.UPDATE.POSTERN", config)
	fails("unsafe settings", "setting discard is")
	config["discard"], config["max_msgs"] = "new", -1
	o.ask(ctx, t, manager, "$JS.API.STREAM.UPDATE.POSTERN", config)
	u.start(ctx, t, 2, "")
	c.sameLogs(ctx, t)
	o.foreign(ctx, t, u)
}

// foreign starts a node of another cluster at the same servers. It must not use the
// stream, and must say whose it is.
func (o *operators) foreign(ctx context.Context, t *testing.T, u *upgrade) {
	t.Helper()
	dir := t.TempDir()
	policyctl(ctx, t, "cluster", "create", "--name", "other", "--data", filepath.Join(dir, "data"))
	addrs, err := backend.FreeAddrs(1)
	if err != nil {
		t.Fatal(err)
	}
	config, log := filepath.Join(dir, "policyd.toml"), filepath.Join(dir, "log")
	text := fmt.Sprintf("id = \"n9\"\ndata = %q\n[admin]\nsocket = %q\n[nats]\nlisten = %q\nserver_name = \"postern-n9\"\n[cluster]\nname = \"other\"\n%s\n[listen]\nhttp = \"\"\n",
		filepath.Join(dir, "data"), filepath.Join(dir, "admin", "policyd.sock"), addrs[0], strings.Replace(o.settings(o.seeds[2]), `"n3"`, `"n9"`, 1))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := backend.StartProgram(log, filepath.Join(binaries, "policyd"), "--config", config)
	if err != nil {
		t.Fatal(err)
	}
	u.await(ctx, t, log, `it belongs to the cluster "lab"`)
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
}
