package events

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// Why a record was refused. The unknown ones mean that a newer version wrote
// it; whichever it is, the reader must stop, because a View that skipped
// something must not decide.
var (
	ErrUnknownEvent = errors.New("unknown event type")
	ErrUnknownField = errors.New("unknown field")
	ErrUnknownValue = errors.New("unknown value")
	ErrMissing      = errors.New("missing")
	ErrMalformed    = errors.New("malformed")
	ErrTooLarge     = errors.New("too large")
)

// A codec carries one record in one direction. The same wire method of a type
// lists its fields once for both, which is why they cannot disagree.
//
// Decoding relies on the encoding being canonical: each wire method visits its
// fields in the order of their numbers, so a field is either next in the input
// or absent, and what is left at the end is refused.
type codec struct {
	decoding bool
	out      []byte           // encoding: the record so far
	in       string           // decoding: what is left of the present message
	last     protowire.Number // the last field visited of the present message
	err      error            // the first error met
}

// fail keeps the first error and ends the input, so that nothing after it is
// read.
func (c *codec) fail(n protowire.Number, err error) {
	if c.err == nil {
		c.err = fmt.Errorf("field %d: %w", n, err)
	}
	c.in = ""
}

// uvarint reads a varint in its one shortest form; size is 0 when there is none.
func uvarint(s string) (v uint64, size int) {
	for i := 0; i < len(s) && i < binary.MaxVarintLen64; i++ {
		b := s[i]
		v |= uint64(b&0x7f) << (7 * i)
		if b >= 0x80 {
			continue
		}
		if b == 0 && i > 0 || b > 1 && i == binary.MaxVarintLen64-1 {
			break
		}
		return v, i + 1
	}
	return 0, 0
}

// tag reads the tag of the next field; size is 0 when there is none.
func (c *codec) tag() (n protowire.Number, t protowire.Type, size int) {
	v, size := uvarint(c.in)
	if n, t = protowire.DecodeTag(v); n < protowire.MinValidNumber {
		return 0, 0, 0
	}
	return n, t, size
}

// next reports whether field n is next in the input, and steps over its tag.
func (c *codec) next(n protowire.Number, t protowire.Type) bool {
	c.last = n
	if len(c.in) == 0 {
		return false
	}
	if tag := protowire.EncodeTag(n, t); tag < 0x80 { // the common case
		if c.in[0] != byte(tag) {
			return false
		}
		c.in = c.in[1:]
		return true
	}
	got, gotType, size := c.tag()
	if size == 0 || got != n || gotType != t {
		return false
	}
	c.in = c.in[size:]
	return true
}

// finish refuses what is left of the present message.
func (c *codec) finish() {
	if c.err != nil || len(c.in) == 0 {
		return
	}
	n, _, size := c.tag()
	switch {
	case size == 0:
		c.fail(c.last+1, ErrMalformed)
	case n > c.last:
		c.fail(n, ErrUnknownField)
	default: // out of order, repeated, or of another wire type
		c.fail(n, ErrMalformed)
	}
}

// varint reads a varint that is not zero.
func (c *codec) varint(n protowire.Number) uint64 {
	v, size := uvarint(c.in)
	if v == 0 {
		c.fail(n, ErrMalformed)
		return 0
	}
	c.in = c.in[size:]
	return v
}

// bytes reads a length and that many bytes, which stay part of the input.
func (c *codec) bytes(n protowire.Number) string {
	length, size := uvarint(c.in)
	if size == 0 || length > uint64(len(c.in)-size) {
		c.fail(n, ErrMalformed)
		return ""
	}
	end := size + int(length)
	b := c.in[size:end]
	c.in = c.in[end:]
	return b
}

// number is an unsigned field that must not be zero.
func (c *codec) number(n protowire.Number, p *uint64) {
	if !c.decoding {
		if *p != 0 {
			c.out = protowire.AppendTag(c.out, n, protowire.VarintType)
			c.out = protowire.AppendVarint(c.out, *p)
		}
		return
	}
	if !c.next(n, protowire.VarintType) {
		c.fail(n, ErrMissing)
		return
	}
	*p = c.varint(n)
}

// count is an unsigned field that may be zero.
func (c *codec) count(n protowire.Number, p *uint64) {
	if !c.decoding {
		c.number(n, p)
		return
	}
	if c.next(n, protowire.VarintType) {
		*p = c.varint(n)
	}
}

// enum is a field with the valid values of a type.
func enum[E Enum](c *codec, n protowire.Number, p *E) {
	v := uint8(*p)
	c.value(n, &v, func(v uint8) bool { return E(v).Valid() })
	*p = E(v)
}

// value is a field with those numbers that are valid, 0 among them.
func (c *codec) value(n protowire.Number, p *uint8, valid func(uint8) bool) {
	if !c.decoding {
		if *p != 0 {
			c.out = protowire.AppendTag(c.out, n, protowire.VarintType)
			c.out = protowire.AppendVarint(c.out, uint64(*p))
		}
		return
	}
	if !c.next(n, protowire.VarintType) {
		return
	}
	v := c.varint(n)
	if v > math.MaxUint8 || !valid(uint8(v)) {
		c.fail(n, ErrUnknownValue)
		return
	}
	*p = uint8(v)
}

// flag is a field that is there when it is true.
func (c *codec) flag(n protowire.Number, p *bool) {
	if !c.decoding {
		if *p {
			c.out = protowire.AppendTag(c.out, n, protowire.VarintType)
			c.out = protowire.AppendVarint(c.out, 1)
		}
		return
	}
	if !c.next(n, protowire.VarintType) {
		return
	}
	if c.varint(n) > 1 {
		c.fail(n, ErrMalformed)
		return
	}
	*p = true
}

// text is a string that may be empty.
func (c *codec) text(n protowire.Number, p *string) {
	if !c.decoding {
		if *p != "" {
			c.out = protowire.AppendTag(c.out, n, protowire.BytesType)
			c.out = protowire.AppendString(c.out, *p)
		}
		return
	}
	if c.next(n, protowire.BytesType) {
		*p = c.string(n)
	}
}

// name is a string that must not be empty.
func (c *codec) name(n protowire.Number, p *string) {
	c.text(n, p)
	if c.decoding && *p == "" {
		c.fail(n, ErrMissing)
	}
}

// id is a text that becomes part of a key.
func (c *codec) id(n protowire.Number, p *string) {
	c.text(n, p)
	if c.decoding && len(*p) > MaxID {
		c.fail(n, ErrTooLarge)
	}
}

// names is a list of strings none of which is empty.
func (c *codec) names(n protowire.Number, p *[]string) {
	if !c.decoding {
		for _, s := range *p {
			c.out = protowire.AppendTag(c.out, n, protowire.BytesType)
			c.out = protowire.AppendString(c.out, s)
		}
		return
	}
	for c.next(n, protowire.BytesType) {
		*p = append(*p, c.string(n))
	}
}

// string reads a string that is not empty.
func (c *codec) string(n protowire.Number) string {
	s := c.bytes(n)
	if s == "" || !utf8.ValidString(s) {
		c.fail(n, ErrMalformed)
		return ""
	}
	return s
}

// hash is a field of 32 bytes, always present.
func (c *codec) hash(n protowire.Number, p *[32]byte) {
	if !c.decoding {
		c.out = protowire.AppendTag(c.out, n, protowire.BytesType)
		c.out = protowire.AppendBytes(c.out, p[:])
		return
	}
	if !c.next(n, protowire.BytesType) {
		c.fail(n, ErrMissing)
		return
	}
	if b := c.bytes(n); copy(p[:], b) != len(p) || len(b) != len(p) {
		c.fail(n, ErrMalformed)
	}
}

// enter begins message n and gives what leave needs to end it. Decoding, the
// message must be next in the input.
func (c *codec) enter(n protowire.Number) (m message) {
	if c.decoding {
		b := c.bytes(n)
		m = message{rest: c.in, last: n}
		c.in, c.last = b, 0
		return m
	}
	c.out = protowire.AppendTag(c.out, n, protowire.BytesType)
	m = message{start: len(c.out)}
	c.out = append(c.out, 0) // the length, as long as it takes one byte
	return m
}

// A message is one that the codec is inside of.
type message struct {
	start int              // encoding: where its length stands
	rest  string           // decoding: what follows it
	last  protowire.Number // decoding: its own number
}

// leave ends a message.
func (c *codec) leave(m message) {
	if c.decoding {
		c.finish()
		if c.err == nil {
			c.in, c.last = m.rest, m.last
		}
		return
	}
	body := len(c.out) - m.start - 1
	if extra := protowire.SizeVarint(uint64(body)) - 1; extra > 0 {
		c.out = append(c.out, make([]byte, extra)...)
		copy(c.out[m.start+1+extra:], c.out[m.start+1:m.start+1+body])
	}
	protowire.AppendVarint(c.out[:m.start], uint64(body))
}
