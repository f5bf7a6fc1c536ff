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
