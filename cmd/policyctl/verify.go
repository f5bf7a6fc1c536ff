package main

import (
	"context"
	"encoding/hex"
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
	Data   string `xor:"where" help:"Data folder of a stopped policy node." placeholder:"DIR"`
	Backup string `xor:"where" help:"Folder of a backup." placeholder:"DIR"`
}

// Help is the command's help.
func (*verifyCmd) Help() string {
	return `It reads the log from the first commit to the last. It checks each record
against the chain of hashes, each index against the records, and each snapshot
against the state that its commits lead to. It reports the first bad position,
and changes nothing.

Without --data and --backup the running node checks its own log: the chain and
the indexes, but not the snapshots. This works on the node's own machine only.

Exit codes: 0 all is good; 1 the log is damaged, or could not be read.

Examples:

    policyctl verify
    policyctl verify --data /var/lib/postern
    policyctl verify --backup /backup/monday --json`
}

// verified is the result for a log without damage.
type verified struct {
	LogID     string            `json:"log_id"`
	Position  events.Position   `json:"position"`
	Snapshots []events.Position `json:"snapshots"`
	Origins   []origin          `json:"origins"`
	Cluster   *beginning        `json:"cluster,omitempty"` // that the log belongs to
	Backup    *eventlog.Backup  `json:"backup,omitempty"`
}

// An origin is a log that this one was restored from.
type origin struct {
	LogID    string          `json:"log_id"`
	Position events.Position `json:"position"`
	Restored time.Time       `json:"restored"`
}

// A beginning is where the present generation of a cluster began.
type beginning struct {
	Name       string          `json:"name"`
	Generation string          `json:"generation"`
	Position   events.Position `json:"position"`
	Creator    bool            `json:"creator"` // the log is the one from which it began
}

func originOf(o eventlog.Origin) origin { return origin{o.LogID, o.Position, o.Time} }

// Run verifies a log. It opens the log itself, unless the running node does the
// work.
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
	if g, creator, bound := l.Generation(); bound {
		result.Cluster = &beginning{g.Cluster, hex.EncodeToString(g.ID[:]), g.Position, creator}
	}
	if err := errors.Join(err, l.Close()); err != nil {
		return aboutLog(err)
	}
	return a.print(result, func(w io.Writer) {
		fmt.Fprintf(w, "All is good: %d commits of log %s.\n", result.Position, result.LogID)
		if len(snapshots) > 0 {
			fmt.Fprintf(w, "The snapshots at %v match their commits.\n", snapshots)
		}
		for _, o := range result.Origins {
			fmt.Fprintf(w, "Restored %s from log %s. Both are the same up to position %d.\n", o.Restored.Format(time.DateTime), o.LogID, o.Position)
		}
		if c := result.Cluster; c != nil {
			fmt.Fprintf(w, "It belongs to the cluster %s, which began at position %d.\n", c.Name, c.Position)
		}
	})
}

// open opens the log or the backup.
func (c *verifyCmd) open(a *app) (*eventlog.Log, *eventlog.Backup, error) {
	if c.Backup != "" {
		l, b, err := eventlog.OpenBackup(eventlog.Config{Dir: c.Backup, Fatal: a.diskFailed})
		return l, &b, err
	}
	l, err := datafolder.Open(datafolder.Config{Dir: c.Data, Fatal: a.diskFailed})
	return l, nil, err
}

// diskFailed ends the process. eventlog calls it when the disk fails so that the
// durable content of the log is unknown. Only this command uses the log, so there
// is nothing left to do.
func (a *app) diskFailed(reason string) {
	fmt.Fprintln(a.err, "policyctl: the disk has failed:", reason)
	os.Exit(exitError)
}

// A logError is an error about a log or backup on this machine, not about a node.
type logError struct{ err error }

func (e *logError) Error() string { return e.err.Error() }
func (e *logError) Unwrap() error { return e.err }

func aboutLog(err error) error {
	if err == nil {
		return nil
	}
	return &logError{err}
}
