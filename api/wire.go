package api

import (
	"time"
)

// This file has the answers to read requests. Lists are never null. Position is the
// position of the View that the answer was read from.

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

// A TenantList is one page of the tenants, ordered by id.
type TenantList struct {
	Position uint64          `json:"position"`
	Tenants  []TenantSummary `json:"tenants"`
	// Next is the value of the query parameter after for the next page. It is absent
	// on the last page.
	Next string `json:"next,omitempty"`
}

// A Tenant is one tenant with everything that belongs to it except its members.
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
	// Proxy makes gateways first send a PROXY protocol header (version 2) with the
	// client's address.
	Proxy bool `json:"proxy,omitempty"`
}

// A Domain is one XMPP host of a tenant.
type Domain struct {
	Domain      string    `json:"domain"`
	DefaultRole string    `json:"default_role"`
	Backends    []Backend `json:"backends"`
	Suspended   bool      `json:"suspended"`
	// SuspendedByOperator is set if only an operator may resume the domain.
	SuspendedByOperator bool `json:"suspended_by_operator"`
	Members             int  `json:"members"`
}

// A DomainList is the list of a tenant's domains, ordered by name.
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

// A ServiceList is the list of a tenant's services, ordered by name.
type ServiceList struct {
	AsOf
	Position uint64   `json:"position"`
	Tenant   string   `json:"tenant"`
	Services []string `json:"services"`
	// SharedServices are the services that all tenants share. Decisions treat them
	// like the tenant's own services.
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
	// Add and Remove are the tenant's changes to a built-in role.
	Add    []string `json:"add"`
	Remove []string `json:"remove"`
	// Effective are the permissions that the role finally gives, after inheritance
	// and the ceiling. They are in the order of the catalogue.
	Effective []string `json:"effective"`
	// UsedByRoles, UsedByDomains and UsedByMembers are the numbers of roles, domains
	// and members that refer to the role.
	UsedByRoles   int `json:"used_by_roles"`
	UsedByDomains int `json:"used_by_domains"`
	UsedByMembers int `json:"used_by_members"`
}

// A RoleList is the list of a tenant's roles. The built-in roles come first, from
// the least to the most powerful. The custom roles follow, ordered by name.
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

// A Member is an account that has roles of its own or is suspended.
type Member struct {
	JID string `json:"jid"`
	// Role is the account's own role. Empty means the default role of its domain.
	Role string `json:"role,omitempty"`
	// ActsAs is the account's own role, or else its domain's default role.
	ActsAs    string   `json:"acts_as"`
	Secondary []string `json:"secondary"`
	Suspended bool     `json:"suspended"`
	// SuspendedByOperator is set if only an operator may resume the account.
	SuspendedByOperator bool `json:"suspended_by_operator"`
}

// A MemberList is one page of a tenant's members, ordered by address.
type MemberList struct {
	AsOf
	Position uint64   `json:"position"`
	Tenant   string   `json:"tenant"`
	Members  []Member `json:"members"`
	Next     string   `json:"next,omitempty"`
}

// A MemberReply is the state of one account in a domain of the tenant. An account
// without an entry is answered too: Listed is then false, and the account has its
// domain's default role.
type MemberReply struct {
	AsOf
	Position      uint64 `json:"position"`
	Tenant        string `json:"tenant"`
	TenantVersion uint64 `json:"tenant_version"`
	Member
	Listed bool `json:"listed"`
	// BarredBy lists which of "tenant", "domain" and "member" are suspended.
	BarredBy []string `json:"barred_by"`
	// BarredByOperator lists those entries of BarredBy that only an operator may
	// resume.
	BarredByOperator []string `json:"barred_by_operator"`
	// EndedAt is the newest position at which sessions of this account were ended.
	EndedAt uint64 `json:"ended_at"`
	// Permissions are all permissions of the catalogue, in its order, and all others
	// that the account's roles mention. For each, it says whether the account has
	// the permission, and why.
	Permissions []Permission `json:"permissions"`
}

// A Step is one step of the look-up of a permission. The last step decides.
type Step struct {
	// Role is the role that is looked at. It is empty for the ceiling and for
	// "nobody".
	Role  string `json:"role,omitempty"`
	Depth int    `json:"depth"`
	// Answer is silent, gives, adds, removes, allows, denies, ceiling or nobody.
	Answer string `json:"answer"`
}

// A Permission says whether an account has a permission, and why.
type Permission struct {
	Permission string `json:"permission"`
	Granted    bool   `json:"granted"`
	Steps      []Step `json:"steps"`
}

// An Owner says which tenant a domain or service belongs to.
type Owner struct {
	Position uint64 `json:"position"`
	Domain   string `json:"domain"`
	// Tenant is empty for a shared service, which belongs to the installation.
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

// A LogEvent is one event of a commit. The field What is a description for people;
// programs should use Type and the other fields. The list below has the fields of
// each type. A type that is not in the list is from a newer version.
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
//	gateway_added                         gateway, public_key
//	gateway_removed                       gateway
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
	ByOperator  bool      `json:"by_operator,omitempty"` // only an operator may resume the domain or account
	Gateway     string    `json:"gateway,omitempty"`     // the gateway's id
	PublicKey   string    `json:"public_key,omitempty"`  // of the gateway's nkey
}

// A LogTail is a page of the log, oldest entry first.
type LogTail struct {
	Position uint64 `json:"position"`
	// LogID identifies the log. In another log the same positions mean other
	// commits.
	LogID   string     `json:"log_id,omitempty"`
	Entries []LogEntry `json:"entries"`
	// NextBefore is the value of the query parameter before for the next page, which
	// has older entries. It is absent if there are none. If the query selects an
	// actor, a page may be empty although older pages are not.
	NextBefore uint64 `json:"next_before,omitempty"`
	// NextAfter is the value of the query parameter after for the next page. It is
	// set only in an answer to a query with after.
	NextAfter uint64 `json:"next_after,omitempty"`
}

// A Status is the state of the node.
type Status struct {
	Position uint64    `json:"position"`
	LogID    string    `json:"log_id"`
	Version  string    `json:"version"`
	Started  time.Time `json:"started"`
	Tenants  int       `json:"tenants"`
	Domains  int       `json:"domains"`
	Members  int       `json:"members"`
}

// An ExplainRequest asks how a stanza would be decided, or whether an account has a
// permission. Exactly one of Stanza and Permission must be set.
type ExplainRequest struct {
	// Account is a bare JID of one of the tenant's domains.
	Account  string `json:"account"`
	Resource string `json:"resource,omitempty"`
	// Direction is out (from the client, the default) or in (to the client).
	Direction string `json:"direction,omitempty"`
	// Stanza is one complete stanza. Its default namespace is jabber:client.
	Stanza     string `json:"stanza,omitempty"`
	Permission string `json:"permission,omitempty"`
	// Joined are the addresses to which the session has sent directed presence, and
	// Outstanding are its unanswered requests. Some rules depend on them.
	Joined      []string  `json:"joined,omitempty"`
	Outstanding []Request `json:"outstanding,omitempty"`
}

// A Request is an iq get or set that was not answered yet.
type Request struct {
	Peer string `json:"peer"`
	ID   string `json:"id"`
}

// An ExplainReply is the answer to an ExplainRequest, with all its reasons.
type ExplainReply struct {
	AsOf
	Position  uint64 `json:"position"`
	Tenant    string `json:"tenant"`
	Account   string `json:"account"`
	Role      string `json:"role"`
	RoleIsOwn bool   `json:"role_is_own"`
	// BarredBy lists which of "tenant", "domain" and "member" are suspended.
	BarredBy []string `json:"barred_by"`
	// BarredByOperator lists those entries of BarredBy that only an operator may
	// resume.
	BarredByOperator []string `json:"barred_by_operator"`
	// Effect is pass, clamp, strip, refuse, drop or end. It is empty in an answer
	// about a permission.
	Effect string `json:"effect,omitempty"`
	// Row is the name of the row in the table of stanzas that applied.
	Row string `json:"row,omitempty"`
	// Permissions are all required permissions, in the order of the catalogue, each
	// with the steps of its look-up.
	Permissions []Permission `json:"permissions"`
	Missing     []string     `json:"missing"`
	// Error is the stanza error that the sender receives. It is absent if the sender
	// receives none.
	Error *StanzaError `json:"error,omitempty"`
	Text  string       `json:"text,omitempty"`
}

// A StanzaError is the type and condition of a stanza error (RFC 6120 section 8.3).
type StanzaError struct {
	Type      string `json:"type"`
	Condition string `json:"condition"`
}
