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

// A change is what every command that changes something takes.
type change struct {
	Reason    string `help:"Why, in your words; kept in the log." placeholder:"TEXT"`
	CommandID string `name:"command-id" help:"The command's id; the same id again gives the first result. Made up when absent." placeholder:"ID"`

	// ifVersion, where not zero, is the version the tenant must have.
	ifVersion uint64
	// file is the policy file the command comes of, if it does: the node does
	// not know the lines of what it says.
	file *policyfile.File
}

// A namesFlag is what every command takes that is given permissions.
type namesFlag struct {
	AllowUnknown bool `help:"Take names that begin with xmpp: and are none of Postern's permissions; nothing asks for them."`
}

// known refuses permissions that claim to be Postern's and are none: denied,
// they would take nothing away.
func (f *namesFlag) known(lists ...[]string) error {
	for _, name := range slices.Concat(lists...) {
		if !f.AllowUnknown && permission.Misspelt(name) {
			return usagef("%s; say --allow-unknown if it is meant", policyfile.UnknownPermission(name))
		}
	}
	return nil
}

// A tenantFlag says whose roles, members, … are meant.
type tenantFlag struct {
	Tenant string `short:"t" help:"The tenant." env:"POSTERN_TENANT" placeholder:"ID"`
}

// need gives the tenant where nothing else tells which.
func (f *tenantFlag) need() (string, error) {
	if f.Tenant == "" {
		return "", usagef("which tenant? Give --tenant ID, or set POSTERN_TENANT")
	}
	return f.Tenant, nil
}

// of gives the tenant, or looks up who owns the domain.
func (f *tenantFlag) of(ctx context.Context, a *app, domain string) (string, error) {
	if f.Tenant != "" {
		return f.Tenant, nil
	}
	owner, err := a.client.Owner(ctx, domain)
	if e, ok := errors.AsType[*api.Error](err); ok && e.Code == api.CodeForbidden {
		// A tenant's token may not ask whose a domain is, and need not.
		if self, failed := a.client.Self(ctx); failed == nil && self.Tenant != "" {
			return self.Tenant, nil
		}
	}
	if err != nil {
		return "", err
	}
	if owner.Tenant == "" {
		return "", usagef("%s is a %s of the installation and belongs to no tenant: say --shared if it is meant", domain, owner.Kind)
	}
	return owner.Tenant, nil
}

// ofAccount is of for an account's domain. It gives the address prepared.
func (f *tenantFlag) ofAccount(ctx context.Context, a *app, address string) (tenant, bare string, err error) {
	if bare, err = jid.Bare(address); err != nil {
		return "", "", notAnAccount(address, err)
	}
	_, domain, _ := strings.Cut(bare, "@")
	tenant, err = f.of(ctx, a, domain)
	return tenant, bare, err
}

// An ownedChange is what every command takes that changes a domain or an account.
// Its tenant is the one that has the domain, unless it is named.
type ownedChange struct {
	tenantFlag
	change
}

// doFor gives a command about a domain, as do does.
func (c *ownedChange) doFor(ctx context.Context, a *app, domain string, cmd api.Command, done string, notes ...string) error {
	tenant, err := c.of(ctx, a, domain)
	if err != nil {
		return err
	}
	return c.do(ctx, a, tenant, cmd, done, notes...)
}

// doForAccount gives the command that cmd makes of the prepared address of an
// account. done has a %s where the address goes.
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

// meta goes with the command. An id is made where none was given, so that it can
// be told when the outcome is unclear.
func (c *change) meta() api.CommandMeta {
	return api.CommandMeta{ID: cmp.Or(c.CommandID, api.NewCommandID()), Reason: c.Reason, IfVersion: c.ifVersion}
}

// do gives a command and prints what came of it. done says in words what is
// so now; notes are warnings of the command line's own.
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
	return a.print(result, func(w io.Writer) {
		if !result.Changed {
			fmt.Fprintf(w, "nothing to change: it is so already (position %d)\n", result.Position)
			return
		}
		fmt.Fprintf(w, "%s (position %d)\n", clean(done), result.Position)
	})
}

// located gives a file's warnings, and those of the node's that are not among
// them.
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
