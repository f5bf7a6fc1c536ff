// Package overapi translates commands between their form in package tenants and
// their form on the wire of the admin API. It holds every translation for
// which a conversion of one struct to another is not enough. For example, a value
// of an enum is a number in tenants and a name on the wire.
//
// It promises that translating a command and translating it back gives the same
// command. It checks only that the names of values are known; package tenants
// checks the rest.
package overapi

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/tenants"
)

// CreateTenant reads the command that creates a tenant. The error is an
// *api.Error that names the field.
func CreateTenant(c api.TenantCreate) (tenants.CreateTenant, error) {
	out := tenants.CreateTenant{DisplayName: c.DisplayName, Ceiling: c.Ceiling, MaxSessions: c.MaxSessions, Suspended: c.Suspended}
	var err error
	if out.Settings, err = settings(c.Settings); err != nil {
		return out, err
	}
	for i, d := range c.Domains {
		domain, err := addDomain(fmt.Sprintf("domains[%d].", i), d)
		if err != nil {
			return out, err
		}
		out.Domains = append(out.Domains, domain)
	}
	for _, s := range c.Services {
		out.Services = append(out.Services, tenants.AddService{Service: s})
	}
	for _, r := range c.Roles {
		out.Roles = append(out.Roles, tenants.DefineRole(r))
	}
	for _, r := range c.BuiltinRoles {
		out.BuiltinRoles = append(out.BuiltinRoles, tenants.AdjustRole(r))
	}
	for _, m := range c.Members {
		out.Members = append(out.Members, tenants.SetMemberRoles(m))
	}
	return out, nil
}

// TenantCreate writes the command that creates a tenant, the inverse of
// CreateTenant.
func TenantCreate(c tenants.CreateTenant) api.TenantCreate {
	out := api.TenantCreate{
		DisplayName: c.DisplayName, Ceiling: c.Ceiling, MaxSessions: c.MaxSessions, Suspended: c.Suspended,
		Settings: Settings(c.Settings),
	}
	for _, d := range c.Domains {
		out.Domains = append(out.Domains, api.DomainAdd{
			Domain: d.Domain, DefaultRole: d.DefaultRole, Backends: Backends(d.Backends), Suspended: d.Suspended,
		})
	}
	for _, s := range c.Services {
		out.Services = append(out.Services, s.Service)
	}
	for _, r := range c.Roles {
		out.Roles = append(out.Roles, api.RoleDefine(r))
	}
	for _, r := range c.BuiltinRoles {
		out.BuiltinRoles = append(out.BuiltinRoles, api.RoleAdjust(r))
	}
	for _, m := range c.Members {
		out.Members = append(out.Members, api.MemberSet(m))
	}
	return out
}

// ApplyTenant reads the command that applies a policy to a tenant.
func ApplyTenant(c api.TenantApply) (tenants.ApplyTenant, error) {
	change, err := CreateTenant(api.TenantCreate(c))
	return tenants.ApplyTenant(change), err
}

// AddDomain reads the command that adds a domain.
func AddDomain(c api.DomainAdd) (tenants.AddDomain, error) { return addDomain("", c) }

// addDomain reads a domain. at is put before the names of fields in errors.
func addDomain(at string, c api.DomainAdd) (tenants.AddDomain, error) {
	backends, err := backends(at, c.Backends)
	return tenants.AddDomain{Domain: c.Domain, DefaultRole: c.DefaultRole, Backends: backends, Suspended: c.Suspended}, err
}

// SetDomainBackends reads the command that replaces a domain's backends.
func SetDomainBackends(c api.DomainSetBackends) (tenants.SetDomainBackends, error) {
	backends, err := backends("", c.Backends)
	return tenants.SetDomainBackends{Domain: c.Domain, Backends: backends}, err
}

func backends(at string, list []api.Backend) ([]events.Backend, error) {
	var out []events.Backend
	for i, b := range list {
		security, err := parse[events.Security](fmt.Sprintf("%sbackends[%d].security", at, i), b.Security)
		if err != nil {
			return nil, err
		}
		out = append(out, events.Backend{Address: b.Address, Security: security, Proxy: b.Proxy})
	}
	return out, nil
}

// Backends writes the backends of a domain. The list is never nil.
func Backends(list []events.Backend) []api.Backend {
	out := make([]api.Backend, 0, len(list))
	for _, b := range list {
		out = append(out, api.Backend{Address: b.Address, Security: b.Security.String(), Proxy: b.Proxy})
	}
	return out
}

// CreateToken reads the command that creates a token.
func CreateToken(c api.TokenCreate) (tenants.CreateToken, error) {
	out := tenants.CreateToken{ID: c.ID, Label: c.Label, Tenant: c.Tenant, Expires: c.Expires}
	var err error
	if out.Scope, err = parse[events.TokenScope]("scope", c.Scope); err != nil {
		return out, err
	}
	sum, err := hex.DecodeString(c.Hash)
	if err != nil || len(sum) != len(out.Hash) {
		return out, invalid("hash", fmt.Sprintf("the hash must be %d bytes in hex", len(out.Hash)))
	}
	copy(out.Hash[:], sum)
	return out, nil
}

// parse returns the value with a name.
func parse[E events.Enum](field, name string) (E, error) {
	v, ok := events.Parse[E](name)
	if !ok {
		return v, unknownName(field, name, events.Names[E]())
	}
	return v, nil
}

// unknownName refuses a name that no value of a field has. names lists the names
// of the known values.
func unknownName(field, name string, names []string) error {
	return invalid(field, fmt.Sprintf("%s %q: give one of %s", field, name, strings.Join(names, ", ")))
}

// invalid refuses the value of a field.
func invalid(field, text string) error {
	return &api.Error{Code: api.CodeInvalid, Text: text, Details: []api.Detail{{Code: api.CodeInvalid, Field: field, Text: text}}}
}
