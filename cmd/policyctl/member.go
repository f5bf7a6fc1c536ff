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
	List        memberList        `cmd:"" help:"List the accounts with roles of their own."`
	Show        memberShow        `cmd:"" help:"Show an account and what it may do."`
	Suspend     memberSuspend     `cmd:"" help:"End the account's sessions and admit none."`
	Resume      memberResume      `cmd:"" help:"Undo suspend."`
	Remove      memberRemove      `cmd:"" help:"Forget the account's roles and end its sessions."`
	EndSessions memberEndSessions `cmd:"" help:"End the account's sessions, once."`
}

type memberSetRole struct {
	JID         string   `arg:"" name:"jid" help:"The account."`
	Role        string   `arg:"" optional:"" help:"Its primary role."`
	Default     bool     `help:"No primary role of its own: its domain's default role."`
	Secondary   []string `short:"s" help:"A secondary role, which a restricted credential may name; they replace those set. Kept as they are when absent." placeholder:"ROLE"`
	NoSecondary bool     `help:"No secondary roles."`
	tenantFlag
	change
}

// Help is the command's help.
func (*memberSetRole) Help() string {
	return `A changed primary role ends the account's sessions.

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

// maxTries bounds how often a change that rests on what was read is tried
// while others change the tenant.
const maxTries = 10

// keepSecondary sets the primary role only: the secondary ones are read, and
// set again on condition that nothing has changed since.
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
	return `Accounts that are not listed have their domain's default role.

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

// roleWords names a role and says when it is the domain's.
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

// barred says what is suspended, and what of it only an operator may resume.
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

// suspendedWords says whether one thing is suspended.
func suspendedWords(suspended, byOperator bool) string {
	if byOperator {
		return "by the operator"
	}
	return yesNo(suspended)
}

// writePermissions writes permissions and where the answer came from.
func writePermissions(w io.Writer, permissions []api.Permission) {
	t := &table{}
	t.add("PERMISSION", "HELD", "BECAUSE")
	t.colour(1, inkOf)
	for _, p := range permissions {
		t.add(p.Permission, yesNo(p.Granted), because(p))
	}
	t.write(w)
}

// because says which step of the look-up decided, and which were silent.
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
	return `Nothing is lost: resume lets the account in again. What an operator suspends, only an operator can resume.

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
	return `The account itself stays on its server, with its domain's default role.

Example:

    policyctl member remove bob@alpha.example --yes`
}

// Run forgets an account's roles.
func (c *memberRemove) Run(ctx context.Context, a *app) error {
	tenant, bare, err := c.ofAccount(ctx, a, c.JID)
	if err != nil {
		return err
	}
	if err := c.given(ctx, a, fmt.Sprintf("this forgets the roles of %s and ends its sessions", bare), ""); err != nil {
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
