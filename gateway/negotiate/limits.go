package negotiate

import (
	"strconv"
	"time"

	"github.com/postern-im/postern/xmpp/stream"
)

const nsLimits = "urn:xmpp:stream-limits:0" // XEP-0478

// maxDigits bounds a number in a backend's limits. A longer number is above the
// gateway's own limits and is ignored.
const maxDigits = 9

// streamLimits are the limits of a stream (XEP-0478). 0 means not announced.
type streamLimits struct {
	bytes int           // size of a top-level element
	idle  time.Duration // time without any data
}

// readLimits reads a server's limits. It ignores a value that is not a positive
// number.
func readLimits(el stream.Element) (l streamLimits) {
	for c := el.FirstChild(); c.Valid(); c = c.NextSibling() {
		text := c.Text(nil)
		n, err := strconv.ParseUint(string(text), 10, 32)
		if err != nil || len(text) > maxDigits {
			continue
		}
		switch {
		case c.Is(nsLimits, "max-bytes"):
			l.bytes = int(n)
		case c.Is(nsLimits, "idle-seconds"):
			l.idle = time.Duration(n) * time.Second
		}
	}
	return l
}

// and returns the limits of a stream to which l and o both apply: the lower
// value of each limit.
func (l streamLimits) and(o streamLimits) streamLimits {
	if l.bytes == 0 || o.bytes > 0 && o.bytes < l.bytes {
		l.bytes = o.bytes
	}
	if l.idle == 0 || o.idle > 0 && o.idle < l.idle {
		l.idle = o.idle
	}
	return l
}

// append appends the limits as a feature.
func (l streamLimits) append(dst []byte) []byte {
	if l == (streamLimits{}) {
		return dst
	}
	dst = append(dst, "<limits xmlns='"+nsLimits+"'>"...)
	if l.bytes > 0 {
		dst = append(dst, "<max-bytes>"...)
		dst = strconv.AppendInt(dst, int64(l.bytes), 10)
		dst = append(dst, "</max-bytes>"...)
	}
	if seconds := int64(l.idle / time.Second); seconds > 0 {
		dst = append(dst, "<idle-seconds>"...)
		dst = strconv.AppendInt(dst, seconds, 10)
		dst = append(dst, "</idle-seconds>"...)
	}
	return append(dst, "</limits>"...)
}

// limitsBefore are the gateway's limits before the client has authenticated.
func limitsBefore() streamLimits {
	return streamLimits{bytes: stream.PreAuthLimits().Bytes, idle: AuthTimeout}
}

// limitsAfter are the gateway's limits in a session.
func (n *Negotiator) limitsAfter() streamLimits {
	return streamLimits{bytes: stream.ClientLimits().Bytes, idle: n.idle}
}
