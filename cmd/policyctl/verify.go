package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/node/datafolder"
)

type verifyCmd struct {
	Data   string `xor:"where" help:"Data folder of a policy node that does not run." placeholder:"DIR"`
	Backup string `xor:"where" help:"Folder of a backup." placeholder:"DIR"`
}

// Help is the command's help.
func (*verifyCmd) Help() string {
	return `Reads the log from its first commit to its last: each record against the chain
of hashes, each index against the records, and each snapshot against what its
commits come to. It names the first position that is bad, and changes nothing.

Without --data and --backup the running node reads its own log: the chain and
the indexes, not the snapshots. Then only the node's machine will do.

Exit codes: 0 all is good; 1 it is damaged, or could not be read.

Examples:

    policyctl verify
    policyctl verify --data /var/lib/postern
    policyctl verify --backup /backup/monday --json`
}

// verified is what was found good.
type verified struct {
	LogID     string            `json:"log_id"`
	Position  events.Position   `json:"position"`
	Snapshots []events.Position `json:"snapshots"`
	Origins   []origin          `json:"origins"`
	Backup    *eventlog.Backup  `json:"backup,omitempty"`
}

// An origin is a log that this one was restored from.
type origin struct {
	LogID    string          `json:"log_id"`
	Position events.Position `json:"position"`
	Restored time.Time       `json:"restored"`
}

func originOf(o eventlog.Origin) origin { return origin{o.LogID, o.Position, o.Time} }

// Run verifies a log that nobody has open.
func (c *verifyCmd) Run(ctx context.Context, a *app) error {
	if c.Data == "" && c.Backup == "" {
		done, err := a.work(ctx, api.WorkRequest{Kind: api.WorkVerify})
		if err != nil {
			return err
		}
		return a.print(done, func(w io.Writer) {
			fmt.Fprintf(w, "All is good: %d commits of log %s.\n", done.Position, done.LogID)
		})
	}
	l, of, err := c.open(a)
	if err != nil {
		return aboutLog(err)
	}
	position, _ := l.Head()
	p := a.progress("verify", int64(position), "commits")
	snapshots, err := datafolder.Verify(ctx, l, func(done events.Position) { p.at(int64(done)) })
	p.close()
	result := verified{LogID: l.LogID(), Position: position, Snapshots: snapshots, Origins: []origin{}, Backup: of}
	for _, o := range l.Origins() {
		result.Origins = append(result.Origins, originOf(o))
	}
	if err := errors.Join(err, l.Close()); err != nil {
		return aboutLog(err)
	}
	return a.print(result, func(w io.Writer) {
		fmt.Fprintf(w, "All is good: %d commits of log %s.\n", result.Position, result.LogID)
		if len(snapshots) > 0 {
			fmt.Fprintf(w, "Snapshots, the same as their commits: %v.\n", snapshots)
		}
		for _, o := range result.Origins {
			fmt.Fprintf(w, "Restored %s from log %s, the same up to %d.\n", o.Restored.Format(time.DateTime), o.LogID, o.Position)
		}
	})
}

// open opens what is to be verified, for reading.
func (c *verifyCmd) open(a *app) (*eventlog.Log, *eventlog.Backup, error) {
	if c.Backup != "" {
		l, b, err := eventlog.OpenBackup(eventlog.Config{Dir: c.Backup, Fatal: a.diskFailed})
		return l, &b, err
	}
	l, err := datafolder.Open(datafolder.Config{Dir: c.Data, Fatal: a.diskFailed})
	return l, nil, err
}

// diskFailed ends the process. This command alone uses the log: when the disk
// fails so that nobody knows what is on it, there is nothing left to do.
func (a *app) diskFailed(reason string) {
	fmt.Fprintln(a.err, "policyctl: the disk has failed:", reason)
	os.Exit(exitError)
}

// A logError is about a log on this machine, and no node.
type logError struct{ err error }

func (e *logError) Error() string { return e.err.Error() }
func (e *logError) Unwrap() error { return e.err }

func aboutLog(err error) error {
	if err == nil {
		return nil
	}
	return &logError{err}
}
