package tenants

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"reflect"

	"github.com/postern-im/postern/events"
)

// Repeats checks a command whose id is already in the log; first is the commit
// with that id. If both have the same Hash, c repeats the command that made first.
// Repeats then returns nil, and the caller reports c as done. For a different
// command with the same id, Repeats returns an error.
//
// A commit written before commits had a hash does not show which command made
// it. Repeats then always returns an error, because the worse mistake would be to
// report a command as done although it was never carried out.
func (c *Command) Repeats(first *events.Commit) error {
	text := "command id " + quote(c.ID) + " was used for another command: use a new id for each command"
	if first.CommandHash == (events.CommandHash{}) {
		text = fmt.Sprintf("command id %s was used at position %d, and the log does not say whether for this command: check what was done there, and use a new id for each command", quote(c.ID), first.Position)
	} else if c.Change != nil && first.CommandHash == c.Hash() {
		return nil
	}
	return Errors{{Code: Conflict, Field: "id", Text: text}}
}

// Hash returns a hash of the command's request: the tenant, the actor, and the
// change with all its fields, as they were given. It leaves out the reason and
// IfVersion, which do not change the request. It also leaves out the id, which
// is stored next to the hash.
//
// Different requests have different encodings, so they have the same hash only
// if the first half of two SHA-256 sums is equal. The encoding holds the names of
// the change and its fields, so renaming one makes it another request. It leaves
// out empty fields, so a new field changes no hash while it is empty.
func (c *Command) Hash() (hash events.CommandHash) {
	var e hashed
	e.text("postern command 1")
	e.text(c.Tenant)
	e.value(reflect.ValueOf(c.Actor))
	e.text(c.Change.Name())
	if s, ok := c.Change.(SetSetting); ok {
		e.setting(s)
	} else {
		e.value(reflect.ValueOf(c.Change))
	}
	sum := sha256.Sum256(e.bytes)
	copy(hash[:], sum[:])
	return hash
}

// hashed encodes values. Each encoded value shows where it ends; its type is
// known from the field that it belongs to.
type hashed struct{ bytes []byte }

func (e *hashed) number(n uint64) { e.bytes = binary.AppendUvarint(e.bytes, n) }

func (e *hashed) text(s string) {
	e.number(uint64(len(s)))
	e.bytes = append(e.bytes, s...)
}

// value encodes a text as its length and bytes, and a list as its count and
// elements. It encodes a struct as the count of its fields that are not empty,
// followed by the name and value of each. For a pointer it encodes the value
// pointed to. A field of another type is a programmer's mistake.
func (e *hashed) value(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		e.text(v.String())
	case reflect.Bool:
		if v.Bool() {
			e.number(1)
		} else {
			e.number(0)
		}
	case reflect.Uint8, reflect.Uint64:
		e.number(v.Uint())
	case reflect.Slice, reflect.Array:
		e.number(uint64(v.Len()))
		for i := range v.Len() {
			e.value(v.Index(i))
		}
	case reflect.Pointer:
		e.value(v.Elem()) // a nil pointer is an empty field, so not encoded
	case reflect.Struct:
		e.fields(v)
	default:
		panic(fmt.Sprintf("tenants: a command with a field of type %s", v.Type()))
	}
}

func (e *hashed) fields(v reflect.Value) {
	said := said(v)
	e.number(uint64(len(said)))
	for _, f := range said {
		e.text(f.name)
		e.value(f.value)
	}
}

// A saidField is a field that is not empty, with its name in the hash.
type saidField struct {
	name  string
	value reflect.Value
}

// said lists the fields of a struct that are not empty. The fields of an
// embedded struct count as fields of the outer struct.
func said(v reflect.Value) []saidField {
	var list []saidField
	for i := range v.NumField() {
		f, field := v.Field(i), v.Type().Field(i)
		switch {
		case f.IsZero() || f.Kind() == reflect.Slice && f.Len() == 0:
		case field.Anonymous:
			list = append(list, said(f)...)
		default:
			list = append(list, saidField{hashedName(field.Name), f})
		}
	}
	return list
}

// hashedName returns a field's name in the hash. A renamed field keeps the name
// that it had when commands were first hashed.
func hashedName(field string) string {
	if field == "PresenceWithoutMessages" {
		return "Presence"
	}
	return field
}

// setting encodes the command of a setting. In earlier versions each setting had a
// separate Go type with the value as its only field; setting gives the same
// encoding. The command's name is different for each setting, so the name of the
// setting need not be encoded.
func (e *hashed) setting(c SetSetting) {
	if c.Value == 0 {
		e.number(0)
		return
	}
	_, value := c.spelling()
	e.number(1)
	e.text(value)
	e.number(uint64(c.Value))
}
