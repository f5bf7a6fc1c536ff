package tenants

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"reflect"

	"github.com/postern-im/postern/events"
)

// Repeats refuses a command whose id was used for another one, of which the
// commit is left: who repeats a command is to hear that it is done, and not who
// made up the same id. It is the same if it asks for the same: see Hash. Of a
// commit without a hash, which was written before commits had one, nobody can
// tell what was asked, so whatever is given is refused: to say that a command
// is done which never was is the worse mistake.
func (c *Command) Repeats(first *events.Commit) error {
	text := "command id " + quote(c.ID) + " was used for another command: use one of its own for each"
	if first.CommandHash == (events.CommandHash{}) {
		text = fmt.Sprintf("command id %s was used at position %d, and the log does not tell whether for this command: look what was done there, and use an id of its own for each", quote(c.ID), first.Position)
	} else if c.Change != nil && first.CommandHash == c.Hash() {
		return nil
	}
	return Errors{{Code: Conflict, Field: "id", Text: text}}
}

// Hash tells commands apart by what they ask for: the tenant, the actor, and
// the change with all its fields, as they were given. The reason is not in it,
// nor the version the tenant must be at: they say why, and when at best, and
// the first ones stand. Neither is the id, which the hash stands beside.
//
// Two commands with one hash would be two texts with one SHA-256, halved: no
// two changes have the same encoding. A field's name and a change's are in it;
// what is renamed is another command from then on. A new field that is left
// out makes no difference.
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

// hashed is an encoding of values: each says where it ends, and what it is is
// known from the field it stands in.
type hashed struct{ bytes []byte }

func (e *hashed) number(n uint64) { e.bytes = binary.AppendUvarint(e.bytes, n) }

func (e *hashed) text(s string) {
	e.number(uint64(len(s)))
	e.bytes = append(e.bytes, s...)
}

// value encodes text as its length and its bytes, a list as its count and its
// elements, a struct as the count of its fields that are not empty and each
// one's name and value, and what a pointer points to. A field of another type
// is a programmer's mistake.
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
		e.value(v.Elem()) // where there is none, the field is left out
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

// A saidField is a field that is not empty, by the name that the hash has for
// it.
type saidField struct {
	name  string
	value reflect.Value
}

// said lists the fields of a struct that are not empty. Those of a struct
// embedded in it count as its own.
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

// hashedName is what the hash calls a field: the name it had when commands
// were first hashed.
func hashedName(field string) string {
	if field == "PresenceWithoutMessages" {
		return "Presence"
	}
	return field
}

// setting encodes the command of a setting as it was when each setting had a
// type of its own, with the value as its one field. Commands of settings have
// different names, so the setting's name is not in the encoding.
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
