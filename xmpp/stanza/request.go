package stanza

import (
	"github.com/postern-im/postern/xmpp/jid"
	"github.com/postern-im/postern/xmpp/stream"
)

// request describes the payload of an iq get or set.
func (d *Descriptor) request(el stream.Element) {
	payload := el.FirstChild()
	if !payload.Valid() || payload.NextSibling().Valid() {
		d.fault(BadIQ)
		return
	}
	p := d.addPayload(payload)
	d.node(p, payload)
	if isPlain(el, payload, p) && d.Type == Get {
		d.Marks |= IsPlain
	}
	switch p.Space {
	case Private:
		for c := payload.FirstChild(); c.Valid(); c = c.NextSibling() {
			d.addPart(c, false)
		}
	case PubSub, PubSubOwner:
		d.actions(payload, false)
	case Offline:
		if removesOffline(payload) {
			d.Marks |= RemovesOffline
		}
	case Push:
		if string(p.Local) != "disable" {
			d.addAddressed(payload, "jid")
		}
	case MUCAdmin:
		for c := payload.FirstChild(); c.Valid(); c = c.NextSibling() {
			d.addAddressed(c, "jid")
		}
	case MUCSub:
		d.addAddressed(payload, "jid")
	case MIXPAM:
		d.addAddressed(payload, "channel")
	case Roster, Blocking, Privacy:
		return // these are the user's own lists: the addresses in them receive nothing
	}
	if d.Type == Set {
		d.inside(payload, isPubSub(p.Space))
	}
}

// inside records the jid attributes of el and its descendants. It skips the
// contents of pubsub items: a service publishes them and does not act on them.
func (d *Descriptor) inside(el stream.Element, pubsub bool) {
	d.addInside(el)
	if pubsub && string(el.Local()) == "item" && isPubSub(SpaceOf(el.Space())) {
		return
	}
	for c := el.FirstChild(); c.Valid(); c = c.NextSibling() {
		d.inside(c, pubsub)
	}
}

// addInside records the address in the jid attribute of el, unless it is
// recorded already.
func (d *Descriptor) addInside(el stream.Element) {
	raw, ok := el.Attr("jid")
	if !ok || d.Fault != NoFault {
		return
	}
	addr, ok := d.address(raw, NoFault)
	switch {
	case !ok:
		d.Marks |= BadInside
	case holds(d.Addressed, addr) || holds(d.Inside, addr):
	case len(d.Inside) == MaxAddressed:
		d.Marks |= ManyInside
	default:
		d.Inside = append(d.Inside, addr)
	}
}

func isPubSub(s Space) bool { return s == PubSub || s == PubSubOwner }

func holds(list []jid.Addr, a jid.Addr) bool {
	for i := range list {
		if list[i].Equal(a) {
			return true
		}
	}
	return false
}

// isPlain reports whether a request, if it is a get, has the mark IsPlain. el is
// the iq, payload its only child.
func isPlain(el, payload stream.Element, p *Part) bool {
	var local string
	attrs := 0
	switch p.Space {
	case Ping:
		local = "ping"
	case Version, DiscoInfo:
		local = "query"
	case Time:
		local = "time"
	default:
		return false
	}
	if p.Space == DiscoInfo && p.HasNode {
		if !p.IsCaps() {
			return false
		}
		attrs = 1
	}
	return string(p.Local) == local && payload.NumAttrs() == attrs && !payload.DeclaresPrefix() &&
		isEmpty(payload) && isAlone(el, payload) && hasOwnAttrs(el)
}

// isEmpty reports whether an element has no content at all, not even white
// space.
func isEmpty(el stream.Element) bool {
	start, end := el.ContentSpan()
	return start == end
}

// isAlone reports whether child is the only content of el: there is no other
// child and no text, not even white space.
func isAlone(el, child stream.Element) bool {
	start, end := el.ContentSpan()
	first, last := child.Span()
	return start == first && end == last
}

// hasOwnAttrs reports whether all attributes of el are defined by RFC 6120
// section 8.1. A declared namespace prefix counts as another attribute.
func hasOwnAttrs(el stream.Element) bool {
	defined := 0
	for _, name := range [...]string{"type", "id", "to", "from"} {
		if _, ok := el.Attr(name); ok {
			defined++
		}
	}
	if _, ok := el.AttrNS(nsXML, "lang"); ok {
		defined++
	}
	return el.NumAttrs() == defined && !el.DeclaresPrefix()
}

const nsXML = "http://www.w3.org/XML/1998/namespace"

// actions records the elements that a pubsub request refers to. Every direct
// child of the payload is recorded, in any namespace, because Prosody acts on
// the first child and looks only at its local name. Below the children, only
// elements with a node are recorded. Elements there in other namespaces are
// payloads of items and are skipped. A set element in another namespace belongs
// to a paged request (XEP-0060 section 6.5.4). It is skipped at every level,
// because no server treats it as an action.
func (d *Descriptor) actions(el stream.Element, inner bool) {
	for c := el.FirstChild(); c.Valid(); c = c.NextSibling() {
		s := SpaceOf(c.Space())
		foreign := !isPubSub(s)
		if foreign && (inner || string(c.Local()) == "set") {
			continue
		}
		if _, hasNode := c.Attr("node"); !inner || hasNode {
			d.addPart(c, inner)
		}
		d.addAddressed(c, "jid")
		d.actions(c, true)
	}
}

// removesOffline reports whether an offline request (XEP-0013) may remove
// messages. XEP-0013 removes messages by <purge/> and by an item whose action
// is remove. To be safe, every child except a view or a fetch counts as
// removing.
func removesOffline(payload stream.Element) bool {
	for c := payload.FirstChild(); c.Valid(); c = c.NextSibling() {
		action, _ := c.Attr("action")
		view := string(c.Local()) == "item" && string(action) == "view"
		if !view && string(c.Local()) != "fetch" {
			return true
		}
	}
	return false
}
