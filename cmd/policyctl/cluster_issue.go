package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

type clusterIssue struct {
	Node     string `arg:"" help:"The node: ID for new certificates of a node, ID=HOST[:PORT] for a further node."`
	Dir      string `required:"" help:"The cluster's folder, from cluster init." placeholder:"DIR"`
	Replaces string `help:"The node that the further node replaces. It leaves the configuration." placeholder:"ID"`
}

// Help is the command's help.
func (*clusterIssue) Help() string {
	return `For a node of the cluster it makes new keys and certificates, which replace those
in the node's folder. Copy the folder to the node and reload policyd: systemctl
reload postern-policyd, or SIGHUP. Nodes and gateways notice nothing.

For a further node it also makes a folder, and adds the node to policyd.toml in
all folders and to gateway.toml. Copy these to the other nodes and gateways as
well: each restarts with them, one after the other. A node whose disk was lost
comes back as a further node, with a new id.

It does not contact the cluster: use cluster remove for the node that is replaced.
It cannot revoke a certificate. If a node's key was taken, make a new authority.

Examples:

    policyctl cluster issue n2 --dir acme-cluster
    policyctl cluster issue n4=10.0.0.4 --replaces n3 --dir acme-cluster`
}

// Run issues the certificates.
func (c *clusterIssue) Run(a *app) error {
	authority := filepath.Join(c.Dir, authorityDir)
	plan, err := readPlan(filepath.Join(authority, planFile))
	if err != nil {
		return err
	}
	ca, err := readClusterCA(filepath.Join(authority, caCert), filepath.Join(authority, caKey))
	if err != nil {
		return err
	}
	n, err := plan.resolve(c.Node, c.Replaces)
	if err != nil {
		return err
	}
	if err := plan.certify(c.Dir, ca, n, time.Now()); err != nil {
		return err
	}
	cert, err := os.ReadFile(filepath.Join(authority, caCert))
	if err != nil {
		return err
	}
	if err := plan.write(c.Dir, cert); err != nil {
		return err
	}
	return a.print(clusterFiles{plan.Name, c.Dir, []string{n.ID}}, func(w io.Writer) {
		fmt.Fprintf(w, "New certificates for %s are in %s.\n", n.ID, filepath.Join(c.Dir, n.ID))
		if strings.Contains(c.Node, "=") {
			fmt.Fprintf(w, "The other nodes' policyd.toml and the gateways' gateway.toml have changed: copy them, and restart one after the other.\n")
			return
		}
		fmt.Fprintf(w, "Copy them to %s on the node, and reload policyd.\n", plan.Etc)
	})
}

// readPlan reads the shape of a cluster.
func readPlan(file string) (*clusterPlan, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	p := new(clusterPlan)
	if err := json.Unmarshal(text, p); err != nil {
		return nil, usagef("%s: %w", file, err)
	}
	return p, nil
}

// resolve returns the node that a text names. A further node is added to the plan,
// in the place of the one that it replaces.
func (p *clusterPlan) resolve(text, replaces string) (clusterNode, error) {
	find := func(id string) int {
		return slices.IndexFunc(p.Nodes, func(n clusterNode) bool { return n.ID == id })
	}
	further := strings.Contains(text, "=")
	switch at := find(text); {
	case further && replaces == "":
	case further:
		at := find(replaces)
		if at < 0 {
			return clusterNode{}, usagef("--replaces: the cluster has no node %q", replaces)
		}
		if id, _, _ := strings.Cut(text, "="); id == replaces {
			return clusterNode{}, usagef("node %q: a node that lost its data comes back under a new id", text)
		}
		p.Nodes = slices.Delete(p.Nodes, at, at+1)
	case replaces != "":
		return clusterNode{}, usagef("--replaces needs the host of the further node: ID=HOST")
	case at < 0:
		return clusterNode{}, usagef("the cluster has no node %q; for a further node give its host: %s=HOST", text, text)
	default:
		return p.Nodes[at], nil
	}
	if err := p.add(text); err != nil {
		return clusterNode{}, err
	}
	return p.Nodes[len(p.Nodes)-1], nil
}
