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
	Data string `required:"" help:"Data folder of the new policy node: new, empty, or with the gateways' keys only." placeholder:"DIR"`
}

// Help is the command's help.
func (*restoreCmd) Help() string {
	return `It creates the log of a policy node from a backup. The node must be stopped. The
backup is copied and verified first; only then does the complete log appear in
the data folder.

The restored log has the commits of the backup and a log id of its own. Commits
made after the backup are lost. Sessions that were opened under the old log end,
and their clients have to log in again.

Make policyd's user the owner of the folder before you start policyd.

On a terminal it asks. Without a terminal, or with --json, it needs --yes.

Exit codes: 0 restored; 1 not restored, and no log was added to the data folder;
2 the command line could not be read, or --yes is missing: nothing was done.

Example:

    policyctl restore --from /backup/monday --data /var/lib/postern --yes`
}

// restored is the result of a restore.
type restored struct {
	LogID    string          `json:"log_id"`
	Position events.Position `json:"position"`
	Origin   origin          `json:"origin"`
}

// Run restores a backup.
func (c *restoreCmd) Run(ctx context.Context, a *app) error {
	if err := c.given(ctx, a, fmt.Sprintf("this restores %s from the backup %s: later commits are not in it", c.Data, c.From), ""); err != nil {
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
