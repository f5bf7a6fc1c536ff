package main

import (
	"fmt"
	"io"
	"time"

	"github.com/postern-im/postern/api"
)

type logCmd struct {
	Limit int `short:"n" help:"How many of the newest commands to show." default:"20"`
	tenantFlag
}

// Help is the command's help.
func (*logCmd) Help() string {
	return `The oldest stands first. Times are UTC.

Examples:

    policyctl log
    policyctl log -t acme -n 100`
}

// Run shows the end of the log.
func (c *logCmd) Run(a *app) error {
	if c.Limit < 1 {
		return usagef("--limit must be 1 or more")
	}
	list, err := a.client.Log(a.ctx, api.LogQuery{Tenant: c.Tenant, Limit: c.Limit})
	if err != nil {
		return err
	}
	return a.print(list, func(w io.Writer) {
		if len(list.Entries) == 0 {
			fmt.Fprintln(w, "Nothing has been changed yet.")
			return
		}
		writeEntries(w, list.Entries)
	})
}

// maxEvents is how many events of one commit are shown to people.
const maxEvents = 20

func writeEntries(w io.Writer, entries []api.LogEntry) {
	t := &table{}
	t.add("POSITION", "TIME", "TENANT", "ACTOR", "WHAT")
	for _, e := range entries {
		head := []string{number(e.Position), e.Time.UTC().Format(time.DateTime), e.Tenant, e.Actor}
		for i, event := range e.Events {
			if i == maxEvents {
				t.add("", "", "", "", fmt.Sprintf("… and %d more (--json shows them)", len(e.Events)-i))
				break
			}
			t.add(append(head, event.What)...)
			head = []string{"", "", "", ""}
		}
		if e.Reason != "" {
			t.add("", "", "", "", "reason: "+e.Reason)
		}
	}
	t.write(w)
}
