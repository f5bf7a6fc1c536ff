package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
)

// keptFolder is what a data folder may have in it when a log is restored: the
// keys of the gateways, which are of no log.
const keptFolder = "nats"

type restoreCmd struct {
	consent
	From string `required:"" help:"Folder of the backup." placeholder:"DIR"`
	Data string `required:"" help:"Data folder of the policy node to be: new, empty, or with the gateways' keys alone." placeholder:"DIR"`
}

// Help is the command's help.
func (*restoreCmd) Help() string {
	return `Makes the log of a policy node from a backup. The node must not run. The backup
is copied and read through first; only then does the log appear in the data
folder, all or nothing.

What is restored is a new history: it has the same commits, and a log id of its
own. Sessions that were opened under the log it was are ended, and gateways
open them again; what was committed after the backup was made is not in it.

Give the folder to the user policyd runs as before you start it.

On a terminal it asks. Elsewhere, and with --json, it wants --yes.

Exit codes: 0 restored; 1 not restored, and no log is in the data folder; 2 the
command line could not be read, or --yes is missing: nothing was done.

Example:

    policyctl restore --from /backup/monday --data /var/lib/postern --yes`
}

// restored is what a restore has made.
type restored struct {
	LogID    string          `json:"log_id"`
	Position events.Position `json:"position"`
	Origin   origin          `json:"origin"`
}

// Run restores a backup.
func (c *restoreCmd) Run(a *app) error {
	if err := c.given(a, fmt.Sprintf("this makes %s begin anew with what is in %s: what was committed after that is not in it", c.Data, c.From), ""); err != nil {
		return err
	}
	result, err := c.restore(a)
	if err != nil {
		return aboutLog(err)
	}
	return a.print(result, func(w io.Writer) {
		fmt.Fprintf(w, "Restored %d commits of log %s, as log %s.\n", result.Position, result.Origin.LogID, result.LogID)
	})
}

func (c *restoreCmd) restore(a *app) (result restored, err error) {
	if err := mayRestore(c.Data); err != nil {
		return result, err
	}
	if _, err := os.Stat(c.From); err != nil {
		return result, fmt.Errorf("look for the backup: %w", err)
	}
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return result, fmt.Errorf("make the data folder: %w", err)
	}
	dir := filepath.Join(c.Data, logFolder)
	var p *progress
	var step string
	_, o, err := eventlog.Restore(a.patient, c.From, logConfig(a, dir), func(now string, done, all uint64) {
		if now != step {
			if p != nil {
				p.close()
			}
			step, p = now, a.progress(now, int64(all), map[string]string{"copying": "files", "verifying": "commits"}[now])
		}
		p.at(int64(done))
	})
	if p != nil {
		p.close()
	}
	if err != nil {
		return result, err
	}
	config := logConfig(a, dir)
	config.ReadOnly = true
	l, err := eventlog.Open(config)
	if err != nil {
		return result, err
	}
	return restored{l.LogID(), o.Position, origin{o.LogID, o.Position, o.Time}}, l.Close()
}

// mayRestore refuses a data folder that a node has used: its records and its
// log belong to another history.
func mayRestore(data string) error {
	list, err := os.ReadDir(data)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look into the data folder: %w", err)
	}
	var names []string
	for _, e := range list {
		if name := e.Name(); name != keptFolder && name != filepath.Base(eventlog.Restoring(logFolder)) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	const most = 5
	if n := len(names) - most; n > 0 {
		names = append(names[:most], fmt.Sprintf("%d more", n))
	}
	return fmt.Errorf("%s is not empty: it has %s in it; restore into a new folder, or move what is there away (%s may stay)",
		data, strings.Join(names, ", "), keptFolder)
}
