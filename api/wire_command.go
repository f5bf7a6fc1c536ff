package api

import "encoding/json"

// A Command is what a tenant's path can be told, in its own words. Its name is
// the last part of its address: /v1/tenants/{tenant}/commands/{name}. The set
// is closed.
type Command interface {
	// Command is the command's name, such as "domain.add".
	Command() string
}

// A CommandRequest is the body of a command.
type CommandRequest struct {
	// CommandID is the command's own id; empty makes one.
	CommandID string `json:"command_id,omitempty"`
	// Reason is the actor's own words.
	Reason string `json:"reason,omitempty"`
	// IfVersion, where not zero, is the version the tenant must be at.
	IfVersion uint64 `json:"if_version,omitempty"`
	// IfLog, where given, is the log the version was read from: another one
	// gives its versions to other contents.
	IfLog string `json:"if_log,omitempty"`
	// Args is the command itself; absent for one without arguments.
	Args json.RawMessage `json:"args,omitempty"`
}

// A Result is what a command did.
type Result struct {
	// CommandID is the command's id: the one given, or one made for it.
	CommandID string `json:"command_id"`
	// Changed is false when the state was so already and nothing was written.
	Changed bool `json:"changed"`
	// Position is where the commit stands in the log: what was asked is in
	// force from there on. When nothing changed it is the state's position.
	Position uint64 `json:"position"`
	// TenantVersion is the tenant's version after it.
	TenantVersion uint64 `json:"tenant_version"`
	// Warnings are what the actor should know, in words.
	Warnings []string `json:"warnings"`
}

// The commands on a tenant.
type (
	// TenantCreate makes a tenant, complete, in one commit. Its id is that of
	// the path.
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
		Suspended    *bool        `json:"suspended,omitempty"` // absent: no
	}
	// TenantApply makes a tenant what it says: what it leaves out is removed,
	// or as in a new tenant. Only what is suspended stays so where it says
	// nothing of that, and what an operator suspended whatever anybody else's
	// says: that is refused.
	TenantApply TenantCreate
	// TenantRename changes the display name.
	TenantRename struct {
		DisplayName string `json:"display_name"`
	}
	// TenantSuspend ends all sessions and admits none.
	TenantSuspend struct{}
	// TenantResume undoes it.
	TenantResume struct{}
	// TenantRemove removes a tenant and all that is its own; its id is never
	// used again.
	TenantRemove struct{}
	// TenantSetCeiling replaces what no role of the tenant can give.
	TenantSetCeiling struct {
		Permissions []string `json:"permissions"`
	}
	// TenantSetLimits replaces the limits of the tenant, all of them.
	TenantSetLimits struct {
		// MaxSessions is how many sessions the tenant may have at each gateway;
		// 0: no limit. Sessions that are open stay.
		MaxSessions uint64 `json:"max_sessions"`
	}
)

// The commands on a domain.
type (
	// DomainAdd gives the tenant an XMPP host.
	DomainAdd struct {
		Domain      string    `json:"domain"`
		DefaultRole string    `json:"default_role,omitempty"` // empty: prosody:registered
		Backends    []Backend `json:"backends,omitempty"`
		Suspended   *bool     `json:"suspended,omitempty"` // absent: no
	}
	// DomainSetBackends replaces a domain's backends, tried in order.
	DomainSetBackends struct {
		Domain   string    `json:"domain"`
		Backends []Backend `json:"backends"`
	}
	// DomainSetDefaultRole changes the role of members without one; it ends
	// their sessions.
	DomainSetDefaultRole struct {
		Domain string `json:"domain"`
		Role   string `json:"role"`
	}
	// DomainSuspend ends the domain's sessions and admits none. An operator's
	// binds the tenant, also where it had suspended the domain itself.
	DomainSuspend struct {
		Domain string `json:"domain"`
	}
	// DomainResume undoes it, an operator's only if an operator gives it.
	DomainResume struct {
		Domain string `json:"domain"`
	}
	// DomainRemove removes a domain with its members. Where an operator
	// suspended it, or one of them, only an operator may.
	DomainRemove struct {
		Domain string `json:"domain"`
	}
)

// The commands on a service.
type (
	// ServiceAdd declares a component domain local to the tenant.
	ServiceAdd struct {
		Service string `json:"service"`
	}
	// ServiceRemove makes it remote again.
	ServiceRemove struct {
		Service string `json:"service"`
	}
)

// The commands on a role.
type (
	// RoleDefine makes or replaces a custom role.
	RoleDefine struct {
		Role     string   `json:"role"`
		Inherits []string `json:"inherits,omitempty"`
		Allow    []string `json:"allow,omitempty"`
		Deny     []string `json:"deny,omitempty"`
	}
	// RoleAdjust replaces what the tenant adds to and removes from a built-in
	// role.
	RoleAdjust struct {
		Role   string   `json:"role"`
		Add    []string `json:"add,omitempty"`
		Remove []string `json:"remove,omitempty"`
	}
	// RoleRemove removes a custom role nothing uses.
	RoleRemove struct {
		Role string `json:"role"`
	}
)

// The commands on a member.
type (
	// MemberSet replaces an account's roles: its primary one (empty: its
	// domain's default role) and its secondary ones.
	MemberSet struct {
		JID       string   `json:"jid"`
		Role      string   `json:"role,omitempty"`
		Secondary []string `json:"secondary,omitempty"`
		Suspended *bool    `json:"suspended,omitempty"` // absent: as it is
	}
	// MemberRemove forgets the account's roles and ends its sessions. One that
	// is suspended is refused, for it would be let in again.
	MemberRemove struct {
		JID string `json:"jid"`
	}
	// MemberSuspend ends the account's sessions and admits none. An operator's
	// binds the tenant, also where it had suspended the account itself.
	MemberSuspend struct {
		JID string `json:"jid"`
	}
	// MemberResume undoes it, an operator's only if an operator gives it.
	MemberResume struct {
		JID string `json:"jid"`
	}
	// MemberEndSessions ends the account's sessions, once.
	MemberEndSessions struct {
		JID string `json:"jid"`
	}
)

// Command is the command's name.
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
