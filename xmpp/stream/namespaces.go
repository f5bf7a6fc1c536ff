package stream

import "bytes"

// Namespaces are numbers while a stanza is read. Two bindings that are in scope
// at the same time have the same number if and only if their names are equal.
// The search for duplicate attributes depends on this.
const (
	unset     int32 = -1
	nsNone    int32 = 0
	nsXML     int32 = 1
	nsClient  int32 = 2
	nsServer  int32 = 3
	nsStreams int32 = 4
	nsFirst   int32 = 5 // the first number for any other namespace that the stanza declares
)

// knownSpaces holds the names of the numbers below nsFirst.
var knownSpaces = [nsFirst][]byte{
	nsXML:     []byte(NSXML),
	nsClient:  []byte(NSClient),
	nsServer:  []byte(NSServer),
	nsStreams: []byte(NSStreams),
}

// binding is a prefix in scope.
type binding struct {
	prefixAt, prefixEnd uint32 // empty for a default namespace
	ns                  int32
}

// declare processes an xmlns attribute. Its prefix is between prefixAt and
// f.nameEnd, and its value ends at end.
func (f *Framer) declare(b []byte, prefixAt, end int) *Error {
	prefix := b[prefixAt:f.nameEnd]
	for _, d := range f.binds[f.tag.binds:] {
		if bytes.Equal(b[d.prefixAt:d.prefixEnd], prefix) {
			return errDuplicate
		}
	}
	if len(f.binds) >= f.limits.Namespaces {
		return f.breach(errNamespaces)
	}
	raw, decoded := b[f.valAt:end], false
	t := &f.tape
	scratch := len(t.scratch)
	if f.decode {
		t.scratch = appendValue(t.scratch, raw)
		raw, decoded = t.scratch[scratch:], true
	}
	e := reserved(prefix, raw)
	ns := f.number(b, raw)
	if e == nil && ns == unset && !isURI(raw) { // a name with a number is known to be valid
		e = errNSName
	}
	if e != nil {
		if err := f.breach(e); err != nil {
			return err
		}
	}
	if ns == unset {
		ns = nsFirst + int32(len(t.spaces))
		s := space{at: uint32(f.valAt), end: uint32(end)}
		if decoded {
			s = space{at: uint32(scratch), end: uint32(len(t.scratch)), decoded: true}
		}
		t.spaces = append(t.spaces, s)
	} else {
		t.scratch = t.scratch[:scratch]
	}
	f.binds = append(f.binds, binding{uint32(prefixAt), uint32(f.nameEnd), ns})
	if len(prefix) == 0 {
		f.defNS = ns
	}
	return nil
}

// reserved returns the error for binding prefix to name, or nil. In addition to
// the rules of Namespaces in XML, the prefix stream may only be bound to the
// streams namespace.
func reserved(prefix, name []byte) *Error {
	switch string(name) {
	case NSXML:
		if string(prefix) != "xml" {
			return errReserved
		}
		return nil
	case NSXMLNS:
		return errReserved
	case NSStreams:
		if string(prefix) == "xml" || string(prefix) == "xmlns" {
			return errReserved
		}
		return nil
	}
	switch string(prefix) {
	case "xml", "xmlns", "stream":
		return errReserved
	case "":
	default:
		if len(name) == 0 {
			return errUndeclare
		}
	}
	return nil
}

// isURI reports whether name is a URI reference (RFC 3986) that every parser
// forwards unchanged. Every namespace name must be a URI reference: libxml2
// refuses or reports any other name, and it alters an ampersand. Attackers have
// forged elements with names that contain a parser's separator character. For
// these reasons, user names, literal addresses, empty ports and apostrophes are
// refused too.
func isURI(name []byte) bool {
	colon, slash, hashes := -1, -1, 0
	for i, c := range name {
		if class[c]&plainURI != 0 {
			continue
		}
		switch c {
		case ':':
			if colon < 0 && slash < 0 {
				colon = i
			}
		case '#':
			hashes++
			fallthrough
		case '/', '?':
			if slash < 0 {
				slash = i
			}
		case '%':
			if i+2 >= len(name) || !isHex(name[i+1]) || !isHex(name[i+2]) {
				return false
			}
		default:
			return false
		}
	}
	if hashes > 1 {
		return false
	}
	if colon >= 0 && !isScheme(name[:colon]) {
		return false
	}
	rest, ok := bytes.CutPrefix(name[colon+1:], []byte("//"))
	return !ok || colon >= 0 && isAuthority(rest)
}

func isScheme(s []byte) bool {
	for _, c := range s {
		if class[c]&nameChar == 0 && c != '+' || c == '_' {
			return false
		}
	}
	return len(s) > 0 && class[s[0]]&nameStart != 0
}

// isAuthority checks the host and port at the start of rest.
func isAuthority(rest []byte) bool {
	host := 0
	for host < len(rest) && class[rest[host]]&plainURI != 0 && rest[host] != '@' {
		host++
	}
	end := host
	if end < len(rest) && rest[end] == ':' {
		for end++; end < len(rest) && rest[end] >= '0' && rest[end] <= '9'; end++ {
		}
		if end == host+1 {
			return false
		}
	}
	return host > 0 && (end == len(rest) || rest[end] == '/' || rest[end] == '?' || rest[end] == '#')
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f'
}

// number returns the number of a namespace name that is known or in scope, or
// unset.
func (f *Framer) number(b, name []byte) int32 {
	switch string(name) {
	case "":
		return nsNone
	case NSClient:
		return nsClient
	case NSServer:
		return nsServer
	case NSStreams:
		return nsStreams
	case NSXML:
		return nsXML
	}
	for k := len(f.binds) - 1; k >= 0; k-- {
		if ns := f.binds[k].ns; ns >= nsFirst && bytes.Equal(f.tape.space(b, ns), name) {
			return ns
		}
	}
	return unset
}

// lookup returns the namespace that a prefix is bound to. Bindings of the
// stream header do not count.
func (f *Framer) lookup(b, prefix []byte) int32 {
	if string(prefix) == "xml" {
		return nsXML
	}
	for k := len(f.binds) - 1; k >= 0; k-- {
		if d := &f.binds[k]; bytes.Equal(b[d.prefixAt:d.prefixEnd], prefix) {
			return d.ns
		}
	}
	return unset
}

// elementNS resolves the name of the start tag being read.
func (f *Framer) elementNS(b []byte, depth int) (int32, *Error) {
	ns := f.tag.defNS
	local := b[f.tagPart:f.tag.nameEnd]
	if at := int(f.tag.nameAt); f.tagPart > at {
		prefix := b[at : f.tagPart-1]
		ns = f.lookup(b, prefix)
		if ns == unset && depth == 1 && string(prefix) == "stream" && f.inherits(local) {
			ns = nsStreams
		}
	}
	switch {
	case ns == unset:
		return nsNone, f.breach(errPrefix)
	case ns == nsXML:
		return ns, f.breach(errReserved)
	case ns != nsStreams || f.header:
		return ns, nil
	case depth > 1 || !f.inherits(local):
		return ns, f.breach(errStreamsNS)
	}
	f.tape.isClose = !f.lenient
	return ns, nil
}

// inherits reports whether a top-level element may be in the streams namespace
// and use the prefix stream from the stream header. Only a stream error and a
// server's stream features may. A client's stream error closes its stream.
func (f *Framer) inherits(local []byte) bool {
	return string(local) == "error" || f.lenient && string(local) == "features"
}

// attributeNS resolves the prefixes of the tag's attributes. A qualified
// attribute in a namespace of the stream itself, such as c:to beside to, is
// refused: it has no honest use, and servers disagree on its meaning. xml:id is
// refused, because some parsers trim and validate it. Of the other attributes
// in the xml namespace, only lang, space and base are accepted.
func (f *Framer) attributeNS(b []byte) *Error {
	attrs := f.tape.attrs[f.attr0:]
	for k := range attrs {
		a := &attrs[k]
		if a.partAt == a.nameAt {
			continue
		}
		a.ns = f.lookup(b, b[a.nameAt:a.partAt-1])
		var e *Error
		switch a.ns {
		case unset:
			a.ns, e = nsNone, errPrefix
		case nsClient, nsServer, nsStreams:
			e = errAttrNS
		case nsXML:
			switch string(b[a.partAt:a.nameEnd]) {
			case "lang", "space", "base":
			default:
				e = errReserved
			}
		}
		if e != nil {
			if err := f.breach(e); err != nil {
				return err
			}
		}
		for j := range attrs[:k] {
			o := &attrs[j]
			if o.ns == a.ns && o.partAt > o.nameAt &&
				bytes.Equal(b[o.partAt:o.nameEnd], b[a.partAt:a.nameEnd]) {
				if err := f.breach(errDuplicateNS); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
