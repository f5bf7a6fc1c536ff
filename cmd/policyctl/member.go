package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/postern-im/postern/api"
)

type memberCmd struct {
	SetRole     memberSetRole     `cmd:"" help:"Set an account's roles."`
	List        memberList        `cmd:"" help:"List the accounts that have roles of their own."`
	Show        memberShow        `cmd:"" help:"Show an account and its permissions."`
	Suspend     memberSuspend     `cmd:"" help:"End the account's sessions and admit no new ones."`
	Resume      memberResume      `cmd:"" help:"Undo suspend."`
	Remove      memberRemove      `cmd:"" help:"Remove the account's own roles and end its sessions."`
	EndSessions memberEndSessions `cmd:"" help:"End the account's current sessions."`
}

type memberSetRole struct {
	JID         string   `arg:"" name:"jid" help:"The account."`
	Role        string   `arg:"" optional:"" help:"Its primary role."`
	Default     bool     `help:"Remove its own primary role: it gets its domain's default role."`
	Secondary   []string `short:"s" help:"A secondary role, which a restricted credential may name. The list replaces the earlier one; if omitted, secondary roles stay." placeholder:"ROLE"`
	NoSecondary bool     `help:"Remove all secondary roles."`
	tenantFlag
	change
}

// Help is the command's help.
func (*memberSetRole) Help() string {
	return `If the primary role changes, the account's sessions end.

Examples:

    policyctl member set-role bob@alpha.example lab:kiosk
    policyctl member set-role bob@alpha.example --default
    policyctl member set-role bob@alpha.example lab:kiosk --secondary prosody:member`
}

// Run sets an account's roles.
func (c *memberSetRole) Run(ctx context.Context, a *app) error {
	switch {
	case c.Default == (c.Role != ""):
		return usagef("give the role, or --default")
	case c.NoSecondary && len(c.Secondary) > 0:
		return usagef("give --secondary or --no-secondary, not both")
	}
	tenant, bare, err := c.ofAccount(ctx, a, c.JID)
	if err != nil {
		return err
	}
	done := fmt.Sprintf("%s has the role %s", bare, c.Role)
	if c.Default {
		done = fmt.Sprintf("%s has the default role of its domain", bare)
	}
	cmd := api.MemberSet{JID: bare, Role: c.Role, Secondary: c.Secondary}
	if c.NoSecondary || len(c.Secondary) > 0 {
		return c.do(ctx, a, tenant, cmd, done)
	}
	return c.keepSecondary(ctx, a, tenant, cmd, done)
}

// maxTries bounds the tries of a change that is based on an earlier read. A try
// fails if another command changes the tenant after the read.
const maxTries = 10

// keepSecondary sets the primary role only. It reads the secondary roles and sets
// them again, on condition that the tenant has not changed since the read.
func (c *memberSetRole) keepSecondary(ctx context.Context, a *app, tenant string, cmd api.MemberSet, done string) error {
	for try := 1; ; try++ {
		m, err := a.client.Member(ctx, tenant, cmd.JID)
		if err != nil {
			return err
		}
		cmd.Secondary, c.ifVersion = m.Secondary, m.TenantVersion
		err = c.do(ctx, a, tenant, cmd, done)
		var e *api.Error
		if try == maxTries || !errors.As(err, &e) || e.Code != api.CodeConflict {
			return err
		}
	}
}

type memberList struct {
	tenantFlag
	atFlag
}

// Help is the command's help.
func (*memberList) Help() string {
	return `Accounts that are not in the list have their domain's default role.

Example:

    policyctl member list -t acme`
}

// Run lists a tenant's members.
func (c *memberList) Run(ctx context.Context, a *app) error {
	tenant, err := c.need()
	if err != nil {
		return err
	}
	client := c.then(a)
	list, err := client.Members(ctx, tenant, "", 0)
	for err == nil && list.Next != "" {
		var page api.MemberList
		page, err = client.Members(ctx, tenant, list.Next, 0)
		list.Members = append(list.Members, page.Members...)
		list.Position, list.Next = page.Position, page.Next
	}
	if err != nil {
		return err
	}
	return a.print(list, func(w io.Writer) {
		if len(list.Members) == 0 {
			fmt.Fprintf(w, "No account of tenant %s has a role of its own: all have their domain's default role.\n", tenant)
			return
		}
		t := &table{}
		t.add("ACCOUNT", "ROLE", "SECONDARY", "SUSPENDED")
		for _, m := range list.Members {
			t.add(m.JID, roleWords(m.ActsAs, m.Role != ""), orNone(m.Secondary), suspendedWords(m.Suspended, m.SuspendedByOperator))
		}
		t.write(w)
		writeAsOf(w, list.AsOf)
	})
}

// roleWords names a role, and marks a domain's default role.
func roleWords(role string, own bool) string {
	if own {
		return role
	}
	return role + " (default)"
}

type memberShow struct {
	JID string `arg:"" name:"jid" help:"The account."`
	tenantFlag
	atFlag
}

// Help is the command's help.
func (*memberShow) Help() string {
	return `Examples:

    policyctl member show bob@alpha.example
    policyctl member show bob@alpha.example --at 2026-11-24T12:00
    policyctl explain --account bob@alpha.example --permission xmpp:federate`
}

// Run shows an account.
func (c *memberShow) Run(ctx context.Context, a *app) error {
	tenant, bare, err := c.ofAccount(ctx, a, c.JID)
	if err != nil {
		return err
	}
	m, err := c.then(a).Member(ctx, tenant, bare)
	if err != nil {
		return err
	}
	return a.print(m, func(w io.Writer) {
		t := &table{}
		t.add("account", fmt.Sprintf("%s of tenant %s", m.JID, m.Tenant))
		t.add("role", roleWords(m.ActsAs, m.Role != ""))
		t.add("secondary roles", orNone(m.Secondary))
		t.add("suspended", barred(m.BarredBy, m.BarredByOperator))
		t.add("sessions ended at", fmt.Sprintf("position %d", m.EndedAt))
		t.add("at position", asOf(m.Position, m.AsOf))
		t.write(w)
		fmt.Fprintln(w)
		writePermissions(w, m.Permissions)
	})
}

// barred names the suspensions that keep an account out, and marks those that
// only an operator may lift.
func barred(by, byOperator []string) string {
	if len(by) == 0 {
		return "no"
	}
	var words []string
	for _, what := range by {
		word := "the " + what
		if slices.Contains(byOperator, what) {
			word += " by the operator"
		}
		words = append(words, word)
	}
	return "yes: " + strings.Join(words, ", ")
}

// suspendedWords says whether a domain or account is suspended, and if so,
// whether by the operator.
func suspendedWords(suspended, byOperator bool) string {
	if byOperator {
		return "by the operator"
	}
	return yesNo(suspended)
}

// writePermissions writes, for each permission, whether it is held and why.
func writePermissions(w io.Writer, permissions []api.Permission) {
	t := &table{}
	t.add("PERMISSION", "HELD", "BECAUSE")
	t.colour(1, inkOf)
	for _, p := range permissions {
		t.add(p.Permission, yesNo(p.Granted), because(p))
	}
	t.write(w)
}

// because names the step of the look-up that decided, and the roles that neither
// allow nor deny the permission.
func because(p api.Permission) string {
	var silent []string
	for _, step := range p.Steps {
		switch step.Answer {
		case "silent":
			silent = append(silent, step.Role)
		case "nobody":
			return "no role gives it: " + strings.Join(silent, ", ")
		case "ceiling":
			return "the tenant's ceiling"
		}
	}
	if len(p.Steps) == 0 {
		return "-"
	}
	last := p.Steps[len(p.Steps)-1]
	words := last.Role + " " + last.Answer + " it"
	if len(silent) > 0 {
		words += ", inherited by " + strings.Join(silent, ", ")
	}
	return words
}

type memberSuspend struct {
	JID string `arg:"" name:"jid" help:"The account."`
	ownedChange
}

// Help is the command's help.
func (*memberSuspend) Help() string {
	return `Nothing is lost: resume lets the account in again. If an operator suspends an account, only an operator can resume it.

Example:

    policyctl member suspend bob@alpha.example --reason "stolen laptop"`
}

// Run suspends an account.
func (c *memberSuspend) Run(ctx context.Context, a *app) error {
	return c.doForAccount(ctx, a, c.JID, func(jid string) api.Command { return api.MemberSuspend{JID: jid} }, "%s suspended: its sessions end")
}

type memberResume struct {
	JID string `arg:"" name:"jid" help:"The account."`
	ownedChange
}

// Help is the command's help.
func (*memberResume) Help() string {
	return `Example:

    policyctl member resume bob@alpha.example`
}

// Run resumes an account.
func (c *memberResume) Run(ctx context.Context, a *app) error {
	return c.doForAccount(ctx, a, c.JID, func(jid string) api.Command { return api.MemberResume{JID: jid} }, "%s resumed")
}

type memberRemove struct {
	JID string `arg:"" name:"jid" help:"The account."`
	consent
	tenantFlag
	change
}

// Help is the command's help.
func (*memberRemove) Help() string {
	return `The account itself stays on its server, and gets its domain's default role.

Example:

    policyctl member remove bob@alpha.example --yes`
}

// Run removes an account's roles.
func (c *memberRemove) Run(ctx context.Context, a *app) error {
	tenant, bare, err := c.ofAccount(ctx, a, c.JID)
	if err != nil {
		return err
	}
	if err := c.given(ctx, a, fmt.Sprintf("this removes the roles of %s and ends its sessions", bare), ""); err != nil {
		return err
	}
	return c.do(ctx, a, tenant, api.MemberRemove{JID: bare}, fmt.Sprintf("%s has no roles of its own any more; its sessions end", bare))
}

type memberEndSessions struct {
	JID string `arg:"" name:"jid" help:"The account."`
	ownedChange
}

// Help is the command's help.
func (*memberEndSessions) Help() string {
	return `The account may log in again at once; to keep it out, suspend it.

Example:

    policyctl member end-sessions bob@alpha.example --reason "lost phone"`
}

// Run ends an account's sessions.
func (c *memberEndSessions) Run(ctx context.Context, a *app) error {
	return c.doForAccount(ctx, a, c.JID, func(jid string) api.Command { return api.MemberEndSessions{JID: jid} }, "all sessions of %s end")
}
