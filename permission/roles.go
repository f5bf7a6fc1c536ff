package permission

import "strings"

// The built-in roles, from the least to the most; each inherits the one
// before it. They exist in every tenant.
const (
	Guest      = "prosody:guest"
	Registered = "prosody:registered"
	Member     = "prosody:member"
	Admin      = "prosody:admin"
	Operator   = "prosody:operator"
)

// DefaultRole is the role of a member without one, in a domain without one.
const DefaultRole = Registered

// ReservedPrefix begins the names of built-in roles; no custom role may
// take it.
const ReservedPrefix = "prosody:"

// A BuiltinRole is a role every tenant has from the start.
type BuiltinRole struct {
	Name     string
	Inherits string // empty for the first
	Gives    Set
}

var builtinRoles = [...]BuiltinRole{
	{Guest, "", Everything.Minus(registeredGives)},
	{Registered, Guest, registeredGives},
	{Member, Registered, 0},
	{Admin, Member, 0},
	{Operator, Admin, 0},
}

// registeredGives is what registered gives beyond guest.
const registeredGives = Set(1<<Federate | 1<<AccountRead | 1<<AccountWrite | 1<<LegacyStorageRead | 1<<LegacyStorageWrite)

// BuiltinRoles lists the built-in roles, parents before children. The slice
// is the caller's own.
func BuiltinRoles() []BuiltinRole {
	return append([]BuiltinRole(nil), builtinRoles[:]...)
}

// IsBuiltin reports whether name is one of the built-in roles.
func IsBuiltin(name string) bool {
	for i := range builtinRoles {
		if builtinRoles[i].Name == name {
			return true
		}
	}
	return false
}

// IsReserved reports whether name has the built-in roles' prefix.
func IsReserved(name string) bool { return strings.HasPrefix(name, ReservedPrefix) }
