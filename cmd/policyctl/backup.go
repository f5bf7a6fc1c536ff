package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/postern-im/postern/api"
)

// askWorkEvery is how often the node is asked how far its work is.
const askWorkEvery = 200 * time.Millisecond

type backupCmd struct {
	Dir string `arg:"" help:"Folder on the node's machine, new or empty, that policyd's user may write to."`
}

// Help is the command's help.
func (*backupCmd) Help() string {
	return `Has the running node copy its log into a folder, and read the copy through
before it counts. Commands go on meanwhile. The folder holds log/, the copy, and
BACKUP, which says what it is of; without that file it is no backup.

On the file system of the log itself the copy shares files with it, and a disk
that fails takes both: name a folder on another one, or carry it there.

Interrupting this command does not end the backup.

Exit codes: 0 backed up; 1 not backed up, or not known to be.

Example:

    policyctl backup /backup/monday`
}

// Run has the node make a backup.
func (c *backupCmd) Run(ctx context.Context, a *app) error {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return usagef("folder %s: %w", c.Dir, err)
	}
	done, err := a.work(ctx, api.WorkRequest{Kind: api.WorkBackup, Dir: dir})
	if err != nil {
		return err
	}
	return a.print(done, func(w io.Writer) {
		fmt.Fprintf(w, "Backed up %d commits of log %s into %s.\n", done.Position, done.LogID, done.Dir)
	})
}

// errOtherWork says that nobody knows here how the work ended.
var errOtherWork = errors.New("the node has begun other work since; how this one ended is in policyd's log")

// work has the node do long work, and waits for its end.
func (a *app) work(ctx context.Context, q api.WorkRequest) (api.Work, error) {
	begun, err := a.client.StartWork(ctx, q)
	if err != nil {
		return begun, err
	}
	p := a.progress(q.Kind, 0, "commits")
	defer p.close()
	tick := time.NewTicker(askWorkEvery)
	defer tick.Stop()
	for {
		now, err := a.client.Work(ctx)
		switch {
		case err != nil:
			return now, fmt.Errorf("ask how far it is (it goes on): %w", err)
		case now.ID != begun.ID:
			return now, errOtherWork
		case now.State == api.WorkDone:
			return now, nil
		case now.State == api.WorkFailed:
			return now, aboutLog(errors.New(now.Error))
		case now.Step == "verifying":
			p.of(int64(now.All))
			p.at(int64(now.Done))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return now, fmt.Errorf("not waited for to the end (it goes on): %w", ctx.Err())
		}
	}
}
