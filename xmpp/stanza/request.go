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
		return // naming somebody in one's own list is no communication
	}
	if d.Type == Set {
		d.inside(payload, isPubSub(p.Space))
	}
}

// inside notes the jid attributes of el and its descendants. The contents of
// pubsub items are left out: they are published, and nobody acts on them.
func (d *Descriptor) inside(el stream.Element, pubsub bool) {
	d.addInside(el)
	if pubsub && string(el.Local()) == "item" && isPubSub(SpaceOf(el.Space())) {
		return
	}
	for c := el.FirstChild(); c.Valid(); c = c.NextSibling() {
		d.inside(c, pubsub)
	}
}

// addInside notes the address in el's jid attribute, if there is one that is
// not noted yet.
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

// isPlain reports whether a request for what entities commonly ask of each
// other says nothing but that. el is the iq, payload its only child.
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

// isEmpty reports whether nothing at all stands in an element, not even white
// space.
func isEmpty(el stream.Element) bool {
	start, end := el.ContentSpan()
	return start == end
}

// isAlone reports whether nothing at all stands beside el's child, not even
// white space.
func isAlone(el, child stream.Element) bool {
	start, end := el.ContentSpan()
	first, last := child.Span()
	return start == first && end == last
}

// hasOwnAttrs reports whether el has no attribute but those of RFC 6120
// section 8.1. A namespace prefix that it declares counts as an attribute.
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

// actions notes what a pubsub request names: each direct child of the payload,
// whatever its namespace, because Prosody acts on the first one by its local
// name alone, and further inside each element with a node. Payloads of items,
// in other namespaces, are not looked into. The set of a paged request
// (XEP-0060 section 6.5.4) is no action to anybody.
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

// removesOffline: XEP-0013 removes by <purge/>, or by items whose action is
// remove; anything but a view or a fetch counts.
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
