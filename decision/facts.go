package decision

import (
	"encoding/binary"
	"slices"

	"github.com/postern-im/postern/xmpp/stanza"
)

// Facts are a reduced Question: everything that the rules read of it, and
// nothing else. They have no text of a client: no id, no address, no node and no
// name of an unknown namespace. Package policy reduces questions and judges
// facts. The audit log records facts, and a replay judges them again.
//
// Facts are comparable, and equal facts have equal encodings.
type Facts struct {
	Direction Direction
	Kind      stanza.Kind
	Type      stanza.Type
	Fault     stanza.Fault
	Marks     stanza.Marks
	// Joined, MUC, Queried and Outstanding are those of the Question.
	Joined, MUC, Queried, Outstanding bool
	// Peer is the class of the other entity: the receiver of a stanza from the
	// client, the sender of a stanza from the server.
	Peer Class
	// PeerLocal and PeerResource report that the peer's address has a localpart,
	// or a resource.
	PeerLocal, PeerResource bool
	// PeerServed reports that the peer's domain belongs to any tenant of the
	// installation.
	PeerServed bool
	// ToResource reports that a stanza from the server is addressed to a
	// resource.
	ToResource bool
	// RemoteInside reports that an address inside the stanza, which the stanza
	// is passed on to or which the receiver may act on, is remote.
	RemoteInside bool
	// HasPayload reports that an iq get or set has exactly one payload, and that
	// Payload describes it.
	HasPayload bool
	Payload    FactPart
	// Parts are the nested elements that the rules read, as a set: each once, in
	// the order of FactPart.compare. Elements from NumParts on are zero.
	Parts    [stanza.MaxParts]FactPart
	NumParts uint8
}

// A FactPart is a reduced stanza.Part.
type FactPart struct {
	Space stanza.Space
	Name  FactName
	Node  NodeClass
	// Inner: the element is nested deeper than a direct child of the payload.
	Inner bool
}

// A FactName is the local name of an element, if a rule names it.
type FactName uint8

// The names. OtherName is any other name.
const (
	OtherName FactName = iota
	QueryName
	MetadataName
	PrefsName
	DisableName
	SubscribeName
	UnsubscribeName
	OptionsName
	PublishOptionsName
	ConfigureName
	CreateName
	numFactNames
)

var factNames = [numFactNames]string{
	QueryName:          "query",
	MetadataName:       "metadata",
	PrefsName:          "prefs",
	DisableName:        "disable",
	SubscribeName:      "subscribe",
	UnsubscribeName:    "unsubscribe",
	OptionsName:        "options",
	PublishOptionsName: "publish-options",
	ConfigureName:      "configure",
	CreateName:         "create",
}

// FactNameOf returns the FactName of a local name.
func FactNameOf(local []byte) FactName {
	for n := OtherName + 1; n < numFactNames; n++ {
		if factNames[n] == string(local) {
			return n
		}
	}
	return OtherName
}

// String returns the local name, or "other".
func (n FactName) String() string {
	if n == OtherName || n >= numFactNames {
		return "other"
	}
	return factNames[n]
}

// A NodeClass says which data of an account a node contains.
type NodeClass uint8

// The classes. NoNode means that the element has no node attribute. CapsNode is a
// node of the form NODE#VER, which identifies client software (XEP-0115).
const (
	NoNode NodeClass = iota
	PEPNode
	CapsNode
	BookmarksNode
	ProfileNode
	OMEMONode
	MessagesNode
	numNodeClasses
)

var nodeClassNames = [numNodeClasses]string{"none", "pep", "caps", "bookmarks", "profile", "omemo", "messages"}

// String returns the name of the class.
func (n NodeClass) String() string {
	if n >= numNodeClasses {
		return "unknown"
	}
	return nodeClassNames[n]
}

// A Class is the relation of an address to the account of the session. It is one
// bit, so that a row of the table can name several classes.
type Class uint8

// The classes. An absent address counts as the own account.
const (
	OwnAccount   Class = 1 << iota // the account's bare JID
	OwnResource                    // the account's bare JID with a resource
	OwnServer                      // the account's domain, with or without a resource
	LocalUser                      // any other JID with a localpart, in a domain of the tenant
	LocalServer                    // another domain of the tenant, with or without a resource
	LocalService                   // any JID in a service of the tenant or in a shared service of the installation
	Remote                         // everything else, including other tenants
)

// Known reports whether c is exactly one class that this version defines.
func (c Class) Known() bool { return c != 0 && c <= Remote && c&(c-1) == 0 }

// String returns the name of the class.
func (c Class) String() string {
	switch c {
	case OwnAccount:
		return "own-account"
	case OwnResource:
		return "own-resource"
	case OwnServer:
		return "own-server"
	case LocalUser:
		return "local-user"
	case LocalServer:
		return "local-server"
	case LocalService:
		return "local-service"
	case Remote:
		return "remote"
	}
	return "unknown"
}

// Has reports whether f has all marks of m.
func (f *Facts) Has(m stanza.Marks) bool { return f.Marks&m == m }

// compare orders parts by their fields.
func (p FactPart) compare(o FactPart) int {
	return int(p.key()) - int(o.key())
}

// key returns the fields of p as one number.
func (p FactPart) key() uint32 {
	k := uint32(p.Space)<<24 | uint32(p.Name)<<16 | uint32(p.Node)<<8
	if p.Inner {
		k |= 1
	}
	return k
}

// Add adds p to the set of parts. It reports false if the set is full; the facts
// are then not complete.
func (f *Facts) Add(p FactPart) bool {
	parts := f.Parts[:f.NumParts]
	i, found := slices.BinarySearchFunc(parts, p, FactPart.compare)
	if found {
		return true
	}
	if int(f.NumParts) == len(f.Parts) {
		return false
	}
	f.NumParts++
	copy(f.Parts[i+1:f.NumParts], f.Parts[i:f.NumParts-1])
	f.Parts[i] = p
	return true
}

// Flags of facts.
const (
	factIn uint64 = 1 << iota
	factJoined
	factMUC
	factQueried
	factOutstanding
	factPeerLocal
	factPeerResource
	factPeerServed
	factToResource
	factRemoteInside
	factHasPayload
	factFlags = factHasPayload<<1 - 1
)

// fields returns the flag of each bool of f.
func (f *Facts) fields() [10]struct {
	flag uint64
	set  *bool
} {
	return [10]struct {
		flag uint64
		set  *bool
	}{
		{factJoined, &f.Joined},
		{factMUC, &f.MUC},
		{factQueried, &f.Queried},
		{factOutstanding, &f.Outstanding},
		{factPeerLocal, &f.PeerLocal},
		{factPeerResource, &f.PeerResource},
		{factPeerServed, &f.PeerServed},
		{factToResource, &f.ToResource},
		{factRemoteInside, &f.RemoteInside},
		{factHasPayload, &f.HasPayload},
	}
}

// AppendFacts appends the encoding of f.
func AppendFacts(dst []byte, f *Facts) []byte {
	var flags uint64
	if f.Direction == In {
		flags = factIn
	}
	for _, b := range f.fields() {
		if *b.set {
			flags |= b.flag
		}
	}
	dst = append(dst, byte(tagFacts))
	dst = binary.AppendUvarint(dst, flags)
	dst = append(dst, byte(f.Kind), byte(f.Type), byte(f.Fault))
	dst = binary.AppendUvarint(dst, uint64(f.Marks))
	dst = append(dst, byte(f.Peer))
	if f.HasPayload {
		dst = appendFactPart(dst, f.Payload)
	}
	dst = append(dst, f.NumParts)
	for _, p := range f.Parts[:f.NumParts] {
		dst = appendFactPart(dst, p)
	}
	return dst
}

func appendFactPart(dst []byte, p FactPart) []byte {
	var inner byte
	if p.Inner {
		inner = 1
	}
	return append(dst, byte(p.Space), byte(p.Name), byte(p.Node), inner)
}

// DecodeFacts decodes facts from the front of b into f and returns the remaining
// bytes. It refuses every encoding but the one that AppendFacts makes, and values
// that this version does not define.
func DecodeFacts(b []byte, f *Facts) (rest []byte, err error) {
	r := reader{b: b}
	*f = Facts{}
	r.tag(tagFacts, "facts")
	flags := r.number("flags")
	if flags&^factFlags != 0 {
		r.fail("flags")
	}
	if flags&factIn != 0 {
		f.Direction = In
	}
	for _, b := range f.fields() {
		*b.set = flags&b.flag != 0
	}
	var d stanza.Descriptor
	r.head(&d)
	f.Kind, f.Type, f.Fault, f.Marks = d.Kind, d.Type, d.Fault, d.Marks
	f.Peer = Class(r.byte("peer"))
	if !f.Peer.Known() {
		r.fail("peer")
	}
	if f.HasPayload {
		f.Payload = r.factPart("payload")
	}
	for range r.count(stanza.MaxParts, "parts") {
		p := r.factPart("parts")
		if r.wrong != "" {
			break
		}
		if n := f.NumParts; n > 0 && f.Parts[n-1].compare(p) >= 0 {
			r.fail("parts")
			break
		}
		f.Parts[f.NumParts] = p
		f.NumParts++
	}
	return r.b, r.err()
}

func (r *reader) factPart(field string) FactPart {
	p := FactPart{
		Space: stanza.Space(r.byte(field)),
		Name:  FactName(r.byte(field)),
		Node:  NodeClass(r.byte(field)),
		Inner: r.flags(1, field) != 0,
	}
	if !p.Space.Known() || p.Name >= numFactNames || p.Node >= numNodeClasses {
		r.fail(field)
	}
	return p
}
