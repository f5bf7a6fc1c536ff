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

// askWorkEvery is the time between two requests for the progress of the work.
const askWorkEvery = 200 * time.Millisecond

type backupCmd struct {
	Dir string `arg:"" help:"Folder on the node's machine, new or empty. policyd's user must be able to write to it."`
}

// Help is the command's help.
func (*backupCmd) Help() string {
	return `The running node copies its log into a folder and verifies the whole copy. It
carries out commands meanwhile. The folder contains log/, the copy, and BACKUP, a
file that describes it. BACKUP is written last: a folder without it is not a
complete backup.

On the file system of the log itself, the copy shares files with the log, and a
failing disk destroys both. Name a folder on another disk, or copy it there.

If you interrupt this command, the node still completes the backup.

Exit codes: 0 backed up; 1 not backed up, or the outcome is not known.

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

// errOtherWork means that the outcome of the work is not known here: the node
// reports its newest work only.
var errOtherWork = errors.New("the node has begun other work since; policyd's log says how this one ended")

// work makes the node begin a long operation, and waits until it ends.
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
			return now, fmt.Errorf("ask for the progress (the node still works): %w", err)
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
			return now, fmt.Errorf("stop waiting (the node still works): %w", ctx.Err())
		}
	}
}
