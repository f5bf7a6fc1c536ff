package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
)

// entryVersion is the version of the encoding of entries. An entry begins with it.
const entryVersion = 1

// An Introduction is the first use of a name's number. Commitment is the salted hash
// of the name, so that the name can be proven while it is stored, and not be guessed
// after it was erased.
type Introduction struct {
	Number     uint64
	Commitment [sha256.Size]byte
}

// A Salt makes the commitment of a name unguessable.
type Salt [16]byte

// Commit returns the commitment of a name: the SHA-256 of the salt, the kind and the
// text.
func (n Name) Commit(salt Salt) [sha256.Size]byte {
	h := sha256.New()
	h.Write(salt[:])
	h.Write([]byte{byte(n.Kind)})
	h.Write(n.Text)
	var sum [sha256.Size]byte
	h.Sum(sum[:0])
	return sum
}

// An Entry is a decoded entry: records of one tenant that were decided from one state
// of one log. Its byte slices are views of the bytes it was decoded from. The zero
// Entry is ready for DecodeEntry; decoding into it again reuses its memory.
type Entry struct {
	Tenant, LogID    []byte
	Position         uint64
	Table, Describer uint64
	Introduces       []Introduction
	Sessions         []EntrySession
	// Judged are the distinct judged questions, encoded (see DecodeJudged).
	Judged [][]byte
	Items  []Item

	spans [][]byte // scratch: the encoded sessions
}

// An EntrySession is a session in an entry: like Session, but with the number of the
// account's name.
type EntrySession struct {
	ID, Grant, Gateway []byte
	Account            uint64
	Opened             uint64
	Foreign            bool
}

// An Item is a record in an entry.
type Item struct {
	Kind Kind
	Time int64 // microseconds since 1970 UTC
	// Session is the index of the session, or -1.
	Session int
	// Of a verdict: the number of the question, the index in Judged, and the number
	// of the other entity's name, or 0.
	Question uint64
	Judged   int
	Peer     uint64
	Body     []byte // of every other kind
}

const foreignFlag = 1

// A Builder makes an entry. It numbers sessions and judged questions in the order of
// their first use, and has each only once. The zero Builder is not usable: see
// NewBuilder.
type Builder struct {
	number func(kind NameKind, text []byte) uint64

	head       []byte
	introduces []Introduction
	sessions   dictionary
	judged     dictionary
	records    []byte
	count      int
	last       int64
	question   uint64
	base       int64
	scratch    []byte
}

// NewBuilder returns a Builder that asks number for the number of a name. number may
// call Introduce.
func NewBuilder(number func(kind NameKind, text []byte) uint64) *Builder {
	return &Builder{number: number}
}

// Reset begins an entry for records of a tenant that were decided as g says.
func (b *Builder) Reset(tenant []byte, g *Group) {
	b.head = append(b.head[:0], entryVersion)
	b.head = appendText(b.head, tenant)
	b.head = appendText(b.head, g.LogID)
	b.head = binary.AppendUvarint(b.head, g.Position)
	b.head = binary.AppendUvarint(b.head, g.Table)
	b.head = binary.AppendUvarint(b.head, g.Describer)
	b.introduces, b.records = b.introduces[:0], b.records[:0]
	b.sessions.reset()
	b.judged.reset()
	b.count, b.last, b.base, b.question = 0, 0, 0, 0
}

// Records returns the number of records so far. Size returns about how many bytes the
// entry has.
func (b *Builder) Records() int { return b.count }

// Size returns about how many bytes the entry has.
func (b *Builder) Size() int {
	return len(b.head) + len(b.records) + len(b.sessions.bytes) + len(b.judged.bytes) + 40*len(b.introduces)
}

// Introduce adds the introduction of a name. Numbers must ascend.
func (b *Builder) Introduce(i Introduction) { b.introduces = append(b.introduces, i) }

// Add adds a record that was written at time at, in microseconds. A time before the
// previous record's counts as that.
func (b *Builder) Add(r *Record, at int64) {
	if b.count == 0 {
		b.base, b.last = at, at
	}
	at = max(at, b.last)
	b.records = append(b.records, byte(r.Kind))
	b.records = binary.AppendUvarint(b.records, uint64(at-b.last))
	b.last = at
	b.count++
	if r.Kind == VerdictKind {
		b.records = binary.AppendUvarint(b.records, uint64(b.session(&r.Session)))
		b.records = binary.AppendVarint(b.records, int64(r.Question-b.question))
		b.question = r.Question
		b.records = binary.AppendUvarint(b.records, uint64(b.judged.index(r.Judged)))
		b.records = binary.AppendUvarint(b.records, b.nameNumber(r.Peer))
		return
	}
	session := uint64(0)
	if len(r.Session.ID) > 0 {
		session = uint64(b.session(&r.Session)) + 1
	}
	b.records = binary.AppendUvarint(b.records, session)
	c := coder{dst: b.scratch[:0], numberOf: b.number}
	r.Body.fields(&c)
	b.scratch = c.dst
	b.records = appendText(b.records, c.dst)
}

func (b *Builder) nameNumber(n Name) uint64 {
	if len(n.Text) == 0 {
		return 0
	}
	return b.number(n.Kind, n.Text)
}

func (b *Builder) session(s *Session) int {
	e := appendText(b.scratch[:0], s.ID)
	e = binary.AppendUvarint(e, b.nameNumber(Name{JIDName, s.Account}))
	e = appendText(e, s.Grant)
	e = binary.AppendUvarint(e, s.Opened)
	e = appendText(e, s.Gateway)
	flags := byte(0)
	if s.Foreign {
		flags = foreignFlag
	}
	b.scratch = append(e, flags)
	return b.sessions.index(b.scratch)
}

// AppendEntry appends the entry.
func (b *Builder) AppendEntry(dst []byte) []byte {
	dst = append(dst, b.head...)
	dst = binary.AppendUvarint(dst, uint64(len(b.introduces)))
	last := uint64(0)
	for i := range b.introduces {
		dst = binary.AppendUvarint(dst, b.introduces[i].Number-last)
		dst = append(dst, b.introduces[i].Commitment[:]...)
		last = b.introduces[i].Number
	}
	dst = b.sessions.append(dst, false)
	dst = b.judged.append(dst, true)
	dst = binary.AppendUvarint(dst, uint64(b.count))
	dst = binary.AppendUvarint(dst, uint64(b.base))
	return append(dst, b.records...)
}

// A dictionary numbers byte strings in the order of their first use.
type dictionary struct {
	numbers map[string]int
	bytes   []byte
	ends    []int
}

func (d *dictionary) reset() {
	if d.numbers == nil {
		d.numbers = map[string]int{}
	}
	clear(d.numbers)
	d.bytes, d.ends = d.bytes[:0], d.ends[:0]
}

func (d *dictionary) index(b []byte) int {
	n, ok := d.numbers[string(b)]
	if !ok {
		n = len(d.ends)
		d.numbers[string(b)] = n
		d.bytes = append(d.bytes, b...)
		d.ends = append(d.ends, len(d.bytes))
	}
	return n
}

// append appends the number of the elements and each of them, with its length if
// lengths is set.
func (d *dictionary) append(dst []byte, lengths bool) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(d.ends)))
	start := 0
	for _, end := range d.ends {
		if lengths {
			dst = binary.AppendUvarint(dst, uint64(end-start))
		}
		dst = append(dst, d.bytes[start:end]...)
		start = end
	}
	return dst
}

// DecodeEntry decodes b into e. It refuses every encoding but the one that a Builder
// makes, except for judged questions and bodies, which their own decoders check.
func DecodeEntry(b []byte, e *Entry) error {
	if len(b) > 0 && b[0] != entryVersion {
		return &VersionError{Version: b[0]}
	}
	r := reader{b: b}
	r.byte("version")
	e.Tenant = r.text(maxText, "tenant")
	e.LogID = r.text(maxText, "log id")
	e.Position = r.number("position")
	e.Table = r.number("table")
	e.Describer = r.number("describer")
	e.introductions(&r)
	e.sessions(&r)
	e.Judged = e.Judged[:0]
	for range r.count(MaxRecords, "judged questions") {
		e.Judged = append(e.Judged, r.text(maxText, "judged question"))
	}
	e.items(&r)
	switch {
	case len(r.b) > 0:
		r.fail("trailing bytes")
	case r.wrong == "" && !(distinct(e.spans) && distinct(e.Judged)):
		r.fail("dictionary")
	}
	return r.err()
}

func (e *Entry) introductions(r *reader) {
	e.Introduces = e.Introduces[:0]
	last := uint64(0)
	for range r.count(MaxEntry/(sha256.Size+1), "introductions") {
		delta := r.number("introduction")
		n := last + delta
		if delta == 0 || n < last || len(r.b) < sha256.Size {
			r.fail("introduction")
			return
		}
		last = n
		e.Introduces = append(e.Introduces, Introduction{n, [sha256.Size]byte(r.b)})
		r.b = r.b[sha256.Size:]
	}
}

func (e *Entry) sessions(r *reader) {
	e.Sessions, e.spans = e.Sessions[:0], e.spans[:0]
	for range r.count(MaxRecords, "sessions") {
		begin := r.b
		var s EntrySession
		s.ID = r.text(maxText, "session id")
		s.Account = r.number("account")
		s.Grant = r.text(maxText, "grant")
		s.Opened = r.number("opened")
		s.Gateway = r.text(maxText, "gateway")
		flags := r.byte("session flags")
		if flags > foreignFlag {
			r.fail("session flags")
		}
		s.Foreign = flags == foreignFlag
		if r.wrong != "" {
			return
		}
		e.Sessions = append(e.Sessions, s)
		e.spans = append(e.spans, begin[:len(begin)-len(r.b)])
	}
}

// items decodes the records. Each session and each judged question must be used, in
// the order of their numbers.
func (e *Entry) items(r *reader) {
	e.Items = e.Items[:0]
	n := r.count(MaxRecords, "records")
	at := r.number("time")
	const maxTime = 1 << 62
	sessions, judged := 0, 0
	question := uint64(0)
	for i := range n {
		it := Item{Kind: Kind(r.byte("kind")), Session: -1}
		delta := r.number("time")
		at += delta
		if at > maxTime || delta > maxTime || i == 0 && delta != 0 {
			r.fail("time")
		}
		it.Time = int64(at)
		switch {
		case it.Kind == VerdictKind:
			it.Session = next(r, r.number("session"), &sessions, len(e.Sessions))
			question += uint64(r.signed("question"))
			it.Question = question
			it.Judged = next(r, r.number("judged question"), &judged, len(e.Judged))
			it.Peer = r.number("peer")
		case it.Kind == 0 || it.Kind >= numKinds:
			r.fail("kind")
		default:
			if s := r.number("session"); s > 0 {
				it.Session = next(r, s-1, &sessions, len(e.Sessions))
			}
			it.Body = r.text(MaxEntry, "body")
		}
		if r.wrong != "" {
			return
		}
		e.Items = append(e.Items, it)
	}
	if sessions != len(e.Sessions) || judged != len(e.Judged) {
		r.fail("dictionary")
	}
	if n == 0 {
		r.fail("records")
	}
}

// next checks an index into a dictionary of size elements. The first *used elements
// were used before.
func next(r *reader, n uint64, used *int, size int) int {
	if n > uint64(*used) || n >= uint64(size) {
		r.fail("dictionary")
		return 0
	}
	if int(n) == *used {
		*used++
	}
	return int(n)
}

// signed reads a zigzag varint in its shortest form.
func (r *reader) signed(field string) int64 {
	n := r.number(field)
	return int64(n>>1) ^ -int64(n&1)
}

// distinct reports whether no two elements are equal.
func distinct(list [][]byte) bool {
	const few = 8
	if len(list) <= few {
		for i := range list {
			for j := range i {
				if bytes.Equal(list[i], list[j]) {
					return false
				}
			}
		}
		return true
	}
	sorted := slices.Clone(list)
	slices.SortFunc(sorted, bytes.Compare)
	for i := 1; i < len(sorted); i++ {
		if bytes.Equal(sorted[i-1], sorted[i]) {
			return false
		}
	}
	return true
}

// Record fills r with the record i of e. name returns the text for a name's number;
// for an erased name it returns a text that says so.
func (e *Entry) Record(i int, name func(number uint64) []byte, r *Record) error {
	it := &e.Items[i]
	*r = Record{
		Kind: it.Kind, Tenant: e.Tenant, Time: time.UnixMicro(it.Time).UTC(),
		LogID: e.LogID, Position: e.Position, Table: e.Table, Describer: e.Describer,
	}
	if it.Session >= 0 {
		s := &e.Sessions[it.Session]
		r.Session = Session{ID: s.ID, Grant: s.Grant, Gateway: s.Gateway, Opened: s.Opened, Foreign: s.Foreign}
		if s.Account != 0 {
			r.Session.Account = name(s.Account)
		}
	}
	if it.Kind == VerdictKind {
		r.Question, r.Judged = it.Question, e.Judged[it.Judged]
		if it.Peer != 0 {
			r.Peer = Name{JIDName, name(it.Peer)}
		}
		return nil
	}
	r.Body = newBody(it.Kind)
	if r.Body == nil {
		return errors.New("a record without a body")
	}
	c := coder{reading: true, r: reader{b: it.Body}, nameOf: name}
	r.Body.fields(&c)
	if len(c.r.b) > 0 {
		c.r.fail("trailing bytes of a body")
	}
	if err := c.r.err(); err != nil {
		return fmt.Errorf("a record of kind %v: %w", it.Kind, err)
	}
	return nil
}
