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

// AppendStripped appends raw with its first error child as its only content.
func AppendStripped(dst, raw []byte, el stream.Element) []byte {
	dst = appendOpenTag(dst, raw, el)
	for c := el.FirstChild(); c.Valid(); c = c.NextSibling() {
		if c.Is(nsClient, "error") {
			from, to := c.Span()
			dst = append(dst, raw[from:to]...)
			break
		}
	}
	return appendCloseTag(dst, raw, el)
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
