package main

import (
	"fmt"
	"io"

	"github.com/postern-im/postern/api"
)

type serviceCmd struct {
	Add    serviceAdd    `cmd:"" help:"Declare a component domain, so that it counts as local."`
	List   serviceList   `cmd:"" help:"List a tenant's services."`
	Remove serviceRemove `cmd:"" help:"Take a service back: it counts as remote again."`
}

type serviceAdd struct {
	Service string `arg:"" help:"The component's domain."`
	tenantFlag
	change
}

// Help is the command's help.
func (*serviceAdd) Help() string {
	return `Stanzas to a service of the tenant do not ask for xmpp:federate.

Example:

    policyctl service add rooms.alpha.example -t acme`
}

// Run declares a service.
func (c *serviceAdd) Run(a *app) error {
	tenant, err := c.need()
	if err != nil {
		return err
	}
	return c.do(a, tenant, api.ServiceAdd{Service: c.Service}, fmt.Sprintf("service %s added to tenant %s", c.Service, tenant))
}

type serviceList struct {
	tenantFlag
	atFlag
}

// Help is the command's help.
func (*serviceList) Help() string {
	return `Example:

    policyctl service list -t acme`
}

// Run lists a tenant's services.
func (c *serviceList) Run(a *app) error {
	tenant, err := c.need()
	if err != nil {
		return err
	}
	list, err := c.then(a).Services(a.ctx, tenant)
	if err != nil {
		return err
	}
	return a.print(list, func(w io.Writer) {
		if len(list.Services) == 0 {
			fmt.Fprintf(w, "Tenant %s has no services.\n", tenant)
			return
		}
		for _, service := range list.Services {
			fmt.Fprintln(w, clean(service))
		}
	})
}

type serviceRemove struct {
	Service string `arg:"" help:"The component's domain."`
	consent
	tenantFlag
	change
}

// Help is the command's help.
func (*serviceRemove) Help() string {
	return `Example:

    policyctl service remove rooms.alpha.example --yes`
}

// Run takes a service back.
func (c *serviceRemove) Run(a *app) error {
	tenant, err := c.of(a, c.Service)
	if err != nil {
		return err
	}
	if err := c.given(a, fmt.Sprintf("this makes %s remote for tenant %s", c.Service, tenant), ""); err != nil {
		return err
	}
	return c.do(a, tenant, api.ServiceRemove{Service: c.Service}, fmt.Sprintf("service %s removed from tenant %s", c.Service, tenant))
}
