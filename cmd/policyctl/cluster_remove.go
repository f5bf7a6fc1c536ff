package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"

	"github.com/postern-im/postern/api"
)

type clusterRemove struct {
	Node string `arg:"" help:"The node's id, or the name of one of its log servers."`
	consent
	Reason string `help:"Why, for the node's records of admin calls." placeholder:"TEXT"`
}

// Help is the command's help.
func (*clusterRemove) Help() string {
	return `It takes a node out of the cluster for good. Stop the node first, and give the command to another node. The log servers of the node lose their vote and their copy of the order of changes; another node gets the copy, if there is one without it.

It is refused if fewer than three nodes would be left, if no majority of them is up to date, and while an earlier change of the copies is under way. To replace a node, let the new node join first: policyctl cluster issue. A node that has lost its data and comes back under its old id waits until its former log server is removed; then two nodes may be left.

A removed node must not be started again with its old data. Of a node that has lost its data and runs again, only the former log servers are removed. A log server can also be named by its own name, or by its id if no running node knows its name: policyctl cluster status prints the argument.

With nats_urls the order is kept by NATS servers of your own, which you manage yourself: the command is refused.

Exit codes: 0 removed; 1 not removed, or the outcome is not known; 2 the command line could not be read, or --yes is missing: nothing was done.

Example:

    policyctl cluster remove n3 --yes --reason "its disk is lost"`
}

// Run removes a node.
func (c *clusterRemove) Run(ctx context.Context, a *app) error {
	if err := c.given(ctx, a, fmt.Sprintf("this takes node %s out of the cluster for good", c.Node), c.Node); err != nil {
		return err
	}
	out, err := a.client.RemoveClusterNode(ctx, c.Node, api.ClusterRemove{Reason: c.Reason})
	if api.Unclear(err) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.ECONNREFUSED) {
		return unclearChange{err, "It is not known whether the node was removed. Repeat the command: if it was, the node is not found any more."}
	}
	if err != nil {
		return err
	}
	return a.print(out, func(w io.Writer) {
		fmt.Fprintf(w, "%s: removed for good: %s; left: %s\n", out.Node, strings.Join(out.Removed, ", "), strings.Join(out.Left, ", "))
		fmt.Fprintf(w, "If the node does not come back: take it out of peers in the configuration of the other nodes, and out of urls at the gateways, and restart them one after the other.\n")
		fmt.Fprintf(w, "If it has lost its data and runs again: change no configuration. It joins by itself; policyctl cluster join on that node waits for it.\n")
		fmt.Fprintf(w, "Before the next change, wait until policyctl cluster status shows that all copies are current.\n")
	})
}
