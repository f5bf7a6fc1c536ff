package jsonl

import (
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/xmpp/stanza"
)

// A Kind is the kind of a Record.
type Kind uint8

// The kinds of records.
const (
	Verdict   Kind = iota + 1 // the verdict on a stanza
	Admission                 // whether a client's domain is served
	Opening                   // whether a session may begin
	// Resumed notes the end of an outage. During the outage the node could not
	// record, and therefore gave no verdicts.
	Resumed
)

// A Record is one decision of a policy node, or the note that the node can record
// again (Resumed). It holds the fields that all records have and the fields of its
// Kind. The other fields are zero.
//
// It never holds the body of a stanza. It holds as much of the addresses in a stanza
// as the tenant allows (setting audit_addresses). The node shortens the addresses
// before it makes the Record, so that no full address is recorded by mistake.
type Record struct {
	Kind Kind
	// Time is the time of the decision by the node's clock. The records of one batch
	// have the same time.
	Time time.Time
	// Node is the id of the node that decided. Gateway is the id of the gateway that
	// asked, or empty.
	Node, Gateway string
	// Position is the position of the log at which the decision was made.
	Position uint64

	// Session is the session of a verdict or an opening.
	Session decision.Session

	// Of a verdict: the gateway's number of the question, the direction of the
	// stanza, the stanza, and the decision. Table is the version of the stanza table
	// from which the node decided.
	Question   uint64
	Direction  decision.Direction
	Stanza     Stanza
	Effect     decision.Effect
	Reason     decision.Reason
	Permission string // the first missing permission, or empty
	Table      uint64

	// Of an admission: the domain as the client sent it, whether it is served,
	// and by which tenant.
	Domain []byte
	Known  bool
	Tenant string

	// Of an opening: whether the session may begin.
	Allowed bool

	// Of a Resumed: the beginning of the outage, and its cause.
	Stopped time.Time
	Cause   string
}

// A Stanza is the part of a stanza that is recorded.
type Stanza struct {
	Kind  stanza.Kind
	Type  stanza.Type
	Fault stanza.Fault
	// To and From are the addresses, shortened as the tenant's setting requires.
	To, From Address
	// Space, OtherSpace and Name are the namespace and the local name of the
	// first payload. OtherSpace is the text of the namespace if Space.HasText.
	Space            stanza.Space
	OtherSpace, Name []byte
}

// An Address is the part of an address that is recorded: the whole address, its
// domain, or only its class. The zero Address means no address.
type Address struct {
	Text  []byte // the address or its domain
	Class Class  // if Text is empty
}

// A Class is the relation of an address to the session.
type Class uint8

// The classes. The zero Class means no address.
const (
	Own    Class = iota + 1 // the session's account
	Local                   // another address at a domain or service of the tenant
	Remote                  // any other address
)

// String returns the name of the class in records.
func (c Class) String() string {
	switch c {
	case Own:
		return "own"
	case Local:
		return "local"
	case Remote:
		return "remote"
	}
	return ""
}
