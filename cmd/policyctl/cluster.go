package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/node/datafolder"
)

type clusterCmd struct {
	Init     clusterInit     `cmd:"" help:"Make the certificates and the configuration of a new cluster's nodes. Needs no node."`
	Issue    clusterIssue    `cmd:"" help:"Issue certificates for one more node, or new ones for a node. Needs no node."`
	Create   clusterCreate   `cmd:"" help:"Make a stopped policy node the first node of a cluster."`
	Dissolve clusterDissolve `cmd:"" help:"Make the stopped first node of a cluster stand-alone again."`
	Status   clusterStatus   `cmd:"" help:"Show the nodes of the cluster, as one of them knows it."`
	Diff     clusterDiff     `cmd:"" help:"Show the commits that only one of two nodes has."`
	Join     clusterJoin     `cmd:"" help:"Wait until the node has joined its cluster and follows it."`
	Resolve  clusterResolve  `cmd:"" help:"End a fork: give up the history of a node, or take the history of one node."`
	Remove   clusterRemove   `cmd:"" help:"Take a stopped node out of the cluster for good."`
}

type clusterCreate struct {
	Data     string           `required:"" help:"Data folder of the stopped policy node. A new or empty folder gets an empty log." placeholder:"DIR"`
	Name     string           `help:"The cluster's name, as in [cluster] of the nodes' configuration. With --over it may be left out." placeholder:"NAME"`
	Over     bool             `help:"Give up the cluster that the node belongs to, and begin it again from this node's log. Needs --position."`
	Position *events.Position `help:"With --over: the position of the node's newest commit. All later commits of other nodes are given up." placeholder:"N"`
}

// Help is the command's help.
func (*clusterCreate) Help() string {
	return `It verifies the log of a policy node and makes the node the first one of a
cluster. The node must be stopped. All its commits stay, with their positions.
Then start the node with [cluster] in its configuration. The other nodes start
with empty data folders and copy the log from it. Make policyd's user the owner
of a folder that the command has created.

cluster dissolve undoes this until the first commit is made in the cluster.

--over is for a cluster that has lost most of its nodes for good. Run it on the
node with the highest position, and only there; policyctl verify --data prints
the position. Commits that only other nodes have are lost, and with them
revocations. Therefore the log gets a new id: all sessions end, and clients log
in again. Stop all other nodes, and let them join again with empty data folders.
With nats_urls, remove the old stream from your NATS servers first. If the other
nodes still run, use cluster resolve --take: it lists what they have more.

Exit codes: 0 created; 1 not created: nothing has changed; 2 the command line
could not be read.

Examples:

    policyctl cluster create --data /var/lib/postern --name acme
    policyctl cluster create --data /var/lib/postern --over --position 4711`
}

// A clusterCreated is the result of cluster create.
type clusterCreated struct {
	Cluster    string          `json:"cluster"`
	Generation string          `json:"generation"`
	LogID      string          `json:"log_id"`
	OldLogID   string          `json:"old_log_id,omitempty"` // what the log's id was before
	Position   events.Position `json:"position"`
	NewLog     bool            `json:"new_log"`
	Moved      string          `json:"moved,omitempty"` // the folder with the log server's old data
}

// Run creates the cluster.
func (c *clusterCreate) Run(ctx context.Context, a *app) error {
	n := datafolder.NewCluster{Name: c.Name, Over: c.Over}
	switch {
	case c.Over && c.Position == nil:
		return usagef("--over gives up all commits that this node does not have: confirm with --position N, the position of its newest commit")
	case !c.Over && c.Position != nil:
		return usagef("--position is for --over only")
	case c.Over:
		n.Position = *c.Position
	case c.Name == "":
		return usagef("--name is missing: a new cluster needs a name")
	}
	if c.Name != "" {
		if err := events.CheckClusterName(c.Name); err != nil {
			return usagef("--name: %w", err)
		}
	}
	r, err := createCluster(ctx, a, c.Data, n)
	if err != nil {
		return err
	}
	return a.print(createdOf(&r), func(w io.Writer) {
		g := r.Generation
		if r.NewLog {
			fmt.Fprintf(w, "The cluster %s begins with an empty log, %s.\n", g.Cluster, g.LogID)
		} else {
			fmt.Fprintf(w, "The cluster %s begins with %d commits of log %s.\n", g.Cluster, g.Position, g.LogID)
		}
		sayRenewed(w, &r)
		sayMoved(w, r.Moved)
		fmt.Fprintf(w, "Start this node first, with [cluster] in its configuration, and then the other nodes with empty data folders.\n")
		if c.Over {
			fmt.Fprintf(w, "To empty the data folder of another node and keep its data: policyctl cluster resolve --discard --data DIR --position 0\n")
		}
		fmt.Fprintf(w, "Then, on each node: policyctl cluster join\n")
	})
}

// createCluster begins a cluster, and shows how far the log is verified.
func createCluster(ctx context.Context, a *app, data string, n datafolder.NewCluster) (datafolder.CreatedCluster, error) {
	var p *progress
	r, err := datafolder.CreateCluster(ctx, datafolder.Config{Dir: data, Fatal: a.diskFailed}, n, func(done, all events.Position) {
		if p == nil {
			p = a.progress("verify", int64(all), "commits")
		}
		p.at(int64(done))
	})
	if p != nil {
		p.close()
	}
	return r, aboutLog(err)
}

func createdOf(r *datafolder.CreatedCluster) clusterCreated {
	g := &r.Generation
	return clusterCreated{g.Cluster, hex.EncodeToString(g.ID[:]), g.LogID, r.Origin.LogID, g.Position, r.NewLog, r.Moved}
}

// sayRenewed says that the log has a new id, if it has.
func sayRenewed(w io.Writer, r *datafolder.CreatedCluster) {
	if r.Origin.LogID != "" {
		fmt.Fprintf(w, "The log has a new id, %s; it was %s. All sessions end, because other nodes may have withdrawn their rights.\n", r.Generation.LogID, r.Origin.LogID)
	}
}

// sayMoved names the folder with the old data of the log server.
func sayMoved(w io.Writer, moved string) {
	if moved != "" {
		fmt.Fprintf(w, "The log server's old data is in %s. You may remove it.\n", moved)
	}
}

type clusterDissolve struct {
	Data string `required:"" help:"Data folder of the stopped policy node that created the cluster." placeholder:"DIR"`
}

// Help is the command's help.
func (*clusterDissolve) Help() string {
	return `It undoes cluster create: the policy node is stand-alone again. The node must be
stopped. Remove [cluster] from its configuration before you start it, and do not
start the other nodes again with the data folders that they have now.

It is refused on a node that has joined the cluster, and once commits were made in
the cluster, because other nodes may have commits that this one does not have. To
leave such a cluster, stop all nodes and choose the one with the highest position.
There run cluster create --over, and then cluster dissolve.

Exit codes: 0 dissolved; 1 not dissolved: nothing has changed; 2 the command line
could not be read.

Example:

    policyctl cluster dissolve --data /var/lib/postern`
}

// A clusterDissolved is the result of cluster dissolve.
type clusterDissolved struct {
	Cluster  string          `json:"cluster"`
	LogID    string          `json:"log_id"`
	Position events.Position `json:"position"`
	Moved    string          `json:"moved,omitempty"` // the folder with the log server's old data
}

// Run dissolves the cluster.
func (c *clusterDissolve) Run(ctx context.Context, a *app) error {
	r, err := datafolder.DissolveCluster(ctx, datafolder.Config{Dir: c.Data, Fatal: a.diskFailed})
	if err != nil {
		return aboutLog(err)
	}
	g := r.Generation
	return a.print(clusterDissolved{g.Cluster, g.LogID, g.Position, r.Moved}, func(w io.Writer) {
		fmt.Fprintf(w, "The node is stand-alone again, with %d commits of log %s.\n", g.Position, g.LogID)
		sayMoved(w, r.Moved)
		fmt.Fprintf(w, "Remove [cluster] from its configuration before you start it.\n")
	})
}
