package events

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// The reasons why DecodeCommit refuses a commit. An unknown event, field or value
// means that a newer version wrote the commit. After any of these errors the
// reader must stop, because a View that skipped an event must not decide.
var (
	ErrUnknownEvent = errors.New("unknown event type")
	ErrUnknownField = errors.New("unknown field")
	ErrUnknownValue = errors.New("unknown value")
	ErrMissing      = errors.New("missing")
	ErrMalformed    = errors.New("malformed")
	ErrTooLarge     = errors.New("too large")
)

// Newer reports whether an error means that a newer version wrote what could not be read.
func Newer(err error) bool {
	return errors.Is(err, ErrUnknownEvent) || errors.Is(err, ErrUnknownField) || errors.Is(err, ErrUnknownValue)
}

// A codec encodes or decodes one commit. Each type has one wire method, which lists
// its fields for both directions, so the directions cannot disagree.
//
// Decoding relies on the canonical encoding. Each wire method visits its fields in
// the order of their numbers, so a field is either next in the input or absent.
// Input that is left at the end is refused.
type codec struct {
	decoding bool
	out      []byte           // encoding: the output so far
	in       string           // decoding: the rest of the current message
	last     protowire.Number // the last visited field of the current message
	err      error            // the first error
}

// fail keeps the first error and discards the remaining input.
func (c *codec) fail(n protowire.Number, err error) {
	if c.err == nil {
		c.err = fmt.Errorf("field %d: %w", n, err)
	}
	c.in = ""
}

// uvarint reads a varint. size is 0 if s does not begin with a varint in its
// shortest form.
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

// tag reads the tag of the next field. size is 0 if there is no valid tag.
func (c *codec) tag() (n protowire.Number, t protowire.Type, size int) {
	v, size := uvarint(c.in)
	if n, t = protowire.DecodeTag(v); n < protowire.MinValidNumber {
		return 0, 0, 0
	}
	return n, t, size
}

// next reports whether field n is next in the input. If it is, next skips the
// tag.
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

// finish refuses remaining input of the current message.
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
	default: // the field is out of order, repeated, or has the wrong wire type
		c.fail(n, ErrMalformed)
	}
}

// varint reads a varint and refuses zero.
func (c *codec) varint(n protowire.Number) uint64 {
	v, size := uvarint(c.in)
	if v == 0 {
		c.fail(n, ErrMalformed)
		return 0
	}
	c.in = c.in[size:]
	return v
}

// bytes reads a length and that many bytes. The result is a part of the input,
// not a copy.
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

// number is an unsigned field that is required and must not be zero.
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

// enum is a field with a valid value of an Enum.
func enum[E Enum](c *codec, n protowire.Number, p *E) {
	v := uint8(*p)
	c.value(n, &v, func(v uint8) bool { return E(v).Valid() })
	*p = E(v)
}

// value is a field with a valid number. Zero is always valid.
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

// flag is a field that is present only if it is true.
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

// id is a string that becomes part of a key in the log, so it is bounded by MaxID.
func (c *codec) id(n protowire.Number, p *string) {
	c.text(n, p)
	if c.decoding && len(*p) > MaxID {
		c.fail(n, ErrTooLarge)
	}
}

// names is a list of strings. None of the strings may be empty.
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

// string reads a string and refuses an empty one.
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

// enter begins the nested message n and returns the state that leave needs. When
// decoding, the length of the message must be next in the input.
func (c *codec) enter(n protowire.Number) (m message) {
	if c.decoding {
		b := c.bytes(n)
		m = message{rest: c.in, last: n}
		c.in, c.last = b, 0
		return m
	}
	c.out = protowire.AppendTag(c.out, n, protowire.BytesType)
	m = message{start: len(c.out)}
	c.out = append(c.out, 0) // reserves one byte for the length; leave adds more if needed
	return m
}

// A message is the state around a nested message.
type message struct {
	start int              // encoding: the index of the message's length
	rest  string           // decoding: the input after the message
	last  protowire.Number // decoding: the message's field number
}

// leave ends a nested message.
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
