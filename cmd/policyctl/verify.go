package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/projections"
)

// logFolder is where a policy node's data folder holds the log.
const logFolder = "log"

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

func originsOf(list []eventlog.Origin) []origin {
	all := []origin{}
	for _, o := range list {
		all = append(all, origin{o.LogID, o.Position, o.Time})
	}
	return all
}

// Run verifies a log that nobody has open.
func (c *verifyCmd) Run(a *app) error {
	if c.Data == "" && c.Backup == "" {
		done, err := a.work(api.WorkRequest{Kind: api.WorkVerify})
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
	snapshots, err := verifyLog(a.patient, l, p.at)
	p.close()
	result := verified{LogID: l.LogID(), Position: position, Snapshots: snapshots, Origins: originsOf(l.Origins()), Backup: of}
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
		l, b, err := eventlog.OpenBackup(logConfig(a, c.Backup))
		return l, &b, err
	}
	dir := filepath.Join(c.Data, logFolder)
	if _, err := os.Stat(dir); err != nil {
		return nil, nil, fmt.Errorf("there is no log in %s: %w", c.Data, err)
	}
	config := logConfig(a, dir)
	config.ReadOnly = true
	l, err := eventlog.Open(config)
	if errors.Is(err, syscall.EAGAIN) {
		return nil, nil, fmt.Errorf("the log in %s is in use: stop the node, or verify a backup of it", c.Data)
	}
	return l, nil, err
}

// logConfig is for a log that this command alone uses. When the disk fails so
// that nobody knows what stands on it, there is nothing left to do.
func logConfig(a *app, dir string) eventlog.Config {
	return eventlog.Config{Dir: dir, Fatal: func(reason string) {
		fmt.Fprintln(a.err, "policyctl: the disk has failed:", reason)
		os.Exit(exitError)
	}}
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

// verifyLog walks a log and folds it, and holds each snapshot against what its
// commits come to. It gives the positions of the snapshots, newest first.
func verifyLog(ctx context.Context, l *eventlog.Log, at func(done int64)) ([]events.Position, error) {
	list, err := l.Snapshots()
	if err != nil {
		return nil, err
	}
	b := projections.NewBuilder()
	err = l.VerifyEach(ctx, func(c *events.Commit) error {
		if err := b.Apply(c); err != nil {
			return &events.CorruptError{Position: c.Position, Err: err}
		}
		at(int64(c.Position))
		if !slices.Contains(list, c.Position) {
			return nil
		}
		v := b.View()
		b = projections.BuilderFrom(v)
		return verifySnapshot(ctx, l, v)
	})
	return list, err
}

// verifySnapshot compares the snapshot at a View's position with that View.
func verifySnapshot(ctx context.Context, l *eventlog.Log, v *projections.View) error {
	at, r, found, err := l.Snapshot(ctx, v.Position())
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("the snapshot at %d is damaged; the commits up to there are good", v.Position())
	}
	of, err := projections.Decode(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return fmt.Errorf("the snapshot at %d: %w; the commits up to there are good", at, err)
	}
	if at != v.Position() || of.Hash() != v.Hash() {
		return fmt.Errorf("the snapshot at %d is damaged, or not what its commits come to; the commits up to there are good", v.Position())
	}
	return nil
}
