package installation

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postern-im/postern/test/e2e/backend"
	"github.com/postern-im/postern/test/e2e/network"
)

// clusterTimeout bounds the start of a whole cluster. The first election of the log
// servers takes seconds.
const clusterTimeout = 2 * time.Minute

// A ClusterConfig says which cluster to run.
type ClusterConfig struct {
	// Bin is the folder of gateway, policyd and policyctl. NodeBin and GatewayBin
	// replace it for one program, if they are given.
	Bin, NodeBin, GatewayBin string
	// Dir holds configuration, data and logs. It must exist and be empty.
	Dir string
	// Certificate and Key are PEM files for all domains.
	Certificate, Key string
	// Domains are the names in the certificate.
	Domains []string
	// Nodes and Gateways are how many to run; zero: three nodes and two gateways.
	Nodes, Gateways int
	// NodeSettings and GatewaySettings are added to the configuration files. Without
	// [limits] in GatewaySettings, the gateways' limits are raised.
	NodeSettings, GatewaySettings string
	// DirectTLS are the gateways' addresses for clients; empty: free ports.
	DirectTLS []string
	// Servers, if it is given, are the settings of a node in [cluster] for NATS servers of
	// an operator, which then order the log.
	Servers func(node int) string
	// SmallDisk is the size in bytes of a file system of its own for the data of each
	// node but the first; zero: all data is in Dir.
	SmallDisk uint64
	// Data is a folder of a stand-alone installation that moves into the cluster as
	// the first node's; empty: a new installation.
	Data string
	// Members is a folder with the data folders of all nodes of a cluster, each named
	// by its node; empty: the cluster is made.
	Members string
}

// A Cluster is several policy nodes and gateways, with a link of package network
// for each pair of programs that talk to each other.
type Cluster struct {
	config   ClusterConfig
	Nodes    []*ClusterNode
	Gateways []*ClusterGateway
	// routes are the links from the log server of one node to the log server of
	// another. edges are the links from gateways to nodes. Both are indexed by
	// [from][to].
	routes, edges [][]*network.Link

	carrying  sync.WaitGroup
	stopLinks context.CancelFunc
}

// A ClusterNode is one policy node.
type ClusterNode struct {
	ID     string
	Socket string // of its admin API
	HTTP   string // address of metrics and health
	Dir    string // configuration, data and log
	Bin    string // the folder of its program at the next start; empty: the cluster's
	// Program is nil while the node does not run.
	Program *backend.Program

	listen, nats string
	disk         *smallDisk // nil: the data is in Dir
}

// Log is the path of the node's log file.
func (n *ClusterNode) Log() string { return n.Dir + ".log" }

// NATS is the address of the node's server for gateways, without a link.
func (n *ClusterNode) NATS() string { return n.nats }

// Data is the node's data folder. A small disk hides it from other programs.
func (n *ClusterNode) Data() string { return filepath.Join(n.Dir, "data") }

// A ClusterGateway is one gateway.
type ClusterGateway struct {
	ID                        string
	StartTLS, DirectTLS, HTTP string
	Dir                       string
	Bin                       string // as in ClusterNode
	Program                   *backend.Program
}

// Log is the path of the gateway's log file.
func (g *ClusterGateway) Log() string { return g.Dir + ".log" }

// StartCluster makes the nodes' certificates, creates the cluster, and starts all
// programs. It returns when all are ready. A cluster that it returns must be
// stopped, even if there is an error.
func StartCluster(ctx context.Context, config ClusterConfig) (*Cluster, error) {
	if config.Nodes == 0 {
		config.Nodes = 3
	}
	if config.Gateways == 0 {
		config.Gateways = 2
	}
	ctx, cancel := context.WithTimeout(ctx, clusterTimeout)
	defer cancel()
	c := &Cluster{config: config}
	for _, step := range []func(context.Context) error{c.place, c.mount, c.link, c.certify, c.create, c.startNodes, c.register, c.startGateways} {
		if err := step(ctx); err != nil {
			return c, err
		}
	}
	return c, nil
}

// place chooses the addresses and folders of all programs.
func (c *Cluster) place(context.Context) error {
	const perNode, perGateway = 3, 3
	addrs, err := backend.FreeAddrs(perNode*c.config.Nodes + perGateway*c.config.Gateways)
	if err != nil {
		return err
	}
	for i := range c.config.Nodes {
		id := fmt.Sprintf("n%d", i+1)
		n := &ClusterNode{ID: id, Dir: filepath.Join(c.config.Dir, id), listen: addrs[0], nats: addrs[1], HTTP: addrs[2]}
		n.Socket = filepath.Join(n.Dir, "admin", "policyd.sock")
		addrs = addrs[perNode:]
		c.Nodes = append(c.Nodes, n)
		if err := os.Mkdir(n.Dir, 0o700); err != nil {
			return err
		}
	}
	for i := range c.config.Gateways {
		id := fmt.Sprintf("edge%d", i+1)
		g := &ClusterGateway{ID: id, Dir: filepath.Join(c.config.Dir, id), StartTLS: addrs[0], DirectTLS: addrs[1], HTTP: addrs[2]}
		if i < len(c.config.DirectTLS) {
			g.DirectTLS = c.config.DirectTLS[i]
		}
		addrs = addrs[perGateway:]
		c.Gateways = append(c.Gateways, g)
		if err := os.Mkdir(g.Dir, 0o700); err != nil {
			return err
		}
	}
	if c.config.Data != "" {
		return os.Rename(c.config.Data, c.Nodes[0].Data())
	}
	if c.config.Members != "" {
		for _, n := range c.Nodes {
			if err := os.Rename(filepath.Join(c.config.Members, n.ID), n.Data()); err != nil {
				return err
			}
		}
	}
	return nil
}

// link opens all links.
func (c *Cluster) link(context.Context) error {
	ctx, cancel := context.WithCancel(context.Background())
	c.stopLinks = cancel
	open := func(to string) (*network.Link, error) {
		l, err := network.Listen(ctx, to)
		if err != nil {
			return nil, err
		}
		c.carrying.Go(func() { _ = l.Run(ctx) })
		return l, nil
	}
	for i := range c.Nodes {
		row := make([]*network.Link, len(c.Nodes))
		for j, to := range c.Nodes {
			if i == j {
				continue
			}
			var err error
			if row[j], err = open(to.listen); err != nil {
				return err
			}
		}
		c.routes = append(c.routes, row)
	}
	for range c.Gateways {
		row := make([]*network.Link, len(c.Nodes))
		for j, to := range c.Nodes {
			var err error
			if row[j], err = open(to.nats); err != nil {
				return err
			}
		}
		c.edges = append(c.edges, row)
	}
	return nil
}

// certify makes the certificates of all nodes with policyctl.
func (c *Cluster) certify(ctx context.Context) error {
	var nodes []string
	for _, n := range c.Nodes {
		nodes = append(nodes, n.ID+"=127.0.0.1")
	}
	_, err := c.run(ctx, "", "", "cluster", "init", "--name", "lab", "--nodes", strings.Join(nodes, ","), "--out", c.path("pki"))
	return err
}

func (c *Cluster) path(parts ...string) string {
	return filepath.Join(append([]string{c.config.Dir}, parts...)...)
}

// create makes the first node's folder the one that the cluster's log comes from.
func (c *Cluster) create(ctx context.Context) error {
	if c.config.Members != "" {
		return nil
	}
	_, err := c.run(ctx, "", "", "cluster", "create", "--name", "lab", "--data", c.Nodes[0].Data())
	return err
}

// startNodes starts all nodes at once, since none is ready before a majority runs.
func (c *Cluster) startNodes(ctx context.Context) error {
	errs := make([]error, len(c.Nodes))
	var starting sync.WaitGroup
	for i := range c.Nodes {
		starting.Go(func() { errs[i] = c.StartNode(ctx, i) })
	}
	starting.Wait()
	return errors.Join(errs...)
}

// StartNode starts a node, and waits until it is ready.
func (c *Cluster) StartNode(ctx context.Context, i int) error {
	if err := c.BeginNode(i); err != nil {
		return err
	}
	return c.AwaitNode(ctx, i)
}

// BeginNode starts a node without waiting.
func (c *Cluster) BeginNode(i int) (err error) {
	n := c.Nodes[i]
	if err := os.WriteFile(filepath.Join(n.Dir, "policyd.toml"), []byte(c.nodeText(i)), 0o600); err != nil {
		return err
	}
	args := []string{c.program("policyd", n.Bin, c.config.NodeBin), "--config", filepath.Join(n.Dir, "policyd.toml")}
	if n.disk != nil {
		args = append(slices.Clone(n.disk.enter), args...)
	}
	n.Program, err = backend.StartProgram(n.Log(), args[0], args[1:]...)
	return err
}

// program is the path of a program, in the first folder that is given.
func (c *Cluster) program(name string, bins ...string) string {
	return filepath.Join(cmp.Or(append(bins, c.config.Bin)...), name)
}

// AwaitNode waits until a node is ready.
func (c *Cluster) AwaitNode(ctx context.Context, i int) error {
	n := c.Nodes[i]
	return awaitReady(ctx, n.ID, n.Program, n.HTTP, n.Log())
}

func awaitReady(ctx context.Context, name string, p *backend.Program, http, log string) error {
	err := p.WaitFor(ctx, func(ctx context.Context) error { return get(ctx, "http://"+http+"/readyz", io.Discard) })
	if err != nil {
		said, _ := os.ReadFile(log)
		return fmt.Errorf("%s is not ready: %w; its log ends with:\n%s", name, err, tail(said))
	}
	return nil
}

// nodeText is the configuration of a node. Its peers are at the links, so that all
// that it sends can be stopped.
func (c *Cluster) nodeText(i int) string {
	n := c.Nodes[i]
	var peers []string
	for j, to := range c.Nodes {
		address := to.listen
		if i != j {
			address = c.routes[i][j].Addr()
		}
		peers = append(peers, fmt.Sprintf("%q", to.ID+"="+address))
	}
	pki := c.path("pki", n.ID)
	servers := fmt.Sprintf("listen = %q\npeers = [%s]\nca = %q\ncert = %q\nkey = %q", n.listen, strings.Join(peers, ", "),
		filepath.Join(pki, "ca.crt"), filepath.Join(pki, "cluster.crt"), filepath.Join(pki, "cluster.key"))
	if c.config.Servers != nil {
		servers = c.config.Servers(i)
	}
	return fmt.Sprintf(`id = %q
data = %q
[admin]
socket = %q
[nats]
listen = %q
server_name = "postern-%s"
[cluster]
name = "lab"
%s
[listen]
http = %q
[log]
format = "json"
%s`, n.ID, n.Data(), n.Socket, n.nats, n.ID, servers, n.HTTP, c.config.NodeSettings)
}

// register adds the gateways to the log.
func (c *Cluster) register(ctx context.Context) error {
	for _, g := range c.Gateways {
		if _, err := c.Policyctl(ctx, 0, "", "gateway", "add", g.ID, "--out", filepath.Join(g.Dir, "seed")); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) startGateways(ctx context.Context) error {
	for i := range c.Gateways {
		if err := c.StartGateway(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// StartGateway starts a gateway, and waits until it is ready.
func (c *Cluster) StartGateway(ctx context.Context, i int) error {
	if err := c.BeginGateway(i); err != nil {
		return err
	}
	g := c.Gateways[i]
	return awaitReady(ctx, g.ID, g.Program, g.HTTP, g.Log())
}

// BeginGateway starts a gateway without waiting.
func (c *Cluster) BeginGateway(i int) (err error) {
	g := c.Gateways[i]
	certificates := filepath.Join(g.Dir, "certificates")
	if err := copyCertificates(certificates, c.config.Certificate, c.config.Key, c.config.Domains); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(g.Dir, "gateway.toml"), []byte(c.gatewayText(i)), 0o600); err != nil {
		return err
	}
	g.Program, err = backend.StartProgram(g.Log(), c.program("gateway", g.Bin, c.config.GatewayBin), "--config", filepath.Join(g.Dir, "gateway.toml"))
	return err
}

func (c *Cluster) gatewayText(i int) string {
	g := c.Gateways[i]
	var urls []string
	for _, l := range c.edges[i] {
		urls = append(urls, fmt.Sprintf("%q", "nats://"+l.Addr()))
	}
	limits := lifted
	if strings.Contains(c.config.GatewaySettings, "[limits]") {
		limits = ""
	}
	return fmt.Sprintf(`id = %q
[listen]
starttls = [%q]
direct_tls = [%q]
http = %q
[certificates]
directory = %q
[nats]
urls = [%s]
server_name = "postern"
seed_file = %q
[log]
format = "json"
%s%s`, g.ID, g.StartTLS, g.DirectTLS, g.HTTP, filepath.Join(g.Dir, "certificates"), strings.Join(urls, ", "), filepath.Join(g.Dir, "seed"),
		c.config.GatewaySettings, limits)
}

// copyCertificates writes a certificate and its key for each domain.
func copyCertificates(folder, certificate, key string, domains []string) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	for from, suffix := range map[string]string{certificate: ".crt", key: ".key"} {
		text, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		for _, domain := range domains {
			if err := os.WriteFile(filepath.Join(folder, domain+suffix), text, 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}

// Route is the link from the log server of one node to the log server of another.
func (c *Cluster) Route(from, to int) *network.Link { return c.routes[from][to] }

// Edge is the link from a gateway to a node.
func (c *Cluster) Edge(gateway, node int) *network.Link { return c.edges[gateway][node] }

// Isolate cuts a node off from all other nodes. Gateways still reach it.
func (c *Cluster) Isolate(node int) {
	for other := range c.Nodes {
		if other != node {
			c.routes[node][other].Cut()
			c.routes[other][node].Cut()
		}
	}
}

// Deafen stops all that other nodes send to a node. The others hear the node.
func (c *Cluster) Deafen(node int) {
	for other := range c.Nodes {
		if other != node {
			c.routes[node][other].CutBack()
			c.routes[other][node].CutForward()
		}
	}
}

// Separate cuts a node off from all gateways. Other nodes still reach it.
func (c *Cluster) Separate(node int) {
	for _, row := range c.edges {
		row[node].Cut()
	}
}

// Mend makes all links deliver again.
func (c *Cluster) Mend() {
	for _, rows := range [][][]*network.Link{c.routes, c.edges} {
		for _, row := range rows {
			for _, l := range row {
				if l != nil {
					l.Mend()
				}
			}
		}
	}
}

// Policyctl runs policyctl at a node's admin socket with the given standard input,
// and returns its output.
func (c *Cluster) Policyctl(ctx context.Context, node int, stdin string, args ...string) (string, error) {
	return c.run(ctx, c.Nodes[node].Socket, stdin, args...)
}

func (c *Cluster) run(ctx context.Context, socket, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(c.config.Bin, "policyctl"), args...)
	cmd.Env = append(os.Environ(), "POSTERN_SOCKET="+socket)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("policyctl %q: %w: %s%s", args, err, out.String(), errs.String())
	}
	return out.String(), nil
}

// Metrics returns the metrics at the address of one of the programs.
func (c *Cluster) Metrics(ctx context.Context, addr string) (string, error) {
	var text bytes.Buffer
	err := get(ctx, "http://"+addr+"/metrics", &text)
	return text.String(), err
}

// Ready returns the reason of a program why it is not ready, or nil.
func (c *Cluster) Ready(ctx context.Context, addr string) error {
	return get(ctx, "http://"+addr+"/readyz", io.Discard)
}

// Stop ends all programs and links, and leaves nothing of them behind.
func (c *Cluster) Stop() error {
	var errs []error
	c.Mend() // a program whose links are cut could not say that it stops
	for _, g := range c.Gateways {
		if g.Program != nil {
			errs = append(errs, g.Program.Stop())
		}
	}
	var stopping sync.WaitGroup
	stopped := make([]error, len(c.Nodes))
	for i, n := range c.Nodes {
		if n.Program != nil {
			stopping.Go(func() { stopped[i] = n.Program.Stop() })
		}
	}
	stopping.Wait()
	for _, n := range c.Nodes {
		if n.disk != nil {
			errs = append(errs, n.disk.holder.Kill())
		}
	}
	if c.stopLinks != nil {
		c.stopLinks()
	}
	c.carrying.Wait()
	return errors.Join(append(errs, stopped...)...)
}
