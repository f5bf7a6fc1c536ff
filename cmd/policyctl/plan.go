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
	"sync"
	"sync/atomic"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/tenants/overapi"
	"github.com/postern-im/postern/tenants/policyfile"
)

const (
	// maxFiles bounds the policy files of a directory.
	maxFiles = 100_000
	// maxFileBytes bounds the size of these files together. Their text stays in
	// memory until the end.
	maxFileBytes = 1 << 30
	// maxBad bounds the errors that are shown of files that cannot be read.
	maxBad = 20
	// planners is the number of policies that are planned concurrently.
	planners = 8
	// maxShown bounds the accounts that are named in a line of text.
	maxShown = 5
)

// A planFlags says which files to plan, and how many details to show.
type planFlags struct {
	File    string `short:"f" required:"" help:"A policy file, or a directory with one per tenant (*.toml except *.test.toml)." placeholder:"FILE|DIR"`
	Prune   bool   `help:"Remove tenants that have no file in the directory. For operators only."`
	Details bool   `short:"v" help:"Show each change, however many tenants change."`
}

type planCmd struct{ planFlags }

// Help is the command's help.
func (*planCmd) Help() string {
	return `It shows what apply would change, and changes nothing. Tenants without a file in the directory are left alone unless --prune is given.

If more than 20 tenants change, it shows a summary; --details shows each change as well. JSON always has all changes.

Exit codes: 0 nothing to change; 3 changes; 1 refused or failed; 2 a file or the command line could not be read.

Examples:

    policyctl plan -f acme.toml
    policyctl plan -f policies/ --prune
    policyctl plan -f policies/ --json`
}

// A planned is the plan for the tenant of one file, or for the removal of a
// tenant without a file.
type planned struct {
	file   string
	text   []byte
	claims policyfile.Claims
	policy api.TenantApply
	notes  []policyfile.Note
	reply  api.PlanReply
	// removes is set if the plan removes the tenant.
	removes bool
}

func (p *planned) changes() bool { return len(p.reply.Changes) > 0 }

// Run shows a plan.
func (c *planCmd) Run(ctx context.Context, a *app) error {
	plans, err := c.plan(ctx, a)
	if err != nil {
		return err
	}
	if err := a.print(replies(plans), func(w io.Writer) { writePlans(w, plans, c.Details) }); err != nil {
		return err
	}
	if slices.ContainsFunc(plans, func(p planned) bool { return p.changes() }) {
		return exitCode(exitChanges)
	}
	return nil
}

// plan plans all files and, with --prune, the removal of tenants without a file.
func (c *planFlags) plan(ctx context.Context, a *app) ([]planned, error) {
	if c.Prune {
		if info, err := os.Stat(c.File); err == nil && !info.IsDir() || c.File == "-" {
			return nil, usagef("--prune removes tenants that have no file in a directory, but %s is not a directory", c.File)
		}
	}
	plans, err := planAll(ctx, a, c.File)
	if err != nil || !c.Prune {
		return plans, err
	}
	removed, err := planRemovals(ctx, a, plans)
	return append(plans, removed...), err
}

func replies(plans []planned) map[string][]api.PlanReply {
	list := []api.PlanReply{}
	for _, p := range plans {
		list = append(list, p.reply)
	}
	return map[string][]api.PlanReply{"plans": list}
}

// policyFiles lists the policy files at a path, sorted: the file itself, or all
// files of the directory.
func policyFiles(path string) ([]string, error) {
	if path == "-" {
		return []string{path}, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		if !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is neither a regular file nor a directory: give -f - to read from a pipe", path)
		}
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".toml" || strings.HasSuffix(e.Name(), casesSuffix) {
			continue
		}
		name := filepath.Join(path, e.Name())
		if !e.Type().IsRegular() {
			return nil, fmt.Errorf("%s is not a regular file: a directory may have its policies in regular files only", name)
		}
		files = append(files, name)
	}
	switch {
	case len(files) == 0:
		return nil, fmt.Errorf("%s has no policy files (*.toml)", path)
	case len(files) > maxFiles:
		return nil, fmt.Errorf("%s has %d policy files: at most %d", path, len(files), maxFiles)
	}
	return files, nil
}

// planAll reads all files. Only if all are valid it asks the node to plan each.
func planAll(ctx context.Context, a *app, path string) ([]planned, error) {
	plans, err := readPolicies(a, path)
	if err != nil {
		return nil, &usageError{err}
	}
	return plans, errors.Join(each(len(plans), func(i int) error {
		p := &plans[i]
		var err error
		if p.reply, err = a.client.Plan(ctx, p.reply.Tenant, p.policy); err != nil {
			return p.refused(err)
		}
		return nil
	})...)
}

// readPolicies reads all files, and checks that no two claim the same tenant,
// domain or service.
func readPolicies(a *app, path string) ([]planned, error) {
	files, err := policyFiles(path)
	if err != nil {
		return nil, err
	}
	plans := make([]planned, len(files))
	var bytes atomic.Int64
	errs := each(len(files), func(i int) error {
		if bytes.Load() > maxFileBytes {
			return nil // reported below
		}
		err := plans[i].read(a, files[i])
		bytes.Add(int64(len(plans[i].text)))
		return err
	})
	if bytes.Load() > maxFileBytes {
		return nil, fmt.Errorf("the policy files of %s have more than %d bytes in all: use several directories", path, maxFileBytes)
	}
	if err := few(errs); err != nil {
		return nil, err
	}
	claims := make([]policyfile.Claims, len(plans))
	for i := range plans {
		claims[i] = plans[i].claims
	}
	return plans, few(policyfile.Clashes(claims))
}

// few joins the first maxBad errors of files, and counts the others.
func few(errs []error) error {
	bad := slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if more := len(bad) - maxBad; more > 0 {
		bad = append(bad[:maxBad:maxBad], fmt.Errorf("and %d more files are wrong", more))
	}
	return errors.Join(bad...)
}

func (p *planned) read(a *app, name string) error {
	text, err := readInput(a, name)
	if err != nil {
		return err
	}
	f, err := parsePolicy(name, text)
	if err != nil {
		return err
	}
	p.file, p.text, p.claims, p.notes = name, text, f.Claims(), f.Warnings
	p.policy, p.reply.Tenant = api.TenantApply(overapi.TenantCreate(f.Create)), f.Tenant
	return nil
}

// refused adds the file, and the lines if possible, to a node's error about the
// policy.
func (p *planned) refused(err error) error {
	f, parseErr := parsePolicy(p.file, p.text) // parsed again for the line numbers: keeping them for all files would cost memory
	if parseErr != nil {
		return fmt.Errorf("%s: %w", p.file, err)
	}
	if located := refused(f, err); located != err {
		return located
	}
	return fmt.Errorf("%s: %w", p.file, err)
}

// each calls do for 0 to n-1, a few calls at a time, and returns the errors in
// that order.
func each(n int, do func(i int) error) []error {
	errs := make([]error, n)
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(n, planners) {
		wg.Go(func() {
			for i := range next {
				errs[i] = do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	return errs
}

func writePlan(w io.Writer, p *planned) {
	r := &p.reply
	at := fmt.Sprintf("at version %d", r.TenantVersion)
	switch {
	case p.removes:
		at += ", without a file"
	case r.TenantVersion == 0:
		at = "new"
	}
	fmt.Fprintf(w, "tenant %s (%s)\n", clean(r.Tenant), at)
	writeChanges(w, r.Changes, r.Effective)
	for _, warning := range located(p.notes, r.Warnings) {
		hang(w, "  ", "warning: "+clean(warning))
	}
	fmt.Fprintln(w)
}

// writeChanges writes the changes and their effect on accounts and sessions.
func writeChanges(w io.Writer, changes []api.PlanChange, f api.Effective) {
	for _, c := range changes {
		hang(w, "  ", c.Op+" "+clean(c.What))
		if c.Was != "" && c.Op == "~" {
			hang(w, "      ", "was: "+clean(c.Was))
		}
	}
	for _, g := range f.Permissions {
		writeGroup(w, accountWords(g.EffectiveAccounts), g)
	}
	for _, g := range f.Secondary {
		writeGroup(w, accountWords(g.EffectiveAccounts)+", by secondary role "+clean(g.Role), g)
	}
	for _, e := range f.Sessions {
		hang(w, "  ", fmt.Sprintf("sessions end (%s): %s", e.Why, accountWords(e.EffectiveAccounts)))
	}
	if f.Incomplete {
		hang(w, "  ", "permissions outside the catalogue are not compared: there are too many")
	}
}

// writeGroup writes the permissions that some accounts gain and lose.
func writeGroup(w io.Writer, who string, g api.EffectiveGroup) {
	hang(w, "  ", who)
	if len(g.Lose) > 0 {
		hang(w, "    ", "lose "+clean(strings.Join(g.Lose, ", ")))
	}
	if len(g.Gain) > 0 {
		hang(w, "    ", "gain "+clean(strings.Join(g.Gain, ", ")))
	}
}

// accountWords names a few accounts and counts the others.
func accountWords(e api.EffectiveAccounts) string {
	var parts []string
	if e.MemberCount > 0 {
		names := strings.Join(e.Members[:min(len(e.Members), maxShown)], ", ")
		if more := e.MemberCount - maxShown; more > 0 {
			names = fmt.Sprintf("%d members (%s and %d more)", e.MemberCount, names, more)
		}
		parts = append(parts, names)
	}
	for i, d := range e.Domains {
		if i == maxShown {
			parts = append(parts, fmt.Sprintf("and of %d more domains", len(e.Domains)-i))
			break
		}
		parts = append(parts, "every other account of "+d)
	}
	return clean(strings.Join(parts, ", "))
}
