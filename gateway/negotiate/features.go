package negotiate

import (
	"slices"

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

// The mechanisms that are relayed, best first. None is bound to a channel: the
// client's TLS ends here.
func relayed() []string {
	return []string{"SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"}
}

// features are what a backend offers of what we know.
type features struct {
	startTLS                    bool
	mechanisms                  []string
	bind, session, rosterVer    bool
	csi                         bool
	capsHash, capsNode, capsVer string
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
				f.mechanisms = readMechanisms(c)
			}
		case nsBind:
			f.bind = true
		case nsSession:
			f.session = true
		case nsRosterVer:
			f.rosterVer = true
		case nsCSI:
			f.csi = true
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

// readMechanisms returns those of the relayed mechanisms that are offered.
func readMechanisms(el stream.Element) (offered []string) {
	var names []string
	for c := el.FirstChild(); c.Valid(); c = c.NextSibling() {
		if c.Is(nsSASL, "mechanism") {
			names = append(names, string(c.Text(nil)))
		}
	}
	for _, m := range relayed() {
		if slices.Contains(names, m) {
			offered = append(offered, m)
		}
	}
	return offered
}

// appendMechanisms appends the features before SASL success.
func (f *features) appendMechanisms(dst []byte) []byte {
	dst = append(dst, "<stream:features><mechanisms xmlns='"+nsSASL+"'>"...)
	for _, m := range f.mechanisms {
		dst = append(dst, "<mechanism>"...)
		dst = append(dst, m...)
		dst = append(dst, "</mechanism>"...)
	}
	return append(dst, "</mechanisms></stream:features>"...)
}

// appendBind appends the features after SASL success.
func (f *features) appendBind(dst []byte) []byte {
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
	return append(dst, "</stream:features>"...)
}
