package decision

import (
	"encoding/binary"
	"fmt"
)

// The wire format is this package's own: numbers are unsigned varints in
// their shortest form, texts are a length and their bytes, and each request,
// result and message begins with a tag that names what it is and the version
// of its layout. There is one encoding of each value; a decoder accepts that
// one and nothing else. Decoded byte slices are views of the message.

// A tag is the first byte of everything on the wire.
type tag byte

const (
	tagQuestion     tag = 0x06
	tagAdmit        tag = 0x02
	tagOpen         tag = 0x05
	tagVerdict      tag = 0x41
	tagAdmission    tag = 0x42
	tagOpening      tag = 0x43
	tagBatch        tag = 0x81
	tagReply        tag = 0x82
	tagAnnouncement tag = 0x83
	tagRevocation   tag = 0x84
	tagSessionQuery tag = 0x85
	tagSessionReply tag = 0x86
)

// Bounds of what is read, beside those of package stanza.
const (
	// maxToken bounds an id that may become part of a NATS subject.
	maxToken = 32
	// maxTenant is the length of a tenant's id.
	maxTenant = 32
	// maxLogID bounds a log's id.
	maxLogID = 64
	// maxName bounds a session's and a grant's id, which this installation
	// itself makes.
	maxName = 128
	// maxPermission bounds a permission's name; names have no length of their
	// own, and a role that is written down with a longer one is refused.
	maxPermission = 1024
	// maxAddress is three parts of at most 1023 bytes and two separators.
	maxAddress = 3*1023 + 2
	// maxDomain bounds a domain as a client sent it.
	maxDomain = 1023
	// maxBackends bounds a domain's backends, which are tried in order within
	// seconds.
	maxBackends = 16
	// maxBackend is a domain, a colon and a port.
	maxBackend = maxDomain + 6
)

// A MalformedError is what every decoder returns for bytes it refuses.
type MalformedError struct {
	Field string // the first field that was wrong
}

func (e *MalformedError) Error() string {
	return fmt.Sprintf("malformed message: %s", e.Field)
}

// A reader takes fields off the front of b. After the first wrong field it
// gives zero values and keeps the field's name.
type reader struct {
	b     []byte
	wrong string
}

func (r *reader) fail(field string) {
	if r.wrong == "" {
		r.wrong = field
	}
	r.b = nil
}

func (r *reader) err() error {
	if r.wrong == "" {
		return nil
	}
	return &MalformedError{Field: r.wrong}
}

// tag reads the expected tag.
func (r *reader) tag(want tag, field string) {
	if r.byte(field) != byte(want) {
		r.fail(field)
	}
}

func (r *reader) byte(field string) byte {
	if len(r.b) == 0 {
		r.fail(field)
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

// flags reads a byte of which only the bits in known may be set.
func (r *reader) flags(known byte, field string) byte {
	f := r.byte(field)
	if f&^known != 0 {
		r.fail(field)
		return 0
	}
	return f
}

func (r *reader) number(field string) uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 {
		n := r.b[0]
		r.b = r.b[1:]
		return uint64(n)
	}
	n, size := binary.Uvarint(r.b)
	if size <= 0 || r.b[size-1] == 0 {
		r.fail(field) // cut off, over 64 bits, or not the shortest form
		return 0
	}
	r.b = r.b[size:]
	return n
}

// count reads a number of elements, each of which takes at least one byte.
func (r *reader) count(limit int, field string) int {
	n := r.number(field)
	if n > uint64(limit) || n > uint64(len(r.b)) {
		r.fail(field)
		return 0
	}
	return int(n)
}

// text reads a text as a view; it is nil when empty.
func (r *reader) text(limit int, field string) []byte {
	n := r.count(limit, field)
	if n == 0 {
		return nil
	}
	t := r.b[:n:n]
	r.b = r.b[n:]
	return t
}

// token reads an id that is safe as part of a NATS subject.
func (r *reader) token(field string) []byte {
	t := r.text(maxToken, field)
	if !isToken(t) {
		r.fail(field)
		return nil
	}
	return t
}

// IsToken reports whether s may be the id of a node or a gateway: it becomes
// part of NATS subjects, so it is one to 32 of a to z and 0 to 9.
func IsToken(s string) bool { return isToken(s) }

func isToken[T string | []byte](t T) bool {
	if len(t) == 0 || len(t) > maxToken {
		return false
	}
	for i := range len(t) {
		if c := t[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// keep returns b as a string, old itself when it already says the same.
func keep(old string, b []byte) string {
	if old == string(b) {
		return old
	}
	return string(b)
}

func appendText[T string | []byte](dst []byte, t T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(t)))
	return append(dst, t...)
}
