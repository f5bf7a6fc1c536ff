package stanza

import (
	"bytes"

	"github.com/postern-im/postern/xmpp/jid"
	"github.com/postern-im/postern/xmpp/stream"
)

// Describe fills d with the description of el. If a part of el cannot be
// described, d.Fault gives the reason. The header fields (kind, type, id,
// addresses) are filled all the same, as far as they can be read, so that the
// stanza can be answered.
func (d *Descriptor) Describe(el stream.Element) {
	*d = Descriptor{
		Payloads:  d.Payloads[:0],
		Parts:     d.Parts[:0],
		Addressed: d.Addressed[:0],
		Inside:    d.Inside[:0],
		text:      d.text[:0],
	}
	d.Kind = kindOf(el)
	switch d.Kind {
	case UnknownKind:
		d.fault(Unsupported)
		return
	case ClientStateKind:
		if el.Fault() != nil || el.FirstChild().Valid() || el.HasText() {
			d.fault(Unsupported)
		}
		return
	}
	if el.Fault() != nil {
		d.fault(Undescribable)
	}
	d.header(el)
	headerOnly := d.Kind == IQ && (d.Type == Result || d.Type == Error)
	if headerOnly {
		return
	}
	if el.Truncated() {
		d.fault(Undescribable)
		return
	}
	if d.Kind == IQ {
		d.request(el)
	} else {
		d.children(el)
	}
}

func kindOf(el stream.Element) Kind {
	local := el.Local()
	switch string(el.Space()) {
	case nsClient:
		switch string(local) {
		case "message":
			return Message
		case "presence":
			return Presence
		case "iq":
			return IQ
		}
	case "urn:xmpp:csi:0":
		if s := string(local); s == "active" || s == "inactive" {
			return ClientStateKind
		}
	}
	return UnknownKind
}

// fault records the first fault and ignores later ones, with one exception: any
// later fault replaces BadEmbedded. Package decision clears BadEmbedded in
// stanzas from the server, and this must not hide another fault.
func (d *Descriptor) fault(f Fault) {
	if d.Fault == NoFault || d.Fault == BadEmbedded {
		d.Fault = f
	}
}

// keep copies b into the descriptor.
func (d *Descriptor) keep(b []byte) []byte {
	if len(b) > MaxText {
		d.fault(Undescribable)
		return nil
	}
	n := len(d.text)
	d.text = append(d.text, b...)
	return d.text[n:len(d.text):len(d.text)]
}

func (d *Descriptor) header(el stream.Element) {
	typ, hasType := el.Attr("type")
	d.Type = typeOf(d.Kind, typ, hasType)
	if id, ok := el.Attr("id"); ok {
		d.ID, d.HasID = d.keep(id), true
	}
	if to, ok := el.Attr("to"); ok {
		addr, ok := d.address(to, BadTo)
		d.To, d.ToEdited = addr, ok && !addr.SameAs(to)
	}
	if from, ok := el.Attr("from"); ok {
		d.From, _ = d.address(from, BadFrom)
	}
	if d.Kind == Presence && d.Type == UnknownType {
		d.fault(BadPresenceType)
	}
	if d.Kind == IQ && (!d.HasID || d.Type == UnknownType) {
		d.fault(BadIQ)
	}
}

// address prepares a copy of raw. If raw cannot be prepared, address records
// the fault f.
func (d *Descriptor) address(raw []byte, f Fault) (jid.Addr, bool) {
	if len(raw) > MaxAddress {
		d.fault(f)
		return jid.Addr{}, false
	}
	n := len(d.text)
	d.text = append(d.text, raw...)
	addr, err := jid.Parse(d.text[n:len(d.text):len(d.text)])
	if err != nil {
		d.fault(f)
		return jid.Addr{}, false
	}
	return addr, true
}

// MaxAddress is the length of the longest address that RFC 7622 section 3.1
// allows: three parts of 1023 bytes, an at sign and a slash.
const MaxAddress = 3*1023 + 2

func typeOf(kind Kind, typ []byte, present bool) Type {
	if !present {
		switch kind {
		case Message:
			return Normal
		case Presence:
			return Available
		}
		return UnknownType
	}
	switch kind {
	case IQ:
		switch string(typ) {
		case "get":
			return Get
		case "set":
			return Set
		case "result":
			return Result
		case "error":
			return Error
		}
	case Message:
		switch string(typ) {
		case "chat":
			return Chat
		case "groupchat":
			return Groupchat
		case "headline":
			return Headline
		case "error":
			return Error
		}
		return Normal
	case Presence:
		return presenceType(typ)
	}
	return UnknownType
}

func presenceType(typ []byte) Type {
	switch string(typ) {
	case "unavailable":
		return Unavailable
	case "subscribe":
		return Subscribe
	case "subscribed":
		return Subscribed
	case "unsubscribe":
		return Unsubscribe
	case "unsubscribed":
		return Unsubscribed
	case "probe":
		return Probe
	case "error":
		return Error
	}
	return UnknownType
}

// name sets the name of p to the name of el.
func (d *Descriptor) name(p *Part, el stream.Element) {
	space := el.Space()
	p.Space = SpaceOf(space)
	if p.Space.HasText() {
		p.Other = d.keep(space)
	}
	p.Local = d.keep(el.Local())
}

// node copies the node attribute of el into p, if el has one.
func (d *Descriptor) node(p *Part, el stream.Element) {
	if node, ok := el.Attr("node"); ok {
		p.Node, p.HasNode = d.keep(node), true
	}
}

// addPayload adds el to the payloads. It returns nil if there are too many.
func (d *Descriptor) addPayload(el stream.Element) *Part {
	if len(d.Payloads) == MaxPayloads {
		d.fault(Undescribable)
		return nil
	}
	d.Payloads = append(d.Payloads, Part{})
	p := &d.Payloads[len(d.Payloads)-1]
	d.name(p, el)
	return p
}

// addPart adds el to the parts. inner is true if el is not a direct child of
// the payload.
func (d *Descriptor) addPart(el stream.Element, inner bool) {
	if len(d.Parts) == MaxParts {
		d.fault(Undescribable)
		return
	}
	d.Parts = append(d.Parts, Part{Inner: inner})
	p := &d.Parts[len(d.Parts)-1]
	d.name(p, el)
	d.node(p, el)
}

// addAddressed records the address in the attribute attr of el, if el has it.
func (d *Descriptor) addAddressed(el stream.Element, attr string) {
	raw, ok := el.Attr(attr)
	if !ok {
		return
	}
	if len(d.Addressed) == MaxAddressed {
		d.fault(Undescribable)
		return
	}
	if addr, ok := d.address(raw, BadEmbedded); ok {
		d.Addressed = append(d.Addressed, addr)
	}
}

// children describes the children of a message or presence.
func (d *Descriptor) children(el stream.Element) {
	meaningful := 0
	priorities := 0
	negative := false
	for c := el.FirstChild(); c.Valid(); c = c.NextSibling() {
		p := d.addPayload(c)
		if p == nil {
			return
		}
		if !beside(p) {
			meaningful++
		}
		d.mark(p)
		d.addressees(c, p.Space)
		if p.Space == PubSubEvent && d.Kind == Message {
			d.eventNodes(c)
		}
		if string(p.Local) == "priority" {
			priorities++
			negative = p.Space == Client && d.negative(c)
		}
	}
	if d.Marks&(IsCarbon|IsArchive|IsEvent) != 0 && meaningful == 1 && !el.HasText() {
		d.Marks |= IsAlone
	}
	if d.Kind == Presence && priorities == 1 && negative {
		d.Marks |= NegativePriority
	}
}

// beside reports whether p is not meaningful (see IsAlone): p may accompany an
// event, a carbon or an archive result without counting as content.
func beside(p *Part) bool {
	switch p.Space {
	case Delay:
		return string(p.Local) == "delay"
	case StanzaID:
		return string(p.Local) == "stanza-id" || string(p.Local) == "origin-id"
	case Hints:
		return true
	case SHIM:
		return string(p.Local) == "headers"
	case Address:
		return string(p.Local) == "addresses"
	}
	return false
}

func (d *Descriptor) mark(p *Part) {
	if p.Space == MUCUser {
		d.Marks |= HasMUCUser
	}
	if d.Kind != Message {
		if p.Space == MUC && string(p.Local) == "x" {
			d.Marks |= HasMUC
		}
		return
	}
	switch p.Space {
	case Client:
		if s := string(p.Local); s == "body" || s == "subject" {
			d.Marks |= HasContent
		}
	case OMEMOOld, OMEMO1, OMEMO2, PGPOld, PGP, EME:
		d.Marks |= HasContent
	case Carbons:
		if s := string(p.Local); s == "received" || s == "sent" {
			d.Marks |= IsCarbon
		}
	case MAM, MAMOther:
		if s := string(p.Local); s == "result" || s == "fin" {
			d.Marks |= IsArchive
		}
	case PubSubEvent:
		if string(p.Local) == "event" {
			d.Marks |= IsEvent
		}
	case Conference:
		d.Marks |= IsInvite
	}
}

// addressees records the addresses of third parties in c, a child of a message
// or presence (XEP-0045 sections 7.8 and 7.8.1, XEP-0249, XEP-0033).
func (d *Descriptor) addressees(c stream.Element, space Space) {
	switch space {
	case MUCUser:
		for e := c.FirstChild(); e.Valid(); e = e.NextSibling() {
			switch string(e.Local()) {
			case "invite":
				d.Marks |= IsInvite
				d.addAddressed(e, "to")
			case "decline":
				d.addAddressed(e, "to")
			}
		}
	case Conference:
		d.addAddressed(c, "jid")
	case Address:
		for e := c.FirstChild(); e.Valid(); e = e.NextSibling() {
			d.addAddressed(e, "jid")
		}
	}
}

func (d *Descriptor) eventNodes(el stream.Element) {
	for c := el.FirstChild(); c.Valid(); c = c.NextSibling() {
		if SpaceOf(c.Space()) != PubSubEvent {
			continue
		}
		if _, ok := c.Attr("node"); ok {
			d.addPart(c, true)
		}
		d.eventNodes(c)
	}
}

// negative reports whether the text of a priority is a minus sign followed by
// digits and nothing else, with a value from -128 to -1. Servers disagree about
// every other spelling.
func (d *Descriptor) negative(priority stream.Element) bool {
	if priority.FirstChild().Valid() {
		return false
	}
	n := len(d.text)
	d.text = priority.Text(d.text)
	text := d.text[n:]
	d.text = d.text[:n]
	digits, minus := bytes.CutPrefix(text, []byte("-"))
	if !minus || len(digits) == 0 || len(digits) > maxPriorityDigits {
		return false
	}
	value := 0
	for _, c := range digits {
		if c < '0' || c > '9' {
			return false
		}
		value = value*10 + int(c-'0')
	}
	return value >= 1 && value <= 128
}

// maxPriorityDigits leaves room for leading zeros, which all servers accept.
const maxPriorityDigits = 8
