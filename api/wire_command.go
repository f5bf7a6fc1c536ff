package api

import "encoding/json"

// A Command is a command with its arguments. Its name is the last part of its path,
// /v1/tenants/{tenant}/commands/{name}. The set of commands is closed.
type Command interface {
	// Command returns the command's name, such as "domain.add".
	Command() string
}

// A CommandRequest is the body of a command.
type CommandRequest struct {
	// CommandID is the command's id. If it is empty, the node makes one.
	CommandID string `json:"command_id,omitempty"`
	// Reason is the actor's own explanation.
	Reason string `json:"reason,omitempty"`
	// IfVersion is the version that the tenant must have. Zero means any version.
	IfVersion uint64 `json:"if_version,omitempty"`
	// IfLog is the id of the log that IfVersion was read from, because the same
	// version means other contents in another log. Empty means any log.
	IfLog string `json:"if_log,omitempty"`
	// Args are the command's arguments. They are absent for a command without
	// arguments.
	Args json.RawMessage `json:"args,omitempty"`
}

// A Result is the result of a command.
type Result struct {
	// CommandID is the command's id, as given or as made by the node.
	CommandID string `json:"command_id"`
	// Changed is false if the state was already as requested, so that nothing was
	// written.
	Changed bool `json:"changed"`
	// Position is the position of the commit in the log. The change applies from
	// this position on. If nothing changed, it is the position of the state.
	Position uint64 `json:"position"`
	// TenantVersion is the tenant's version after the command.
	TenantVersion uint64 `json:"tenant_version"`
	// TakesAway is set if the commit may take a right away, such as a session, a
	// permission or a token. GET /v1/enforced says when that applies everywhere.
	TakesAway bool `json:"takes_away"`
	// Warnings are notes for the actor, as texts.
	Warnings []string `json:"warnings"`
}

// The commands on a tenant.
type (
	// TenantCreate creates a complete tenant in one commit. The tenant's id is in the
	// path.
	TenantCreate struct {
		DisplayName  string       `json:"display_name,omitempty"` // empty: the id
		Ceiling      []string     `json:"ceiling,omitempty"`
		MaxSessions  uint64       `json:"max_sessions,omitempty"` // at each gateway; 0: no limit
		Settings                  // absent: as in a new tenant
		Domains      []DomainAdd  `json:"domains,omitempty"`
		Services     []string     `json:"services,omitempty"`
		Roles        []RoleDefine `json:"roles,omitempty"`
		BuiltinRoles []RoleAdjust `json:"builtin_roles,omitempty"`
		Members      []MemberSet  `json:"members,omitempty"`
		Suspended    *bool        `json:"suspended,omitempty"` // absent: not suspended
	}
	// TenantApply replaces the whole state of a tenant. Everything that is left out
	// is removed or reset to the state of a new tenant. Only suspensions are kept if
	// they are left out. A TenantApply that would resume an operator's suspension is
	// refused, unless an operator sends it.
	TenantApply TenantCreate
	// TenantRename changes the display name.
	TenantRename struct {
		DisplayName string `json:"display_name"`
	}
	// TenantSuspend ends all sessions of the tenant and admits none.
	TenantSuspend struct{}
	// TenantResume undoes TenantSuspend.
	TenantResume struct{}
	// TenantRemove removes a tenant and everything that belongs to it. Its id is
	// never used again.
	TenantRemove struct{}
	// TenantSetCeiling replaces the ceiling: the permissions that no role of the
	// tenant can give.
	TenantSetCeiling struct {
		Permissions []string `json:"permissions"`
	}
	// TenantSetLimits replaces all limits of the tenant.
	TenantSetLimits struct {
		// MaxSessions is how many sessions the tenant may have at each gateway. Zero
		// means no limit. Open sessions are not ended.
		MaxSessions uint64 `json:"max_sessions"`
	}
)

// The commands on a domain.
type (
	// DomainAdd adds an XMPP host to the tenant.
	DomainAdd struct {
		Domain      string    `json:"domain"`
		DefaultRole string    `json:"default_role,omitempty"` // empty: prosody:registered
		Backends    []Backend `json:"backends,omitempty"`
		Suspended   *bool     `json:"suspended,omitempty"` // absent: not suspended
	}
	// DomainSetBackends replaces a domain's backends. Gateways try them in order.
	DomainSetBackends struct {
		Domain   string    `json:"domain"`
		Backends []Backend `json:"backends"`
	}
	// DomainSetDefaultRole changes the domain's default role, which members without
	// a role of their own have. It ends the sessions of these members.
	DomainSetDefaultRole struct {
		Domain string `json:"domain"`
		Role   string `json:"role"`
	}
	// DomainSuspend ends the domain's sessions and admits none. If an operator sends
	// it, the tenant cannot resume the domain, even if the tenant had already
	// suspended the domain itself.
	DomainSuspend struct {
		Domain string `json:"domain"`
	}
	// DomainResume undoes DomainSuspend. Only an operator can undo an operator's
	// suspension.
	DomainResume struct {
		Domain string `json:"domain"`
	}
	// DomainRemove removes a domain with its members. If an operator has suspended
	// the domain or one of its members, only an operator may remove it.
	DomainRemove struct {
		Domain string `json:"domain"`
	}
)

// The commands on a service.
type (
	// ServiceAdd declares that a component domain is local to the tenant.
	ServiceAdd struct {
		Service string `json:"service"`
	}
	// ServiceRemove makes the service remote again.
	ServiceRemove struct {
		Service string `json:"service"`
	}
)

// The commands on a role.
type (
	// RoleDefine creates or replaces a custom role.
	RoleDefine struct {
		Role     string   `json:"role"`
		Inherits []string `json:"inherits,omitempty"`
		Allow    []string `json:"allow,omitempty"`
		Deny     []string `json:"deny,omitempty"`
	}
	// RoleAdjust replaces the tenant's changes to a built-in role.
	RoleAdjust struct {
		Role   string   `json:"role"`
		Add    []string `json:"add,omitempty"`
		Remove []string `json:"remove,omitempty"`
	}
	// RoleRemove removes a custom role that is not in use.
	RoleRemove struct {
		Role string `json:"role"`
	}
)

// The commands on a member.
type (
	// MemberSet replaces an account's role and its secondary roles. An empty role
	// means its domain's default role.
	MemberSet struct {
		JID       string   `json:"jid"`
		Role      string   `json:"role,omitempty"`
		Secondary []string `json:"secondary,omitempty"`
		Suspended *bool    `json:"suspended,omitempty"` // absent: unchanged
	}
	// MemberRemove removes the account's roles and ends its sessions. It is refused
	// for a suspended account, which could otherwise log in again.
	MemberRemove struct {
		JID string `json:"jid"`
	}
	// MemberSuspend ends the account's sessions and admits none. If an operator sends
	// it, the tenant cannot resume the account, even if the tenant had already
	// suspended the account itself.
	MemberSuspend struct {
		JID string `json:"jid"`
	}
	// MemberResume undoes MemberSuspend. Only an operator can undo an operator's
	// suspension.
	MemberResume struct {
		JID string `json:"jid"`
	}
	// MemberEndSessions ends the account's current sessions. New ones are admitted.
	MemberEndSessions struct {
		JID string `json:"jid"`
	}
)

// Command returns the command's name.
func (TenantCreate) Command() string         { return "tenant.create" }
func (TenantApply) Command() string          { return "tenant.apply" }
func (TenantRename) Command() string         { return "tenant.rename" }
func (TenantSuspend) Command() string        { return "tenant.suspend" }
func (TenantResume) Command() string         { return "tenant.resume" }
func (TenantRemove) Command() string         { return "tenant.remove" }
func (TenantSetCeiling) Command() string     { return "tenant.set-ceiling" }
func (TenantSetLimits) Command() string      { return "tenant.set-limits" }
func (DomainAdd) Command() string            { return "domain.add" }
func (DomainSetBackends) Command() string    { return "domain.set-backends" }
func (DomainSetDefaultRole) Command() string { return "domain.set-default-role" }
func (DomainSuspend) Command() string        { return "domain.suspend" }
func (DomainResume) Command() string         { return "domain.resume" }
func (DomainRemove) Command() string         { return "domain.remove" }
func (ServiceAdd) Command() string           { return "service.add" }
func (ServiceRemove) Command() string        { return "service.remove" }
func (RoleDefine) Command() string           { return "role.define" }
func (RoleAdjust) Command() string           { return "role.adjust" }
func (RoleRemove) Command() string           { return "role.remove" }
func (MemberSet) Command() string            { return "member.set-role" }
func (MemberRemove) Command() string         { return "member.remove" }
func (MemberSuspend) Command() string        { return "member.suspend" }
func (MemberResume) Command() string         { return "member.resume" }
func (MemberEndSessions) Command() string    { return "member.end-sessions" }
