package audit

import (
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/xmpp/stanza"
)

// A Kind says what a Record is of.
type Kind uint8

// The kinds of records.
const (
	Verdict   Kind = iota + 1 // on one stanza
	Admission                 // of a client's domain
	Opening                   // of a session
	// Resumed follows a time in which the node decided nothing, because it
	// could not record.
	Resumed
)

// A Record is one decision of a policy node, as it is kept, or a note about the
// records themselves. Besides what all records have, it holds the fields of its
// Kind, and zeros elsewhere.
//
// It never holds a body. Of the addresses in a stanza it holds as much as the
// tenant allows (setting audit_addresses): the node shortens them, so that a
// full address is never here by mistake.
type Record struct {
	Kind Kind
	// Time is the node's clock when it decided. Records of one batch share it.
	Time time.Time
	// Node and Gateway are the ids of the node that decided and of the gateway
	// that asked, if one did.
	Node, Gateway string
	// Position is the position of the log that the decision was made at.
	Position uint64

	// Session is the session that a verdict or an opening is about.
	Session decision.Session

	// Of a verdict: the question by the gateway's number, which way the stanza
	// goes, the stanza, and the decision. Table is the version of the table of
	// stanzas that was decided by.
	Question   uint64
	Direction  decision.Direction
	Stanza     Stanza
	Effect     decision.Effect
	Reason     decision.Reason
	Permission string // the first one missing, or empty
	Table      uint64

	// Of an admission: the domain as the client sent it, whether it is served,
	// and by which tenant.
	Domain []byte
	Known  bool
	Tenant string

	// Of an opening: whether the session may begin.
	Allowed bool

	// Of a resumption: since when nothing was decided, and why.
	Stopped time.Time
	Cause   string
}

// A Stanza is what a record keeps of a stanza.
type Stanza struct {
	Kind  stanza.Kind
	Type  stanza.Type
	Fault stanza.Fault
	// To and From are the addresses, as far as the tenant wants them recorded.
	To, From Address
	// Space, OtherSpace and Name are the namespace and the local name of the
	// first payload. OtherSpace is the text where Space.HasText.
	Space            stanza.Space
	OtherSpace, Name []byte
}

// An Address is what a record keeps of an address: its text, the whole or its
// domain, or only its class. The zero Address is none.
type Address struct {
	Text  []byte
	Class Class // where there is no Text
}

// A Class says whose an address is, seen from the session.
type Class uint8

// The classes. The zero Class is none.
const (
	Own    Class = iota + 1 // the session's account
	Local                   // another one at a domain or service of the tenant
	Remote                  // anybody else's
)

// String is the class as a record names it.
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
