package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/tenants/overapi"
	"github.com/postern-im/postern/tenants/policyfile"
)

type applyCmd struct {
	planFlags
	Reason string `help:"The reason, in your own words; kept in the log." placeholder:"TEXT"`
	waitFlag
	consent
}

// Help is the command's help.
func (*applyCmd) Help() string {
	return `It shows the plan and asks for confirmation. Then it changes each tenant to match its file, with one commit for each tenant, but only if the tenant has not changed since the plan. If one tenant is refused, the others are still applied; run the command again for the rest. Tenants without a file in the directory are left alone. With --prune, the plan lists them, and they are removed after all files were applied. A domain cannot move from one tenant to another in one apply: remove it from the first tenant before.

A file describes its tenant completely: anything that it leaves out is removed. There is one exception: a suspension stays unless the file says suspended = false. An operator's suspension can only be lifted by an operator: a file that another user applies is refused if it would resume or remove anything that an operator suspended.

On a terminal it asks. Without a terminal, or with --json, it needs --yes; otherwise it changes nothing.

Exit codes: 0 done, or nothing to do; 1 a tenant was refused or failed, for example because it changed meanwhile, and others may have been changed; 2 nothing was done: a file or the command line could not be read, or --yes is missing; 4 all was applied, but the wait for its enforcement failed.

Examples:

    policyctl apply -f acme.toml --reason "ticket 4711"
    policyctl apply -f policies/ --yes
    policyctl apply -f policies/ --prune`
}

// An applied is the outcome for one tenant.
type applied struct {
	Tenant  string      `json:"tenant"`
	Removed bool        `json:"removed,omitempty"` // the plan was to remove it
	Result  *api.Result `json:"result,omitempty"`
	Error   *api.Error  `json:"error,omitempty"`
}

// Run applies policies.
func (c *applyCmd) Run(ctx context.Context, a *app) error {
	plans, err := c.plan(ctx, a)
	if err != nil {
		return err
	}
	if !a.json {
		writePlans(a.out, plans, c.Details)
	}
	if slices.ContainsFunc(plans, func(p planned) bool { return p.changes() }) {
		what, word := question(plans)
		if err := c.given(ctx, a, what, word); err != nil {
			return err
		}
	}
	return c.all(ctx, a, plans)
}

// all applies the plans. Removals come last, and are not done if anything before
// them failed.
func (c *applyCmd) all(ctx context.Context, a *app, plans []planned) error {
	done := []applied{}
	var failed []error
	for i := range plans {
		p := &plans[i]
		if !p.changes() {
			continue
		}
		if p.removes && len(failed) > 0 {
			failed = append(failed, fmt.Errorf("tenants not removed, because an earlier change failed: %s", strings.Join(removedTenants(plans[i:]), ", ")))
			break
		}
		x := applied{Tenant: p.reply.Tenant, Removed: p.removes}
		result, err := c.apply(ctx, a, p)
		if err != nil {
			failed = append(failed, fmt.Errorf("tenant %s was not changed: %w", p.reply.Tenant, err))
			if !errors.As(err, &x.Error) {
				x.Error = &api.Error{Code: codeUnreachable, Text: err.Error()}
			}
		} else {
			x.Result = &result
		}
		done = append(done, x)
	}
	return errors.Join(append(failed, c.finish(ctx, a, done))...)
}

// finish prints the outcomes, and waits until the changes are enforced if that is
// wanted. The newest position includes all others.
func (c *applyCmd) finish(ctx context.Context, a *app, done []applied) error {
	if !a.json {
		if err := a.print(nil, func(w io.Writer) { writeApplied(w, done) }); err != nil {
			return err
		}
	}
	newest := uint64(0)
	for _, x := range done {
		if x.Result != nil && c.wanted(x.Result.TakesAway) {
			newest = max(newest, x.Result.Position)
		}
	}
	var enforced *api.Enforced
	var err error
	if newest > 0 {
		enforced, err = c.enforce(ctx, a, newest, true)
	}
	out := struct {
		Applied  []applied     `json:"applied"`
		Enforced *api.Enforced `json:"enforced,omitempty"`
	}{done, enforced}
	return errors.Join(a.print(out, func(w io.Writer) { writeEnforced(w, enforced) }), err)
}

// writeApplied writes the outcomes that changed something.
func writeApplied(w io.Writer, done []applied) {
	for _, x := range done {
		switch {
		case x.Result == nil:
		case x.Removed:
			fmt.Fprintf(w, "tenant %s removed (position %d)\n", x.Tenant, x.Result.Position)
		default:
			fmt.Fprintf(w, "tenant %s applied (position %d)\n", x.Tenant, x.Result.Position)
		}
	}
}

// apply applies the plan of one tenant.
func (c *applyCmd) apply(ctx context.Context, a *app, p *planned) (api.Result, error) {
	policy := &p.policy
	if p.removes {
		policy = nil
	}
	result, err := a.client.ApplyPlan(ctx, p.reply, policy, api.CommandMeta{ID: api.NewCommandID(), Reason: c.Reason})
	if err != nil && !p.removes {
		err = p.refused(err)
	}
	if api.Unclear(err) {
		return result, fmt.Errorf("the outcome is not known, plan again: %w", err)
	}
	if e, ok := errors.AsType[*api.Error](err); ok && (e.Code == api.CodeConflict || e.Code == api.CodeExists) {
		return result, fmt.Errorf("%w: plan again", err)
	}
	return result, err
}

type exportCmd struct {
	Tenant string `arg:"" optional:"" help:"The tenant."`
	All    bool   `help:"All tenants, one file each; needs --output."`
	Output string `short:"o" help:"The directory for TENANT.toml, created if missing; - is standard output." default:"-" placeholder:"DIR"`
	atFlag
}

// Help is the command's help.
func (*exportCmd) Help() string {
	return `It writes a policy file for apply. If the file is applied to the same tenant before anything else changes, it changes nothing. The same state always gives the same bytes.

Examples:

    policyctl export acme > acme.toml
    policyctl export acme --at 2026-11-01 | policyctl plan -f -
    policyctl export --all -o policies/`
}

// Run exports tenants.
func (c *exportCmd) Run(ctx context.Context, a *app) error {
	switch {
	case c.All == (c.Tenant != ""):
		return usagef("give a tenant, or --all")
	case c.All && c.Output == "-":
		return usagef("--all writes one file a tenant: give a directory with --output")
	case c.All && c.At != "":
		return usagef("--at shows one tenant only: name it instead of --all")
	}
	ids := []string{c.Tenant}
	if c.All {
		list, err := allTenants(ctx, a)
		if err != nil {
			return err
		}
		ids = tenantIDs(list)
	}
	for _, id := range ids {
		if err := c.export(ctx, a, id); err != nil {
			return err
		}
	}
	return nil
}

// export writes one tenant. It writes a file completely or not at all.
func (c *exportCmd) export(ctx context.Context, a *app, id string) error {
	p, err := c.then(a).Policy(ctx, id)
	if err != nil {
		return err
	}
	change, err := overapi.ApplyTenant(p.Policy)
	if err != nil {
		return fmt.Errorf("read the policy of tenant %s: %w", id, err)
	}
	text := policyfile.Write(id, change, p.SuspendedByOperator...)
	if c.Output == "-" {
		if a.json {
			return a.print(p, nil)
		}
		_, err := a.out.Write(text)
		return err
	}
	if err := os.MkdirAll(c.Output, 0o755); err != nil {
		return err
	}
	return writeWhole(filepath.Join(c.Output, id+".toml"), text, true)
}
