package stream

import "bytes"

// tape describes one top-level element by offsets into its bytes.
type tape struct {
	buf     []byte // the token's bytes; nil unless a token is complete
	gen     uint32 // counts tokens, to detect an Element of an earlier token
	nodes   []node // in document order
	attrs   []attr // grouped by element; without namespace declarations
	spaces  []space
	scratch []byte // decoded values

	truncated bool
	isClose   bool // the element is a stream error from a client, which closes the stream
	fault     *Error
}

// node is an element. Offsets count from the token's first byte.
type node struct {
	start, nameEnd, openEnd, contentEnd, end uint32

	partAt     uint32 // where the local name begins
	attr0      uint32 // first attribute
	attrs      uint32 // number of attributes
	skip       uint32 // the node after its last descendant
	children   uint32
	depth      uint32
	ns         int32
	text       bool
	selfClosed bool
	prefixes   bool // the element declares a namespace prefix
}

// attr is an attribute that does not declare a namespace.
type attr struct {
	nameAt, partAt, nameEnd, valAt, valEnd uint32

	ns    int32
	state valueState
	at    uint32 // offset of the decoded value in scratch
	end   uint32
}

type valueState uint8

const (
	valueRaw     valueState = iota // the raw bytes are the value
	valueEncoded                   // the value must be decoded first
	valueDecoded
)

// space is a namespace name. at and end are offsets into the token's bytes, or
// into scratch if the name was decoded.
type space struct {
	at, end uint32
	decoded bool
}

// The largest capacities that a Framer keeps from one token to the next. They
// are enough for any client's element, plus the extra capacity that append
// allocates. A slice that grew larger for a huge element is released.
const (
	keepNodes   = 1500
	keepAttrs   = 2048
	keepSpaces  = 256
	keepScratch = 8 << 10
	keepOpen    = 256
)

func shrink[T any](s []T, keep int) []T {
	if cap(s) > keep {
		return nil
	}
	return s[:0]
}

func (t *tape) reset() {
	t.buf = nil
	t.gen++
	t.nodes = shrink(t.nodes, keepNodes)
	t.attrs = shrink(t.attrs, keepAttrs)
	t.spaces = shrink(t.spaces, keepSpaces)
	t.scratch = shrink(t.scratch, keepScratch)
	t.truncated, t.isClose, t.fault = false, false, nil
}

// space returns the name of a namespace. b is the token's bytes.
func (t *tape) space(b []byte, ns int32) []byte {
	if ns < nsFirst {
		return knownSpaces[ns]
	}
	s := t.spaces[ns-nsFirst]
	if s.decoded {
		return t.scratch[s.at:s.end:s.end]
	}
	return b[s.at:s.end:s.end]
}

// value returns the value of an attribute as a parser reports it.
func (t *tape) value(a *attr) []byte {
	switch a.state {
	case valueRaw:
		return t.buf[a.valAt:a.valEnd:a.valEnd]
	case valueEncoded:
		at := len(t.scratch)
		t.scratch = appendValue(t.scratch, t.buf[a.valAt:a.valEnd])
		a.at, a.end, a.state = uint32(at), uint32(len(t.scratch)), valueDecoded
	}
	return t.scratch[a.at:a.end:a.end]
}

// Element is one element of the token that a Framer read last. It is a small
// value, passed by copy. All offsets count from the first byte of the token.
// Callers must not write to the slices it returns, which are valid as long as
// the token. The zero Element and an Element of an earlier token are not Valid
// and are empty. Reading decodes values into the Framer's memory, so only the
// goroutine that uses the Framer may use an Element.
type Element struct {
	t   *tape
	i   uint32
	gen uint32
}

var noNode node

// get returns the node of the element. It returns an empty node if e is not
// valid.
func (e Element) get() *node {
	if !e.Valid() {
		return &noNode
	}
	return &e.t.nodes[e.i]
}

func (e Element) attrs() []attr {
	n := e.get()
	if n.attrs == 0 {
		return nil
	}
	return e.t.attrs[n.attr0 : n.attr0+n.attrs]
}

// Valid reports whether e refers to an element of the current token.
func (e Element) Valid() bool {
	return e.t != nil && e.gen == e.t.gen && int(e.i) < len(e.t.nodes)
}

// Local returns the local name.
func (e Element) Local() []byte {
	n := e.get()
	if n == &noNode {
		return nil
	}
	return e.t.buf[n.partAt:n.nameEnd:n.nameEnd]
}

// Space returns the namespace name. It is empty if the element is in no
// namespace.
func (e Element) Space() []byte {
	n := e.get()
	if n == &noNode {
		return nil
	}
	return e.t.space(e.t.buf, n.ns)
}

// Is reports whether the element has this namespace and local name.
func (e Element) Is(space, local string) bool {
	return string(e.Local()) == local && string(e.Space()) == space && e.Valid()
}

// Attr returns the value of an attribute that is in no namespace.
func (e Element) Attr(local string) (value []byte, ok bool) {
	if a := e.find(local); a != nil {
		return e.t.value(a), true
	}
	return nil, false
}

func (e Element) find(local string) *attr {
	attrs := e.attrs()
	for k := range attrs {
		a := &attrs[k]
		if a.partAt == a.nameAt && string(e.t.buf[a.nameAt:a.nameEnd]) == local {
			return a
		}
	}
	return nil
}

// AttrNS returns the value of an attribute by namespace and local name. An
// attribute without a prefix is in no namespace, written as "".
func (e Element) AttrNS(space, local string) (value []byte, ok bool) {
	attrs := e.attrs()
	for k := range attrs {
		a := &attrs[k]
		if string(e.t.buf[a.partAt:a.nameEnd]) == local && string(e.t.space(e.t.buf, a.ns)) == space {
			return e.t.value(a), true
		}
	}
	return nil, false
}

// NumAttrs returns the number of attributes. Namespace declarations are not
// counted.
func (e Element) NumAttrs() int { return int(e.get().attrs) }

// DeclaresPrefix reports whether the element declares a namespace prefix. Some
// servers forward such a declaration as an attribute.
func (e Element) DeclaresPrefix() bool { return e.get().prefixes }

// AttrAt returns the attribute with index i, in document order.
func (e Element) AttrAt(i int) (space, local, value []byte) {
	attrs := e.attrs()
	if i < 0 || i >= len(attrs) {
		return nil, nil, nil
	}
	a := &attrs[i]
	return e.t.space(e.t.buf, a.ns), e.t.buf[a.partAt:a.nameEnd:a.nameEnd], e.t.value(a)
}

// AttrSpan returns the raw span of an attribute in no namespace, from the first
// byte of its name to just after its closing quote.
func (e Element) AttrSpan(local string) (nameStart, end int, ok bool) {
	if a := e.find(local); a != nil {
		return int(a.nameAt), int(a.valEnd) + 1, true
	}
	return 0, 0, false
}

// FirstChild returns the first child element.
func (e Element) FirstChild() Element {
	n := e.get()
	if c := e.at(e.i + 1); n.children > 0 && c.get().depth == n.depth+1 {
		return c
	}
	return Element{}
}

// NextSibling returns the next element of the same parent.
func (e Element) NextSibling() Element {
	n := e.get()
	if s := e.at(n.skip); s.get().depth == n.depth {
		return s
	}
	return Element{}
}

func (e Element) at(i uint32) Element { return Element{t: e.t, i: i, gen: e.gen} }

// NumChildren returns the number of child elements, including those not on the
// tape.
func (e Element) NumChildren() int { return int(e.get().children) }

// HasText reports whether the element directly contains character data other
// than literal white space. A reference or a CDATA section always counts, even
// an empty CDATA section.
func (e Element) HasText() bool { return e.get().text }

// Text appends the character data of the element as a parser reports it,
// without the character data of its descendants.
func (e Element) Text(dst []byte) []byte {
	n := e.get()
	if n.openEnd == n.contentEnd {
		return dst
	}
	b := e.t.buf[n.openEnd:n.contentEnd]
	for depth := 0; len(b) > 0; {
		at := bytes.IndexByte(b, '<')
		if at < 0 {
			at = len(b)
		}
		if depth == 0 {
			dst = appendData(dst, b[:at])
		}
		if b = b[at:]; len(b) < 2 {
			break
		}
		if bytes.HasPrefix(b, []byte(cdataOpen)) {
			end := bytes.Index(b, []byte(cdataClose))
			if end < 0 { // impossible: the framer has read its end
				break
			}
			if depth == 0 {
				dst = appendCDATA(dst, b[len(cdataOpen):end])
			}
			b = b[end+len(cdataClose):]
			continue
		}
		end := tagEnd(b)
		if b[1] == '/' {
			depth--
		} else if b[end-2] != '/' {
			depth++
		}
		b = b[end:]
	}
	return dst
}

// tagEnd returns the size of the tag at the start of b, which the framer has
// checked.
func tagEnd(b []byte) int {
	quote := byte(0)
	for i, c := range b {
		switch {
		case c == quote:
			quote = 0
		case quote != 0:
		case c == '"' || c == '\'':
			quote = c
		case c == '>':
			return i + 1
		}
	}
	return len(b)
}

// Span returns the raw span of the whole element.
func (e Element) Span() (start, end int) {
	n := e.get()
	return int(n.start), int(n.end)
}

// OpenTagEnd returns where the element's name ends, where its start tag ends,
// and whether that tag is an empty-element tag.
func (e Element) OpenTagEnd() (nameEnd, end int, selfClosed bool) {
	n := e.get()
	return int(n.nameEnd), int(n.openEnd), n.selfClosed
}

// ContentSpan returns the raw span between the tags. For an empty-element tag,
// the span is empty and begins after the tag.
func (e Element) ContentSpan() (start, end int) {
	n := e.get()
	return int(n.openEnd), int(n.contentEnd)
}

// Raw returns the bytes of the whole element.
func (e Element) Raw() []byte {
	n := e.get()
	if n == &noNode {
		return nil
	}
	return e.t.buf[n.start:n.end:n.end]
}

// Truncated reports whether the token has elements that are not on the tape.
func (e Element) Truncated() bool { return e.Valid() && e.t.truncated }

// Fault returns the breach in the token, or nil. A token with a fault must not
// be forwarded; it is delivered only so that the caller can answer or drop it.
func (e Element) Fault() error {
	if !e.Valid() || e.t.fault == nil {
		return nil
	}
	return e.t.fault
}
