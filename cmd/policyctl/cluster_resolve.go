package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/node/datafolder"
)

// givenUp is the file with the commits that a node has given up, in the folder with its
// old data.
const givenUp = "given-up.txt"

// givenUpPart is the number of commits that are written to the file at a time.
const givenUpPart = 1000

type clusterResolve struct {
	consent
	Data     string           `required:"" help:"Data folder of the stopped policy node." placeholder:"DIR"`
	Discard  bool             `required:"" help:"Give up what this node has and the others do not have."`
	Position *events.Position `required:"" help:"The last position that the node has in common with the others, from cluster diff." placeholder:"N"`
}

// Help is the command's help.
func (*clusterResolve) Help() string {
	return `It ends a fork on the node whose history does not hold. Stop the node first. Its data is moved into a folder within the data folder, and nothing is removed. The commits after --position, which the node gives up, are written to given-up.txt in that folder, as policyctl log prints them: repeat those that are right, revocations first.

Then start the node: it joins its cluster again, with empty data. When it follows, remove its former log server, which policyctl cluster status shows beside the new one, by its name: policyctl cluster remove.

Exit codes: 0 discarded; 1 not discarded; 2 the command line could not be read, or --yes is missing: nothing was done.

Example:

    policyctl cluster resolve --data /var/lib/postern --discard --position 4711 --yes`
}

// A clusterResolved is the result of cluster resolve.
type clusterResolved struct {
	Cluster  string          `json:"cluster"`
	LogID    string          `json:"log_id"`
	Position events.Position `json:"position"`
	GivenUp  uint64          `json:"given_up"` // commits
	File     string          `json:"file"`
	Folder   string          `json:"folder"`
}

// Run gives up a node's data.
func (c *clusterResolve) Run(ctx context.Context, a *app) error {
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
	result := clusterResolved{d.Cluster, d.LogID, d.Position, file.commits, filepath.Join(d.Folder, givenUp), d.Folder}
	return a.print(result, func(w io.Writer) {
		fmt.Fprintf(w, "The node's data is in %s.\n", d.Folder)
		fmt.Fprintf(w, "%d commits are given up; %s lists them. Repeat those that are right.\n", result.GivenUp, result.File)
		fmt.Fprintf(w, "Start the node: it joins the cluster %s again. Then remove its former log server: policyctl cluster remove.\n", d.Cluster)
	})
}

// A givenUpFile writes commits to a file, as policyctl log prints them.
type givenUpFile struct {
	file    *os.File
	waiting []api.LogEntry
	commits uint64
	began   bool
}

// add takes one commit, or nil after the last one. The file is then on disk.
func (f *givenUpFile) add(folder string, c *events.Commit) (err error) {
	if f.file == nil {
		if f.file, err = os.OpenFile(filepath.Join(folder, givenUp), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
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
		if len(f.waiting) < givenUpPart {
			return nil
		}
	}
	if len(f.waiting) > 0 || !f.began {
		p := &page{}
		entryTable(f.waiting, !f.began).write(p)
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
