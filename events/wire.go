package events

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// The two tables below and the wire methods are events.proto in Go. A new
// event is a line in each, and a wire method.

// encodeEvent writes the one field of an Event message.
func encodeEvent(c *codec, e Event) {
	switch e := e.(type) {
	case TenantCreated:
		encodeBody(c, 1, &e)
	case TenantRenamed:
		encodeBody(c, 2, &e)
	case TenantSuspended:
		encodeBody(c, 3, &e)
	case TenantResumed:
		encodeBody(c, 4, &e)
	case TenantRemoved:
		encodeBody(c, 5, &e)
	case SettingsChanged:
		encodeBody(c, 6, &e)
	case CeilingSet:
		encodeBody(c, 7, &e)
	case DomainAdded:
		encodeBody(c, 8, &e)
	case DomainBackendsSet:
		encodeBody(c, 9, &e)
	case DomainDefaultRoleSet:
		encodeBody(c, 10, &e)
	case DomainSuspended:
		encodeBody(c, 11, &e)
	case DomainResumed:
		encodeBody(c, 12, &e)
	case DomainRemoved:
		encodeBody(c, 13, &e)
	case ServiceAdded:
		encodeBody(c, 14, &e)
	case ServiceRemoved:
		encodeBody(c, 15, &e)
	case RoleDefined:
		encodeBody(c, 16, &e)
	case RoleRemoved:
		encodeBody(c, 17, &e)
	case BuiltinRoleAdjusted:
		encodeBody(c, 18, &e)
	case MemberRolesSet:
		encodeBody(c, 19, &e)
	case MemberRemoved:
		encodeBody(c, 20, &e)
	case MemberSuspended:
		encodeBody(c, 21, &e)
	case MemberResumed:
		encodeBody(c, 22, &e)
	case MemberSessionsEnded:
		encodeBody(c, 23, &e)
	case TokenCreated:
		encodeBody(c, 24, &e)
	case TokenRevoked:
		encodeBody(c, 25, &e)
	case SharedServiceAdded:
		encodeBody(c, 26, &e)
	case SharedServiceRemoved:
		encodeBody(c, 27, &e)
	case TenantLimitsSet:
		encodeBody(c, 28, &e)
	default:
		panic(fmt.Sprintf("events: %T is not the value of an event", e))
	}
}

func encodeBody(c *codec, n protowire.Number, e interface{ wire(*codec) }) {
	m := c.enter(n)
	// A codec of its own, for what an interface is given moves to the heap,
	// and decoding, which must be fast, goes through the same methods.
	inner := codec{out: c.out}
	e.wire(&inner)
	c.out = inner.out
	c.leave(m)
}

// decodeEvent reads the one field of an Event message.
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

// decodeBody reads event n.
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
	}
	c.fail(n, ErrUnknownEvent)
	return nil
}
