// Package stanza says what a stanza is, as far as a decision about it needs
// to know: kind, type, addresses, payloads, nodes, embedded addressees. Never
// a body. It also writes stanza errors and makes the few edits a gateway may
// make, as splices whose result is framed again.
//
// It is pure. What it cannot describe fully it marks as a Fault, and whoever
// decides refuses what has one.
package stanza

import (
	"bytes"

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
	// NumFaults is one more than the last fault.
	NumFaults
)

// Known reports whether the number is one of this version's.
func (f Fault) Known() bool { return f < NumFaults }

// String names the fault as metrics do.
func (f Fault) String() string {
	switch f {
	case NoFault:
		return "none"
	case BadTo:
		return "bad-to"
	case BadFrom:
		return "bad-from"
	case BadEmbedded:
		return "bad-embedded-address"
	case BadIQ:
		return "bad-iq"
	case BadPresenceType:
		return "bad-presence-type"
	case Unsupported:
		return "no-stanza"
	case ForgedFrom:
		return "forged-from"
	}
	return "undescribable"
}

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
	// HasMUCUser: a message or presence with a child in
	// http://jabber.org/protocol/muc#user.
	HasMUCUser
	// IsAlone: what IsCarbon, IsArchive or IsEvent tells of is the only
	// meaningful child, beside delay, stanza-id, origin-id, processing hints,
	// SHIM and addresses.
	IsAlone
	// NegativePriority: presence with exactly one priority, and that negative.
	NegativePriority
	// RemovesOffline: an offline request (XEP-0013) that removes messages.
	RemovesOffline
	// IsInvite: a message with a mediated or a direct invitation to a room
	// (XEP-0045 section 7.8.2, XEP-0249).
	IsInvite
	// HasMUC: presence with x of http://jabber.org/protocol/muc, which asks to
	// join a room (XEP-0045 section 7.2).
	HasMUC
	// IsPlain: a get of ping, version, time or disco#info in its defined form
	// and nothing beside it: no child, no text, no attribute but the node of a
	// caps form (XEP-0115) on disco#info.
	IsPlain
	// BadInside: an address that would stand in Inside does not prepare.
	BadInside
	// ManyInside: there are more addresses than Inside holds.
	ManyInside
	allMarks = ManyInside<<1 - 1
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
	// Inside are the other jid attributes in the payload of an iq set. They are
	// addressees where the request goes to a service, which may act on them.
	Inside []jid.Addr
	// ToEdited tells that To differs from the to attribute as written, so
	// that the stanza must be forwarded with the prepared form.
	ToEdited bool

	text []byte // what the texts above are views of
}

// Size is about how much memory the descriptor keeps for being used again.
func (d *Descriptor) Size() int {
	const part, addr = 96, 40
	return cap(d.text) + part*(cap(d.Payloads)+cap(d.Parts)) + addr*(cap(d.Addressed)+cap(d.Inside))
}

// Has reports whether all of m are set.
func (d *Descriptor) Has(m Marks) bool { return d.Marks&m == m }

// IsCaps reports whether the part's node is one of entity capabilities
// (XEP-0115), NODE#VER, which names a client's software and nothing of the
// account.
func (p *Part) IsCaps() bool {
	return p.HasNode && bytes.IndexByte(p.Node, '#') >= 0
}
