package main

import (
	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/tenants/policyfile"
)

// tenantFromFile reads a policy file into the command that makes its tenant.
// The warnings name their lines.
func tenantFromFile(name string, text []byte) (tenant string, c api.TenantCreate, warnings []policyfile.Note, err error) {
	if name == "-" {
		name = "standard input"
	}
	f, err := policyfile.Parse(name, text)
	if err != nil {
		return "", c, nil, &usageError{err}
	}
	t := f.Create
	c = api.TenantCreate{DisplayName: t.DisplayName, Ceiling: t.Ceiling, PresenceWithoutMessages: t.Presence.String(), AuditAddresses: t.AuditAddresses.String(), Suspended: t.Suspended}
	for _, d := range t.Domains {
		domain := api.DomainAdd{Domain: d.Domain, DefaultRole: d.DefaultRole, Suspended: d.Suspended}
		for _, b := range d.Backends {
			domain.Backends = append(domain.Backends, api.Backend{Address: b.Address, Security: b.Security.String()})
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
	return f.Tenant, c, f.Warnings, nil
}
