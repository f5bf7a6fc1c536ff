// Package stream cuts the bytes of an XMPP stream into whole top-level
// elements, and writes stream headers and stream errors (RFC 6120, section 4).
//
// It is the only XML parser that judges bytes from the network. It accepts a
// strict subset of XML 1.0 with namespaces, in UTF-8 only. It refuses every
// construct that two conforming parsers might read differently: comments,
// processing instructions, document types, prefixes that are not bound inside
// the stanza itself, non-ASCII names, odd namespace names and more. Expat
// accepts every input that this package accepts, and reads it the same way;
// tests compare the two on mutants of real stanzas. Therefore the bytes of an
// accepted stanza can be forwarded unchanged: the next parser sees the stanza
// that the decision was made on.
//
// A Framer records the elements as offsets into the caller's buffer; [Element]
// reads this record, the tape. Limits are enforced while reading. In the steady
// state nothing is allocated.
//
// The package does no I/O, starts no goroutine, reads no clock and never panics
// on input. It does not decide which elements a peer may send.
package stream

import "strconv"

// Namespace names that this package knows.
const (
	NSClient  = "jabber:client"
	NSServer  = "jabber:server"
	NSStreams = "http://etherx.jabber.org/streams"
	NSXML     = "http://www.w3.org/XML/1998/namespace"
	NSXMLNS   = "http://www.w3.org/2000/xmlns/"
	NSErrors  = "urn:ietf:params:xml:ns:xmpp-streams"
)

// Limits bound one top-level element. A zero field means the documented
// default.
type Limits struct {
	Bytes      int // whole top-level element; default 256 KiB, at most 1 GiB
	Depth      int // nesting, the top-level element is 1; default 64
	Attrs      int // attributes per tag, namespace declarations included; default 64
	Elements   int // elements per top-level element; default 1000
	Nodes      int // elements recorded on the tape; Truncated reports that there are more; default Elements
	Namespaces int // namespace declarations in scope at any element; default 64
	TotalAttrs int // attributes recorded per top-level element; default 8192, at least Attrs

	// Refused is the largest size up to which an element over Bytes is still
	// read. Such an element is framed like any other and delivered with Fault()
	// != nil, so that it can be answered; it must not be forwarded. An element
	// larger than Refused is an error. The default is Bytes: every element over
	// Bytes is then an error.
	Refused int
}

// maxBytes keeps every offset, and every sum of two offsets, within 32 bits.
const maxBytes = 1 << 30

// ClientLimits are the limits for an authenticated client: the defaults, except
// that an element of up to 1 MiB is read in order to be refused.
func ClientLimits() Limits { return Limits{Refused: 1 << 20}.withDefaults() }

// PreAuthLimits are the limits for a client that has not authenticated yet.
func PreAuthLimits() Limits {
	return Limits{Bytes: 8 << 10, Elements: 32, TotalAttrs: 256}.withDefaults()
}

// BackendLimits are the limits for a tenant's own server. A roster of 10,000
// contacts passes; its first thousand elements are described.
func BackendLimits() Limits {
	return Limits{
		Bytes: 16 << 20, Depth: 200, Attrs: 256,
		Elements: 1 << 20, Nodes: 1000, Namespaces: 128,
	}.withDefaults()
}

func (l Limits) withDefaults() Limits {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&l.Bytes, 256<<10)
	def(&l.Depth, 64)
	def(&l.Attrs, 64)
	def(&l.Elements, 1000)
	def(&l.Nodes, l.Elements)
	def(&l.Namespaces, 64)
	def(&l.TotalAttrs, 8192)
	l.TotalAttrs = max(l.TotalAttrs, l.Attrs) // the root is always recorded
	l.Bytes = min(l.Bytes, maxBytes)
	l.Refused = min(max(l.Refused, l.Bytes), maxBytes)
	l.Depth = min(l.Depth, maxOpen)
	return l
}

// TooBig is the error for an element over Bytes. Its text contains the limit.
func (l Limits) TooBig() *Error {
	text := "element larger than " + strconv.Itoa(l.withDefaults().Bytes) + " bytes"
	return &Error{Condition: "policy-violation", Text: text, App: "stanza-too-big"}
}

// Config configures a Framer.
type Config struct {
	Limits Limits

	// Lenient is set for the stream from the backend. A server delivers stanzas
	// that strangers wrote, and a stranger must not be able to end a session.
	// Therefore a breach of our subset or of a limit does not fail the stream
	// if the framing is intact: the element is delivered with Fault() != nil,
	// and the caller must drop it. Ill-formed XML, restricted XML and an
	// element over Limits.Refused are still errors.
	Lenient bool
}

// Kind is the kind of token that Next has found.
type Kind uint8

const (
	Incomplete Kind = iota // more bytes are needed
	Space                  // white space between elements, used as a keep-alive
	Header                 // the stream's opening tag, after an optional XML declaration
	Stanza                 // one whole top-level element
	Close                  // the stream's closing tag
)

func (k Kind) String() string {
	switch k {
	case Incomplete:
		return "incomplete"
	case Space:
		return "space"
	case Header:
		return "header"
	case Stanza:
		return "stanza"
	case Close:
		return "close"
	}
	return "unknown"
}

// Error is a breach that ends the stream. Condition is a stream error condition
// of RFC 6120, section 4.9.3. Text is safe to show to the peer.
type Error struct {
	Condition string
	Text      string
	App       string // application condition in urn:xmpp:errors, or empty
}

func (e *Error) Error() string {
	if e.Text == "" {
		return e.Condition
	}
	return e.Condition + ": " + e.Text
}

// The breaches. All Framers share these values, and each Framer makes its own
// [Limits.TooBig] once. Therefore returning a breach allocates nothing, and its
// text contains none of the peer's bytes.
var (
	errChar         = &Error{Condition: "not-well-formed", Text: "character not allowed"}
	errUTF8         = &Error{Condition: "not-well-formed", Text: "not UTF-8"}
	errName         = &Error{Condition: "not-well-formed", Text: "malformed name"}
	errTag          = &Error{Condition: "not-well-formed", Text: "malformed tag"}
	errMismatch     = &Error{Condition: "not-well-formed", Text: "end tag does not match"}
	errDuplicate    = &Error{Condition: "not-well-formed", Text: "duplicate attribute"}
	errDuplicateNS  = &Error{Condition: "not-well-formed", Text: "duplicate attribute by namespace"}
	errCDEnd        = &Error{Condition: "not-well-formed", Text: "]]> in character data"}
	errReference    = &Error{Condition: "not-well-formed", Text: "malformed reference"}
	errTopText      = &Error{Condition: "not-well-formed", Text: "character data between top-level elements"}
	errMarkup       = &Error{Condition: "not-well-formed", Text: "malformed markup"}
	errDecl         = &Error{Condition: "not-well-formed", Text: "malformed XML declaration"}
	errSelfClosed   = &Error{Condition: "not-well-formed", Text: "stream header is self-closed"}
	errSecondHeader = &Error{Condition: "not-well-formed", Text: "stream header inside the stream"}
	errCloseTag     = &Error{Condition: "not-well-formed", Text: "end tag without a start tag"}
	errExtra        = &Error{Condition: "not-well-formed", Text: "not exactly one element"}

	errComment   = &Error{Condition: "restricted-xml", Text: "comment"}
	errPI        = &Error{Condition: "restricted-xml", Text: "processing instruction"}
	errDTD       = &Error{Condition: "restricted-xml", Text: "document type"}
	errEntity    = &Error{Condition: "restricted-xml", Text: "entity reference"}
	errASCIIName = &Error{Condition: "restricted-xml", Text: "name outside ASCII"}
	errEncoding  = &Error{Condition: "unsupported-encoding", Text: "only UTF-8 is supported"}

	errPrefix     = &Error{Condition: "bad-namespace-prefix", Text: "prefix is not bound in the element itself"}
	errReserved   = &Error{Condition: "bad-namespace-prefix", Text: "reserved prefix or namespace"}
	errUndeclare  = &Error{Condition: "bad-namespace-prefix", Text: "prefix undeclared"}
	errAttrNS     = &Error{Condition: "bad-namespace-prefix", Text: "attribute in a stream namespace"}
	errNSName     = &Error{Condition: "invalid-namespace", Text: "namespace name is not a plain URI"}
	errStreamsNS  = &Error{Condition: "invalid-namespace", Text: "element in the streams namespace"}
	errHeaderNS   = &Error{Condition: "invalid-namespace", Text: "stream header is not in the streams namespace"}
	errContentNS  = &Error{Condition: "invalid-namespace", Text: "default namespace is not jabber:client"}
	errHeaderPfx  = &Error{Condition: "bad-namespace-prefix", Text: "stream header needs the prefix stream"}
	errHeaderName = &Error{Condition: "bad-format", Text: "stream header expected"}
	errVersion    = &Error{Condition: "unsupported-version", Text: "XMPP 1.0 is needed"}

	errDepth      = &Error{Condition: "policy-violation", Text: "element too deep", App: "stanza-too-big"}
	errAttrs      = &Error{Condition: "policy-violation", Text: "too many attributes", App: "stanza-too-big"}
	errElements   = &Error{Condition: "policy-violation", Text: "too many elements", App: "stanza-too-big"}
	errNamespaces = &Error{Condition: "policy-violation", Text: "too many namespaces", App: "stanza-too-big"}
)
