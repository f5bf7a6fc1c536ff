package api

import (
	"time"
)

// What reads are answered with. Lists are never null; positions are those of
// the View the answer was taken from.

// A TenantSummary is one tenant in a list.
type TenantSummary struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Version   uint64 `json:"version"`
	Suspended bool   `json:"suspended"`
	Domains   int    `json:"domains"`
	Services  int    `json:"services"`
	Members   int    `json:"members"`
}

// A TenantList is one page of the tenants, by id.
type TenantList struct {
	Position uint64          `json:"position"`
	Tenants  []TenantSummary `json:"tenants"`
	// Next, where set, is what the next page is asked for after.
	Next string `json:"next,omitempty"`
}

// A Tenant is one tenant with what belongs to it, but for its members.
type Tenant struct {
	AsOf
	Position uint64 `json:"position"`
	TenantSummary
	Ceiling     []string             `json:"ceiling"`
	MaxSessions uint64               `json:"max_sessions,omitempty"` // at each gateway; absent: no limit
	Settings    `openapi:"required"` // all of them
	DomainList  []Domain             `json:"domain_list"`
	ServiceList []string             `json:"service_list"`
	CustomRoles []string             `json:"custom_roles"`
}

// A Backend is one address of a domain's own server.
type Backend struct {
	Address  string `json:"address"`
	Security string `json:"security"` // how a gateway secures the connection
	// Proxy has gateways send a PROXY protocol header (version 2) with the
	// client's address before anything else.
	Proxy bool `json:"proxy,omitempty"`
}

// A Domain is one XMPP host of a tenant.
type Domain struct {
	Domain      string    `json:"domain"`
	DefaultRole string    `json:"default_role"`
	Backends    []Backend `json:"backends"`
	Suspended   bool      `json:"suspended"`
	// SuspendedByOperator is set where only an operator may resume it.
	SuspendedByOperator bool `json:"suspended_by_operator"`
	Members             int  `json:"members"`
}

// A DomainList is a tenant's domains, by name.
type DomainList struct {
	AsOf
	Position uint64   `json:"position"`
	Tenant   string   `json:"tenant"`
	Domains  []Domain `json:"domains"`
}

// A DomainReply is one domain.
type DomainReply struct {
	AsOf
	Position uint64 `json:"position"`
	Tenant   string `json:"tenant"`
	Domain
}

// A ServiceList is a tenant's services, by name.
type ServiceList struct {
	AsOf
	Position uint64   `json:"position"`
	Tenant   string   `json:"tenant"`
	Services []string `json:"services"`
	// SharedServices are the installation's: they count as the tenant's own
	// when an address is judged.
	SharedServices []string `json:"shared_services"`
}

// A Role is one role of a tenant.
type Role struct {
	Role    string `json:"role"`
	Builtin bool   `json:"builtin"`
	// Inherits, Allow and Deny define a custom role.
	Inherits []string `json:"inherits"`
	Allow    []string `json:"allow"`
	Deny     []string `json:"deny"`
	// Add and Remove are what the tenant changed of a built-in role.
	Add    []string `json:"add"`
	Remove []string `json:"remove"`
	// Effective is what the role gives in the end, under the ceiling: names of
	// the catalogue, in its order.
	Effective []string `json:"effective"`
	// The number of roles, domains and members that refer to it.
	UsedByRoles   int `json:"used_by_roles"`
	UsedByDomains int `json:"used_by_domains"`
	UsedByMembers int `json:"used_by_members"`
}

// A RoleList is a tenant's roles: the built-in ones from the least to the
// most, then its own by name.
type RoleList struct {
	AsOf
	Position uint64 `json:"position"`
	Tenant   string `json:"tenant"`
	Roles    []Role `json:"roles"`
}

// A RoleReply is one role.
type RoleReply struct {
	AsOf
	Position uint64 `json:"position"`
	Tenant   string `json:"tenant"`
	Role
}

// A Member is one account of which the tenant said something.
type Member struct {
	JID string `json:"jid"`
	// Role is its own role; empty: the default role of its domain.
	Role string `json:"role,omitempty"`
	// ActsAs is the role it has in the end.
	ActsAs    string   `json:"acts_as"`
	Secondary []string `json:"secondary"`
	Suspended bool     `json:"suspended"`
	// SuspendedByOperator is set where only an operator may resume it.
	SuspendedByOperator bool `json:"suspended_by_operator"`
}

// A MemberList is one page of a tenant's members, by address.
type MemberList struct {
	AsOf
	Position uint64   `json:"position"`
	Tenant   string   `json:"tenant"`
	Members  []Member `json:"members"`
	Next     string   `json:"next,omitempty"`
}

// A MemberReply is what is known of one account of a tenant's domain. An
// account nothing was said about is answered too, with Listed false: it has
// its domain's default role.
type MemberReply struct {
	AsOf
	Position      uint64 `json:"position"`
	Tenant        string `json:"tenant"`
	TenantVersion uint64 `json:"tenant_version"`
	Member
	Listed bool `json:"listed"`
	// BarredBy says what of "tenant", "domain" and "member" is suspended.
	BarredBy []string `json:"barred_by"`
	// BarredByOperator is what of BarredBy only an operator may resume.
	BarredByOperator []string `json:"barred_by_operator"`
	// EndedAt is the newest position that ended sessions of this account.
	EndedAt uint64 `json:"ended_at"`
	// Permissions are those of the catalogue, in its order, and others its
	// roles speak of: whether it has them, and why.
	Permissions []Permission `json:"permissions"`
}

// A Step is one place the look-up of a permission came to; the last decides.
type Step struct {
	// Role is the role asked; empty for the ceiling and for "nobody".
	Role  string `json:"role,omitempty"`
	Depth int    `json:"depth"`
	// Answer is silent, gives, adds, removes, allows, denies, ceiling or nobody.
	Answer string `json:"answer"`
}

// A Permission is one permission of an account and why it has it or not.
type Permission struct {
	Permission string `json:"permission"`
	Granted    bool   `json:"granted"`
	Steps      []Step `json:"steps"`
}

// An Owner says whose a domain is.
type Owner struct {
	Position uint64 `json:"position"`
	Domain   string `json:"domain"`
	// Tenant is empty for a shared service, which is the installation's.
	Tenant string `json:"tenant"`
	Kind   string `json:"kind"` // domain, service, shared service
}

// A LogEntry is one commit.
type LogEntry struct {
	Position      uint64     `json:"position"`
	Tenant        string     `json:"tenant,omitempty"`
	TenantVersion uint64     `json:"tenant_version,omitempty"`
	Time          time.Time  `json:"time"`
	Actor         string     `json:"actor"`
	CommandID     string     `json:"command_id"`
	Reason        string     `json:"reason,omitempty"`
	Events        []LogEvent `json:"events"`
}

// A LogEvent is one event of a commit. What is in words, for people; programs
// go by Type and the fields, of which each type has those its lines below
// name. A type that is not among them is of a newer version.
//
//	tenant_created, tenant_renamed        display_name
//	tenant_suspended, tenant_resumed, tenant_removed
//	settings_changed                      all settings of the tenant
//	ceiling_set                           permissions (none: nothing is denied)
//	tenant_limits_set                     max_sessions (absent: no limit)
//	domain_added                          domain, role (its default role), backends
//	domain_backends_set                   domain, backends
//	domain_default_role_set               domain, role
//	domain_suspended                      domain, by_operator
//	domain_resumed, domain_removed        domain
//	service_added, service_removed        service
//	shared_service_added, shared_service_removed
//	                                      service
//	role_defined                          role, inherits, allow, deny
//	role_removed                          role
//	builtin_role_adjusted                 role, add, remove
//	member_roles_set                      jid, role (absent: the domain's default role), secondary
//	member_suspended                      jid, by_operator
//	member_removed, member_resumed, member_sessions_ended
//	                                      jid
type LogEvent struct {
	Type string `json:"type"`
	What string `json:"what"` // in words, one line

	DisplayName string `json:"display_name,omitempty"`
	Settings
	Permissions []string  `json:"permissions,omitempty"`
	MaxSessions uint64    `json:"max_sessions,omitempty"`
	Domain      string    `json:"domain,omitempty"`
	Backends    []Backend `json:"backends,omitempty"`
	Service     string    `json:"service,omitempty"`
	JID         string    `json:"jid,omitempty"`
	Role        string    `json:"role,omitempty"`
	Secondary   []string  `json:"secondary,omitempty"`
	Inherits    []string  `json:"inherits,omitempty"`
	Allow       []string  `json:"allow,omitempty"`
	Deny        []string  `json:"deny,omitempty"`
	Add         []string  `json:"add,omitempty"`
	Remove      []string  `json:"remove,omitempty"`
	ByOperator  bool      `json:"by_operator,omitempty"` // only an operator may resume it
}

// A LogTail is a page of the log, oldest first.
type LogTail struct {
	Position uint64 `json:"position"`
	// LogID names the log: positions of another one mean other commits.
	LogID   string     `json:"log_id,omitempty"`
	Entries []LogEntry `json:"entries"`
	// NextBefore, where set, is what the page of older entries is asked for
	// before. A page looked for one actor's may be empty and have it all the
	// same.
	NextBefore uint64 `json:"next_before,omitempty"`
	// NextAfter, in an answer to after, is what to go on after.
	NextAfter uint64 `json:"next_after,omitempty"`
}

// A Status is how the node is.
type Status struct {
	Position uint64    `json:"position"`
	LogID    string    `json:"log_id"`
	Version  string    `json:"version"`
	Started  time.Time `json:"started"`
	Tenants  int       `json:"tenants"`
	Domains  int       `json:"domains"`
	Members  int       `json:"members"`
}

// An ExplainRequest asks what would become of a stanza, or whether an account
// has a permission. Exactly one of Stanza and Permission is set.
type ExplainRequest struct {
	// Account is a bare JID of one of the tenant's domains.
	Account  string `json:"account"`
	Resource string `json:"resource,omitempty"`
	// Direction is out (from the client, the default) or in.
	Direction string `json:"direction,omitempty"`
	// Stanza is one stanza, standing alone, default namespace jabber:client.
	Stanza     string `json:"stanza,omitempty"`
	Permission string `json:"permission,omitempty"`
	// Joined and Outstanding are what a session remembers, for the rules that
	// need it.
	Joined      []string  `json:"joined,omitempty"`
	Outstanding []Request `json:"outstanding,omitempty"`
}

// A Request is an iq get or set that has not been answered yet.
type Request struct {
	Peer string `json:"peer"`
	ID   string `json:"id"`
}

// An ExplainReply is the answer, and everything it rests on.
type ExplainReply struct {
	AsOf
	Position  uint64 `json:"position"`
	Tenant    string `json:"tenant"`
	Account   string `json:"account"`
	Role      string `json:"role"`
	RoleIsOwn bool   `json:"role_is_own"`
	// BarredBy says what of "tenant", "domain" and "member" is suspended.
	BarredBy []string `json:"barred_by"`
	// BarredByOperator is what of BarredBy only an operator may resume.
	BarredByOperator []string `json:"barred_by_operator"`
	// Effect is pass, clamp, strip, refuse, drop or end. For a permission it
	// is empty.
	Effect string `json:"effect,omitempty"`
	// Row names the row of the table that applied.
	Row string `json:"row,omitempty"`
	// Permissions is all that is asked for, in the catalogue's order, each
	// with the steps of its look-up.
	Permissions []Permission `json:"permissions"`
	Missing     []string     `json:"missing"`
	// Error is what the one who sent the stanza is answered; nil when nobody is.
	Error *StanzaError `json:"error,omitempty"`
	Text  string       `json:"text,omitempty"`
}

// A StanzaError is a stanza error's type and condition (RFC 6120 section 8.3).
type StanzaError struct {
	Type      string `json:"type"`
	Condition string `json:"condition"`
}
