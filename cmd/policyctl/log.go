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
	Limit  int    `short:"n" help:"Show so many of the newest commands. If omitted: 20, or all with --since." placeholder:"N"`
	Since  string `help:"Only commands from a moment on: a position, a time, or how long ago, such as 2h." placeholder:"MOMENT"`
	Until  string `help:"Only commands up to a moment." placeholder:"MOMENT"`
	Actor  string `help:"Only commands of one actor, such as operator:local." placeholder:"ACTOR"`
	Follow bool   `short:"f" help:"Then show new commands as they come, until interrupted. With --json, one line for each command."`
	tenantFlag
}

// Help is the command's help.
func (*logCmd) Help() string {
	return `The oldest command comes first. Times are UTC.

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
	// followWait is the time that the node holds a request until there is a
	// new entry. followMore is the additional time for its answer to arrive.
	followWait = 25 * time.Second
	followMore = 15 * time.Second
	// followRetry is the pause before the next try after a failed request.
	followRetry = time.Second
)

// Run shows the end of the log and, with --follow, new entries.
func (c *logCmd) Run(ctx context.Context, a *app) error {
	switch {
	case c.Limit < 0:
		return usagef("--limit must be 1 or more")
	case c.Follow && c.Until != "":
		return usagef("--follow has no end: give it without --until")
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
			fmt.Fprintln(w, "No commands were found.")
			return
		}
		writeEntries(w, list.Entries)
	})
}

// read reads the newest entries, page by page, backwards from the end.
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

// follow writes the entries of list and then new ones. Each entry is written
// exactly once, even if the connection breaks: after a reconnect follow continues
// behind the last position that it has read.
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
			return fmt.Errorf("the node has another log now (%s), as after a restore; the old log (%s) was shown up to position %d; start again to follow the new one", page.LogID, list.LogID, after)
		case err == nil:
			lost = false
			if err := out.write(page.Entries); err != nil {
				return err
			}
			after = max(after, page.NextAfter)
		case ctx.Err() != nil:
			return nil // the user interrupted it: this is the normal end
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
	entryTable(entries, !f.began, maxEvents).write(p)
	f.began = true
	_, err := io.WriteString(f.out, p.String())
	return err
}

// maxEvents bounds the events of one commit that are shown without --json.
const maxEvents = 20

func writeEntries(w io.Writer, entries []api.LogEntry) { entryTable(entries, true, maxEvents).write(w) }

// entryTable shows at most this many events of a commit.
func entryTable(entries []api.LogEntry, headed bool, most int) *table {
	t := &table{}
	if headed {
		t.add("POSITION", "TIME", "TENANT", "ACTOR", "WHAT")
	}
	for _, e := range entries {
		head := []string{number(e.Position), e.Time.UTC().Format(time.DateTime), e.Tenant, e.Actor}
		for i, event := range e.Events {
			if i == most {
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
