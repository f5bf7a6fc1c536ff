package main

import (
	"context"
	"fmt"
	"io"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/node/datafolder"
)

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
func (c *restoreCmd) Run(ctx context.Context, a *app) error {
	if err := c.given(ctx, a, fmt.Sprintf("this makes %s begin anew with what is in %s: what was committed after that is not in it", c.Data, c.From), ""); err != nil {
		return err
	}
	result, err := c.restore(ctx, a)
	if err != nil {
		return aboutLog(err)
	}
	return a.print(result, func(w io.Writer) {
		fmt.Fprintf(w, "Restored %d commits of log %s, as log %s.\n", result.Position, result.Origin.LogID, result.LogID)
	})
}

func (c *restoreCmd) restore(ctx context.Context, a *app) (restored, error) {
	var p *progress
	var step string
	r, err := datafolder.Restore(ctx, c.From, datafolder.Config{Dir: c.Data, Fatal: a.diskFailed}, func(now string, done, all uint64) {
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
		return restored{}, err
	}
	return restored{r.LogID, r.Origin.Position, originOf(r.Origin)}, nil
}
