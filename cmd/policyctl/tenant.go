package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/tenants/overapi"
)

type tenantCmd struct {
	Create      tenantCreate      `cmd:"" help:"Create a tenant, empty or from a policy file."`
	List        tenantList        `cmd:"" help:"List the tenants."`
	Show        tenantShow        `cmd:"" help:"Show one tenant."`
	Rename      tenantRename      `cmd:"" help:"Change the name shown to people."`
	SetCeiling  tenantSetCeiling  `cmd:"" help:"Set the permissions that no role of the tenant can give."`
	SetLimits   tenantSetLimits   `cmd:"" help:"Set how many sessions the tenant may have. For operators only."`
	SetPresence tenantSetPresence `cmd:"" help:"Set what happens to the presence of accounts that may not receive messages."`
	SetAudit    tenantSetAudit    `cmd:"" help:"Set how much of each address the audit log contains."`
	Suspend     tenantSuspend     `cmd:"" help:"End all sessions of the tenant and admit no new ones."`
	Resume      tenantResume      `cmd:"" help:"Undo suspend."`
	Remove      tenantRemove      `cmd:"" help:"Remove a tenant and everything that belongs to it, for good."`
}

type tenantCreate struct {
	ID   string `arg:"" optional:"" name:"id" help:"The tenant's id: at most 32 of a-z, 0-9 and -. With --file it is optional, and must be the id in the file."`
	Name string `help:"The name shown to people; the id if omitted." placeholder:"TEXT"`
	File string `short:"f" help:"A policy file with the tenant's domains, services, roles and members. All are created in one commit. - is standard input." placeholder:"FILE"`
	change
}

// Help is the command's help.
func (*tenantCreate) Help() string {
	return `Examples:

    policyctl tenant create acme --name "ACME Ltd"
    policyctl tenant create -f acme.toml
    policyctl tenant create acme -f - < acme.toml`
}

// Run creates a tenant.
func (c *tenantCreate) Run(ctx context.Context, a *app) error {
	cmd := api.TenantCreate{}
	if c.File != "" {
		text, err := readInput(a, c.File)
		if err != nil {
			return err
		}
		if c.file, err = parsePolicy(c.File, text); err != nil {
			return err
		}
		if c.ID != "" && c.ID != c.file.Tenant {
			return usagef("%s is the policy of tenant %q, not of %q", c.File, c.file.Tenant, c.ID)
		}
		c.ID, cmd = c.file.Tenant, overapi.TenantCreate(c.file.Create)
	}
	if c.ID == "" {
		return usagef("which tenant? Give its id, or a policy file with --file")
	}
	if c.Name != "" {
		cmd.DisplayName = c.Name
	}
	var notes []string
	for _, d := range cmd.Domains {
		notes = append(notes, bindingNotes(d.Domain, d.Backends)...)
	}
	if len(cmd.Domains) > 0 {
		notes = append(notes, boundaryNotes...)
	}
	return c.do(ctx, a, c.ID, cmd, fmt.Sprintf("tenant %s created", c.ID), notes...)
}

type tenantList struct{}

// Help is the command's help.
func (*tenantList) Help() string {
	return `Example:

    policyctl tenant list --json | jq -r .tenants[].id`
}

// Run lists the tenants.
func (c *tenantList) Run(ctx context.Context, a *app) error {
	list, err := allTenants(ctx, a)
	if err != nil {
		return err
	}
	return a.print(list, func(w io.Writer) {
		if len(list.Tenants) == 0 {
			fmt.Fprintln(w, "There are no tenants yet. Create one with: policyctl tenant create ID")
			return
		}
		t := &table{}
		t.add("TENANT", "NAME", "DOMAINS", "SERVICES", "MEMBERS", "VERSION", "SUSPENDED")
		for _, x := range list.Tenants {
			t.add(x.ID, x.Name, number(x.Domains), number(x.Services), number(x.Members), number(x.Version), yesNo(x.Suspended))
		}
		t.write(w)
	})
}

// allTenants reads the list of tenants, page by page.
func allTenants(ctx context.Context, a *app) (api.TenantList, error) {
	list, err := a.client.Tenants(ctx, "", 0)
	for err == nil && list.Next != "" {
		var page api.TenantList
		page, err = a.client.Tenants(ctx, list.Next, 0)
		list.Tenants = append(list.Tenants, page.Tenants...)
		list.Position, list.Next = page.Position, page.Next
	}
	return list, err
}

func tenantIDs(list api.TenantList) (ids []string) {
	for _, t := range list.Tenants {
		ids = append(ids, t.ID)
	}
	return ids
}

type tenantShow struct {
	ID string `arg:"" name:"id" help:"The tenant's id."`
	atFlag
}

// Help is the command's help.
func (*tenantShow) Help() string {
	return `Example:

    policyctl tenant show acme
    policyctl tenant show acme --at 42`
}

// Run shows one tenant.
func (c *tenantShow) Run(ctx context.Context, a *app) error {
	t, err := c.then(a).Tenant(ctx, c.ID)
	if err != nil {
		return err
	}
	return a.print(t, func(w io.Writer) {
		facts := &table{}
		facts.add("tenant", t.ID)
		facts.add("name", t.Name)
		facts.add("suspended", yesNo(t.Suspended))
		facts.add("ceiling", orNone(t.Ceiling))
		facts.add("sessions at each gateway", sessionsLimit(t.MaxSessions))
		facts.add("presence without messages:read", t.PresenceWithoutMessages)
		facts.add("addresses in the audit log", t.AuditAddresses)
		facts.add("services", orNone(t.ServiceList))
		facts.add("roles of its own", orNone(t.CustomRoles))
		facts.add("members", strconv.Itoa(t.Members))
		facts.add("version", fmt.Sprintf("%d, at position %s", t.Version, asOf(t.Position, t.AsOf)))
		facts.write(w)
		if len(t.DomainList) > 0 {
			fmt.Fprintln(w)
			writeDomains(w, t.DomainList)
		}
	})
}

type tenantRename struct {
	ID   string `arg:"" name:"id" help:"The tenant's id, which does not change."`
	Name string `arg:"" help:"The new name."`
	change
}

// Help is the command's help.
func (*tenantRename) Help() string {
	return `Example:

    policyctl tenant rename acme "ACME Ltd"`
}

// Run renames a tenant.
func (c *tenantRename) Run(ctx context.Context, a *app) error {
	return c.do(ctx, a, c.ID, api.TenantRename{DisplayName: c.Name}, fmt.Sprintf("tenant %s is called %s", c.ID, c.Name))
}

type tenantSetCeiling struct {
	ID          string   `arg:"" name:"id" help:"The tenant's id."`
	Permissions []string `arg:"" optional:"" name:"permission" help:"A permission that no role of the tenant can give. The list replaces the earlier ceiling."`
	None        bool     `help:"No ceiling."`
	namesFlag
	change
}

// Help is the command's help.
func (*tenantSetCeiling) Help() string {
	return `Examples:

    policyctl tenant set-ceiling acme xmpp:federate
    policyctl tenant set-ceiling acme --none`
}

// Run sets the ceiling.
func (c *tenantSetCeiling) Run(ctx context.Context, a *app) error {
	if c.None == (len(c.Permissions) > 0) {
		return usagef("give the permissions of the ceiling, or --none")
	}
	if err := c.known(c.Permissions); err != nil {
		return err
	}
	done := fmt.Sprintf("no role of tenant %s can give %s", c.ID, strings.Join(c.Permissions, ", "))
	if c.None {
		done = fmt.Sprintf("tenant %s has no ceiling", c.ID)
	}
	return c.do(ctx, a, c.ID, api.TenantSetCeiling{Permissions: nonNil(c.Permissions)}, done)
}

type tenantSetLimits struct {
	ID       string  `arg:"" name:"id" help:"The tenant's id."`
	Sessions *uint64 `required:"" help:"How many sessions the tenant may have at each gateway; 0: no limit." placeholder:"N"`
	change
}

// Help is the command's help.
func (*tenantSetLimits) Help() string {
	return `When a gateway has this many sessions of the tenant, it refuses new ones with resource-constraint. Open sessions stay. In a policy file, the limit is max_sessions. Applying a file without max_sessions removes the limit.

Examples:

    policyctl tenant set-limits acme --sessions 5000
    policyctl tenant set-limits acme --sessions 0`
}

// Run sets the limits.
func (c *tenantSetLimits) Run(ctx context.Context, a *app) error {
	return c.do(ctx, a, c.ID, api.TenantSetLimits{MaxSessions: *c.Sessions},
		fmt.Sprintf("tenant %s: sessions at each gateway: %s", c.ID, sessionsLimit(*c.Sessions)))
}

// sessionsLimit returns a limit of sessions in words.
func sessionsLimit(most uint64) string {
	if most == 0 {
		return "no limit"
	}
	return strconv.FormatUint(most, 10)
}

// nonNil turns nil into an empty list, so that JSON has [] and not null.
func nonNil(list []string) []string { return append([]string{}, list...) }

type tenantSetPresence struct {
	ID   string `arg:"" name:"id" help:"The tenant's id."`
	Mode string `arg:"" enum:"clamp,refuse" help:"clamp: presence is forwarded with priority -1, so that the server sends no messages; refuse: it is answered with an error."`
	change
}

// Help is the command's help.
func (*tenantSetPresence) Help() string {
	return `Example:

    policyctl tenant set-presence acme refuse`
}

// Run sets the presence mode.
func (c *tenantSetPresence) Run(ctx context.Context, a *app) error {
	return c.do(ctx, a, c.ID, api.TenantSetPresence{PresenceWithoutMessages: c.Mode},
		fmt.Sprintf("tenant %s: presence of accounts without xmpp:account:messages:read: %s", c.ID, c.Mode))
}

type tenantSetAudit struct {
	ID        string `arg:"" name:"id" help:"The tenant's id."`
	Addresses string `arg:"" enum:"full,domain,class" help:"full: whole addresses; domain: domains only; class: only own, local or remote."`
	change
}

// Help is the command's help.
func (*tenantSetAudit) Help() string {
	return `Example:

    policyctl tenant set-audit acme domain`
}

// Run sets the audit setting.
func (c *tenantSetAudit) Run(ctx context.Context, a *app) error {
	return c.do(ctx, a, c.ID, api.TenantSetAuditAddresses{AuditAddresses: c.Addresses},
		fmt.Sprintf("tenant %s: addresses in the audit log: %s", c.ID, c.Addresses))
}

type tenantSuspend struct {
	ID string `arg:"" name:"id" help:"The tenant's id."`
	change
}

// Help is the command's help.
func (*tenantSuspend) Help() string {
	return `Nothing is deleted: after resume, clients can connect again.

Example:

    policyctl tenant suspend acme --reason "unpaid"`
}

// Run suspends a tenant.
func (c *tenantSuspend) Run(ctx context.Context, a *app) error {
	return c.do(ctx, a, c.ID, api.TenantSuspend{}, fmt.Sprintf("tenant %s suspended: its sessions end", c.ID))
}

type tenantResume struct {
	ID string `arg:"" name:"id" help:"The tenant's id."`
	change
}

// Help is the command's help.
func (*tenantResume) Help() string {
	return `Example:

    policyctl tenant resume acme`
}

// Run resumes a tenant.
func (c *tenantResume) Run(ctx context.Context, a *app) error {
	return c.do(ctx, a, c.ID, api.TenantResume{}, fmt.Sprintf("tenant %s resumed", c.ID))
}

type tenantRemove struct {
	ID string `arg:"" name:"id" help:"The tenant's id. It is never used again."`
	consent
	change
}

// Help is the command's help.
func (*tenantRemove) Help() string {
	return `On a terminal you confirm by typing the tenant's id. Without a terminal it needs --yes.

Example:

    policyctl tenant remove acme --yes --reason "contract ended"`
}

// Run removes a tenant.
func (c *tenantRemove) Run(ctx context.Context, a *app) error {
	if err := c.given(ctx, a, fmt.Sprintf("this removes tenant %q, its domains, roles and members for good", c.ID), c.ID); err != nil {
		return err
	}
	return c.do(ctx, a, c.ID, api.TenantRemove{}, fmt.Sprintf("tenant %s removed", c.ID))
}
