package stanza

import (
	"strconv"

	"github.com/postern-im/postern/xmpp/stream"
)

// NSDenied is the namespace of the application condition <denied/>, which
// contains the missing permission and the log position of the decision.
const NSDenied = "urn:postern:denied:0"

const nsStanzas = "urn:ietf:params:xml:ns:xmpp-stanzas"

// A Reply is an answer to one stanza. Its texts are escaped when written.
type Reply struct {
	// To and From are the addresses of the answer itself. An empty address is
	// left out.
	To, From []byte
	// Type and Condition are the error type and the defined condition of RFC
	// 6120 sections 8.3.2 and 8.3.3.
	Type, Condition string
	Text            string // left out when empty
	// Permission, if not empty, adds the application condition <denied/> with
	// Position.
	Permission string
	Position   uint64
}

// AppendError appends the stanza error that answers el. It has the kind and id
// of el and does not echo the payload.
func AppendError(dst []byte, el stream.Element, r Reply) []byte {
	dst = appendHeader(dst, el, "error", r)
	dst = append(dst, "><error type='"...)
	dst = append(dst, r.Type...)
	dst = append(dst, "'><"...)
	dst = append(dst, r.Condition...)
	dst = append(dst, " xmlns='"+nsStanzas+"'/>"...)
	if r.Text != "" {
		dst = append(dst, "<text xmlns='"+nsStanzas+"' xml:lang='en'>"...)
		dst = stream.AppendEscaped(dst, r.Text)
		dst = append(dst, "</text>"...)
	}
	if r.Permission != "" {
		dst = append(dst, "<denied xmlns='"+NSDenied+"'"...)
		dst = stream.AppendAttr(dst, "permission", r.Permission)
		dst = append(dst, " position='"...)
		dst = strconv.AppendUint(dst, r.Position, 10)
		dst = append(dst, "'/>"...)
	}
	dst = append(dst, "</error></"...)
	dst = append(dst, el.Local()...)
	return append(dst, '>')
}

// AppendResult appends the empty iq result that answers el.
func AppendResult(dst []byte, el stream.Element, to, from []byte) []byte {
	dst = appendHeader(dst, el, "result", Reply{To: to, From: from})
	return append(dst, "/>"...)
}

// appendHeader appends an opening tag without its closing bracket. el is a
// message, presence or iq; therefore its local name needs no escaping.
func appendHeader(dst []byte, el stream.Element, typ string, r Reply) []byte {
	dst = append(dst, '<')
	dst = append(dst, el.Local()...)
	dst = append(dst, " type='"...)
	dst = append(dst, typ...)
	dst = append(dst, '\'')
	if id, ok := el.Attr("id"); ok {
		dst = stream.AppendAttr(dst, "id", id)
	}
	if len(r.To) > 0 {
		dst = stream.AppendAttr(dst, "to", r.To)
	}
	if len(r.From) > 0 {
		dst = stream.AppendAttr(dst, "from", r.From)
	}
	return dst
}
