package negotiate

import (
	"slices"
	"strings"

	"github.com/postern-im/postern/xmpp/stream"
)

// Namespaces of features.
const (
	nsSASL      = "urn:ietf:params:xml:ns:xmpp-sasl"
	nsBind      = "urn:ietf:params:xml:ns:xmpp-bind"
	nsSession   = "urn:ietf:params:xml:ns:xmpp-session"
	nsRosterVer = "urn:xmpp:features:rosterver"
	nsCaps      = "http://jabber.org/protocol/caps"
	nsCSI       = "urn:xmpp:csi:0"
)

// relayed returns the mechanisms that the gateway relays, best first. None of
// them uses channel binding, because the client's TLS ends at the gateway.
func relayed() []string {
	return []string{"SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"}
}

// shown returns mechanisms that are not relayed but may be listed beside
// SCRAM, because a client with a password prefers SCRAM to each of them.
// Mechanisms with channel binding, EXTERNAL and GSSAPI are not listed, because
// a client that supports one of them uses it before SCRAM.
func shown() []string {
	return []string{"ANONYMOUS", "DIGEST-MD5", "OAUTHBEARER", "X-OAUTH2"}
}

// features are the features of a backend that the gateway knows.
type features struct {
	startTLS                    bool
	mechanisms                  []string // relayed
	list                        []string // shown to clients
	withheld                    []string // not shown
	bind, session, rosterVer    bool
	csi                         bool
	capsHash, capsNode, capsVer string
	limits                      streamLimits
}

// maxCaps bounds each attribute of the server's entity capabilities.
const maxCaps = 1024

func readFeatures(el stream.Element) (f features) {
	for c := el.FirstChild(); c.Valid(); c = c.NextSibling() {
		switch string(c.Space()) {
		case nsTLS:
			f.startTLS = f.startTLS || string(c.Local()) == "starttls"
		case nsSASL:
			if string(c.Local()) == "mechanisms" {
				f.readMechanisms(c)
			}
		case nsBind:
			f.bind = true
		case nsSession:
			f.session = true
		case nsRosterVer:
			f.rosterVer = true
		case nsCSI:
			f.csi = true
		case nsLimits:
			f.limits = readLimits(c)
		case nsCaps:
			f.capsHash, f.capsNode, f.capsVer = capsAttr(c, "hash"), capsAttr(c, "node"), capsAttr(c, "ver")
		}
	}
	return f
}

func capsAttr(el stream.Element, name string) string {
	v, _ := el.Attr(name)
	if len(v) > maxCaps {
		return ""
	}
	return string(v)
}

// readMechanisms determines the mechanisms to relay and to list from those that
// the backend offers.
//
// A server with SCRAM may let the client verify that it has seen the server's
// whole list (XEP-0474). The gateway therefore shows the whole list, and
// refuses a client that chooses a mechanism which is not relayed. But without
// SCRAM, or if the list contains a mechanism that a client would choose before
// SCRAM, the gateway shows only the relayed mechanisms.
func (f *features) readMechanisms(el stream.Element) {
	var names []string
	for c := el.FirstChild(); c.Valid(); c = c.NextSibling() {
		if c.Is(nsSASL, "mechanism") {
			names = append(names, string(c.Text(nil)))
		}
	}
	f.mechanisms, f.list, f.withheld = nil, nil, nil
	scram, harmless := false, true
	for _, m := range relayed() {
		if slices.Contains(names, m) {
			f.mechanisms = append(f.mechanisms, m)
			scram = scram || isSCRAM(m)
		}
	}
	f.list = f.mechanisms
	for _, m := range names {
		if !slices.Contains(relayed(), m) {
			f.withheld = append(f.withheld, m)
			harmless = harmless && slices.Contains(shown(), m)
		}
	}
	if scram && harmless {
		f.list, f.withheld = slices.Concat(f.mechanisms, f.withheld), nil
	}
}

func isSCRAM(mechanism string) bool { return strings.HasPrefix(mechanism, "SCRAM-") }

// appendMechanisms appends the features before SASL success, with the gateway's
// own limits.
func (f *features) appendMechanisms(dst []byte, own streamLimits) []byte {
	dst = append(dst, "<stream:features><mechanisms xmlns='"+nsSASL+"'>"...)
	for _, m := range f.list {
		dst = append(dst, "<mechanism>"...)
		dst = append(dst, m...)
		dst = append(dst, "</mechanism>"...)
	}
	dst = append(dst, "</mechanisms>"...)
	dst = own.and(f.limits).append(dst)
	return append(dst, "</stream:features>"...)
}

// appendBind appends the features after SASL success, with the gateway's own
// limits.
func (f *features) appendBind(dst []byte, own streamLimits) []byte {
	dst = append(dst, "<stream:features><bind xmlns='"+nsBind+"'/>"...)
	if f.session {
		dst = append(dst, "<session xmlns='"+nsSession+"'><optional/></session>"...)
	}
	if f.rosterVer {
		dst = append(dst, "<ver xmlns='"+nsRosterVer+"'/>"...)
	}
	if f.csi {
		dst = append(dst, "<csi xmlns='"+nsCSI+"'/>"...)
	}
	if f.capsNode != "" && f.capsVer != "" {
		dst = append(dst, "<c xmlns='"+nsCaps+"'"...)
		if f.capsHash != "" {
			dst = stream.AppendAttr(dst, "hash", f.capsHash)
		}
		dst = stream.AppendAttr(dst, "node", f.capsNode)
		dst = stream.AppendAttr(dst, "ver", f.capsVer)
		dst = append(dst, "/>"...)
	}
	dst = own.and(f.limits).append(dst)
	return append(dst, "</stream:features>"...)
}
