// Package audit defines the records of the audit log and their encoding. A Record
// is one decision of a policy node, one call of its admin API, or one fact that only
// a gateway knows. An Entry holds the records of one tenant that were written
// together. It is one leaf of the log's Merkle tree.
//
// A record never has the text of a client's stanza. It has the reduced question
// (see decision.Facts), which is everything that the rules read. So a replay can
// judge it again.
//
// A person can be erased from the log, and the tree stays verifiable: an entry has
// numbers instead of names, and the names are stored outside the tree. The entry that
// uses a number first has the salted hash of its name. Package audit is pure.
package audit

import (
	"fmt"
	"time"

	"github.com/postern-im/postern/decision"
)

// A Kind is the kind of a Record. The numbers are part of the format: append new
// kinds, never reorder.
type Kind uint8

// The kinds of records.
const (
	VerdictKind   Kind = iota + 1 // the verdict on a stanza
	AdmissionKind                 // a client's domain was looked up
	OpeningKind                   // a session may begin, or may not
	ClosingKind                   // a session has ended
	LoginKind                     // logins were refused by the server or the gateway
	OutageKind                    // a gateway had no answer of a node
	CallKind                      // a call of the admin API
	MarkKind                      // a note about the log itself
	numKinds
)

var kindNames = [numKinds]string{
	VerdictKind: "verdict", AdmissionKind: "admission", OpeningKind: "opening", ClosingKind: "closing",
	LoginKind: "login", OutageKind: "outage", CallKind: "call", MarkKind: "mark",
}

// String returns the name of the kind.
func (k Kind) String() string {
	if k == 0 || k >= numKinds {
		return fmt.Sprintf("kind %d", uint8(k))
	}
	return kindNames[k]
}

// A NameKind says what a name names. It is part of the name's hash.
type NameKind uint8

// The kinds of names.
const (
	JIDName     NameKind = iota + 1 // an address, or a domain
	NetworkName                     // an IP address, or a process of this machine
	ActorName                       // the actor of an admin call
	TextName                        // text that may name a person: a reason, a path
	numNameKinds
)

// A Name is a text that may name a person. The zero Name is no name.
type Name struct {
	Kind NameKind
	Text []byte
}

// A Group is the records of one batch. They were decided from one state of one log.
type Group struct {
	At       time.Time
	LogID    string
	Position uint64
	// Table and Describer are the versions of the stanza table and of the
	// description of stanzas.
	Table, Describer uint64
	Records          []Record
}

// A Record is one record. Its byte slices are views.
type Record struct {
	Kind   Kind
	Tenant []byte // empty: the installation
	// Session is set in records of a session: verdicts, openings and closings.
	Session Session
	// Of a verdict: the gateway's number of the question, the Judged question and its
	// answer in encoded form (see AppendJudged), and the other entity, as far as the
	// tenant's setting audit_addresses allows.
	Question uint64
	Judged   []byte
	Peer     Name
	// Body has the fields of every other kind.
	Body Body

	// Set by readers: when the record was written, and from which state.
	Time             time.Time
	LogID            []byte
	Position         uint64
	Table, Describer uint64
}

// Check returns an error if a Builder cannot add r.
func (r *Record) Check() error {
	switch {
	case r.Kind == VerdictKind && len(r.Judged) > 0 && r.Body == nil:
	case r.Kind != VerdictKind && r.Body != nil && r.Body.kind() == r.Kind && r.Judged == nil:
	default:
		return fmt.Errorf("a record of kind %v with the fields of another kind", r.Kind)
	}
	if len(r.Peer.Text) > 0 && r.Peer.Kind != JIDName {
		return fmt.Errorf("a record of kind %v with a peer that is not an address", r.Kind)
	}
	for _, t := range [...][]byte{r.Tenant, r.Session.ID, r.Session.Account, r.Session.Grant, r.Session.Gateway, r.Judged, r.Peer.Text} {
		if len(t) > maxText {
			return fmt.Errorf("a record of kind %v with a text of %d bytes", r.Kind, len(t))
		}
	}
	return nil
}

// A Session is the session of a record.
type Session struct {
	ID, Account, Grant, Gateway []byte
	Opened                      uint64
	// Foreign: the session was opened under another log, so the node had to end it.
	Foreign bool
}

// A Judged is a reduced question with its answer.
type Judged struct {
	Facts      decision.Facts
	Effect     decision.Effect
	Reason     decision.Reason
	Permission string // the first missing permission, or empty
}

// AppendJudged appends the encoding of a reduced question and its answer.
func AppendJudged(dst []byte, f *decision.Facts, v *decision.Verdict) []byte {
	w := decision.Verdict{Effect: v.Effect, Reason: v.Reason, Permission: v.Permission}
	return decision.AppendVerdict(decision.AppendFacts(dst, f), &w)
}

// DecodeJudged decodes b, which AppendJudged has made, into j.
func DecodeJudged(b []byte, j *Judged) error {
	rest, err := decision.DecodeFacts(b, &j.Facts)
	if err != nil {
		return fmt.Errorf("a judged question: %w", err)
	}
	v := decision.Verdict{Permission: j.Permission}
	rest, err = decision.DecodeVerdict(rest, &v)
	switch {
	case err != nil:
		return fmt.Errorf("a judged question: %w", err)
	case len(rest) > 0 || v.Position != 0:
		return fmt.Errorf("a judged question: %d bytes too many", len(rest))
	}
	j.Effect, j.Reason, j.Permission = v.Effect, v.Reason, v.Permission
	return nil
}
