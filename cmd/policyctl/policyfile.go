package main

import (
	"errors"
	"fmt"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/tenants/policyfile"
)

// parsePolicy reads a policy file.
func parsePolicy(name string, text []byte) (*policyfile.File, error) {
	if name == "-" {
		name = "standard input"
	}
	f, err := policyfile.Parse(name, text)
	if err != nil {
		return nil, &usageError{err}
	}
	return f, nil
}

// commandOf is the command that makes a file's tenant.
func commandOf(f *policyfile.File) (c api.TenantCreate) {
	t := f.Create
	c = api.TenantCreate{DisplayName: t.DisplayName, Ceiling: t.Ceiling, MaxSessions: t.MaxSessions, PresenceWithoutMessages: t.PresenceWithoutMessages.String(), AuditAddresses: t.AuditAddresses.String(), Suspended: t.Suspended}
	for _, d := range t.Domains {
		domain := api.DomainAdd{Domain: d.Domain, DefaultRole: d.DefaultRole, Suspended: d.Suspended}
		for _, b := range d.Backends {
			domain.Backends = append(domain.Backends, api.Backend{Address: b.Address, Security: b.Security.String(), Proxy: b.Proxy})
		}
		c.Domains = append(c.Domains, domain)
	}
	for _, s := range t.Services {
		c.Services = append(c.Services, s.Service)
	}
	for _, r := range t.BuiltinRoles {
		c.BuiltinRoles = append(c.BuiltinRoles, api.RoleAdjust{Role: r.Role, Add: r.Add, Remove: r.Remove})
	}
	for _, r := range t.Roles {
		c.Roles = append(c.Roles, api.RoleDefine{Role: r.Role, Inherits: r.Inherits, Allow: r.Allow, Deny: r.Deny})
	}
	for _, m := range t.Members {
		c.Members = append(c.Members, api.MemberSet{JID: m.JID, Role: m.Role, Secondary: m.Secondary, Suspended: m.Suspended})
	}
	return c
}

// refused is a node's refusal of a file's command, with the places in the
// file. What is no refusal of anything in the file stays as it is.
func refused(f *policyfile.File, err error) error {
	e, ok := errors.AsType[*api.Error](err)
	if !ok || len(e.Details) == 0 {
		return err
	}
	var refusals []policyfile.Refusal
	for _, d := range e.Details {
		refusals = append(refusals, policyfile.Refusal{Field: d.Field, Text: d.Text})
	}
	return &api.Error{Code: e.Code, Text: fmt.Sprint(f.Refused(refusals)), Details: e.Details}
}
