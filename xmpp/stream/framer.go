package stream

import "bytes"

// Framer cuts a byte stream into top-level tokens. It holds nothing between two
// tokens, so it can be kept in a pool while its session is idle; call Reset
// before returning it to the pool. Only one goroutine at a time may use it.
type Framer struct {
	limits  Limits
	tooBig  *Error // the TooBig error of limits
	lenient bool

	state  state
	header bool   // the token being read must be a stream header
	kind   Kind   // the kind of the token, once it is complete
	err    *Error // the error that broke the stream; Reset clears it

	pos int // the next byte to read; all bytes before it have been judged

	// The tag or section being read. Offsets count from the token's
	// first byte.
	tok     int    // offset of its '<'
	nameAt  int    // where the name being read begins
	partAt  int    // where the local part of that name begins; equals nameAt if there is no prefix
	nameEnd int    // where the attribute's name ends
	tagPart int    // the value of partAt for the name of the tag
	attr0   int    // the tag's first attribute on the tape
	valAt   int    // where the attribute value begins
	quote   byte   // the quote that ends the value
	decode  bool   // the value contains references or white space to decode
	attrs   int    // number of attributes of the tag so far
	bloom   uint64 // bloom filter of the names of these attributes
	defNS   int32  // default namespace that the tag declares, or unset
	tag     open   // the element being opened

	elements int
	stack    []open
	binds    []binding
	tape     tape
}

type state uint8

const (
	atStart  state = iota // no byte of the token has been read
	atDecl                // in the XML declaration before the stream header
	inText                // element content
	inMarkup              // at a '<'
	inName
	inTag      // after a name or a value, before any white space
	inTagSpace // after white space that follows a name or a value
	inSlash    // after the '/' of an empty-element tag
	inAttrName
	inEq
	inQuote
	inValue
	inEndTag
	inClose
	inCDATA
	complete
)

// open is an element whose end tag has not been read yet.
type open struct {
	nameAt, nameEnd uint32
	node            int32  // index on the tape, or -1 if not recorded
	defNS           int32  // default namespace inside it
	binds           uint32 // len(binds) before its start tag
	spaces          uint32 // len(tape.spaces) before it
	scratch         uint32 // len(tape.scratch) before it
}

// maxOpen bounds the open elements of a lenient Framer, for which the depth
// limit is only a fault. It must be high enough that a stranger's 512 KiB
// stanza of bare tags does not end the session.
const maxOpen = 1 << 17

// NewFramer returns a Framer at the start of a token.
func NewFramer(c Config) *Framer {
	return &Framer{lenient: c.Lenient, limits: c.Limits.withDefaults(), tooBig: c.Limits.TooBig()}
}

// Reset discards a partial element and an error, and invalidates every Element
// that was returned.
func (f *Framer) Reset() {
	f.restart()
	f.err = nil
}

// restart begins a new token. Every Element that was returned becomes invalid.
func (f *Framer) restart() {
	f.state, f.kind, f.pos, f.elements = atStart, Incomplete, 0, 0
	f.stack = shrink(f.stack, keepOpen)
	f.binds = shrink(f.binds, keepOpen)
	f.tape.reset()
}

// Next reads the token at the start of buf, which must begin where the last
// token ended. If the token is Incomplete, n is 0. The caller then appends more
// bytes to the same bytes, in this buffer or in another, and calls again; Next
// continues where it stopped. Otherwise n is the size of the token.
// expectHeader requires the token to be a stream header. Every error is an
// *Error. After an error, every call returns the same error until Reset.
func (f *Framer) Next(buf []byte, expectHeader bool) (kind Kind, n int, err error) {
	if f.err != nil {
		return Incomplete, 0, f.err
	}
	if f.state == complete || f.header != expectHeader || f.pos > len(buf) {
		f.restart()
		f.header = expectHeader
	}
	window := buf[:min(len(buf), f.limits.Refused)]
	done, e := f.run(window)
	if e == nil && !done && len(buf) >= f.limits.Refused {
		e = f.tooBig
	}
	if e == nil && done && f.pos > f.limits.Bytes && f.kind != Space {
		if f.kind != Stanza {
			e = f.tooBig
		} else if f.tape.fault == nil {
			f.tape.fault = f.tooBig
		}
	}
	if e != nil {
		f.restart()
		f.err = e
		return Incomplete, 0, e
	}
	if !done {
		return Incomplete, 0, nil
	}
	if f.kind == Header || f.kind == Stanza {
		f.tape.buf = buf[:f.pos:f.pos]
	}
	return f.kind, f.pos, nil
}

// Element returns the root of the last Stanza or Header token. It is valid
// until the next call of Next, ParseStanza or Reset, and only while the bytes
// of that token stay unchanged.
func (f *Framer) Element() Element {
	if f.tape.buf == nil {
		return Element{}
	}
	return Element{t: &f.tape, gen: f.tape.gen}
}

// ParseStanza frames exactly one stanza, which must fill b entirely. A fault of
// the stanza is returned as an error.
func (f *Framer) ParseStanza(b []byte) (Element, error) {
	f.Reset()
	kind, n, err := f.Next(b, false)
	if err != nil {
		return Element{}, err
	}
	if kind != Stanza || n != len(b) {
		f.Reset()
		return Element{}, errExtra
	}
	return f.Element(), f.Element().Fault()
}

// run reads until the token is complete (true) or b is used up (false).
func (f *Framer) run(b []byte) (bool, *Error) {
	for {
		var ok bool
		var err *Error
		switch f.state {
		case atStart:
			ok, err = f.start(b)
		case atDecl:
			ok, err = f.declaration(b)
		case inText:
			ok, err = f.text(b)
		case inMarkup:
			ok, err = f.markup(b)
		case inEndTag:
			ok, err = f.endTag(b)
		case inClose:
			ok, err = f.closeTag(b)
		case inCDATA:
			ok, err = f.cdata(b)
		case complete:
			return true, nil
		default:
			ok, err = f.startTag(b)
		}
		if err != nil || !ok {
			return false, err
		}
	}
}

// finish completes the token, which ends at end.
func (f *Framer) finish(kind Kind, end int) {
	f.state, f.kind, f.pos = complete, kind, end
}

// breach handles a breach of our subset or of a limit that leaves the framing
// intact. A lenient Framer records e as the fault of the element, unless the
// element has one, and returns nil. Any other Framer returns e.
func (f *Framer) breach(e *Error) *Error {
	if !f.lenient {
		return e
	}
	if f.tape.fault == nil {
		f.tape.fault = e
	}
	return nil
}

// start reads the first bytes of a token.
func (f *Framer) start(b []byte) (bool, *Error) {
	i := f.pos
	i += skip(b[i:], white)
	if i > 0 && f.pos == 0 {
		f.finish(Space, i)
		return true, nil
	}
	f.pos = i // white space after an XML declaration is skipped
	if i == len(b) {
		return false, nil
	}
	if b[i] != '<' {
		return false, errTopText
	}
	if i+1 == len(b) {
		return false, nil
	}
	switch c := b[i+1]; c {
	case '/':
		f.state, f.tok, f.pos = inClose, i, i+2
	case '?':
		if !f.header || i > 0 {
			return false, errPI
		}
		f.state = atDecl
	case '!':
		return f.bang(b[i:])
	default:
		f.beginTag(i)
	}
	return true, nil
}

// beginTag begins the tag whose '<' is at i.
func (f *Framer) beginTag(i int) {
	f.state, f.tok, f.pos = inName, i, i+1
	f.nameAt, f.partAt = i+1, i+1
	f.attrs, f.bloom, f.defNS = 0, 0, unset
	f.attr0 = len(f.tape.attrs)
	f.tag = open{
		binds:   uint32(len(f.binds)),
		spaces:  uint32(len(f.tape.spaces)),
		scratch: uint32(len(f.tape.scratch)),
	}
}

// bang returns the error for markup that begins with "<!" and is not a CDATA
// section.
func (f *Framer) bang(b []byte) (bool, *Error) {
	if len(b) < 3 {
		return false, nil
	}
	switch b[2] {
	case '-':
		return false, errComment
	case '[':
		if len(f.stack) == 0 {
			return false, errTopText
		}
	case 'D':
		return false, errDTD
	}
	return false, errMarkup
}

// closeTag continues to read the closing tag of the stream.
func (f *Framer) closeTag(b []byte) (bool, *Error) {
	const name = "stream:stream"
	i := f.pos
	if have := i - f.tok - 2; have < len(name) {
		m := min(len(b)-i, len(name)-have)
		if string(b[i:i+m]) != name[have:have+m] {
			return false, errCloseTag
		}
		f.pos = i + m
		if have+m < len(name) {
			return false, nil
		}
		i = f.pos
	}
	if f.header {
		return false, errCloseTag
	}
	i += skip(b[i:], white)
	f.pos = i
	if i == len(b) {
		return false, nil
	}
	if b[i] != '>' {
		return false, errTag
	}
	f.finish(Close, i+1)
	return true, nil
}

// text reads character data up to the next '<'.
func (f *Framer) text(b []byte) (bool, *Error) {
	i := f.pos
	for {
		i += skip(b[i:], white)
		if i < len(b) && b[i] != '<' {
			f.markText()
		}
		i += skip(b[i:], plainText)
		f.pos = i
		if i == len(b) {
			return false, nil
		}
		n := 0
		var err *Error
		switch b[i] {
		case '<':
			f.state = inMarkup
			return true, nil
		case '&':
			_, n, err = reference(b[i:])
		case ']':
			n, err = bracket(b[i:])
		default:
			n, err = character(b[i:])
		}
		if n == 0 || err != nil {
			return false, err
		}
		i += n
	}
}

// bracket reads the ']' at the start of b. It returns errCDEnd for "]]>", which
// ends a CDATA section and is not allowed in other text.
func bracket(b []byte) (int, *Error) {
	for i := 1; i < 3; i++ {
		if i == len(b) {
			return 0, nil
		}
		if b[i] != "]]>"[i] {
			return 1, nil
		}
	}
	return 0, errCDEnd
}

// markup reads a '<' inside an element.
func (f *Framer) markup(b []byte) (bool, *Error) {
	i := f.pos
	if i+1 == len(b) {
		return false, nil
	}
	switch b[i+1] {
	case '/':
		f.state, f.tok, f.pos = inEndTag, i, i+2
	case '!':
		rest := b[i:]
		m := min(len(rest), len(cdataOpen))
		if string(rest[:m]) != cdataOpen[:m] {
			return f.bang(rest)
		}
		if m < len(cdataOpen) {
			return false, nil
		}
		f.markText()
		f.state, f.pos = inCDATA, i+m
	case '?':
		return false, errPI
	default:
		f.beginTag(i)
	}
	return true, nil
}

const (
	cdataOpen  = "<![CDATA["
	cdataClose = "]]>"
)

// cdata reads a CDATA section to its end.
func (f *Framer) cdata(b []byte) (bool, *Error) {
	i := f.pos
	for i < len(b) {
		if class[b[i]]&plainText != 0 || b[i] == '<' || b[i] == '&' {
			i++
			continue
		}
		n := 0
		var err *Error
		if b[i] == ']' {
			if n, err = bracket(b[i:]); err != nil {
				f.state, f.pos = inText, i+len(cdataClose)
				return true, nil
			}
		} else {
			n, err = character(b[i:])
		}
		if n == 0 || err != nil {
			f.pos = i
			return false, err
		}
		i += n
	}
	f.pos = i
	return false, nil
}

// endTag continues to read the end tag of the innermost open element.
func (f *Framer) endTag(b []byte) (bool, *Error) {
	el := &f.stack[len(f.stack)-1]
	name := b[el.nameAt:el.nameEnd]
	i := f.pos
	if have := i - f.tok - 2; have < len(name) {
		m := min(len(b)-i, len(name)-have)
		if !bytes.Equal(b[i:i+m], name[have:have+m]) {
			return false, errMismatch
		}
		i += m
		f.pos = i
		if have+m < len(name) {
			return false, nil
		}
	}
	i += skip(b[i:], white)
	f.pos = i
	if i == len(b) {
		return false, nil
	}
	if b[i] != '>' {
		return false, errMismatch
	}
	f.closeElement(el, f.tok, i+1)
	f.stack = f.stack[:len(f.stack)-1]
	f.afterElement(i + 1)
	return true, nil
}

// closeElement records the end of el on the tape and ends the scope of its
// namespace bindings.
func (f *Framer) closeElement(el *open, contentEnd, end int) {
	t := &f.tape
	f.binds = f.binds[:el.binds]
	if el.node >= 0 {
		n := &t.nodes[el.node]
		n.contentEnd, n.end, n.skip = uint32(contentEnd), uint32(end), uint32(len(t.nodes))
		return
	}
	t.spaces = t.spaces[:el.spaces]
	t.scratch = t.scratch[:el.scratch]
}

// afterElement sets the state after an element that ends at end.
func (f *Framer) afterElement(end int) {
	if len(f.stack) > 0 {
		f.state, f.pos = inText, end
		return
	}
	kind := Stanza
	if f.tape.isClose {
		kind = Close
	}
	f.finish(kind, end)
}
