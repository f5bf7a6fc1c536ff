package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/events"
)

// minPeers is the smallest cluster. A commit is acknowledged when a majority of
// three has it, so that the loss of one node loses nothing and stops nothing.
const minPeers = 3

// clusterConfig is the section [cluster]. Without it, policyd is stand-alone.
type clusterConfig struct {
	// Name is the cluster's name, the same on all nodes.
	Name string `toml:"name"`
	// Listen is the address at which the log servers of other nodes connect, over
	// TLS that verifies both sides.
	Listen string `toml:"listen"`
	// Peers are all nodes of the cluster, this one too, as ID=HOST:PORT.
	Peers []string `toml:"peers"`
	// CA signed the certificates of all nodes. Cert and Key are this node's. policyd
	// reads them again on SIGHUP.
	CA   string `toml:"ca"`
	Cert string `toml:"cert"`
	Key  string `toml:"key"`

	// URLs, if given, are the addresses of the operator's own NATS servers with
	// JetStream, which then order the log. Listen, Peers, CA, Cert and Key are
	// empty. SeedFile and URLsCA are for the connection to these servers, and Nodes
	// are the ids of all nodes of the cluster, this one too.
	URLs     []string `toml:"nats_urls"`
	Nodes    []string `toml:"nodes"`
	SeedFile string   `toml:"nats_seed_file"`
	URLsCA   string   `toml:"nats_ca"` // PEM; empty: no TLS, on loopback only
}

// clustered reports whether this node is part of a cluster.
func (c *config) clustered() bool {
	n := &c.Cluster
	return n.Name != "" || n.Listen != "" || len(n.Peers)+len(n.URLs)+len(n.Nodes) > 0 || n.CA != "" || n.Cert != "" || n.Key != "" ||
		n.SeedFile != "" || n.URLsCA != ""
}

// A peer is one node of the cluster.
type peer struct{ id, address string }

// peers parses the setting peers.
func (n *clusterConfig) peers() (list []peer, err error) {
	seen := map[string]bool{}
	for _, text := range n.Peers {
		id, address, ok := strings.Cut(text, "=")
		host, port, err := net.SplitHostPort(address)
		if !ok || err != nil || host == "" || port == "" || !decision.IsToken(id) {
			return nil, fmt.Errorf("peers: %q: want ID=HOST:PORT, with an id of 1 to 32 characters of a-z and 0-9", text)
		}
		if seen[id] || seen[address] {
			return nil, fmt.Errorf("peers: %q: this id or address is listed twice", text)
		}
		seen[id], seen[address] = true, true
		list = append(list, peer{id, address})
	}
	return list, nil
}

// checkCluster returns an error for each setting of [cluster] that cannot work.
func (c *config) checkCluster() error {
	n := &c.Cluster
	var errs []error
	refuse := func(when bool, text string) {
		if when {
			errs = append(errs, errors.New("cluster: "+text))
		}
	}
	if err := events.CheckClusterName(n.Name); err != nil {
		errs = append(errs, fmt.Errorf("cluster: name: %w", err))
	}
	refuse(len(c.NATS.Gateways) > 0, "in a cluster [nats] gateways must be left out: the gateways are in the log; add one with: policyctl gateway add ID")
	if len(n.URLs) > 0 {
		refuse(n.Listen != "" || len(n.Peers) > 0 || n.CA != "" || n.Cert != "" || n.Key != "",
			"with nats_urls, leave out listen, peers, ca, cert and key: the NATS servers at these addresses order the log")
		refuse(n.SeedFile == "", "nats_urls requires nats_seed_file")
		return errors.Join(append(errs, c.checkNodes())...)
	}
	refuse(n.SeedFile != "" || n.URLsCA != "", "nats_seed_file and nats_ca are for nats_urls only")
	refuse(len(n.Nodes) > 0, "nodes is for nats_urls only: peers lists the nodes")
	refuse(n.Listen == "", "no address in listen, to which the other nodes connect")
	refuse(n.CA == "" || n.Cert == "" || n.Key == "", "ca, cert and key are required: make them with: policyctl cluster init")
	peers, err := n.peers()
	if err != nil {
		return errors.Join(append(errs, fmt.Errorf("cluster: %w", err))...)
	}
	refuse(len(peers) < minPeers, fmt.Sprintf("peers lists %d nodes: want at least %d, or the loss of one node would stop the cluster", len(peers), minPeers))
	own := false
	for _, p := range peers {
		own = own || p.id == c.ID
	}
	refuse(!own, fmt.Sprintf("peers does not list this node, %s", c.ID))
	return errors.Join(errs...)
}

// checkNodes returns an error if the setting nodes cannot be the list of all nodes. A
// majority is counted of this list, because a list of the nodes that were heard would be
// too short after each start.
func (c *config) checkNodes() error {
	list := c.Cluster.Nodes
	for i, id := range list {
		if !decision.IsToken(id) {
			return fmt.Errorf("cluster: nodes: %q: want an id of 1 to 32 characters of a-z and 0-9", id)
		}
		if slices.Contains(list[:i], id) {
			return fmt.Errorf("cluster: nodes: %q is listed twice", id)
		}
	}
	switch {
	case len(list) < minPeers:
		return fmt.Errorf("cluster: nodes lists %d nodes: with nats_urls, list the ids of all nodes of the cluster, at least %d, or the loss of one node would stop the cluster", len(list), minPeers)
	case !slices.Contains(list, c.ID):
		return fmt.Errorf("cluster: nodes does not list this node, %s", c.ID)
	}
	return nil
}

// doubts returns what is likely wrong with the settings of this node's log server,
// although the node can start: the other nodes could then not connect to it, so that
// it takes part only as long as it reaches them itself.
func (c *config) doubts() (list []error) {
	n := &c.Cluster
	peers, err := n.peers()
	if err != nil {
		return nil // the error is reported
	}
	at := slices.IndexFunc(peers, func(p peer) bool { return p.id == c.ID })
	if at < 0 {
		return nil
	}
	own := peers[at].address
	host, port, err := net.SplitHostPort(own)
	if err != nil {
		return nil
	}
	if listenHost, listenPort, err := net.SplitHostPort(n.Listen); err == nil {
		listens, dialled := net.ParseIP(listenHost), net.ParseIP(host)
		if listenPort != port || listens != nil && dialled != nil && !listens.IsUnspecified() && !listens.Equal(dialled) {
			list = append(list, fmt.Errorf("listen is %s, but the other nodes connect to %s, the address of %s in peers: they reach this node only if something forwards one to the other",
				n.Listen, own, c.ID))
		}
	}
	pair, err := tls.LoadX509KeyPair(n.Cert, n.Key)
	if err == nil && pair.Leaf.VerifyHostname(host) != nil {
		list = append(list, fmt.Errorf("cert: %s is the certificate of %s for %s, but the other nodes connect to %s, the address of %s in peers, and refuse it there: "+
			"install this node's own cluster.crt and cluster.key, or make them with: policyctl cluster issue %s",
			n.Cert, pair.Leaf.Subject.CommonName, namesOf(pair.Leaf), host, c.ID, c.ID))
	}
	return list
}

// namesOf returns the hosts that a certificate is for.
func namesOf(leaf *x509.Certificate) string {
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "no host"
	}
	return strings.Join(names, ", ")
}
