package audit

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// Bounds of decoded fields. Each is above every value that a node writes.
const (
	maxText  = 4 << 10
	maxTexts = 1 << 7
	// MaxEntry is the greatest length of an entry. MaxRecords is the greatest number
	// of its records.
	MaxEntry   = 4 << 20
	MaxRecords = 1 << 13
)

// A MalformedError is the error for bytes that are not an entry.
type MalformedError struct {
	Field string // the first invalid field
}

func (e *MalformedError) Error() string { return "malformed audit entry: " + e.Field }

// A VersionError is the error for an entry of a version that this program does not
// know.
type VersionError struct{ Version byte }

func (e *VersionError) Error() string {
	return fmt.Sprintf("an audit entry of version %d: this program reads version %d", e.Version, entryVersion)
}

// A coder writes the fields of a Body, or reads them. Reading has the bounds of a
// reader.
type coder struct {
	reading  bool
	dst      []byte
	r        reader
	numberOf func(kind NameKind, text []byte) uint64 // when writing
	nameOf   func(number uint64) []byte              // when reading
}

func (c *coder) text(s *string) {
	if c.reading {
		*s = string(c.r.text(maxText, "text"))
		return
	}
	c.dst = appendText(c.dst, cut(*s))
}

// cut shortens a text to the greatest length that can be read.
func cut[T string | []byte](s T) T {
	if len(s) > maxText {
		return s[:maxText]
	}
	return s
}

func (c *coder) texts(list *[]string) {
	n := uint64(min(len(*list), maxTexts))
	c.number(&n)
	if c.reading {
		if n > maxTexts || n > uint64(len(c.r.b)) {
			c.r.fail("texts")
			return
		}
		*list = nil
		for range n {
			var s string
			c.text(&s)
			*list = append(*list, s)
		}
		return
	}
	for i := range n {
		c.text(&(*list)[i])
	}
}

// name writes the number of a name; 0 if the name is empty.
func (c *coder) name(kind NameKind, s *string) {
	if c.reading {
		*s = ""
		if n := c.r.number("name"); n != 0 && c.r.wrong == "" {
			*s = string(c.nameOf(n))
		}
		return
	}
	n := uint64(0)
	if *s != "" {
		n = c.numberOf(kind, []byte(cut(*s)))
	}
	c.dst = binary.AppendUvarint(c.dst, n)
}

func (c *coder) number(n *uint64) {
	if c.reading {
		*n = c.r.number("number")
		return
	}
	c.dst = binary.AppendUvarint(c.dst, *n)
}

func (c *coder) flag(b *bool) {
	var n uint64
	if *b {
		n = 1
	}
	c.number(&n)
	if c.reading {
		*b = n == 1
		if n > 1 {
			c.r.fail("flag")
		}
	}
}

// millis writes a duration in whole milliseconds. A negative duration counts as 0.
func (c *coder) millis(d *time.Duration) {
	n := uint64(max(d.Milliseconds(), 0))
	c.number(&n)
	if c.reading {
		if n > math.MaxInt64/uint64(time.Millisecond) {
			c.r.fail("duration")
			return
		}
		*d = time.Duration(n) * time.Millisecond
	}
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

func (r *reader) byte(field string) byte {
	if len(r.b) == 0 {
		r.fail(field)
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

// number reads an unsigned varint in its shortest form.
func (r *reader) number(field string) uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 {
		n := r.b[0]
		r.b = r.b[1:]
		return uint64(n)
	}
	n, size := binary.Uvarint(r.b)
	if size <= 0 || r.b[size-1] == 0 {
		r.fail(field)
		return 0
	}
	r.b = r.b[size:]
	return n
}

// count reads the number of elements in a list. An element takes at least one byte.
func (r *reader) count(limit int, field string) int {
	n := r.number(field)
	if n > uint64(limit) || n > uint64(len(r.b)) {
		r.fail(field)
		return 0
	}
	return int(n)
}

// text reads a text as a view.
func (r *reader) text(limit int, field string) []byte {
	n := r.count(limit, field)
	t := r.b[:n:n]
	r.b = r.b[n:]
	return t
}

func appendText[T string | []byte](dst []byte, t T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(t)))
	return append(dst, t...)
}
