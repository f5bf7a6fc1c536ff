package main

import (
	"context"
	"fmt"
	"io"

	"github.com/postern-im/postern/api"
)

type roleCmd struct {
	Define roleDefine `cmd:"" help:"Create or replace a custom role."`
	Adjust roleAdjust `cmd:"" help:"Add permissions to a built-in role or remove them, for one tenant only."`
	List   roleList   `cmd:"" help:"List a tenant's roles."`
	Show   roleShow   `cmd:"" help:"Show a role and its effective permissions."`
	Remove roleRemove `cmd:"" help:"Remove a role that nothing uses."`
}

type roleDefine struct {
	Role     string   `arg:"" help:"The role's name, such as lab:kiosk. Names that begin with prosody: are reserved."`
	Inherits []string `short:"i" help:"A role to inherit from. Of several, the first one that allows or denies a permission decides." placeholder:"ROLE"`
	Allow    []string `short:"a" help:"A permission that the role gives." placeholder:"PERMISSION"`
	Deny     []string `short:"d" help:"A permission that the role does not give, even if it inherits it. Deny beats allow." placeholder:"PERMISSION"`
	namesFlag
	tenantFlag
	change
}

// Help is the command's help.
func (*roleDefine) Help() string {
	return `The new definition replaces the old one completely. It applies from the next stanza of each account that has the role. Sessions stay, unless the account loses xmpp:account:messages:read or xmpp:account:presence:write.

Examples:

    policyctl role define lab:kiosk -t acme --inherits prosody:guest --deny xmpp:account:contacts:write
    policyctl role define mute -t acme -i prosody:registered -d xmpp:account:messages:write,xmpp:federate`
}

// Run defines a role.
func (c *roleDefine) Run(ctx context.Context, a *app) error {
	tenant, err := c.need()
	if err != nil {
		return err
	}
	if err := c.known(c.Allow, c.Deny); err != nil {
		return err
	}
	return c.do(ctx, a, tenant, api.RoleDefine{Role: c.Role, Inherits: c.Inherits, Allow: c.Allow, Deny: c.Deny},
		fmt.Sprintf("role %s of tenant %s defined", c.Role, tenant))
}

type roleAdjust struct {
	Role   string   `arg:"" help:"A built-in role: prosody:guest, prosody:registered, prosody:member, prosody:admin or prosody:operator."`
	Add    []string `help:"A permission that the role gives in addition." placeholder:"PERMISSION"`
	Remove []string `help:"A permission that the role no longer gives. Remove beats add." placeholder:"PERMISSION"`
	Reset  bool     `help:"Undo all additions and removals."`
	namesFlag
	tenantFlag
	change
}

// Help is the command's help.
func (*roleAdjust) Help() string {
	return `The lists replace all earlier additions and removals.

Examples:

    policyctl role adjust prosody:registered -t acme --remove xmpp:federate
    policyctl role adjust prosody:registered -t acme --reset`
}

// Run adjusts a built-in role.
func (c *roleAdjust) Run(ctx context.Context, a *app) error {
	if c.Reset == (len(c.Add)+len(c.Remove) > 0) {
		return usagef("give permissions to --add or to --remove, or give --reset")
	}
	tenant, err := c.need()
	if err != nil {
		return err
	}
	if err := c.known(c.Add, c.Remove); err != nil {
		return err
	}
	return c.do(ctx, a, tenant, api.RoleAdjust{Role: c.Role, Add: c.Add, Remove: c.Remove},
		fmt.Sprintf("role %s adjusted for tenant %s", c.Role, tenant))
}

type roleList struct {
	tenantFlag
	atFlag
}

// Help is the command's help.
func (*roleList) Help() string {
	return `GIVES counts the effective permissions: those that the role gives in the end, with inheritance and the tenant's ceiling. MEMBERS counts the accounts that have it, DOMAINS the domains whose default role it is. "+1 -2" after a built-in role says that this tenant has added one permission and removed two.

Example:

    policyctl role list -t acme`
}

// Run lists a tenant's roles.
func (c *roleList) Run(ctx context.Context, a *app) error {
	tenant, err := c.need()
	if err != nil {
		return err
	}
	list, err := c.then(a).Roles(ctx, tenant)
	if err != nil {
		return err
	}
	return a.print(list, func(w io.Writer) {
		t := &table{}
		t.add("ROLE", "KIND", "INHERITS", "GIVES", "MEMBERS", "DOMAINS")
		for _, r := range list.Roles {
			kind := "own"
			if r.Builtin {
				kind = "built-in"
				if n := len(r.Add) + len(r.Remove); n > 0 {
					kind = fmt.Sprintf("built-in, +%d -%d", len(r.Add), len(r.Remove))
				}
			}
			t.add(r.Role, kind, orNone(r.Inherits), number(len(r.Effective)), number(r.UsedByMembers), number(r.UsedByDomains))
		}
		t.write(w)
		writeAsOf(w, list.AsOf)
	})
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

type roleShow struct {
	Role string `arg:"" help:"The role."`
	tenantFlag
	atFlag
}

// Help is the command's help.
func (*roleShow) Help() string {
	return `Example:

    policyctl role show lab:kiosk -t acme
    policyctl role show lab:kiosk -t acme --at 2d`
}

// Run shows a role.
func (c *roleShow) Run(ctx context.Context, a *app) error {
	tenant, err := c.need()
	if err != nil {
		return err
	}
	r, err := c.then(a).Role(ctx, tenant, c.Role)
	if err != nil {
		return err
	}
	return a.print(r, func(w io.Writer) {
		t := &table{}
		t.add("role", fmt.Sprintf("%s of tenant %s", r.Role.Role, r.Tenant))
		t.add("inherits", orNone(r.Inherits))
		if r.Builtin {
			t.add("kind", "built-in")
			t.add("added", orNone(r.Add))
			t.add("removed", orNone(r.Remove))
		} else {
			t.add("kind", "the tenant's own")
			t.add("allows", orNone(r.Allow))
			t.add("denies", orNone(r.Deny))
		}
		t.add("used by", fmt.Sprintf("%s, %s (as default), %s",
			plural(r.UsedByMembers, "member"), plural(r.UsedByDomains, "domain"), plural(r.UsedByRoles, "role")))
		t.add("at position", asOf(r.Position, r.AsOf))
		t.write(w)
		writeEffective(w, r.Effective)
	})
}

func writeEffective(w io.Writer, names []string) {
	if len(names) == 0 {
		fmt.Fprintln(w, "\nIt gives no permissions.")
		return
	}
	fmt.Fprintf(w, "\neffective permissions (%d):\n", len(names))
	for _, name := range names {
		fmt.Fprintf(w, "  %s\n", clean(name))
	}
}

type roleRemove struct {
	Role string `arg:"" help:"The role."`
	consent
	tenantFlag
	change
}

// Help is the command's help.
func (*roleRemove) Help() string {
	return `Example:

    policyctl role remove lab:kiosk -t acme --yes`
}

// Run removes a role.
func (c *roleRemove) Run(ctx context.Context, a *app) error {
	tenant, err := c.need()
	if err != nil {
		return err
	}
	if err := c.given(ctx, a, fmt.Sprintf("this removes the role %s of tenant %s", c.Role, tenant), ""); err != nil {
		return err
	}
	return c.do(ctx, a, tenant, api.RoleRemove{Role: c.Role}, fmt.Sprintf("role %s removed from tenant %s", c.Role, tenant))
}
