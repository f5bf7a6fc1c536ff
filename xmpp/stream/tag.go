package stream

import "bytes"

// startTag continues to read a start tag or an empty-element tag. Each case
// falls through to the next part of the tag. It leaves the switch if b ends, or
// if more bytes are needed to find the end of a name or a value.
func (f *Framer) startTag(b []byte) (bool, *Error) {
	i := f.pos
	for i < len(b) {
		ended, err := true, (*Error)(nil)
		switch f.state {
		case inName:
			if i, ended, err = f.name(b, i); ended && err == nil {
				err = f.named(b, i)
			}
		case inSlash:
			if b[i] != '>' {
				return false, errTag
			}
			return true, f.openElement(b, i+1, true)
		case inTag, inTagSpace:
			if n := skip(b[i:], white); n > 0 {
				i, f.state = i+n, inTagSpace
				if i == len(b) {
					break
				}
			}
			switch {
			case b[i] == '>':
				return true, f.openElement(b, i+1, false)
			case b[i] == '/':
				i, f.state = i+1, inSlash
				continue
			case f.state == inTag:
				return false, errTag
			}
			f.state, f.nameAt, f.partAt = inAttrName, i, i
			fallthrough
		case inAttrName:
			if i, ended, err = f.name(b, i); !ended || err != nil {
				break
			}
			f.nameEnd, f.state = i, inEq
			fallthrough
		case inEq:
			if i += skip(b[i:], white); i == len(b) {
				break
			}
			if b[i] != '=' {
				return false, errTag
			}
			i, f.state = i+1, inQuote
			fallthrough
		case inQuote:
			if i += skip(b[i:], white); i == len(b) {
				break
			}
			if b[i] != '"' && b[i] != '\'' {
				return false, errTag
			}
			f.quote, f.decode = b[i], false
			i, f.state = i+1, inValue
			f.valAt = i
			fallthrough
		case inValue:
			i, ended, err = f.value(b, i)
		}
		if err != nil {
			return false, err
		}
		if !ended {
			break
		}
	}
	f.pos = i
	return false, nil
}

// value continues to read an attribute value. It returns the offset it reached
// and whether the value ended there.
func (f *Framer) value(b []byte, i int) (int, bool, *Error) {
	for {
		i += skip(b[i:], plainValue)
		if i == len(b) {
			return i, false, nil
		}
		n := 1
		var err *Error
		switch c := b[i]; c {
		case '"', '\'':
			if c == f.quote {
				f.state = inTag
				return i + 1, true, f.attribute(b, i)
			}
		case '<':
			err = errTag
		case '\t', '\n', '\r':
			f.decode = true
		case '&':
			f.decode = true
			_, n, err = reference(b[i:])
		default:
			n, err = character(b[i:])
		}
		if n == 0 || err != nil {
			return i, false, err
		}
		i += n
	}
}

// name continues to read the name that begins at f.nameAt. It returns the
// offset it reached and whether the name ended there.
func (f *Framer) name(b []byte, i int) (int, bool, *Error) {
	for i < len(b) {
		if i > f.partAt {
			i += skip(b[i:], nameChar)
			if i == len(b) {
				break
			}
			if b[i] < 0x80 && b[i] != ':' {
				return i, true, nil
			}
		} else if class[b[i]]&nameStart != 0 {
			i++
			continue
		}
		if b[i] == ':' && i > f.nameAt && f.partAt == f.nameAt {
			i++
			f.partAt = i
			continue
		}
		n, ended, err := f.oddName(b, i)
		if err != nil || ended {
			return i, ended, err
		}
		if n == 0 {
			break
		}
		i += n
	}
	return i, false, nil
}

// oddName judges a character that an ASCII QName does not allow here. If XML 1.0
// without namespaces may allow the character, it is a breach, which a lenient
// Framer records as a fault. Every character outside ASCII counts as possibly
// allowed, because the editions of XML differ on these characters.
func (f *Framer) oddName(b []byte, i int) (n int, ended bool, err *Error) {
	switch c := b[i]; {
	case c >= 0x80:
		if n, err = character(b[i:]); n > 0 {
			err = f.breach(errASCIIName)
		}
	case c == ':', i > f.nameAt && class[c]&nameChar != 0:
		n, err = 1, f.breach(errName)
	case i > f.nameAt:
		ended, err = true, f.breach(errName)
	default:
		err = errName
	}
	return n, ended, err
}

// named processes the name of the element, which ends at end.
func (f *Framer) named(b []byte, end int) *Error {
	f.tag.nameAt, f.tag.nameEnd = uint32(f.nameAt), uint32(end)
	f.tagPart = f.partAt
	f.state = inTag
	if !f.header && len(f.stack) == 0 && string(b[f.nameAt:end]) == "stream:stream" {
		return errSecondHeader
	}
	return nil
}

// attribute processes the attribute whose value ends at end.
func (f *Framer) attribute(b []byte, end int) *Error {
	if f.attrs++; f.attrs > f.limits.Attrs {
		return f.breach(errAttrs)
	}
	name := b[f.nameAt:f.nameEnd]
	if name[0] == 'x' && len(name) >= 5 && string(name[:5]) == "xmlns" {
		if len(name) == 5 {
			return f.declare(b, f.nameEnd, end)
		}
		if f.partAt == f.nameAt+6 {
			return f.declare(b, f.partAt, end)
		}
	}
	t := &f.tape
	bit := uint64(1) << ((uint(len(name))*7 + uint(name[0]) + uint(name[len(name)-1])*3) & 63)
	if f.bloom&bit != 0 {
		for k := range t.attrs[f.attr0:] {
			a := &t.attrs[f.attr0+k]
			if bytes.Equal(b[a.nameAt:a.nameEnd], name) {
				return errDuplicate
			}
		}
	}
	f.bloom |= bit
	a := attr{
		nameAt: uint32(f.nameAt), nameEnd: uint32(f.nameEnd), partAt: uint32(f.partAt),
		valAt: uint32(f.valAt), valEnd: uint32(end), state: valueRaw,
	}
	if f.decode {
		a.state = valueEncoded
	}
	t.attrs = append(t.attrs, a)
	return nil
}

// openElement processes the start tag that ends at end.
func (f *Framer) openElement(b []byte, end int, selfClosed bool) *Error {
	depth := len(f.stack) + 1
	if f.elements++; f.elements > f.limits.Elements {
		if err := f.breach(errElements); err != nil {
			return err
		}
	}
	if depth > f.limits.Depth {
		if err := f.breach(errDepth); err != nil || depth > maxOpen {
			return errDepth
		}
	}
	f.tag.defNS = f.defNS
	if f.defNS == unset {
		f.tag.defNS = nsClient
		if depth > 1 {
			f.tag.defNS = f.stack[depth-2].defNS
		}
	}
	ns, err := f.elementNS(b, depth)
	if err != nil {
		return err
	}
	if err := f.attributeNS(b); err != nil {
		return err
	}
	if f.header {
		return f.openHeader(b, end, ns, selfClosed)
	}
	f.record(end, ns, depth, selfClosed)
	if selfClosed {
		f.closeElement(&f.tag, end, end)
		f.afterElement(end)
		return nil
	}
	f.stack = append(f.stack, f.tag)
	f.state, f.pos = inText, end
	return nil
}

// record adds the element to the tape if there is room.
func (f *Framer) record(end int, ns int32, depth int, selfClosed bool) {
	t := &f.tape
	if depth > 1 {
		if p := f.stack[depth-2].node; p >= 0 {
			t.nodes[p].children++
		}
	}
	if t.truncated || len(t.nodes) >= f.limits.Nodes || depth > f.limits.Depth ||
		len(t.attrs) > f.limits.TotalAttrs {
		t.truncated = true
		t.attrs = t.attrs[:f.attr0]
		f.tag.node = -1
		return
	}
	f.tag.node = int32(len(t.nodes))
	t.nodes = append(t.nodes, node{
		start: uint32(f.tok), nameEnd: f.tag.nameEnd, partAt: uint32(f.tagPart),
		openEnd: uint32(end), attr0: uint32(f.attr0), attrs: uint32(len(t.attrs) - f.attr0),
		ns: ns, depth: uint32(depth), selfClosed: selfClosed, prefixes: f.declaresPrefix(),
	})
}

// declaresPrefix reports whether the tag declares more than a default namespace.
func (f *Framer) declaresPrefix() bool {
	declared := len(f.binds) - int(f.tag.binds)
	return declared > 1 || declared == 1 && f.defNS == unset
}

// openHeader completes the stream header. It is strict even if the Framer is
// lenient.
func (f *Framer) openHeader(b []byte, end int, ns int32, selfClosed bool) *Error {
	name := string(b[f.tag.nameAt:f.tag.nameEnd]) // for comparisons only: not allocated
	switch {
	case name != "stream:stream" && ns == nsStreams && string(b[f.tagPart:f.tag.nameEnd]) == "stream":
		return errHeaderPfx
	case name != "stream:stream":
		return errHeaderName
	case f.tape.fault != nil:
		return f.tape.fault
	case ns != nsStreams:
		return errHeaderNS
	case f.defNS != nsClient:
		return errContentNS
	case selfClosed:
		return errSelfClosed
	}
	f.record(end, ns, 1, selfClosed)
	f.closeElement(&f.tag, end, end)
	f.finish(Header, end)
	return nil
}

// markText records that the innermost open element contains character data.
func (f *Framer) markText() {
	if n := f.stack[len(f.stack)-1].node; n >= 0 {
		f.tape.nodes[n].text = true
	}
}
