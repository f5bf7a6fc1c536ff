// Package events is everything that can have happened, as Go types.
//
// A command writes one Commit: an ordered list of events, all or nothing.
// Commits are numbered by Position, dense from 1. Events hold prepared forms
// only (addresses, domains), so that whoever folds them compares bytes.
// The package is pure: it encodes and decodes (events.proto is the schema) and
// knows nothing of where commits are kept.
package events

import "time"

// A Position is a commit's number in the log: dense, from 1. Zero is "before
// everything".
type Position uint64

// A Commit is what one command wrote.
type Commit struct {
	Position Position
	// Tenant is the tenant the commit belongs to; empty for what concerns the
	// whole installation.
	Tenant string
	// TenantVersion counts the tenant's commits, dense from 1.
	TenantVersion uint64
	Time          time.Time // UTC, microseconds
	// Actor is who gave the command, such as "operator:root".
	Actor string
	// CommandID is the command's own id, unique within the tenant; the same
	// id given again is answered with the first result.
	CommandID string
	// Reason is the actor's own words, possibly empty.
	Reason string
	// Previous is the hash of the commit before this one (zeros at position
	// 1); it chains the log.
	Previous [32]byte
	Events   []Event
	// CommandHash tells whether a command with the same id is the same command;
	// zeros in a commit from before there was one. What it is made of is its
	// maker's to say.
	CommandHash CommandHash
}

// A CommandHash is the first half of a SHA-256.
type CommandHash [16]byte

// An Event is one thing that has happened. The set is closed: an event type
// this version does not know stops the reader, because a View that skipped
// something must not decide.
type Event interface{ event() }

// Security says how a gateway reaches a backend.
type Security uint8

// The ways to reach a backend (RFC 6120 section 5, XEP-0368).
const (
	SecurityNone     Security = iota // plain, for loopback and private networks
	SecurityStartTLS                 // STARTTLS, certificate verified
	SecurityTLS                      // direct TLS, certificate verified
)

var securityNames = names{SecurityNone: "none", SecurityStartTLS: "starttls", SecurityTLS: "tls"}

func (s Security) String() string { return securityNames.of(uint8(s)) }

// Valid reports whether this version knows the value.
func (s Security) Valid() bool { return securityNames.valid(uint8(s)) }

// A Backend is one address of a domain's own XMPP server.
type Backend struct {
	Address  string // host:port
	Security Security
	// Proxy: gateways send it a PROXY protocol header (version 2) with the
	// client's address, before anything else.
	Proxy bool
}

// The events; SettingsChanged is in settings.go. Every list keeps the order of
// the command.
type (
	// TenantCreated is always the first event of a tenant.
	TenantCreated struct{ Name string }
	// TenantRenamed changes the display name.
	TenantRenamed struct{ Name string }
	// TenantSuspended ends all sessions and admits none.
	TenantSuspended struct{}
	// TenantResumed undoes TenantSuspended.
	TenantResumed struct{}
	// TenantRemoved frees the tenant's domains and services; its id is never
	// used again.
	TenantRemoved struct{}
	// CeilingSet replaces the ceiling: what no role of the tenant can give.
	CeilingSet struct{ Permissions []string }
	// TenantLimitsSet replaces the limits of the tenant, all of them.
	TenantLimitsSet struct {
		// MaxSessions is how many sessions the tenant may have at each gateway;
		// 0: as many as there is room for.
		MaxSessions uint64
	}

	// DomainAdded gives the tenant an XMPP host. DefaultRole is never empty.
	DomainAdded struct {
		Domain      string
		DefaultRole string
		Backends    []Backend
	}
	// DomainBackendsSet replaces a domain's backends, tried in order.
	DomainBackendsSet struct {
		Domain   string
		Backends []Backend
	}
	// DomainDefaultRoleSet ends the sessions of members without a role of
	// their own in that domain.
	DomainDefaultRoleSet struct{ Domain, Role string }
	// DomainSuspended ends the domain's sessions and admits none. ByOperator
	// is set when an operator did it, whom it takes to undo it; it may follow
	// one without.
	DomainSuspended struct {
		Domain     string
		ByOperator bool
	}
	// DomainResumed undoes DomainSuspended, whoever did it.
	DomainResumed struct{ Domain string }
	// DomainRemoved ends the domain's sessions and removes its members.
	DomainRemoved struct{ Domain string }

	// ServiceAdded declares a component domain, such as a MUC service, local
	// to the tenant.
	ServiceAdded struct{ Service string }
	// ServiceRemoved makes it remote again.
	ServiceRemoved struct{ Service string }

	// RoleDefined creates or replaces a custom role.
	RoleDefined struct {
		Name     string
		Inherits []string
		Allow    []string
		Deny     []string
	}
	// RoleRemoved removes a custom role nothing uses.
	RoleRemoved struct{ Name string }
	// BuiltinRoleAdjusted replaces what the tenant adds to and removes from a
	// built-in role (remove beats add).
	BuiltinRoleAdjusted struct {
		Name   string
		Add    []string
		Remove []string
	}

	// MemberRolesSet replaces a member's roles. An empty Role means the
	// domain's default role.
	MemberRolesSet struct {
		JID       string // prepared bare JID
		Role      string
		Secondary []string
	}
	// MemberRemoved forgets the member's roles and ends its sessions.
	MemberRemoved struct{ JID string }
	// MemberSuspended ends the member's sessions and admits none. ByOperator
	// is as in DomainSuspended.
	MemberSuspended struct {
		JID        string
		ByOperator bool
	}
	// MemberResumed undoes MemberSuspended, whoever did it.
	MemberResumed struct{ JID string }
	// MemberSessionsEnded ends the member's sessions, once.
	MemberSessionsEnded struct{ JID string }
)

func (TenantCreated) event()        {}
func (TenantRenamed) event()        {}
func (TenantSuspended) event()      {}
func (TenantResumed) event()        {}
func (TenantRemoved) event()        {}
func (SettingsChanged) event()      {}
func (CeilingSet) event()           {}
func (DomainAdded) event()          {}
func (DomainBackendsSet) event()    {}
func (DomainDefaultRoleSet) event() {}
func (DomainSuspended) event()      {}
func (DomainResumed) event()        {}
func (DomainRemoved) event()        {}
func (ServiceAdded) event()         {}
func (ServiceRemoved) event()       {}
func (RoleDefined) event()          {}
func (RoleRemoved) event()          {}
func (BuiltinRoleAdjusted) event()  {}
func (MemberRolesSet) event()       {}
func (MemberRemoved) event()        {}
func (MemberSuspended) event()      {}
func (MemberResumed) event()        {}
func (MemberSessionsEnded) event()  {}
func (TokenCreated) event()         {}
func (TokenRevoked) event()         {}
func (SharedServiceAdded) event()   {}
func (SharedServiceRemoved) event() {}
func (TenantLimitsSet) event()      {}
