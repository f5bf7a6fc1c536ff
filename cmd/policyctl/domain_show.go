package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/xmpp/jid"
)

type domainShow struct {
	Domain string `arg:"" help:"The domain or service."`
}

// Help is the command's help.
func (*domainShow) Help() string {
	return `It shows the tenant that a domain or service belongs to, and the settings of a domain. With a tenant's token it shows the tenant's own names and shared services only; another tenant's name is not found, as if nobody had it.

Example:

    policyctl domain show alpha.example`
}

// A domainShown is the answer, in JSON.
type domainShown struct {
	api.Owner
	// Details are the settings of a domain; a service has none.
	Details *api.Domain `json:"details,omitempty"`
}

// Run shows the owner of a domain.
func (c *domainShow) Run(ctx context.Context, a *app) error {
	name, err := jid.Domain(c.Domain)
	if err != nil {
		return usagef("%q is not a domain: %v", c.Domain, err)
	}
	shown, err := c.look(ctx, a, name)
	if err != nil {
		return err
	}
	return a.print(shown, func(w io.Writer) { writeOwner(w, &shown) })
}

// look asks the node for the owner. Only operators may ask that; for other
// callers it searches the domains and services of their own tenant.
func (c *domainShow) look(ctx context.Context, a *app, name string) (domainShown, error) {
	owner, err := a.client.Owner(ctx, name)
	if e, ok := errors.AsType[*api.Error](err); ok && e.Code == api.CodeForbidden {
		return c.own(ctx, a, name)
	}
	shown := domainShown{Owner: owner}
	if err != nil || owner.Kind != "domain" {
		return shown, err
	}
	reply, err := a.client.Domain(ctx, owner.Tenant, name)
	shown.Details = &reply.Domain
	return shown, err
}

// own searches the caller's own domains and services, and the shared services.
func (c *domainShow) own(ctx context.Context, a *app, name string) (domainShown, error) {
	self, err := a.client.Self(ctx)
	if err != nil {
		return domainShown{}, err
	}
	shown := domainShown{Owner: api.Owner{Domain: name, Tenant: self.Tenant}}
	reply, err := a.client.Domain(ctx, self.Tenant, name)
	if err == nil {
		shown.Position, shown.Kind, shown.Details = reply.Position, "domain", &reply.Domain
		return shown, nil
	}
	if e, ok := errors.AsType[*api.Error](err); !ok || e.Code != api.CodeNotFound {
		return shown, err
	}
	services, err := a.client.Services(ctx, self.Tenant)
	if err != nil {
		return shown, err
	}
	shown.Position = services.Position
	for _, s := range services.Services {
		if s == name {
			shown.Kind = "service"
			return shown, nil
		}
	}
	for _, s := range services.SharedServices {
		if s == name {
			shown.Tenant, shown.Kind = "", "shared service"
			return shown, nil
		}
	}
	return shown, &api.Error{Code: api.CodeNotFound, Text: fmt.Sprintf("%s is not a domain or service of tenant %s", name, self.Tenant)}
}

func writeOwner(w io.Writer, s *domainShown) {
	t := &table{}
	t.add("domain", s.Domain)
	t.add("is a", s.Kind)
	if s.Tenant == "" {
		t.add("tenant", "none: it is local to every tenant")
	} else {
		t.add("tenant", s.Tenant)
	}
	if d := s.Details; d != nil {
		t.add("default role", d.DefaultRole)
		t.add("members", number(d.Members))
		t.add("suspended", suspendedWords(d.Suspended, d.SuspendedByOperator))
		t.add("backends", backendWords(d.Backends))
	}
	t.write(w)
}
