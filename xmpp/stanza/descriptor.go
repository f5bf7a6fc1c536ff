// Package stanza says what a stanza is, as far as a decision about it needs
// to know: kind, type, addresses, payloads, nodes, embedded addressees. Never
// a body. It also writes stanza errors and makes the few edits a gateway may
// make, as splices whose result is framed again.
//
// It is pure. What it cannot describe fully it marks as a Fault, and whoever
// decides refuses what has one.
package stanza

import (
	"github.com/postern-im/postern/xmpp/jid"
)

// A Kind is the name of a top-level element (RFC 6120 section 8.2, XEP-0352).
type Kind uint8

// The kinds. UnknownKind is any other element or namespace.
const (
	UnknownKind Kind = iota
	Message
	Presence
	IQ
	ClientStateKind // active or inactive in urn:xmpp:csi:0
	numKinds
)

// Known reports whether the number is one of this version's.
func (k Kind) Known() bool { return k < numKinds }

// A Type is a stanza's type attribute, read as its kind reads it.
type Type uint8

// The types. An absent type is Normal for a message and Available for
// presence; an unknown one is Normal for a message (RFC 6121 section 5.2.2)
// and UnknownType for the others.
const (
	UnknownType Type = iota
	Get
	Set
	Result
	Error
	Normal
	Chat
	Groupchat
	Headline
	Available
	Unavailable
	Subscribe
	Subscribed
	Unsubscribe
	Unsubscribed
	Probe
	numTypes
)

// Known reports whether the number is one of this version's.
func (t Type) Known() bool { return t < numTypes }

// A Fault is why a stanza cannot be judged by its contents. A stanza with a
// fault is never forwarded.
type Fault uint8

// The faults.
const (
	NoFault Fault = iota
	// Undescribable: over the describer's limits, or with a part the framer
	// could not vouch for.
	Undescribable
	// BadTo, BadFrom, BadEmbedded: an address that does not prepare (RFC 7622).
	BadTo
	BadFrom
	BadEmbedded
	// BadIQ: no id, unknown type, get or set without exactly one child
	// element (RFC 6120 section 8.2.3).
	BadIQ
	// BadPresenceType: a type RFC 6121 section 4.7.1 does not know.
	BadPresenceType
	// Unsupported: not a stanza at all.
	Unsupported
	// ForgedFrom: the client's from is neither absent nor its own. Set by
	// whoever knows the session.
	ForgedFrom
	numFaults
)

// Known reports whether the number is one of this version's.
func (f Fault) Known() bool { return f < numFaults }

// Marks are what a rule wants to know of a stanza's children.
type Marks uint16

// The marks.
const (
	// HasContent: a message with a body, a subject or an encryption payload.
	HasContent Marks = 1 << iota
	// IsCarbon: received or sent of urn:xmpp:carbons:2.
	IsCarbon
	// IsArchive: result or fin of urn:xmpp:mam:….
	IsArchive
	// IsEvent: event of http://jabber.org/protocol/pubsub#event.
	IsEvent
	// HasMUCUser: x of http://jabber.org/protocol/muc#user.
	HasMUCUser
	// IsAlone: what IsCarbon, IsArchive or IsEvent tells of is the only
	// meaningful child, beside delay, stanza-id, origin-id, processing hints,
	// SHIM and addresses.
	IsAlone
	// NegativePriority: presence with exactly one priority, and that negative.
	NegativePriority
	// RemovesOffline: an offline request (XEP-0013) that removes messages.
	RemovesOffline
	allMarks = RemovesOffline<<1 - 1
)

// A Part is one element a rule may speak of. Its bytes belong to the
// Descriptor.
type Part struct {
	Space Space
	// Other is the namespace's text where Space.HasText.
	Other []byte
	Local []byte
	// Node is the node attribute, HasNode whether there is one.
	Node    []byte
	HasNode bool
	// Inner: the element is not a direct child of the payload but stands
	// deeper in it.
	Inner bool
}

// Known reports whether all marks are this version's.
func (m Marks) Known() bool { return m&^allMarks == 0 }

// Bounds of a description. What has more is Undescribable.
const (
	MaxPayloads  = 64
	MaxParts     = 64
	MaxAddressed = 64
	// MaxText bounds each text in a description (an id, a node, a namespace,
	// a name), so that a question has a bounded size.
	MaxText = 1024
)

// A Descriptor describes one stanza. It keeps a copy of every text it holds,
// so the stanza's buffer may move on; the texts are valid until it is used
// again. The zero value is ready for use, and used again it allocates nothing
// in the steady state.
type Descriptor struct {
	Kind  Kind
	Type  Type
	Fault Fault
	Marks Marks
	// ID is the id attribute, HasID whether there is one.
	ID    []byte
	HasID bool
	// To and From are prepared; zero where absent.
	To, From jid.Addr
	// Payloads are the element children: the payload of an iq, all children
	// of a message or presence. An iq result or error has none: it is
	// described by its header alone.
	Payloads []Part
	// Parts are the elements further inside that rules speak of: children of
	// private storage and of pubsub requests, everything with a node under those,
	// everything with a node in a pubsub event.
	Parts []Part
	// Addressed are the addresses a stanza carries to others inside it.
	Addressed []jid.Addr
	// ToEdited tells that To differs from the to attribute as written, so
	// that the stanza must be forwarded with the prepared form.
	ToEdited bool

	text []byte // what the texts above are views of
}

// Size is about how much memory the descriptor keeps for being used again.
func (d *Descriptor) Size() int {
	const part, addr = 96, 40
	return cap(d.text) + part*(cap(d.Payloads)+cap(d.Parts)) + addr*cap(d.Addressed)
}

// Has reports whether all of m are set.
func (d *Descriptor) Has(m Marks) bool { return d.Marks&m == m }

// Payload returns the first payload, or the zero Part.
func (d *Descriptor) Payload() Part {
	if len(d.Payloads) == 0 {
		return Part{}
	}
	return d.Payloads[0]
}
