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
//
// A new event is a type with the methods below, in the file of its noun, a case
// of decodeBody, and a field of events.proto's Event.
type Event interface {
	// encode appends the event, as the field of Event that has its number.
	encode(out []byte) []byte
	describe() string // see Describe
	subject() Subject // see SubjectOf
	effects() Effects // see EffectsOf
}

// SubjectOf returns the thing that an event is about. Without an event it is
// the zero Subject, which is of no kind.
func SubjectOf(e Event) Subject {
	if e == nil {
		return Subject{}
	}
	return e.subject()
}

// EffectsOf says what an event may change for the accounts it covers.
func EffectsOf(e Event) Effects { return e.effects() }

// A Subject is the thing an event is about.
type Subject struct {
	Kind Kind
	// Name is the name of the domain, service or role, the account's bare JID,
	// or the token's id. It is empty where the Kind is KindTenant.
	Name string
}

// A Kind is a kind of Subject. Each has a file of its events here and in
// package projections, and one of its commands in package tenants.
type Kind uint8

// The kinds of what a tenant has. Those of the installation are in
// installation.go.
const (
	KindTenant  Kind = iota + 1 // the tenant as a whole
	KindDomain                  // covers the domain's accounts
	KindService                 // covers no accounts
	KindRole                    // covers the accounts that have the role, or inherit from it
	KindMember                  // covers one account
)

// Effects are what an event may change for the accounts that its subject
// covers. What an event does change depends on the state it meets.
type Effects uint8

// The effects.
const (
	// ChangesPermissions: what the accounts' roles give, or which roles they
	// have, or whether there are such accounts or roles.
	ChangesPermissions Effects = 1 << iota
	// ChangesAdmission: whether the accounts are let in.
	ChangesAdmission
	// RevokesSessions: whether sessions of the accounts may go on.
	RevokesSessions
)

// Have reports whether any of some effects is among e.
func (e Effects) Have(any Effects) bool { return e&any != 0 }
