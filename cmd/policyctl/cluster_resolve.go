package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/node/datafolder"
)

const (
	// givenUp is the file with the commits that a node has given up, in the folder with
	// its old data.
	givenUp = "given-up.txt"
	// givenUpPart is the number of commits that are written to the file at a time.
	givenUpPart = 1000
	// givenUpShown bounds the commits that are printed too.
	givenUpShown = 100
)

type clusterResolve struct {
	consent
	Discard  bool             `xor:"history" required:"" help:"Give up what this node has and the others do not have. Needs --data and --position."`
	Take     string           `xor:"history" required:"" help:"Continue with the history of this node, and give up what only others have. Without --data it changes nothing and lists that." placeholder:"NODE"`
	Data     string           `help:"Data folder of this node, on which policyd is stopped." placeholder:"DIR"`
	Position *events.Position `help:"With --discard: the last position that this node has in common with the others. With --take and --data: the position of this node's newest commit." placeholder:"N"`
	File     string           `help:"With --take and without --data: write what would be given up to this new file." placeholder:"FILE"`
}

// Help is the command's help.
func (*clusterResolve) Help() string {
	return `It ends a fork: two nodes that have different commits at one position. One history continues, and the rest of the other one is given up.

If most nodes have the same history, discard the other one on each node that has it. Stop policyd there. The node's data is moved into a folder within the data folder, and nothing is removed. The commits after --position, which the node gives up, are printed and are written to given-up.txt in that folder: repeat those that are right, revocations first. Then start policyd, and take away the vote of the node's former log server, as the command prints: the node joins its cluster again, with empty data.

If no majority agrees, or if another history than the majority's should hold, take the history of one node:

1. While policyd still runs on all nodes, on NODE: --take NODE --file FILE lists the commits that only the other nodes have, and writes them to FILE. A node that has stopped deciding still answers.

2. Stop policyd on all nodes.

3. On NODE: --take NODE --data DIR --position N begins the cluster again from its log. The log gets a new id, so all sessions end and every client logs in again: no session lives on a right that one of the histories has withdrawn.

4. On each other node: --discard --data DIR --position N, where N is the last position in common, from step 1.

5. Start policyd on all nodes. They copy the log of NODE.

Exit codes: 0 resolved, or listed; 1 not resolved: nothing was done; 2 the command line could not be read, or --yes is missing: nothing was done.

Examples:

    policyctl cluster resolve --discard --data /var/lib/postern --position 4711
    policyctl cluster resolve --take n1 --file given-up.txt
    policyctl cluster resolve --take n1 --data /var/lib/postern --position 4720`
}

// Run ends a fork on one node.
func (c *clusterResolve) Run(ctx context.Context, a *app) error {
	switch {
	case c.Data != "" && c.Position == nil && c.Discard:
		return usagef("--position is missing: the last position that this node has in common with the others; policyctl cluster diff prints it")
	case c.Data != "" && c.Position == nil:
		return usagef("--position is missing: the position of this node's newest commit; policyctl verify --data %s prints it", c.Data)
	case c.Data != "" && c.File != "":
		return usagef("--file is for --take without --data: it lists what is given up while policyd runs")
	case c.Discard && c.Data == "":
		return usagef("--data is missing: the data folder of this node, on which policyd is stopped")
	case c.Data == "" && c.Position != nil:
		return usagef("--data is missing: the data folder of node %s, on which policyd is stopped. Without --data and --position, the command lists what would be given up", c.Take)
	case c.Data == "" && c.File == "":
		return usagef("name a new file for the commits that are given up (--file), or the data folder if they are written already (--data)")
	case c.Discard:
		return c.discard(ctx, a)
	case c.Data == "":
		return c.list(ctx, a)
	}
	return c.take(ctx, a)
}

// A clusterResolved is the result of cluster resolve --discard.
type clusterResolved struct {
	Cluster   string          `json:"cluster"`
	LogID     string          `json:"log_id"`
	Position  events.Position `json:"position"`
	GivenUp   uint64          `json:"given_up"` // commits
	File      string          `json:"file"`
	Folder    string          `json:"folder"`
	LogServer string          `json:"log_server,omitempty"` // the former one of the node
}

// discard gives up a node's data.
func (c *clusterResolve) discard(ctx context.Context, a *app) error {
	if err := c.given(ctx, a, fmt.Sprintf("this moves the data of the node in %s away, and gives up its commits after position %d", c.Data, *c.Position), ""); err != nil {
		return err
	}
	var file givenUpFile
	d, err := datafolder.Discard(ctx, datafolder.Config{Dir: c.Data, Fatal: a.diskFailed}, *c.Position, file.add)
	if file.file != nil {
		err = errors.Join(err, file.file.Close())
	}
	if err != nil {
		return aboutLog(err)
	}
	result := clusterResolved{d.Cluster, d.LogID, d.Position, file.commits, filepath.Join(d.Folder, givenUp), d.Folder, d.Server}
	return a.print(result, func(w io.Writer) {
		if file.commits == 0 {
			fmt.Fprintf(w, "The node has no commits after position %d, so none is given up.\n", *c.Position)
		} else {
			writeEntries(w, file.shown)
			if more := file.commits - uint64(len(file.shown)); more > 0 {
				fmt.Fprintf(w, "and %d later ones\n", more)
			}
			fmt.Fprintf(w, "\nThese %d commits are given up. Repeat those that are right, revocations first. %s lists them.\n", file.commits, result.File)
		}
		fmt.Fprintf(w, "The node's data is in %s.\n", d.Folder)
		fmt.Fprintf(w, "Next: start policyd on this node. If the other nodes have stopped deciding too, start policyd there again before.\n")
		if d.Server != "" {
			fmt.Fprintf(w, "Then, on another node, take away the vote of this node's former log server: policyctl cluster remove %s\n"+
				"(Not after cluster resolve --take or cluster create --over on another node: that cluster has new log servers only.)\n", d.Server)
		}
		fmt.Fprintf(w, "At last wait until the node follows the cluster %s again: policyctl cluster join\n", d.Cluster)
	})
}

// A clusterTaken is the result of cluster resolve --take with --data.
type clusterTaken struct {
	Node       string          `json:"node"`
	Cluster    string          `json:"cluster"`
	Generation string          `json:"generation"`
	LogID      string          `json:"log_id"`
	OldLogID   string          `json:"old_log_id"`
	Position   events.Position `json:"position"`
	Moved      string          `json:"moved,omitempty"`      // the folder with the log server's old data
	LogServer  string          `json:"log_server,omitempty"` // the former one of the node
}

// take begins the cluster again from this node's log.
func (c *clusterResolve) take(ctx context.Context, a *app) error {
	position := number(*c.Position)
	if err := c.given(ctx, a, fmt.Sprintf("this begins the cluster again from the log of node %s, up to position %s. What only other nodes have is given up, and all sessions end", c.Take, position), position); err != nil {
		return err
	}
	r, err := createCluster(ctx, a, c.Data, datafolder.NewCluster{Over: true, Position: *c.Position, Node: c.Take})
	if err != nil {
		return err
	}
	created := createdOf(&r)
	result := clusterTaken{c.Take, created.Cluster, created.Generation, created.LogID, created.OldLogID, created.Position, r.Moved, r.Server}
	return a.print(result, func(w io.Writer) {
		fmt.Fprintf(w, "The cluster %s begins again with %d commits of node %s.\n", result.Cluster, result.Position, c.Take)
		sayRenewed(w, &r)
		sayMoved(w, r.Moved)
		fmt.Fprintf(w, "Next, on each other node: policyctl cluster resolve --discard --data DIR --position N\n"+
			"(N: the last position in common, from the list of what is given up. 0 lists all commits.)\n"+
			"Then start policyd on all nodes, and on each: policyctl cluster join\n")
	})
}

// A givenUpFile writes commits to a file, as policyctl log prints them.
type givenUpFile struct {
	file    *os.File
	waiting []api.LogEntry
	shown   []api.LogEntry // the first ones
	commits uint64
	began   bool
}

// add takes one commit, or nil after the last one. The file is then on disk.
func (f *givenUpFile) add(d datafolder.Discarded, c *events.Commit) (err error) {
	if f.file == nil {
		if f.file, err = os.OpenFile(filepath.Join(d.Folder, givenUp), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(f.file, "cluster     %s\nlog         %s, up to position %d\nlog server  %s\n\n", d.Cluster, d.LogID, d.Position, orDash(d.Server)); err != nil {
			return err
		}
	}
	if c != nil {
		e := api.LogEntry{Position: uint64(c.Position), Tenant: c.Tenant, Time: c.Time, Actor: c.Actor, Reason: c.Reason}
		for _, event := range c.Events {
			e.Events = append(e.Events, api.LogEvent{What: events.Describe(event)})
		}
		f.waiting = append(f.waiting, e)
		f.commits++
		if len(f.shown) < givenUpShown {
			f.shown = append(f.shown, e)
		}
		if len(f.waiting) < givenUpPart {
			return nil
		}
	}
	if len(f.waiting) > 0 || !f.began {
		p := &page{}
		entryTable(f.waiting, !f.began, math.MaxInt).write(p)
		if _, err := io.WriteString(f.file, p.String()); err != nil {
			return err
		}
		f.waiting, f.began = nil, true
	}
	if c == nil {
		return f.file.Sync()
	}
	return nil
}
