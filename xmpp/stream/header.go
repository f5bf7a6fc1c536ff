package stream

import (
	"bytes"
	"strings"
)

// maxDeclaration bounds the XML declaration, which must be buffered completely.
const maxDeclaration = 256

// declaration reads the XML declaration in front of a stream header.
func (f *Framer) declaration(b []byte) (bool, *Error) {
	const begin = "<?xml"
	if m := min(len(b), len(begin)); string(b[:m]) != begin[:m] {
		return false, errPI
	}
	if len(b) > len(begin) && class[b[len(begin)]]&white == 0 {
		return false, errPI
	}
	end := bytes.Index(b[:min(len(b), maxDeclaration)], []byte("?>"))
	if end < 0 {
		if len(b) >= maxDeclaration {
			return false, errDecl
		}
		return false, nil
	}
	if err := judgeDeclaration(string(b[len(begin):end])); err != nil {
		return false, err
	}
	f.state, f.pos = atStart, end+2
	return true, nil
}

// judgeDeclaration checks the pseudo-attributes: version, then optionally
// encoding and standalone (XML 1.0, section 2.8).
func judgeDeclaration(s string) *Error {
	names := []string{"version", "encoding", "standalone"}
	for k := 0; ; {
		name, value, rest, ok := pseudoAttribute(s)
		if !ok {
			if k == 0 || strings.Trim(s, " \t\r\n") != "" {
				return errDecl
			}
			return nil
		}
		for k < len(names) && names[k] != name {
			if k == 0 {
				return errDecl
			}
			k++
		}
		switch {
		case k == len(names):
			return errDecl
		case name == "version" && value != "1.0":
			return errDecl
		case name == "encoding" && !strings.EqualFold(value, "utf-8"):
			return errEncoding
		case name == "standalone" && value != "yes" && value != "no":
			return errDecl
		}
		s = rest
		k++
	}
}

func pseudoAttribute(s string) (name, value, rest string, ok bool) {
	const space = " \t\r\n"
	t := strings.TrimLeft(s, space)
	name, rest, ok = strings.Cut(t, "=")
	if !ok || len(t) == len(s) {
		return "", "", "", false
	}
	name = strings.TrimRight(name, space)
	rest = strings.TrimLeft(rest, space)
	if rest == "" || rest[0] != '"' && rest[0] != '\'' {
		return "", "", "", false
	}
	value, rest, ok = strings.Cut(rest[1:], rest[:1])
	return name, value, rest, ok
}

// OpenTag holds the attributes of a stream's opening tag.
type OpenTag struct {
	To, From, ID, Lang, Version string
}

// ParseOpen reads the opening tag from the root of a Header token. If the XMPP
// version is below 1.0, it returns both the tag and an error.
func ParseOpen(e Element) (OpenTag, error) {
	if !e.Is(NSStreams, "stream") {
		return OpenTag{}, errHeaderName
	}
	get := func(name string) string {
		v, _ := e.Attr(name)
		return string(v)
	}
	lang, _ := e.AttrNS(NSXML, "lang")
	o := OpenTag{
		To: get("to"), From: get("from"), ID: get("id"),
		Lang: string(lang), Version: get("version"),
	}
	if !supported(o.Version) {
		return o, errVersion
	}
	return o, nil
}

// supported reports whether a peer's version is 1.0 or newer. The stream then
// uses version 1.0 (RFC 6120, section 4.7.5).
func supported(version string) bool {
	major, minor, ok := strings.Cut(version, ".")
	return ok && digits(major) && digits(minor) && strings.Trim(major, "0") != ""
}

func digits(s string) bool {
	return s != "" && len(s) < 10 && strings.Trim(s, "0123456789") == ""
}

// AppendOpen appends an XML declaration and a stream's opening tag. Empty
// fields are omitted.
func AppendOpen(dst []byte, o OpenTag) []byte {
	dst = append(dst, `<?xml version='1.0'?><stream:stream xmlns='`+NSClient+`' xmlns:stream='`+NSStreams+`'`...)
	for _, a := range [...][2]string{
		{"from", o.From}, {"to", o.To}, {"id", o.ID}, {"version", o.Version}, {"xml:lang", o.Lang},
	} {
		if a[1] != "" {
			dst = AppendAttr(dst, a[0], a[1])
		}
	}
	return append(dst, '>')
}

// AppendClose appends a stream's closing tag.
func AppendClose(dst []byte) []byte { return append(dst, "</stream:stream>"...) }

// AppendTo appends e as a stream error, with its application condition. A condition
// that RFC 6120 does not define is replaced by undefined-condition.
func (e *Error) AppendTo(dst []byte) []byte {
	condition := e.Condition
	if !knownCondition(condition) {
		condition = "undefined-condition"
	}
	dst = append(dst, "<stream:error><"...)
	dst = append(dst, condition...)
	dst = append(dst, " xmlns='"+NSErrors+"'/>"...)
	if e.Text != "" {
		dst = append(dst, "<text xmlns='"+NSErrors+"' xml:lang='en'>"...)
		dst = AppendEscaped(dst, e.Text)
		dst = append(dst, "</text>"...)
	}
	if e.App == "stanza-too-big" {
		dst = append(dst, "<stanza-too-big xmlns='urn:xmpp:errors'/>"...)
	}
	return append(dst, "</stream:error>"...)
}

// knownCondition reports whether RFC 6120, section 4.9.3 defines the condition.
// see-other-host is left out: it needs a host name, and this program never
// sends it.
func knownCondition(c string) bool {
	switch c {
	case "bad-format", "bad-namespace-prefix", "conflict", "connection-timeout",
		"host-gone", "host-unknown", "improper-addressing", "internal-server-error",
		"invalid-from", "invalid-namespace", "invalid-xml", "not-authorized",
		"not-well-formed", "policy-violation", "remote-connection-failed", "reset",
		"resource-constraint", "restricted-xml", "system-shutdown",
		"undefined-condition", "unsupported-encoding", "unsupported-feature",
		"unsupported-stanza-type", "unsupported-version":
		return true
	}
	return false
}
