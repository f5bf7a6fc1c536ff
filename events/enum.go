package events

import (
	"fmt"
	"strconv"
)

// An Enum is a type of this package whose values are numbered from 0 and have
// names. The types are Security, PresenceMode, AuditAddresses and TokenScope.
// Policy files, the admin API and the command line use the names; commits use the
// numbers. To add a value, add a constant and a name beside its type, and a line to
// events.proto.
type Enum interface {
	~uint8
	// String returns the value's name.
	fmt.Stringer
	// Valid reports whether this version knows the value.
	Valid() bool
}

// Names lists the names of an Enum's values, in the order of their numbers.
func Names[E Enum]() []string {
	var list []string
	for v := E(0); v.Valid(); v++ {
		list = append(list, v.String())
	}
	return list
}

// Parse returns the value with the given name. It returns false if there is none.
func Parse[E Enum](name string) (E, bool) {
	for v := E(0); v.Valid(); v++ {
		if v.String() == name {
			return v, true
		}
	}
	return 0, false
}

// names are the names of an Enum's values, by their numbers.
type names []string

func (n names) valid(v uint8) bool { return int(v) < len(n) }

func (n names) of(v uint8) string {
	if !n.valid(v) {
		return "unknown(" + strconv.Itoa(int(v)) + ")"
	}
	return n[v]
}
