package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/postern-im/postern/api"
)

type logCmd struct {
	Limit  int    `short:"n" help:"How many of the newest commands to show; 20 when absent, with --since all." placeholder:"N"`
	Since  string `help:"Those from a moment on: a position, a time, or how long ago, such as 2h." placeholder:"MOMENT"`
	Until  string `help:"Those up to a moment." placeholder:"MOMENT"`
	Actor  string `help:"Those of one actor, such as operator:local." placeholder:"ACTOR"`
	Follow bool   `short:"f" help:"Go on with what comes, until interrupted. With --json a line for each command."`
	tenantFlag
}

// Help is the command's help.
func (*logCmd) Help() string {
	return `The oldest stands first. Times are UTC.

Examples:

    policyctl log
    policyctl log -t acme -n 100
    policyctl log --since 2026-11-24T12:00 --actor operator:local
    policyctl log -t acme --follow --json | jq -r .events[].type`
}

// The bounds of reading the log.
const (
	defaultEntries = 20
	logPage        = 1000
	// followWait is how long one request waits for news, and followMore what
	// it has to answer in besides.
	followWait = 25 * time.Second
	followMore = 15 * time.Second
	// followRetry is the pause after a node could not be reached.
	followRetry = time.Second
)

// Run shows the end of the log, and goes on with it.
func (c *logCmd) Run(ctx context.Context, a *app) error {
	switch {
	case c.Limit < 0:
		return usagef("--limit must be 1 or more")
	case c.Follow && c.Until != "":
		return usagef("--follow goes on: it cannot have an end (--until)")
	}
	if c.Limit == 0 && c.Since == "" {
		c.Limit = defaultEntries
	}
	list, err := c.read(ctx, a)
	if err != nil {
		return err
	}
	if c.Follow {
		return c.follow(ctx, a, list)
	}
	return a.print(list, func(w io.Writer) {
		if len(list.Entries) == 0 {
			fmt.Fprintln(w, "Nothing has been changed then, by them.")
			return
		}
		writeEntries(w, list.Entries)
	})
}

// read reads the newest entries, page by page from the end.
func (c *logCmd) read(ctx context.Context, a *app) (api.LogTail, error) {
	q := api.LogQuery{Tenant: c.Tenant, Since: c.Since, Until: c.Until, Actor: c.Actor}
	var all api.LogTail
	var pages [][]api.LogEntry
	for n := 0; ; {
		q.Limit = logPage
		if c.Limit > 0 {
			q.Limit = min(q.Limit, c.Limit-n)
		}
		page, err := a.client.Log(ctx, q)
		if err != nil {
			return all, err
		}
		if all.Position == 0 {
			all.Position, all.LogID = page.Position, page.LogID
		}
		pages = append(pages, page.Entries)
		n += len(page.Entries)
		if page.NextBefore == 0 || c.Limit > 0 && n >= c.Limit {
			break
		}
		q.Before = page.NextBefore
	}
	slices.Reverse(pages)
	all.Entries = slices.Concat(pages...)
	return all, nil
}

// follow writes what is there and then what comes. Each entry is written once,
// whatever becomes of the connection in between: it goes on behind the last
// position it knows.
func (c *logCmd) follow(ctx context.Context, a *app, list api.LogTail) error {
	out := &follower{app: a}
	if err := out.write(list.Entries); err != nil {
		return err
	}
	client := a.client.Within(followWait + followMore)
	after, lost := list.Position, false
	for ctx.Err() == nil {
		page, err := client.Log(ctx, api.LogQuery{Tenant: c.Tenant, Actor: c.Actor, After: &after, Wait: followWait, Limit: logPage})
		var said *api.Error
		switch {
		case err == nil && page.LogID != list.LogID:
			return fmt.Errorf("the node has another log now (%s), as after a restore: what was followed (%s) ends at position %d or before; begin again", page.LogID, list.LogID, after)
		case err == nil:
			lost = false
			if err := out.write(page.Entries); err != nil {
				return err
			}
			after = max(after, page.NextAfter)
		case ctx.Err() != nil:
			return nil // interrupted: that is how it ends
		case errors.As(err, &said) && said.Code != api.CodeUnavailable && said.Code != api.CodeBusy:
			return err
		default:
			if !lost {
				a.warn(fmt.Sprintf("the node does not answer; trying again: %v", err))
			}
			lost = true
			pause := time.NewTimer(followRetry)
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
			pause.Stop()
		}
	}
	return nil
}

// A follower writes entries as they come.
type follower struct {
	*app
	began bool
}

func (f *follower) write(entries []api.LogEntry) error {
	if len(entries) == 0 {
		return nil
	}
	if f.json {
		e := jsonTo(f.out)
		for _, entry := range entries {
			if err := e.Encode(entry); err != nil {
				return err
			}
		}
		return nil
	}
	p := &page{look: f.look}
	entryTable(entries, !f.began).write(p)
	f.began = true
	_, err := io.WriteString(f.out, p.String())
	return err
}

// maxEvents is how many events of one commit are shown to people.
const maxEvents = 20

func writeEntries(w io.Writer, entries []api.LogEntry) { entryTable(entries, true).write(w) }

func entryTable(entries []api.LogEntry, headed bool) *table {
	t := &table{}
	if headed {
		t.add("POSITION", "TIME", "TENANT", "ACTOR", "WHAT")
	}
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
			t.add("", "", "", "", "reason: "+strings.TrimSpace(e.Reason))
		}
	}
	return t
}
