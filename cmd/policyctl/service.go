package main

import (
	"context"
	"fmt"
	"io"

	"github.com/postern-im/postern/api"
)

type serviceCmd struct {
	Add    serviceAdd    `cmd:"" help:"Declare a component domain as local."`
	List   serviceList   `cmd:"" help:"List a tenant's services."`
	Remove serviceRemove `cmd:"" help:"Remove a service: its domain counts as remote again."`
}

type serviceAdd struct {
	Service string `arg:"" help:"The component's domain."`
	Shared  bool   `help:"Declare a service of the whole installation, local to every tenant. For operators only."`
	tenantFlag
	change
}

// Help is the command's help.
func (*serviceAdd) Help() string {
	return `Stanzas to and from a tenant's service do not ask for xmpp:federate.

With --shared the service belongs to no tenant and is local to all of them. This is for a push or upload service that many tenants use: accounts without xmpp:federate can exchange stanzas with it. All other permissions are asked for as usual. A domain or service of a tenant cannot be shared, and a shared service cannot be added to a tenant.

Examples:

    policyctl service add rooms.alpha.example -t acme
    policyctl service add --shared push.vendor.example --reason "push of the mobile app"`
}

// sharedNote warns the operator who shares a service.
const sharedNote = "accounts of every tenant, also those without xmpp:federate, now exchange stanzas with %s: share only a domain that one operator you trust runs"

// Run declares a service.
func (c *serviceAdd) Run(ctx context.Context, a *app) error {
	if c.Shared {
		return c.do(ctx, a, "", api.SharedServiceAdd{Service: c.Service}, fmt.Sprintf("service %s is shared by all tenants", c.Service), fmt.Sprintf(sharedNote, c.Service))
	}
	tenant, err := c.need()
	if err != nil {
		return err
	}
	return c.do(ctx, a, tenant, api.ServiceAdd{Service: c.Service}, fmt.Sprintf("service %s added to tenant %s", c.Service, tenant))
}

type serviceList struct {
	Shared bool `help:"List the shared services of the installation, which are local to every tenant."`
	tenantFlag
	atFlag
}

// Help is the command's help.
func (*serviceList) Help() string {
	return `Examples:

    policyctl service list -t acme
    policyctl service list --shared`
}

// Run lists a tenant's services, or the installation's.
func (c *serviceList) Run(ctx context.Context, a *app) error {
	if c.Shared {
		return c.shared(ctx, a)
	}
	tenant, err := c.need()
	if err != nil {
		return err
	}
	list, err := c.then(a).Services(ctx, tenant)
	if err != nil {
		return err
	}
	return a.print(list, func(w io.Writer) {
		if len(list.Services) == 0 {
			fmt.Fprintf(w, "Tenant %s has no services of its own.\n", tenant)
		}
		for _, service := range list.Services {
			fmt.Fprintln(w, clean(service))
		}
		for _, service := range list.SharedServices {
			fmt.Fprintln(w, clean(service), "(shared)")
		}
	})
}

// shared lists the services of the installation.
func (c *serviceList) shared(ctx context.Context, a *app) error {
	if c.At != "" {
		return usagef("--at shows one tenant only: name it instead of --shared")
	}
	list, err := a.client.SharedServices(ctx)
	if err != nil {
		return err
	}
	return a.print(list, func(w io.Writer) {
		if len(list.Services) == 0 {
			fmt.Fprintln(w, "There are no shared services.")
		}
		for _, service := range list.Services {
			fmt.Fprintln(w, clean(service))
		}
	})
}

type serviceRemove struct {
	Service string `arg:"" help:"The component's domain."`
	Shared  bool   `help:"Remove a shared service: it becomes remote to every tenant. For operators only."`
	consent
	tenantFlag
	change
}

// Help is the command's help.
func (*serviceRemove) Help() string {
	return `No session ends. The domain counts as remote from the next stanza on.

Examples:

    policyctl service remove rooms.alpha.example --yes
    policyctl service remove --shared push.vendor.example --yes`
}

// Run removes a service.
func (c *serviceRemove) Run(ctx context.Context, a *app) error {
	if c.Shared {
		if err := c.given(ctx, a, fmt.Sprintf("this makes %s remote for all tenants", c.Service), ""); err != nil {
			return err
		}
		return c.do(ctx, a, "", api.SharedServiceRemove{Service: c.Service}, fmt.Sprintf("service %s is not shared any more", c.Service))
	}
	tenant, err := c.of(ctx, a, c.Service)
	if err != nil {
		return err
	}
	if err := c.given(ctx, a, fmt.Sprintf("this makes %s remote for tenant %s", c.Service, tenant), ""); err != nil {
		return err
	}
	return c.do(ctx, a, tenant, api.ServiceRemove{Service: c.Service}, fmt.Sprintf("service %s removed from tenant %s", c.Service, tenant))
}
