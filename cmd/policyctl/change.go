package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/tenants/policyfile"
	"github.com/postern-im/postern/xmpp/jid"
)

// A change has the flags of every command that changes something.
type change struct {
	Reason string `help:"The reason, in your own words; kept in the log." placeholder:"TEXT"`
	waitFlag
	CommandID string `name:"command-id" help:"An id for this command. A command repeated with the same id is not carried out again: it gets the first result. Generated if omitted." placeholder:"ID"`

	// ifVersion, if not zero, is the version that the tenant must have.
	ifVersion uint64
	// file is the policy file that the command was made from, or nil. It adds
	// line numbers to the node's errors, because the node does not know them.
	file *policyfile.File
}

// A namesFlag is the flag of every command that takes names of permissions.
type namesFlag struct {
	AllowUnknown bool `help:"Allow names that begin with xmpp: although Postern has no such permission. No stanza asks for them."`
}

// known refuses misspelt names of Postern's permissions. Without this check, a
// misspelt name in a deny list would silently take nothing away.
func (f *namesFlag) known(lists ...[]string) error {
	for _, name := range slices.Concat(lists...) {
		if !f.AllowUnknown && permission.Misspelt(name) {
			return usagef("%s; give --allow-unknown if you mean this name", policyfile.UnknownPermission(name))
		}
	}
	return nil
}

// A tenantFlag names the tenant that a command is about.
type tenantFlag struct {
	Tenant string `short:"t" help:"The tenant." env:"POSTERN_TENANT" placeholder:"ID"`
}

// need returns the tenant that was named, or an error. It is for commands without
// a domain from which the tenant could be found.
func (f *tenantFlag) need() (string, error) {
	if f.Tenant == "" {
		return "", usagef("which tenant? Give --tenant ID, or set POSTERN_TENANT")
	}
	return f.Tenant, nil
}

// of returns the tenant that was named or, if none was, the owner of the domain.
func (f *tenantFlag) of(ctx context.Context, a *app, domain string) (string, error) {
	if f.Tenant != "" {
		return f.Tenant, nil
	}
	owner, err := a.client.Owner(ctx, domain)
	if e, ok := errors.AsType[*api.Error](err); ok && e.Code == api.CodeForbidden {
		// A tenant's token may not ask for the owner of a domain. It does not
		// need to: its own tenant is the only one that it may change.
		if self, failed := a.client.Self(ctx); failed == nil && self.Tenant != "" {
			return self.Tenant, nil
		}
	}
	if err != nil {
		return "", err
	}
	if owner.Tenant == "" {
		return "", usagef("%s is a %s of the installation and belongs to no tenant: give --shared to change it", domain, owner.Kind)
	}
	return owner.Tenant, nil
}

// ofAccount does the same as of, for the domain of an account. It also returns
// the bare JID of the account, prepared as RFC 7622 requires.
func (f *tenantFlag) ofAccount(ctx context.Context, a *app, address string) (tenant, bare string, err error) {
	if bare, err = jid.Bare(address); err != nil {
		return "", "", notAnAccount(address, err)
	}
	_, domain, _ := strings.Cut(bare, "@")
	tenant, err = f.of(ctx, a, domain)
	return tenant, bare, err
}

// An ownedChange has the flags of every command that changes a domain or an
// account. If no tenant is named, it is the owner of the domain.
type ownedChange struct {
	tenantFlag
	change
}

// doFor is do for a command about a domain.
func (c *ownedChange) doFor(ctx context.Context, a *app, domain string, cmd api.Command, done string, notes ...string) error {
	tenant, err := c.of(ctx, a, domain)
	if err != nil {
		return err
	}
	return c.do(ctx, a, tenant, cmd, done, notes...)
}

// doForAccount is do for a command about an account. cmd makes the command from
// the account's prepared address. done has a %s in place of the address.
func (c *ownedChange) doForAccount(ctx context.Context, a *app, address string, cmd func(jid string) api.Command, done string) error {
	tenant, bare, err := c.ofAccount(ctx, a, address)
	if err != nil {
		return err
	}
	return c.do(ctx, a, tenant, cmd(bare), fmt.Sprintf(done, bare))
}

func notAnAccount(address string, err error) error {
	return usagef("%q is not an account's address, such as user@example.org: %s", address, strings.TrimPrefix(err.Error(), "jid: "))
}

// meta returns the id, reason and condition of the command. If no id was given,
// it generates one, so that the user can repeat the command with this id when the
// outcome is unclear.
func (c *change) meta() api.CommandMeta {
	return api.CommandMeta{ID: cmp.Or(c.CommandID, api.NewCommandID()), Reason: c.Reason, IfVersion: c.ifVersion}
}

// do sends a command to the node, prints the result, and waits until the change is
// enforced if that is wanted. done describes the new state in words. notes are
// warnings that policyctl itself adds.
func (c *change) do(ctx context.Context, a *app, tenant string, cmd api.Command, done string, notes ...string) error {
	meta := c.meta()
	result, err := a.client.Do(ctx, tenant, cmd, meta)
	if err != nil && c.file != nil {
		err = refused(c.file, err)
	}
	if err != nil {
		return c.unclear(meta.ID, err)
	}
	if c.file != nil {
		result.Warnings = located(c.file.Warnings, result.Warnings)
	}
	if result.Changed {
		result.Warnings = append(result.Warnings, notes...)
	}
	if !a.json {
		for _, warning := range result.Warnings {
			a.warn(warning)
		}
	}
	// The user learns at once that the change is made. JSON is one value at the end.
	if !a.json {
		if err := a.print(nil, func(w io.Writer) { writeResult(w, result, done) }); err != nil {
			return err
		}
	}
	enforced, err := c.enforce(ctx, a, result.Position, result.TakesAway)
	return errors.Join(a.print(changed{result, enforced}, func(w io.Writer) { writeEnforced(w, enforced) }), err)
}

// writeResult writes the result of a command. done describes the new state in words.
func writeResult(w io.Writer, result api.Result, done string) {
	if !result.Changed {
		fmt.Fprintf(w, "nothing to change: this is the state already (position %d)\n", result.Position)
		return
	}
	fmt.Fprintf(w, "%s (position %d)\n", clean(done), result.Position)
}

// located returns the warnings of a policy file, with their lines, and then the
// node's warnings except those that the file has already.
func located(file []policyfile.Note, warnings []string) []string {
	all := []string{}
	for _, note := range file {
		all = append(all, note.String())
	}
	for _, w := range warnings {
		if !slices.ContainsFunc(file, func(n policyfile.Note) bool { return n.Text == w }) {
			all = append(all, w)
		}
	}
	return all
}

// unclear adds the command's id to an error that leaves open whether the
// change was made, so that it can be repeated safely.
func (c *change) unclear(id string, err error) error {
	if !api.Unclear(err) {
		return err
	}
	var dial *net.OpError
	if c.CommandID != "" || errors.As(err, &dial) && dial.Op == "dial" {
		return err // the id is known, or nothing was sent
	}
	return fmt.Errorf("%w (command id %s)", err, id)
}
