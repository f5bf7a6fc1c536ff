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

type sessionCmd struct {
	List sessionList `cmd:"" help:"List the live sessions of all gateways."`
	Show sessionShow `cmd:"" help:"Show a live session."`
	End  sessionEnd  `cmd:"" help:"End a live session, or all sessions of an account."`
}

// maxSessionPage bounds the sessions in one answer of the node.
const maxSessionPage = 200

// codePartial is the error code if a list was printed, but sessions may be
// missing from it.
const codePartial api.Code = "partial"

// whose returns the tenant that was named. If none was, it returns the tenant of
// the caller's token, or "" for a caller that may see all tenants.
func (f *tenantFlag) whose(ctx context.Context, a *app) (string, error) {
	if f.Tenant != "" {
		return f.Tenant, nil
	}
	self, err := a.client.Self(ctx)
	return self.Tenant, err
}

type sessionList struct {
	Account string `help:"Only sessions of this account." complete:"member" placeholder:"JID"`
	Domain  string `help:"Only sessions of this domain." complete:"domain" placeholder:"DOMAIN"`
	Gateway string `help:"Ask this gateway only." complete:"gateway" placeholder:"ID"`
	Limit   int    `help:"List at most so many sessions." default:"1000" placeholder:"N"`
	Partial bool   `help:"Accept an incomplete list: exit with 0 even if a gateway does not answer."`
	tenantFlag
}

// Help is the command's help.
func (*sessionList) Help() string {
	return `The node asks all gateways. If a gateway does not answer within two seconds, its sessions are missing from the list; it is named, and the exit code is 1 unless --partial is given.

Examples:

    policyctl session list
    policyctl session list -t acme --account bob@alpha.example
    policyctl session list --gateway gw2 --json`
}

// Run lists sessions.
func (c *sessionList) Run(ctx context.Context, a *app) error {
	if c.Limit < 1 {
		return usagef("--limit %d: give a number from 1", c.Limit)
	}
	tenant, err := c.whose(ctx, a)
	if err != nil {
		return err
	}
	all := api.SessionList{Sessions: []api.Session{}, Missing: []string{}}
	filter := api.SessionFilter{Account: c.Account, Domain: c.Domain, Gateway: c.Gateway}
	for {
		page, err := a.client.Sessions(ctx, tenant, filter, all.Next, min(c.Limit-len(all.Sessions), maxSessionPage))
		if err != nil {
			return err
		}
		all.Sessions = append(all.Sessions, page.Sessions...)
		all.Missing = append(all.Missing, page.Missing...)
		all.Position, all.Next = page.Position, page.Next
		if page.Next == "" || len(all.Sessions) >= c.Limit {
			break
		}
	}
	slices.Sort(all.Missing)
	all.Missing = slices.Compact(all.Missing)
	if err := a.print(all, func(w io.Writer) { writeSessions(w, all) }); err != nil {
		return err
	}
	if all.Next != "" && !a.json {
		a.warn(fmt.Sprintf("there are more than %d sessions: raise --limit, or give a filter such as --account", c.Limit))
	}
	if len(all.Missing) == 0 {
		return nil
	}
	text := "the list may be incomplete, because these gateways did not answer: " + strings.Join(all.Missing, ", ")
	if c.Partial {
		a.warn(text)
		return nil
	}
	return &api.Error{Code: codePartial, Text: text}
}

func writeSessions(w io.Writer, list api.SessionList) {
	if len(list.Sessions) == 0 {
		fmt.Fprintln(w, "No live sessions were found.")
	} else {
		t := &table{}
		t.add("SESSION", "GATEWAY", "TENANT", "ACCOUNT", "RESOURCE", "FROM", "SINCE", "ACTIVE")
		for _, s := range list.Sessions {
			t.add(s.ID, s.Gateway, s.Tenant, s.Account, s.Resource, s.Remote, moment(s.Since), moment(s.Active))
		}
		t.write(w)
	}
	if len(list.Missing) > 0 {
		fmt.Fprintf(w, "missing: %s\n", strings.Join(list.Missing, ", "))
	}
}

func moment(t time.Time) string { return t.UTC().Format(time.DateTime) }

type sessionShow struct {
	ID string `arg:"" help:"The session's id, from session list."`
	tenantFlag
}

// Help is the command's help.
func (*sessionShow) Help() string {
	return `Example:

    policyctl session show ZJ4QPOE4WJQDQWQ3MJ2BA3QJ5Y`
}

// Run shows a session.
func (c *sessionShow) Run(ctx context.Context, a *app) error {
	tenant, err := c.whose(ctx, a)
	if err != nil {
		return err
	}
	reply, err := a.client.Session(ctx, tenant, c.ID)
	if e, ok := errors.AsType[*api.Error](err); ok && e.Code == api.CodeUnavailable {
		return unseen{err}
	}
	if err != nil {
		return err
	}
	s := reply.Session
	return a.print(reply, func(w io.Writer) {
		t := &table{}
		t.add("session", s.ID)
		t.add("gateway", s.Gateway)
		t.add("account", fmt.Sprintf("%s of tenant %s", s.Account, s.Tenant))
		t.add("resource", s.Resource)
		if s.Grant != "" {
			t.add("credential", s.Grant)
		}
		t.add("from", s.Remote)
		t.add("log-in", strings.TrimSuffix(s.Mechanism+" over "+s.TLS, " over "))
		t.add("opened", fmt.Sprintf("%s, at position %d", moment(s.Since), s.Opened))
		t.add("last stanza", moment(s.Active))
		t.add("from the client", fmt.Sprintf("%d passed, %d did not", s.PassedOut, s.RefusedOut))
		t.add("to the client", fmt.Sprintf("%d passed, %d did not", s.PassedIn, s.RefusedIn))
		t.write(w)
	})
}

type sessionEnd struct {
	ID      string `arg:"" optional:"" help:"The session's id, from session list."`
	Account string `help:"End all sessions of this account, as member end-sessions does." complete:"member" placeholder:"JID"`
	ownedChange
}

// Help is the command's help.
func (*sessionEnd) Help() string {
	return `The client may log in again at once; to keep an account out, suspend it. The node's record of admin calls, admin.jsonl, says who ended a session by its id, and why. With --account it is a command, and the log says so.

If a gateway does not answer, it may still have the session. The exit code is then 1, and you can repeat the command. --account also ends sessions at gateways that do not answer now.

Examples:

    policyctl session end ZJ4QPOE4WJQDQWQ3MJ2BA3QJ5Y --reason "stolen phone"
    policyctl session end --account bob@alpha.example`
}

// An unseen is an error after which it is not known whether the session exists.
type unseen struct{ error }

func (e unseen) Unwrap() error { return e.error }

// An unclearEnd is an error after which it is not known whether the session was
// ended.
type unclearEnd struct{ error }

func (e unclearEnd) Unwrap() error { return e.error }

// Run ends a session, or all sessions of an account.
func (c *sessionEnd) Run(ctx context.Context, a *app) error {
	switch {
	case (c.ID == "") == (c.Account == ""):
		return usagef("give either a session's id or --account")
	case c.ID != "" && c.CommandID != "":
		return usagef("--command-id needs --account. Ending a session by its id is safe to repeat without it")
	case c.Account != "":
		return (&memberEndSessions{JID: c.Account, ownedChange: c.ownedChange}).Run(ctx, a)
	}
	tenant, err := c.whose(ctx, a)
	if err != nil {
		return err
	}
	reply, err := a.client.EndSession(ctx, tenant, c.ID, api.SessionEnd{Reason: c.Reason})
	if e, ok := errors.AsType[*api.Error](err); ok && e.Code == api.CodeUnknown || errors.Is(err, context.DeadlineExceeded) {
		return unclearEnd{err}
	}
	if err != nil {
		return err
	}
	return a.print(reply, func(w io.Writer) {
		s := reply.Session
		fmt.Fprintf(w, "session %s of %s/%s at gateway %s ended\n", s.ID, s.Account, s.Resource, s.Gateway)
	})
}
