package server

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/tenants/overapi"
	"github.com/postern-im/postern/xmpp/jid"
)

// The default and the maximum size of a page. Each page of members costs a search
// through all members, so pages are large.
const (
	defaultPage = 1000
	maxPage     = 10000
)

// tenantOf returns the tenant of the path.
func tenantOf(r *http.Request, v *projections.View) (*projections.Tenant, error) {
	id := r.PathValue("tenant")
	t := v.Tenant([]byte(id))
	if t == nil {
		return nil, notFound("no tenant %q", id)
	}
	return t, nil
}

// pageOf returns the query parameters of a page.
func pageOf(r *http.Request) (after string, limit int) {
	q := queryOf(r)
	n, _ := q.number("limit")
	return q.text("after"), int(n)
}

func readOwner(r *http.Request, v *projections.View) (any, error) {
	name, err := domainIn(r)
	if err != nil {
		return nil, err
	}
	t, kind := v.Owner([]byte(name))
	if t == nil && v.Installation().Shared([]byte(name)) {
		return api.Owner{Position: uint64(v.Position()), Domain: name, Kind: sharedService}, nil
	}
	if t == nil {
		return nil, notFound("%s belongs to no tenant", name)
	}
	return api.Owner{Position: uint64(v.Position()), Domain: name, Tenant: t.ID(), Kind: kind.String()}, nil
}

func readTenants(r *http.Request, v *projections.View) (any, error) {
	after, limit := pageOf(r)
	list := api.TenantList{Position: uint64(v.Position()), Tenants: []api.TenantSummary{}}
	for t := range v.Tenants() {
		switch {
		case t.ID() <= after && after != "":
		case len(list.Tenants) == limit:
			list.Next = list.Tenants[limit-1].ID
			return list, nil
		default:
			list.Tenants = append(list.Tenants, summaryOf(t))
		}
	}
	return list, nil
}

func summaryOf(t *projections.Tenant) api.TenantSummary {
	return api.TenantSummary{
		ID: t.ID(), Name: t.Name(), Version: t.Version(), Suspended: t.Suspended(),
		Domains: t.DomainCount(), Services: t.ServiceCount(), Members: t.MemberCount(),
	}
}

func readTenant(r *http.Request, v *projections.View, t *projections.Tenant) (any, error) {
	reply := api.Tenant{
		Position:      uint64(v.Position()),
		TenantSummary: summaryOf(t),
		Ceiling:       list(t.Ceiling()),
		MaxSessions:   t.MaxSessions(),
		Settings:      overapi.Settings(t.Settings()),
		DomainList:    domainsOf(t),
		ServiceList:   list(t.Services()),
		CustomRoles:   []string{},
	}
	for role := range t.Roles() {
		if !role.Builtin {
			reply.CustomRoles = append(reply.CustomRoles, role.Name)
		}
	}
	return reply, nil
}

// list copies a list, so that an empty list is [] on the wire and not null.
func list(names []string) []string { return append([]string{}, names...) }

func domainsOf(t *projections.Tenant) []api.Domain {
	domains := []api.Domain{}
	for d := range t.Domains() {
		domains = append(domains, domainFrom(d))
	}
	return domains
}

func domainFrom(d projections.DomainInfo) api.Domain {
	return api.Domain{
		Domain: d.Name, DefaultRole: d.DefaultRole, Suspended: d.Suspended, SuspendedByOperator: d.ByOperator, Members: d.Members,
		Backends: overapi.Backends(d.Backends),
	}
}

func readDomains(r *http.Request, v *projections.View, t *projections.Tenant) (any, error) {
	return api.DomainList{Position: uint64(v.Position()), Tenant: t.ID(), Domains: domainsOf(t)}, nil
}

// domainIn returns the domain of the path, prepared.
func domainIn(r *http.Request) (string, error) {
	name, err := jid.Domain(r.PathValue("domain"))
	if err != nil {
		return "", &api.Error{Code: api.CodeInvalid, Text: fmt.Sprintf("%q is not a domain: %s", r.PathValue("domain"), reasonOf(err))}
	}
	return name, nil
}

// reasonOf returns the reason why package jid refused an address, without the name
// of the package.
func reasonOf(err error) string { return strings.TrimPrefix(err.Error(), "jid: ") }

func readDomain(r *http.Request, v *projections.View, t *projections.Tenant) (any, error) {
	name, err := domainIn(r)
	if err != nil {
		return nil, err
	}
	d, ok := t.Domain([]byte(name))
	if !ok {
		return nil, notFound("tenant %q has no domain %q", t.ID(), name)
	}
	return api.DomainReply{Position: uint64(v.Position()), Tenant: t.ID(), Domain: domainFrom(d)}, nil
}

func readServices(r *http.Request, v *projections.View, t *projections.Tenant) (any, error) {
	return api.ServiceList{Position: uint64(v.Position()), Tenant: t.ID(), Services: list(t.Services()), SharedServices: list(v.Installation().SharedServices())}, nil
}

func readRoles(r *http.Request, v *projections.View, t *projections.Tenant) (any, error) {
	reply := api.RoleList{Position: uint64(v.Position()), Tenant: t.ID(), Roles: []api.Role{}}
	for role := range t.Roles() {
		reply.Roles = append(reply.Roles, roleFrom(t, role))
	}
	return reply, nil
}

func roleFrom(t *projections.Tenant, r projections.Role) api.Role {
	out := api.Role{
		Role: r.Name, Builtin: r.Builtin, Inherits: list(r.Inherits),
		Allow: []string{}, Deny: []string{}, Add: []string{}, Remove: []string{},
		Effective: r.Effective.Names(),
	}
	if r.Builtin {
		out.Add, out.Remove = list(r.Allow), list(r.Deny)
	} else {
		out.Allow, out.Deny = list(r.Allow), list(r.Deny)
	}
	// A role can also give permissions that are not in the catalogue.
	for _, name := range ownNames(t, r.Name) {
		if t.Grants(r.Name, name) {
			out.Effective = append(out.Effective, name)
		}
	}
	out.UsedByRoles, out.UsedByDomains, out.UsedByMembers = t.RoleUses(r.Name)
	return out
}

// ownNames returns the sorted names of all permissions outside the catalogue that a
// role, or a role it inherits from, allows or denies.
func ownNames(t *projections.Tenant, role string) []string {
	var names []string
	seen := map[string]bool{}
	for todo := []string{role}; len(todo) > 0; todo = todo[1:] {
		r, ok := t.Role(todo[0])
		if !ok || seen[r.Name] {
			continue
		}
		seen[r.Name] = true
		todo = append(todo, r.Inherits...)
		for _, name := range slices.Concat(r.Allow, r.Deny) {
			if _, known := permission.ByName(name); !known {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func readRole(r *http.Request, v *projections.View, t *projections.Tenant) (any, error) {
	role, ok := t.Role(r.PathValue("role"))
	if !ok {
		return nil, notFound("tenant %q has no role %q", t.ID(), r.PathValue("role"))
	}
	return api.RoleReply{Position: uint64(v.Position()), Tenant: t.ID(), Role: roleFrom(t, role)}, nil
}

func readMembers(r *http.Request, v *projections.View, t *projections.Tenant) (any, error) {
	after, limit := pageOf(r)
	reply := api.MemberList{Position: uint64(v.Position()), Tenant: t.ID(), Members: []api.Member{}}
	for _, m := range t.MembersAfter(after, limit) {
		reply.Members = append(reply.Members, memberFrom(t, m))
	}
	if len(reply.Members) == limit {
		reply.Next = reply.Members[limit-1].JID
	}
	return reply, nil
}

func memberFrom(t *projections.Tenant, m projections.Member) api.Member {
	out := api.Member{
		JID: m.JID, Role: m.Role, ActsAs: m.Role, Secondary: list(m.Secondary),
		Suspended: m.Suspended, SuspendedByOperator: m.ByOperator,
	}
	if m.Role == "" {
		if access, ok := t.Access([]byte(m.JID), domainOf(m.JID)); ok {
			out.ActsAs = access.Role
		}
	}
	return out
}

// domainOf returns the domainpart of a bare JID.
func domainOf(bare string) []byte {
	_, domain, _ := strings.Cut(bare, "@")
	return []byte(domain)
}

// An account is an address in one of a tenant's domains, with its rights.
type account struct {
	jid        string
	access     projections.Access
	member     projections.Member
	listed     bool     // the tenant has an entry for it
	barredBy   []string // the suspended objects: tenant, domain, member
	byOperator []string // the elements of barredBy that only an operator may resume
}

// bareJID prepares the address of an account.
func bareJID(address string) (string, error) {
	bare, err := jid.Bare(address)
	if err != nil {
		return "", &api.Error{Code: api.CodeInvalid, Text: fmt.Sprintf("%q is not an account's address, such as user@example.org: %s", address, reasonOf(err))}
	}
	return bare, nil
}

// accountOf returns the account of a tenant with an address.
func accountOf(t *projections.Tenant, address string) (account, error) {
	bare, err := bareJID(address)
	if err != nil {
		return account{}, err
	}
	a := account{jid: bare}
	var ok bool
	if a.access, ok = t.Access([]byte(bare), domainOf(bare)); !ok {
		return account{}, notFound("tenant %q has no domain %q", t.ID(), domainOf(bare))
	}
	a.member, a.listed = t.Member(bare)
	a.member.JID = bare
	barred, byOperator := t.Blocks(bare)
	a.barredBy, a.byOperator = list(barred), list(byOperator)
	return a, nil
}

// accountIn returns the account of the path.
func accountIn(r *http.Request, t *projections.Tenant) (account, error) {
	return accountOf(t, r.PathValue("jid"))
}

func readMember(r *http.Request, v *projections.View, t *projections.Tenant) (any, error) {
	a, err := accountIn(r, t)
	if err != nil {
		return nil, err
	}
	reply := api.MemberReply{
		Position: uint64(v.Position()), Tenant: t.ID(), TenantVersion: t.Version(),
		Member: memberFrom(t, a.member), Listed: a.listed,
		BarredBy: a.barredBy, BarredByOperator: a.byOperator, EndedAt: uint64(a.access.RevokedAt), Permissions: []api.Permission{},
	}
	for p := range permission.All() {
		reply.Permissions = append(reply.Permissions, permissionOf(t, a.access.Role, p.Name()))
	}
	for _, name := range ownNames(t, a.access.Role) {
		reply.Permissions = append(reply.Permissions, permissionOf(t, a.access.Role, name))
	}
	return reply, nil
}

// permissionOf looks up one permission in a role and returns every step.
func permissionOf(t *projections.Tenant, role, name string) api.Permission {
	steps := t.Explain(role, name)
	return api.Permission{
		Permission: name, Steps: stepsFrom(steps),
		Granted: len(steps) > 0 && steps[len(steps)-1].Answer.Granted(), // the last step decides
	}
}

func (s *Server) readStatus(r *http.Request, v *projections.View) (any, error) {
	reply := api.Status{Position: uint64(v.Position()), LogID: s.logID, Version: s.version, Started: s.started}
	for t := range v.Tenants() {
		sum := summaryOf(t)
		reply.Tenants++
		reply.Domains += sum.Domains
		reply.Members += sum.Members
	}
	return reply, nil
}
