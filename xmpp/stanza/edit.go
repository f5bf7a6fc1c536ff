package stanza

import "github.com/postern-im/postern/xmpp/stream"

// The functions below append an edited copy of a stanza. They splice: bytes
// outside the edit stay as the sender wrote them. raw is the stanza and el is
// the element framed from it. The caller must frame the result again before
// sending it, so that no edit can bypass the checks of the grammar.

// AppendWithTo appends raw with the value of its to attribute replaced by to, a
// prepared address.
func AppendWithTo(dst, raw []byte, el stream.Element, to []byte) []byte {
	start, end, ok := el.AttrSpan("to")
	if !ok {
		return append(dst, raw...)
	}
	dst = append(dst, raw[:start]...)
	dst = stream.AppendAttr(dst, "to", to) // begins with a second space, which is allowed
	return append(dst, raw[end:]...)
}

// AppendClamped appends a presence with exactly one priority, -1. The server
// then delivers no message sent to the bare JID to this session (RFC 6121
// section 8.5.2). Priorities in any namespace are replaced, because some
// servers ignore the namespace.
func AppendClamped(dst, raw []byte, el stream.Element) []byte {
	start, end := el.ContentSpan()
	dst = appendOpenTag(dst, raw, el)
	at := start
	for c := el.FirstChild(); c.Valid(); c = c.NextSibling() {
		if string(c.Local()) != "priority" {
			continue
		}
		from, to := c.Span()
		dst = append(dst, raw[at:from]...)
		at = to
	}
	dst = append(dst, raw[at:end]...)
	dst = append(dst, "<priority xmlns='"+nsClient+"'>-1</priority>"...)
	return appendCloseTag(dst, raw, el)
}

// AppendStripped appends an error stanza reduced to the error: its kind, id and
// addresses, and its first error child with the conditions and the text that
// RFC 6120 section 8.3 defines. The stanza is written from scratch, so no other
// attribute, child or namespace of the sender passes.
func AppendStripped(dst, _ []byte, el stream.Element) []byte {
	to, _ := el.Attr("to")
	from, _ := el.Attr("from")
	dst = appendHeader(dst, el, "error", Reply{To: to, From: from})
	dst = append(dst, '>')
	for c := el.FirstChild(); c.Valid(); c = c.NextSibling() {
		if c.Is(nsClient, "error") {
			dst = appendPlainError(dst, c)
			break
		}
	}
	dst = append(append(dst, "</"...), el.Local()...)
	return append(dst, '>')
}

// appendPlainError appends the parts of an error element that RFC 6120 section
// 8.3 defines.
func appendPlainError(dst []byte, e stream.Element) []byte {
	dst = append(dst, "<error"...)
	switch typ, _ := e.Attr("type"); string(typ) {
	case "auth", "cancel", "continue", "modify", "wait":
		dst = stream.AppendAttr(dst, "type", typ)
	}
	dst = append(dst, '>')
	hasText := false
	for c := e.FirstChild(); c.Valid(); c = c.NextSibling() {
		if string(c.Space()) != nsStanzas {
			continue
		}
		switch local := string(c.Local()); {
		case local == "text" && hasText:
		case local == "text":
			hasText = true
			dst = append(dst, "<text xmlns='"+nsStanzas+"'>"...)
			dst = stream.AppendEscaped(dst, c.Text(nil))
			dst = append(dst, "</text>"...)
		case isCondition(local):
			dst = append(dst, '<')
			dst = append(dst, local...)
			dst = append(dst, " xmlns='"+nsStanzas+"'/>"...)
		}
	}
	return append(dst, "</error>"...)
}

// isCondition reports whether RFC 6120 section 8.3.3 defines a stanza error
// condition with this name.
func isCondition(local string) bool {
	switch local {
	case "bad-request", "conflict", "feature-not-implemented", "forbidden", "gone", "internal-server-error",
		"item-not-found", "jid-malformed", "not-acceptable", "not-allowed", "not-authorized", "policy-violation",
		"recipient-unavailable", "redirect", "registration-required", "remote-server-not-found",
		"remote-server-timeout", "resource-constraint", "service-unavailable", "subscription-required",
		"undefined-condition", "unexpected-request":
		return true
	}
	return false
}

func appendOpenTag(dst, raw []byte, el stream.Element) []byte {
	_, end, selfClosed := el.OpenTagEnd()
	if selfClosed {
		dst = append(dst, raw[:end-len("/>")]...)
		return append(dst, '>')
	}
	return append(dst, raw[:end]...)
}

func appendCloseTag(dst, raw []byte, el stream.Element) []byte {
	nameEnd, _, _ := el.OpenTagEnd()
	dst = append(dst, "</"...)
	dst = append(dst, raw[1:nameEnd]...) // the name as written, with its prefix
	return append(dst, '>')
}
