// Package events defines every event of a log, as Go types.
//
// A command writes one Commit, an ordered list of events. Either all of its events
// happen or none. Commits are numbered by Position, without gaps from 1. Addresses
// and domains in events are always in their prepared form, so that code that folds
// events compares bytes. The package is pure: it encodes and decodes commits
// (events.proto is the schema) and does not store them.
package events

import "time"

// A Position is a commit's number in the log, without gaps from 1. Zero means
// "before the first commit".
type Position uint64

// A Commit is the record of one command.
type Commit struct {
	Position Position
	// Tenant is the tenant that the commit belongs to. It is empty for a commit of
	// the whole installation.
	Tenant string
	// TenantVersion counts the tenant's commits, without gaps from 1.
	TenantVersion uint64
	Time          time.Time // UTC, microseconds
	// Actor is the caller that gave the command, such as "operator:root".
	Actor string
	// CommandID is the command's id, unique within the tenant. A command with a
	// known id is not carried out again.
	CommandID string
	// Reason is the actor's own explanation. It may be empty.
	Reason string
	// Previous is the hash of the preceding commit, or zeros at position 1. It
	// chains the log.
	Previous [32]byte
	Events   []Event
	// CommandHash shows whether a command with the same id is the same command.
	// The writer of the commit decides which data it hashes. It is zero in a commit
	// of a version that had no CommandHash.
	CommandHash CommandHash
}

// A CommandHash is the first half of a SHA-256.
type CommandHash [16]byte

// An Event is one change of state. The set of event types is closed. A reader
// stops at a type that this version does not know, because a View that skipped an
// event must not decide.
//
// To add an event, write a type with the methods below in the file of its noun.
// Then add a case to decodeBody and a field to Event in events.proto.
type Event interface {
	// encode appends the event as a field of the message Event.
	encode(out []byte) []byte
	describe() string // see Describe
	subject() Subject // see SubjectOf
	effects() Effects // see EffectsOf
}

// SubjectOf returns the subject of an event. For a nil event it returns the zero
// Subject, which has no kind.
func SubjectOf(e Event) Subject {
	if e == nil {
		return Subject{}
	}
	return e.subject()
}

// EffectsOf returns the possible effects of an event on the accounts that its
// subject covers.
func EffectsOf(e Event) Effects { return e.effects() }

// A Subject is the tenant, domain, account or other thing that an event changes.
type Subject struct {
	Kind Kind
	// Name is the name of the domain, service or role, the account's bare JID,
	// or the id of the token or gateway. It is empty if the Kind is KindTenant.
	Name string
}

// A Kind is a kind of Subject. Each kind has one file for its events in this
// package and in package projections, and one file for its commands in package
// tenants.
type Kind uint8

// The kinds of subjects that belong to a tenant. The kinds that belong to the
// installation are in installation.go.
const (
	KindTenant  Kind = iota + 1 // the tenant as a whole
	KindDomain                  // covers the domain's accounts
	KindService                 // covers no accounts
	KindRole                    // covers the accounts that have the role or a role that inherits from it
	KindMember                  // covers one account
)

// Effects are the possible changes by an event for the accounts that its subject
// covers. The actual changes depend on the state before the event.
type Effects uint8

// The effects.
const (
	// ChangesPermissions: the event may change the roles of the accounts, the
	// permissions of these roles, or whether the accounts or roles exist.
	ChangesPermissions Effects = 1 << iota
	// ChangesAdmission: the event may change whether the accounts may log in.
	ChangesAdmission
	// RevokesSessions: the event may end sessions of the accounts.
	RevokesSessions
	// Withdraws: the event may take away a right that no role gives, such as the
	// access of a token or the access to a local service.
	Withdraws
)

// Have reports whether e has at least one of the effects in any.
func (e Effects) Have(any Effects) bool { return e&any != 0 }

// TakesAway reports whether the events of a commit may take a right away: end
// sessions, remove permissions or revoke access. It is false for the creation of a
// tenant, because a new tenant has no sessions.
func TakesAway(list []Event) bool {
	for _, e := range list {
		if _, created := e.(TenantCreated); created {
			return false
		}
		if EffectsOf(e).Have(RevokesSessions | Withdraws) {
			return true
		}
	}
	return false
}
