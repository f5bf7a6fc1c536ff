// Package stanza describes those properties of a stanza on which a decision
// depends: kind, type, addresses, payloads, nodes and embedded addressees. A
// description never contains a body. The package also writes stanza errors and
// makes the few edits that a gateway may make. An edit is a splice whose result
// is framed again.
//
// The package is pure. If a stanza cannot be described completely, its
// description has a Fault, and the policy refuses every stanza with a fault.
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

// Known reports whether this version defines the kind.
func (k Kind) Known() bool { return k < numKinds }

// A Type is the type attribute of a stanza, interpreted according to its kind.
type Type uint8

// The types. An absent type means Normal for a message and Available for
// presence. An unknown type means Normal for a message (RFC 6121 section 5.2.2)
// and UnknownType for the other kinds.
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

// Known reports whether this version defines the type.
func (t Type) Known() bool { return t < numTypes }

// A Fault is the reason why a stanza cannot be judged by its contents. A stanza
// with a fault is never forwarded.
type Fault uint8

// The faults.
const (
	NoFault Fault = iota
	// Undescribable: the stanza exceeds a limit of the description, or the
	// framer reports a fault in it.
	Undescribable
	// BadTo, BadFrom, BadEmbedded: an address that cannot be prepared (RFC
	// 7622).
	BadTo
	BadFrom
	BadEmbedded
	// BadIQ: an iq without id, with an unknown type, or a get or set without
	// exactly one child element (RFC 6120 section 8.2.3).
	BadIQ
	// BadPresenceType: a type that RFC 6121 section 4.7.1 does not define.
	BadPresenceType
	// Unsupported: the element is not a stanza.
	Unsupported
	// ForgedFrom: the from attribute is present and is not the client's own
	// address. Package decision sets this fault, since a Descriptor does not
	// know the client.
	ForgedFrom
	// NumFaults is one more than the last fault.
	NumFaults
)

// Known reports whether this version defines the fault.
func (f Fault) Known() bool { return f < NumFaults }

// String returns the name that metrics use for the fault.
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

// Marks are facts about the children of a stanza that the rules test.
type Marks uint16

// The marks.
const (
	// HasContent: a message with a body, a subject or an encrypted payload.
	HasContent Marks = 1 << iota
	// IsCarbon: a received or sent element of urn:xmpp:carbons:2.
	IsCarbon
	// IsArchive: a result or fin element of urn:xmpp:mam:….
	IsArchive
	// IsEvent: an event element of http://jabber.org/protocol/pubsub#event.
	IsEvent
	// HasMUCUser: a message or presence with a child in
	// http://jabber.org/protocol/muc#user.
	HasMUCUser
	// IsAlone: the carbon, archive result or event is the only meaningful
	// child, and there is no text. Delay, stanza-id, origin-id, processing
	// hints, SHIM and addresses are not meaningful.
	IsAlone
	// NegativePriority: presence with exactly one priority, whose value is
	// negative.
	NegativePriority
	// RemovesOffline: an offline request (XEP-0013) that removes messages.
	RemovesOffline
	// IsInvite: a message with a mediated or a direct invitation to a room
	// (XEP-0045 section 7.8.2, XEP-0249).
	IsInvite
	// HasMUC: presence with an x element of http://jabber.org/protocol/muc, a
	// request to join a room (XEP-0045 section 7.2).
	HasMUC
	// IsPlain: a get of ping, version, time or disco#info in its defined form.
	// The payload has no child, no text and no attribute; only disco#info may
	// have a node, in the caps form (XEP-0115).
	IsPlain
	// BadInside: a jid attribute that belongs in Inside cannot be prepared.
	BadInside
	// ManyInside: the payload has more such jid attributes than Inside may
	// hold.
	ManyInside
	allMarks = ManyInside<<1 - 1
)

// A Part is one element that a rule may refer to. Its bytes belong to the
// Descriptor.
type Part struct {
	Space Space
	// Other is the text of the namespace, set if Space.HasText.
	Other []byte
	Local []byte
	// Node is the node attribute. HasNode reports whether the element has one.
	Node    []byte
	HasNode bool
	// Inner: the element is nested deeper than a direct child of the payload.
	Inner bool
}

// Known reports whether this version defines every mark in m.
func (m Marks) Known() bool { return m&^allMarks == 0 }

// Bounds of a description. A stanza that exceeds one of them is Undescribable.
const (
	MaxPayloads  = 64
	MaxParts     = 64
	MaxAddressed = 64
	// MaxText bounds each text in a description (an id, a node, a namespace,
	// a name), so that a question has a bounded size.
	MaxText = 1024
)

// A Descriptor describes one stanza. It holds a copy of every text, so the
// buffer of the stanza may be reused. The texts are valid until the next call
// of Describe. The zero value is ready for use. A Descriptor that is used again
// does not allocate in the steady state.
type Descriptor struct {
	Kind  Kind
	Type  Type
	Fault Fault
	Marks Marks
	// ID is the id attribute. HasID reports whether the stanza has one.
	ID    []byte
	HasID bool
	// To and From are prepared addresses. An absent address is zero.
	To, From jid.Addr
	// Payloads are the child elements: the one payload of an iq, or all
	// children of a message or presence. An iq result or error has none,
	// because only its header is described.
	Payloads []Part
	// Parts are the nested elements that rules refer to: the children of
	// private storage and of pubsub requests, every element with a node below
	// those children, and every element with a node in a pubsub event.
	Parts []Part
	// Addressed are the addresses of third parties inside the stanza: invited
	// people, XEP-0033 addressees, subjects of room administration and the
	// like.
	Addressed []jid.Addr
	// Inside are the addresses in the other jid attributes in the payload of an
	// iq set. If the request goes to a service, these addresses count as
	// addressees, since the service may act on them.
	Inside []jid.Addr
	// ToEdited reports that To differs from the to attribute as written. The
	// stanza must then be forwarded with the prepared address.
	ToEdited bool

	text []byte // the buffer behind the texts above
}

// Size returns roughly how many bytes the descriptor keeps between uses.
func (d *Descriptor) Size() int {
	const part, addr = 96, 40
	return cap(d.text) + part*(cap(d.Payloads)+cap(d.Parts)) + addr*(cap(d.Addressed)+cap(d.Inside))
}

// Has reports whether d has all marks of m.
func (d *Descriptor) Has(m Marks) bool { return d.Marks&m == m }

// IsCaps reports whether the node of the part has the form NODE#VER of entity
// capabilities (XEP-0115). Such a node identifies client software and no
// account data.
func (p *Part) IsCaps() bool {
	return p.HasNode && bytes.IndexByte(p.Node, '#') >= 0
}
