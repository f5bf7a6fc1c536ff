package main

import (
	"context"
	"fmt"
	"io"

	"github.com/postern-im/postern/api"
)

type clusterDiff struct {
	Node string `arg:"" help:"The id of the other node."`
}

// Help is the command's help.
func (*clusterDiff) Help() string {
	return `It compares the log of the node that answers with the log of another node: it finds the last position up to which both are the same, and prints the commits that only one of them has, as policyctl log prints them. policyd must run on both nodes. A node that has stopped deciding because of two histories still answers.

In a cluster in health a node may lack the newest commits for some milliseconds; compare again. After a fork, the last common position is what policyctl cluster resolve needs.

Exit codes: 0 the logs are the same; 1 they differ, or they could not be compared; 2 the command line could not be read.

Examples:

    policyctl cluster diff n3
    policyctl cluster diff n3 --json | jq -r .common`
}

// Run compares two logs.
func (c *clusterDiff) Run(ctx context.Context, a *app) error {
	d, err := a.client.ClusterDiff(ctx, c.Node)
	if err != nil {
		return err
	}
	if err := a.print(d, func(w io.Writer) { writeClusterDiff(w, &d) }); err != nil {
		return err
	}
	if !d.Equal {
		return exitCode(exitError)
	}
	return nil
}

func writeClusterDiff(w io.Writer, d *api.ClusterDiff) {
	if d.Equal {
		fmt.Fprintf(w, "no difference: the logs are the same up to position %d\n", d.Common)
		return
	}
	fmt.Fprintf(w, "the logs are the same up to position %d\n", d.Common)
	for _, side := range d.Sides {
		fmt.Fprintln(w)
		if side.Position == d.Common {
			fmt.Fprintf(w, "%s has no other commits\n", side.Node)
			continue
		}
		fmt.Fprintf(w, "only %s has these commits, up to position %d:\n", side.Node, side.Position)
		writeEntries(w, side.Only)
		if side.More > 0 {
			fmt.Fprintf(w, "and %d later ones\n", side.More)
		}
	}
}
