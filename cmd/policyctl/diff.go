package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/postern-im/postern/api"
)

type diffCmd struct {
	From string `help:"The earlier moment, written as for --at of other commands." required:"" placeholder:"MOMENT"`
	To   string `help:"The later moment; now if omitted." placeholder:"MOMENT"`
	tenantFlag
}

// Help is the command's help.
func (*diffCmd) Help() string {
	return `It compares the two states, and does not show each command in between (see policyctl log). It also shows which members gained or lost which permissions, and whose sessions ended. A moment is a position of the log, a time (RFC 3339, or a date with or without a time, in UTC), or how long ago.

Examples:

    policyctl diff -t acme --from 2d
    policyctl diff -t acme --from 2026-11-01 --to 2026-11-24T12:00
    policyctl diff -t acme --from 42 --json | jq .effective.permissions`
}

// Run shows what changed.
func (c *diffCmd) Run(ctx context.Context, a *app) error {
	tenant, err := c.need()
	if err != nil {
		return err
	}
	d, err := a.client.Diff(ctx, tenant, c.From, c.To)
	if err != nil {
		return err
	}
	return a.print(d, func(w io.Writer) {
		fmt.Fprintf(w, "tenant %s from position %s to %s\n", clean(d.Tenant), momentWords(d.From), momentWords(d.To))
		if len(d.Changes) == 0 {
			fmt.Fprintln(w, "  no difference")
		}
		writeChanges(w, d.Changes, d.Effective)
	})
}

type blameCmd struct {
	Account    string `help:"The account (bare address)." placeholder:"JID"`
	Role       string `help:"A role, instead of an account." placeholder:"ROLE"`
	Permission string `arg:"" help:"The permission."`
	tenantFlag
	atFlag
}

// Help is the command's help.
func (*blameCmd) Help() string {
	return `It finds the newest command that changed whether the account or role has the permission. Such a command may have set or redefined a role, or set a ceiling or a default role, or suspended or resumed something. With --at it does so for an earlier moment.

Examples:

    policyctl blame --account bob@alpha.example xmpp:federate
    policyctl blame --role lab:kiosk -t acme xmpp:account:messages:write --at 2d`
}

// Run finds the command.
func (c *blameCmd) Run(ctx context.Context, a *app) error {
	if (c.Account == "") == (c.Role == "") {
		return usagef("whose permission? Give --account JID or --role ROLE")
	}
	b, err := c.ask(ctx, a)
	if err != nil {
		return err
	}
	return a.print(b, func(w io.Writer) { writeBlame(w, b) })
}

func (c *blameCmd) ask(ctx context.Context, a *app) (api.BlameReply, error) {
	if c.Role != "" {
		tenant, err := c.need()
		if err != nil {
			return api.BlameReply{}, err
		}
		return c.then(a).BlameRole(ctx, tenant, c.Role, c.Permission)
	}
	tenant, bare, err := c.ofAccount(ctx, a, c.Account)
	if err != nil {
		return api.BlameReply{}, err
	}
	return c.then(a).BlameMember(ctx, tenant, bare, c.Permission)
}

func writeBlame(w io.Writer, b api.BlameReply) {
	who := "role " + b.Role
	if b.Role == "" {
		who = b.Account
	}
	fmt.Fprintf(w, "%s of tenant %s: %s %s, at position %s\n\n", clean(who), clean(b.Tenant), clean(b.Permission),
		heldWords(b.Now), asOf(b.Position, b.AsOf))
	if b.FromTheBeginning {
		fmt.Fprintln(w, "It has been so from the beginning:")
	} else {
		fmt.Fprintf(w, "Before, it was %s. It has been so since:\n", heldWords(b.Before))
	}
	writeEntries(w, []api.LogEntry{b.By})
	if b.OtherEvents > 0 {
		fmt.Fprintf(w, "(%s of this command did not affect it)\n", plural(b.OtherEvents, "other event"))
	}
	fmt.Fprintln(w)
	writeHolding(w, "now", b.Now)
	if !b.FromTheBeginning {
		writeHolding(w, "before", b.Before)
	}
}

func heldWords(h api.Holding) string {
	if h.Held {
		return "held"
	}
	return "not held"
}

// writeHolding writes why a permission was held or not at a moment.
func writeHolding(w io.Writer, when string, h api.Holding) {
	switch {
	case !h.Known:
		fmt.Fprintf(w, "%s: there was no such account or role\n", when)
		return
	case len(h.BarredBy) > 0:
		fmt.Fprintf(w, "%s: suspended (%s)\n", when, strings.TrimPrefix(barred(h.BarredBy, h.BarredByOperator), "yes: "))
		return
	}
	fmt.Fprintf(w, "%s, by role %s:\n", when, clean(h.Role))
	fmt.Fprintf(w, "  %s\n", clean(because(api.Permission{Steps: h.Steps})))
}
