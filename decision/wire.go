package decision

import (
	"encoding/binary"
	"fmt"
)

// The wire format is specific to this package. A number is an unsigned varint
// in its shortest form. A text is its length and its bytes. Each request, result
// and message begins with a tag, which identifies its type and the version of its
// layout. Each value has exactly one encoding, and a decoder refuses every other.
// Decoded byte slices are views of the message.

// A tag is the first byte of each request, result and message.
type tag byte

const (
	tagQuestion     tag = 0x06
	tagAdmit        tag = 0x02
	tagOpen         tag = 0x05
	tagFacts        tag = 0x21
	tagVerdict      tag = 0x41
	tagAdmission    tag = 0x42
	tagOpening      tag = 0x43
	tagBatch        tag = 0x81
	tagReply        tag = 0x82
	tagAnnouncement tag = 0x83
	tagRevocation   tag = 0x84
	tagSessionQuery tag = 0x85
	tagSessionReply tag = 0x86
	tagBatch2       tag = 0x87
	tagReply2       tag = 0x88
	tagNodeState    tag = 0x89
	tagChallenge    tag = 0x8a

	// lastMessage is the last tag of a message. A greater tag belongs to a newer
	// version.
	lastMessage = tagChallenge
)

// A Wire is a version of the messages between a gateway and a node. A node reads
// every version and answers in the version of the batch. A gateway sends each node
// the newest version that both read.
type Wire uint8

// The versions.
const (
	// Wire1 has no challenges. The zero Wire counts as Wire1.
	Wire1 Wire = 1
	// Wire2 carries the gateway's challenge, and in the reply the proven challenge.
	Wire2 Wire = 2
	// NewestWire is the newest version that this program reads and writes.
	NewestWire = Wire2
)

// Bounds of decoded fields, in addition to the bounds of package stanza.
const (
	// maxToken bounds an id that may become part of a NATS subject.
	maxToken = 32
	// maxTenant bounds a tenant's id.
	maxTenant = 32
	// maxLogID bounds a log's id.
	maxLogID = 64
	// maxName bounds the ids of sessions and grants, which this installation
	// generates itself.
	maxName = 128
	// maxPermission bounds a permission's name. It is well above the 128 bytes
	// that package permission allows.
	maxPermission = 1024
	// maxAddress is the length of three parts of at most 1023 bytes and two
	// separators (RFC 7622 section 3.1).
	maxAddress = 3*1023 + 2
	// maxDomain bounds a domain as the client sent it.
	maxDomain = 1023
	// maxBackends bounds a domain's backends. A gateway tries them in order, and
	// has only seconds for all of them.
	maxBackends = 16
	// maxBackend is the length of a domain, a colon and a port.
	maxBackend = maxDomain + 6
)

// A MalformedError is the error of every decoder for bytes that it refuses.
type MalformedError struct {
	Field string // the first invalid field
}

func (e *MalformedError) Error() string {
	return fmt.Sprintf("malformed message: %s", e.Field)
}

// A reader decodes fields from the front of b. After the first invalid field it
// returns zero values and keeps the field's name.
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

// flags reads a byte and refuses bits that are not in known.
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

// count reads the number of elements in a list. Each element takes at least one
// byte, so count also refuses a number above the remaining bytes.
func (r *reader) count(limit int, field string) int {
	n := r.number(field)
	if n > uint64(limit) || n > uint64(len(r.b)) {
		r.fail(field)
		return 0
	}
	return int(n)
}

// text reads a text as a view. It returns nil for an empty text.
func (r *reader) text(limit int, field string) []byte {
	n := r.count(limit, field)
	if n == 0 {
		return nil
	}
	t := r.b[:n:n]
	r.b = r.b[n:]
	return t
}

// token reads the id of a node or a gateway (see IsToken).
func (r *reader) token(field string) []byte {
	t := r.text(maxToken, field)
	if !isToken(t) {
		r.fail(field)
		return nil
	}
	return t
}

// IsToken reports whether s is a valid id of a node or a gateway. The id becomes
// part of NATS subjects, so it consists of 1 to 32 characters of a to z and
// 0 to 9.
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

// keep returns b as a string. If old has the same text, it returns old and
// allocates nothing.
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
