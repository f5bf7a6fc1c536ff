package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/events"
)

const (
	// minNodes is the size of a cluster that still decides commands after the
	// loss of one node.
	minNodes = 3
	// maxNodes is the number of nodes that a gateway connects to.
	maxNodes = 8
	// The ports of a node, for the routes between nodes and for gateways.
	routePort   = 6223
	gatewayPort = 4222
)

// The files below the folder of a cluster. The folder of the authority stays with
// the operator; each node gets the folder with its id.
const (
	authorityDir = "ca"
	gatewayDir   = "gateway"
	planFile     = "cluster.json"
	caCert       = "ca.crt"
	caKey        = "ca.key"
)

type clusterInit struct {
	Name  string   `required:"" help:"The cluster's name: letters, digits, - and _." placeholder:"NAME"`
	Nodes []string `required:"" help:"The nodes: an id and the host name or IP address at which nodes and gateways reach it, such as n1=10.0.0.1. At least three." placeholder:"ID=HOST[:PORT]"`
	Out   string   `required:"" help:"The folder to create. It must not exist." placeholder:"DIR"`
	Etc   string   `help:"The folder on each node into which its files will be copied. The configuration names it." default:"/etc/postern/cluster" placeholder:"DIR"`
}

// Help is the command's help.
func (*clusterInit) Help() string {
	return `It makes a certificate authority for the cluster, and a folder for each node:

    DIR/ca         the authority's key. Keep it offline; no node needs it.
    DIR/n1 ...     for each node: ca.crt; cluster.crt and cluster.key, which the nodes
                   use among themselves; nats.crt and nats.key, for gateways; and
                   policyd.toml with the sections [cluster] and [nats].
    DIR/gateway    for every gateway: ca.crt, and gateway.toml with the section [nats].

Certificates are valid for two years, the authority for ten. Renew them with
cluster issue. A certificate for gateways cannot be used to join the routes
between the nodes.

Nodes reach each other on port 6223, or the PORT that is given, and gateways
reach them on port 4222. If several nodes have the same host, the ports of the
later ones count up from there.

Example:

    policyctl cluster init --name acme --nodes n1=10.0.0.1,n2=10.0.0.2,n3=10.0.0.3 --out acme-cluster`
}

// A clusterPlan is the shape of a cluster. The folder of the authority keeps it,
// so that cluster issue can write the configuration of a further node.
type clusterPlan struct {
	Name  string        `json:"name"`
	Etc   string        `json:"etc"`
	Nodes []clusterNode `json:"nodes"`
}

// A clusterNode is one node of a plan.
type clusterNode struct {
	ID       string `json:"id"`
	Host     string `json:"host"` // a DNS name or an IP address
	Port     int    `json:"port"` // of the routes between nodes
	NATSPort int    `json:"nats_port"`
}

// A clusterFiles is the result of cluster init and cluster issue, in JSON.
type clusterFiles struct {
	Cluster string   `json:"cluster"`
	Folder  string   `json:"folder"`
	Nodes   []string `json:"nodes"` // that got certificates
}

// Run makes the files.
func (c *clusterInit) Run(a *app) error {
	plan := &clusterPlan{Name: c.Name, Etc: c.Etc}
	if err := events.CheckClusterName(c.Name); err != nil {
		return usagef("--name: %w", err)
	}
	if !filepath.IsAbs(c.Etc) || strings.ContainsAny(c.Etc, "\"\\\n") {
		return usagef("--etc %q: want an absolute path without quotes", c.Etc)
	}
	for _, text := range c.Nodes {
		if err := plan.add(text); err != nil {
			return err
		}
	}
	if n := len(plan.Nodes); n < minNodes {
		return usagef("--nodes names %d: a cluster has at least %d, so that it works after the loss of one", n, minNodes)
	}
	if err := os.Mkdir(c.Out, 0o700); errors.Is(err, fs.ErrExist) {
		return usagef("--out: %s exists; cluster issue makes certificates for a cluster that has a folder", c.Out)
	} else if err != nil {
		return err
	}
	ids, err := plan.create(c.Out, time.Now())
	if err != nil {
		return errors.Join(err, os.RemoveAll(c.Out)) // it was made by this command
	}
	for _, host := range plan.sharedHosts() {
		a.warn(fmt.Sprintf("several nodes are on %s: if it fails, all of them do", host))
	}
	return a.print(clusterFiles{c.Name, c.Out, ids}, func(w io.Writer) {
		fmt.Fprintf(w, "Certificates for %s are in %s.\n", strings.Join(ids, ", "), c.Out)
		fmt.Fprintf(w, "Copy each node's folder to %s on that node, and add its policyd.toml to the node's configuration.\n", c.Etc)
		fmt.Fprintf(w, "Copy %s to the gateways. Keep %s offline.\n", filepath.Join(c.Out, gatewayDir), filepath.Join(c.Out, authorityDir))
		fmt.Fprintf(w, "Then run policyctl cluster create on the first node.\n")
	})
}

var hostName = regexp.MustCompile(`^([a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.)*[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$`)

// add adds a node to the plan, from a text such as n1=10.0.0.1 or
// n1=node1.example:6300.
func (p *clusterPlan) add(text string) error {
	id, at, found := strings.Cut(text, "=")
	if !found || !decision.IsToken(id) {
		return usagef("node %q: want ID=HOST, such as n1=10.0.0.1, with 1 to 32 characters of a-z and 0-9 as id", text)
	}
	if slices.Contains([]string{authorityDir, gatewayDir}, id) {
		return usagef("node %q: the id %s is the name of another folder; choose another", text, id)
	}
	n := clusterNode{ID: id, Host: strings.Trim(at, "[]"), Port: routePort, NATSPort: gatewayPort}
	given := false
	if host, port, err := net.SplitHostPort(at); err == nil {
		number, err := strconv.ParseUint(port, 10, 16)
		if err != nil || number == 0 {
			return usagef("node %q: %q is not a port", text, port)
		}
		n.Host, n.Port, given = host, int(number), true
	}
	if ip := net.ParseIP(n.Host); ip != nil {
		if ip.IsUnspecified() {
			return usagef("node %q: other nodes cannot reach this address", text)
		}
		n.Host = ip.String()
	} else if !hostName.MatchString(n.Host) || !utf8.ValidString(n.Host) || len(n.Host) > 253 {
		return usagef("node %q: %q is neither a host name nor an IP address", text, n.Host)
	}
	for _, other := range p.Nodes {
		if other.ID == id {
			return usagef("node %q: the cluster has a node %s already", text, id)
		}
	}
	for taken := true; taken; {
		taken = false
		for _, other := range p.Nodes {
			if other.Host != n.Host {
				continue
			}
			if other.NATSPort == n.NATSPort {
				n.NATSPort, taken = n.NATSPort+1, true
			}
			if other.Port == n.Port && given {
				return usagef("node %q: node %s has the same address", text, other.ID)
			}
			if other.Port == n.Port {
				n.Port, taken = n.Port+1, true
			}
		}
	}
	if len(p.Nodes) == maxNodes {
		return usagef("node %q: a cluster has at most %d nodes", text, maxNodes)
	}
	p.Nodes = append(p.Nodes, n)
	return nil
}

// sharedHosts returns the hosts of more than one node.
func (p *clusterPlan) sharedHosts() (hosts []string) {
	count := make(map[string]int)
	for _, n := range p.Nodes {
		if count[n.Host]++; count[n.Host] == 2 {
			hosts = append(hosts, n.Host)
		}
	}
	return hosts
}

// create writes the authority and the files of all nodes into an empty folder. It
// returns the ids of the nodes.
func (p *clusterPlan) create(dir string, now time.Time) ([]string, error) {
	ca, pair, err := newClusterCA(p.Name, now)
	if err != nil {
		return nil, err
	}
	authority := filepath.Join(dir, authorityDir)
	if err := os.Mkdir(authority, 0o700); err != nil {
		return nil, err
	}
	for name, text := range map[string][]byte{caCert: pair.cert, caKey: pair.key} {
		if err := writeSecret(filepath.Join(authority, name), text); err != nil {
			return nil, err
		}
	}
	var ids []string
	for _, n := range p.Nodes {
		if err := p.certify(dir, ca, n, now); err != nil {
			return nil, err
		}
		ids = append(ids, n.ID)
	}
	return ids, p.write(dir, pair.cert)
}

// certify makes new keys and certificates for a node and writes them into its
// folder.
func (p *clusterPlan) certify(dir string, ca *clusterCA, n clusterNode, now time.Time) error {
	folder := filepath.Join(dir, n.ID)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	for name, peer := range map[string]bool{"cluster": true, "nats": false} {
		pair, err := ca.issue(n, peer, now)
		if err != nil {
			return err
		}
		// The certificate follows its key, so that an interrupted command never
		// leaves a new certificate beside an old key that looks usable.
		for _, f := range []struct {
			end  string
			text []byte
		}{{".key", pair.key}, {".crt", pair.cert}} {
			if err := writeSecret(filepath.Join(folder, name+f.end), f.text); err != nil {
				return err
			}
		}
	}
	return nil
}

// write writes the plan, and the files that follow from it: the configuration of
// each node and of gateways, and the authority's certificate.
func (p *clusterPlan) write(dir string, authority []byte) error {
	for _, n := range p.Nodes {
		folder := filepath.Join(dir, n.ID)
		if err := writeSecret(filepath.Join(folder, caCert), authority); err != nil {
			return err
		}
		if err := writeSecret(filepath.Join(folder, "policyd.toml"), []byte(p.nodeTOML(n))); err != nil {
			return err
		}
	}
	folder := filepath.Join(dir, gatewayDir)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	if err := writeSecret(filepath.Join(folder, caCert), authority); err != nil {
		return err
	}
	if err := writeSecret(filepath.Join(folder, "gateway.toml"), []byte(p.gatewayTOML())); err != nil {
		return err
	}
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	return writeSecret(filepath.Join(dir, authorityDir, planFile), append(text, '\n'))
}

// nodeTOML returns the sections [cluster] and [nats] of a node's configuration.
func (p *clusterPlan) nodeTOML(n clusterNode) string {
	var peers []string
	for _, other := range p.Nodes {
		peers = append(peers, strconv.Quote(other.ID+"="+hostPort(other.Host, other.Port)))
	}
	host := n.Host
	note := ""
	if net.ParseIP(host) == nil {
		// Debian's /etc/hosts lets a machine's own name stand for 127.0.1.1.
		host, note = "::", "  # all addresses: on the machine itself its name may be on loopback"
	}
	return fmt.Sprintf(`id = %q

[cluster]
name = %q
listen = %q%s
peers = [%s]
ca = %q
cert = %q
key = %q

[nats]
listen = %q
server_name = %q
cert = %q
key = %q
`,
		n.ID, p.Name, hostPort(host, n.Port), note, strings.Join(peers, ", "),
		p.Etc+"/"+caCert, p.Etc+"/cluster.crt", p.Etc+"/cluster.key",
		hostPort(host, n.NATSPort), "postern-"+n.ID, p.Etc+"/nats.crt", p.Etc+"/nats.key")
}

// gatewayTOML returns the section [nats] of a gateway's configuration.
func (p *clusterPlan) gatewayTOML() string {
	var urls []string
	for _, n := range p.Nodes {
		urls = append(urls, strconv.Quote("tls://"+hostPort(n.Host, n.NATSPort)))
	}
	return fmt.Sprintf("[nats]\nurls = [%s]\nserver_name = \"postern\"  # a prefix of the nodes' server_name\nca = %q\n",
		strings.Join(urls, ", "), p.Etc+"/"+caCert)
}

func hostPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// writeSecret writes a file that only its owner can read. An existing file is
// replaced at once and completely.
func writeSecret(name string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}
