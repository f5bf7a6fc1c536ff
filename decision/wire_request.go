package decision

import (
	"encoding/binary"

	"github.com/postern-im/postern/xmpp/jid"
	"github.com/postern-im/postern/xmpp/stanza"
)

// MaxQuestion bounds an encoded Question. NewQuestion marks a stanza with a
// longer question as undescribable. The bound is far above the size of ordinary
// stanzas, and small enough for a batch to hold several questions.
const MaxQuestion = 64 << 10

// A RequestKind says which field of a Request is set.
type RequestKind uint8

// The kinds of requests, and of the results that answer them.
const (
	NoRequestKind RequestKind = iota
	Ask                       // a Question, answered by a Verdict
	Admit                     // a domain, answered by an Admission
	Open                      // a Session, answered by an Opening
)

// A Request is one request of a gateway to a node. The zero value is ready for
// DecodeRequest. Decoding into the same Request again reuses its memory.
type Request struct {
	Kind     RequestKind
	Question Question
	Domain   []byte // as the client sent it, at most 1023 bytes
	Session  Session
}

// Flags of a question.
const (
	flagIn byte = 1 << iota
	flagJoined
	flagOutstanding
	flagHasID
	flagTo
	flagFrom
	flagToEdited
	flagQueried
)

// More flags of a question, in a second byte.
const (
	flagMUC   byte = 1 << iota // the directed presence of flagJoined asked to join a room
	moreFlags      = flagMUC<<1 - 1
)

// Flags of a part.
const (
	flagNode byte = 1 << iota
	flagInner
	partFlags = flagInner<<1 - 1
)

// AppendAdmit appends the request for a domain's Admission.
func AppendAdmit(dst []byte, domain string) []byte {
	return appendText(append(dst, byte(tagAdmit)), domain)
}

// AppendOpen appends the request for a session's Opening.
func AppendOpen(dst []byte, s *Session) []byte {
	return appendSession(append(dst, byte(tagOpen)), s)
}

// DecodeRequest decodes a request from the front of b into r and returns the
// remaining bytes. After an error, r may only be used for decoding again.
func DecodeRequest(b []byte, r *Request) (rest []byte, err error) {
	if len(b) == 0 {
		return nil, &MalformedError{Field: "request"}
	}
	switch tag(b[0]) {
	case tagQuestion:
		r.Kind = Ask
		return DecodeQuestion(b, &r.Question)
	case tagAdmit:
		r.Kind = Admit
		in := reader{b: b[1:]}
		r.Domain = in.text(maxDomain, "domain")
		return in.b, in.err()
	case tagOpen:
		r.Kind = Open
		in := reader{b: b[1:]}
		in.session(&r.Session)
		return in.b, in.err()
	}
	return nil, &MalformedError{Field: "request"}
}

// AppendQuestion appends a question.
func AppendQuestion(dst []byte, q *Question) []byte {
	d := &q.Desc
	dst = append(dst, byte(tagQuestion))
	dst = binary.AppendUvarint(dst, q.ID)
	dst = appendSession(dst, &q.Session)
	dst = append(dst, q.flags(), q.moreFlags(), byte(d.Kind), byte(d.Type), byte(d.Fault))
	dst = binary.AppendUvarint(dst, uint64(d.Marks))
	if d.HasID {
		dst = appendText(dst, d.ID)
	}
	if !d.To.IsZero() {
		dst = appendText(dst, d.To.Bytes())
	}
	if !d.From.IsZero() {
		dst = appendText(dst, d.From.Bytes())
	}
	dst = appendParts(dst, d.Payloads)
	dst = appendParts(dst, d.Parts)
	return appendAddresses(appendAddresses(dst, d.Addressed), d.Inside)
}

func appendAddresses(dst []byte, list []jid.Addr) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(list)))
	for _, a := range list {
		dst = appendText(dst, a.Bytes())
	}
	return dst
}

// bound shortens a question that would be longer than MaxQuestion. First it
// leaves out the addresses of Inside, because only services act on these, and
// sets the mark ManyInside. If the question is still too long, bound marks the
// stanza as undescribable and leaves out its parts and addresses.
func (q *Question) bound() {
	d := &q.Desc
	if q.sizeAtMost() <= MaxQuestion {
		return
	}
	if len(d.Inside) > 0 {
		d.Inside, d.Marks = nil, d.Marks|stanza.ManyInside
		if q.sizeAtMost() <= MaxQuestion {
			return
		}
	}
	if d.Fault == stanza.NoFault {
		d.Fault = stanza.Undescribable
	}
	d.Payloads, d.Parts, d.Addressed = nil, nil, nil
}

// sizeAtMost returns an upper bound for the length of the encoded question.
func (q *Question) sizeAtMost() int {
	const (
		numbers = 64 // all tags, flags, counts and numbers at their greatest length
		length  = 3  // the encoded length of a text
	)
	s, d := &q.Session, &q.Desc
	n := numbers + 8*length + len(s.ID) + len(s.Tenant) + len(s.Account) + 1 + len(s.Resource) + len(s.Grant) + len(s.OpenedLog)
	n += len(d.ID) + len(d.To.Bytes()) + len(d.From.Bytes())
	for _, parts := range [...][]stanza.Part{d.Payloads, d.Parts} {
		for i := range parts {
			p := &parts[i]
			n += 2 + 3*length + len(p.Other) + len(p.Local) + len(p.Node)
		}
	}
	for _, list := range [...][]jid.Addr{d.Addressed, d.Inside} {
		for _, a := range list {
			n += length + len(a.Bytes())
		}
	}
	return n
}

func (q *Question) moreFlags() byte {
	if q.MUC {
		return flagMUC
	}
	return 0
}

func (q *Question) flags() byte {
	var f byte
	set := func(bit byte, on bool) {
		if on {
			f |= bit
		}
	}
	set(flagQueried, q.Queried)
	set(flagIn, q.Direction == In)
	set(flagJoined, q.Joined)
	set(flagOutstanding, q.Outstanding)
	set(flagHasID, q.Desc.HasID)
	set(flagTo, !q.Desc.To.IsZero())
	set(flagFrom, !q.Desc.From.IsZero())
	set(flagToEdited, q.Desc.ToEdited)
	return f
}

// appendSession appends account and resource as one address, so that the decoder
// itself splits and verifies it.
func appendSession(dst []byte, s *Session) []byte {
	dst = appendText(dst, s.ID)
	dst = appendText(dst, s.Tenant)
	n := len(s.Account)
	if len(s.Resource) > 0 {
		n += 1 + len(s.Resource)
	}
	dst = binary.AppendUvarint(dst, uint64(n))
	dst = append(dst, s.Account...)
	if len(s.Resource) > 0 {
		dst = append(append(dst, '/'), s.Resource...)
	}
	dst = appendText(dst, s.Grant)
	return appendText(binary.AppendUvarint(dst, s.Opened), s.OpenedLog)
}

func appendParts(dst []byte, parts []stanza.Part) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(parts)))
	for i := range parts {
		p := &parts[i]
		var f byte
		if p.HasNode {
			f |= flagNode
		}
		if p.Inner {
			f |= flagInner
		}
		dst = append(dst, byte(p.Space), f)
		if p.Space.HasText() {
			dst = appendText(dst, p.Other)
		}
		dst = appendText(dst, p.Local)
		if p.HasNode {
			dst = appendText(dst, p.Node)
		}
	}
	return dst
}

// DecodeQuestion decodes a question from the front of b and returns the
// remaining bytes. It reuses q's slices. Rules trust the addresses and namespace
// numbers of a question, so DecodeQuestion verifies both: an address that is not
// in its prepared form is an error, and so is a namespace with a wrong number.
func DecodeQuestion(b []byte, q *Question) (rest []byte, err error) {
	r := reader{b: b}
	d := &q.Desc
	r.tag(tagQuestion, "question")
	q.ID = r.number("question id")
	r.session(&q.Session)
	f := r.byte("flags")
	q.MUC = r.flags(moreFlags, "flags")&flagMUC != 0
	q.Queried = f&flagQueried != 0
	q.Direction = Direction(f & flagIn)
	q.Joined = f&flagJoined != 0
	q.Outstanding = f&flagOutstanding != 0
	d.ToEdited = f&flagToEdited != 0
	r.head(d)
	d.HasID, d.ID = f&flagHasID != 0, nil
	d.To, d.From = jid.Addr{}, jid.Addr{}
	if d.HasID {
		d.ID = r.text(stanza.MaxText, "stanza id")
	}
	if f&flagTo != 0 {
		d.To = r.address("to")
	}
	if f&flagFrom != 0 {
		d.From = r.address("from")
	}
	d.Payloads = r.parts(d.Payloads[:0], stanza.MaxPayloads, d.Fault, "payloads")
	d.Parts = r.parts(d.Parts[:0], stanza.MaxParts, d.Fault, "parts")
	d.Addressed = r.addresses(d.Addressed[:0], "addressed")
	d.Inside = r.addresses(d.Inside[:0], "inside")
	return r.b, r.err()
}

func (r *reader) addresses(dst []jid.Addr, field string) []jid.Addr {
	for range r.count(stanza.MaxAddressed, field) {
		dst = append(dst, r.address(field))
		if r.wrong != "" {
			break
		}
	}
	return dst
}

// head reads the fixed fields of a description.
func (r *reader) head(d *stanza.Descriptor) {
	d.Kind = stanza.Kind(r.byte("kind"))
	d.Type = stanza.Type(r.byte("type"))
	d.Fault = stanza.Fault(r.byte("fault"))
	marks := r.number("marks")
	d.Marks = stanza.Marks(marks)
	switch {
	case !d.Kind.Known():
		r.fail("kind")
	case !d.Type.Known():
		r.fail("type")
	case !d.Fault.Known():
		r.fail("fault")
	case uint64(d.Marks) != marks || !d.Marks.Known():
		r.fail("marks")
	}
}

func (r *reader) session(s *Session) {
	s.ID = r.text(maxName, "session id")
	s.Tenant = r.tenant()
	full := r.address("account")
	if r.wrong == "" && !full.HasLocal() {
		r.fail("account")
	}
	s.Account, s.Resource = nil, nil
	if r.wrong == "" {
		s.Account, s.Resource = full.Bare(), full.Resource()
	}
	s.Grant = r.text(maxName, "grant")
	s.Opened = r.number("opened")
	s.OpenedLog = r.text(maxLogID, "log opened under")
}

// tenant reads a tenant's id: [a-z0-9][a-z0-9-]{0,31}.
func (r *reader) tenant() []byte {
	t := r.text(maxTenant, "tenant")
	if !isTenant(t) {
		r.fail("tenant")
		return nil
	}
	return t
}

func isTenant[T string | []byte](t T) bool {
	if len(t) == 0 || len(t) > maxTenant || t[0] == '-' {
		return false
	}
	for i := range len(t) {
		if c := t[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// address reads an address and verifies that it is prepared.
func (r *reader) address(field string) jid.Addr {
	t := r.text(maxAddress, field)
	if r.wrong != "" {
		return jid.Addr{}
	}
	a, err := jid.Split(t)
	if err != nil {
		r.fail(field)
	}
	return a
}

// parts reads a list of parts. The text of a part's namespace may be missing only
// if the stanza has a fault. Any fault is accepted, because the text may have been
// too long although another fault was found first.
func (r *reader) parts(dst []stanza.Part, limit int, fault stanza.Fault, field string) []stanza.Part {
	n := r.count(limit, field)
	for range n {
		p := stanza.Part{Space: stanza.Space(r.byte(field))}
		f := r.flags(partFlags, field)
		if !p.Space.Known() {
			r.fail(field)
		}
		if p.Space.HasText() {
			p.Other = r.text(stanza.MaxText, field)
			lacking := len(p.Other) == 0 && fault != stanza.NoFault
			if !lacking && stanza.SpaceOf(p.Other) != p.Space {
				r.fail(field)
			}
		}
		p.Local = r.text(stanza.MaxText, field)
		if f&flagNode != 0 {
			p.HasNode = true
			p.Node = r.text(stanza.MaxText, field)
		}
		p.Inner = f&flagInner != 0
		if r.wrong != "" {
			break
		}
		dst = append(dst, p)
	}
	return dst
}
