package stanza

import "github.com/postern-im/postern/xmpp/stream"

// The edits below write a changed copy of a stanza by splicing: every byte
// that is not the edit's own is the sender's. raw is the stanza's bytes, el
// the element they were framed to. The result must be framed again before it
// is sent; no edit may be the one place where the grammar is not checked.

// AppendWithTo appends raw with its to attribute replaced by to, which is in
// prepared form.
func AppendWithTo(dst, raw []byte, el stream.Element, to []byte) []byte {
	start, end, ok := el.AttrSpan("to")
	if !ok {
		return append(dst, raw...)
	}
	dst = append(dst, raw[:start]...)
	dst = stream.AppendAttr(dst, "to", to) // with a space of its own before it
	return append(dst, raw[end:]...)
}

// AppendClamped appends a presence with exactly one priority, -1: the server
// then delivers no message sent to the bare JID (RFC 6121 section 8.5.2). A
// priority of any namespace is taken out, because not every server looks at
// namespaces.
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

// AppendStripped appends what is left of an error stanza when nothing but the
// error may pass: its kind, id and addresses, and its first error child with
// the conditions and the text that RFC 6120 section 8.3 defines. All of it is
// written anew, so no other attribute, child or namespace of the sender's
// comes along.
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

// appendPlainError appends what RFC 6120 section 8.3 defines of an error
// element.
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

// isCondition reports whether a stanza error condition of this name is defined
// (RFC 6120 section 8.3.3).
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
	dst = append(dst, raw[1:nameEnd]...) // the name as written, prefix and all
	return append(dst, '>')
}
