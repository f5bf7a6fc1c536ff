package events

import (
	"fmt"
	"reflect"

	"google.golang.org/protobuf/encoding/protowire"
)

// encodeEvent writes the only field of an Event message.
func encodeEvent(c *codec, e Event) {
	if t := reflect.TypeOf(e); t == nil || t.Kind() == reflect.Pointer {
		panic(fmt.Sprintf("events: %T is not the value of an event", e))
	}
	c.out = e.encode(c.out)
}

// encodeBody appends event n. It makes a second codec, because the argument of an
// interface method escapes to the heap. The caller's codec must not escape: decoding
// uses the same code, and is fast only with a codec on the stack.
func encodeBody(out []byte, n protowire.Number, e interface{ wire(*codec) }) []byte {
	c := codec{out: out}
	m := c.enter(n)
	e.wire(&c)
	c.leave(m)
	return c.out
}

// decodeEvent reads the only field of an Event message.
func decodeEvent(c *codec) Event {
	n, t, size := c.tag()
	if size == 0 || t != protowire.BytesType {
		c.fail(1, ErrMalformed)
		return nil
	}
	c.in, c.last = c.in[size:], n
	m := c.enter(n)
	e := decodeBody(c, n)
	c.leave(m)
	return e
}

// decodeBody reads event n. It is the list of all events. The number of an event
// is here, in its encode method and in events.proto.
func decodeBody(c *codec, n protowire.Number) Event {
	switch n {
	case 1:
		var e TenantCreated
		e.wire(c)
		return e
	case 2:
		var e TenantRenamed
		e.wire(c)
		return e
	case 3:
		var e TenantSuspended
		e.wire(c)
		return e
	case 4:
		var e TenantResumed
		e.wire(c)
		return e
	case 5:
		var e TenantRemoved
		e.wire(c)
		return e
	case 6:
		var e SettingsChanged
		e.wire(c)
		return e
	case 7:
		var e CeilingSet
		e.wire(c)
		return e
	case 8:
		var e DomainAdded
		e.wire(c)
		return e
	case 9:
		var e DomainBackendsSet
		e.wire(c)
		return e
	case 10:
		var e DomainDefaultRoleSet
		e.wire(c)
		return e
	case 11:
		var e DomainSuspended
		e.wire(c)
		return e
	case 12:
		var e DomainResumed
		e.wire(c)
		return e
	case 13:
		var e DomainRemoved
		e.wire(c)
		return e
	case 14:
		var e ServiceAdded
		e.wire(c)
		return e
	case 15:
		var e ServiceRemoved
		e.wire(c)
		return e
	case 16:
		var e RoleDefined
		e.wire(c)
		return e
	case 17:
		var e RoleRemoved
		e.wire(c)
		return e
	case 18:
		var e BuiltinRoleAdjusted
		e.wire(c)
		return e
	case 19:
		var e MemberRolesSet
		e.wire(c)
		return e
	case 20:
		var e MemberRemoved
		e.wire(c)
		return e
	case 21:
		var e MemberSuspended
		e.wire(c)
		return e
	case 22:
		var e MemberResumed
		e.wire(c)
		return e
	case 23:
		var e MemberSessionsEnded
		e.wire(c)
		return e
	case 24:
		var e TokenCreated
		e.wire(c)
		return e
	case 25:
		var e TokenRevoked
		e.wire(c)
		return e
	case 26:
		var e SharedServiceAdded
		e.wire(c)
		return e
	case 27:
		var e SharedServiceRemoved
		e.wire(c)
		return e
	case 28:
		var e TenantLimitsSet
		e.wire(c)
		return e
	case 29:
		var e GatewayAdded
		e.wire(c)
		return e
	case 30:
		var e GatewayRemoved
		e.wire(c)
		return e
	}
	c.fail(n, ErrUnknownEvent)
	return nil
}
