package permission

import "strings"

// The built-in roles, from the weakest to the strongest. Each inherits the
// previous one. They exist in every tenant.
const (
	Guest      = "prosody:guest"
	Registered = "prosody:registered"
	Member     = "prosody:member"
	Admin      = "prosody:admin"
	Operator   = "prosody:operator"
)

// DefaultRole is the role of a member without a role, in a domain without a
// default role.
const DefaultRole = Registered

// ReservedPrefix begins the names of the built-in roles. The name of a custom
// role must not begin with it.
const ReservedPrefix = "prosody:"

// A BuiltinRole is a role that every tenant has.
type BuiltinRole struct {
	Name     string
	Inherits string // empty for the first role
	Gives    Set
}

var builtinRoles = [...]BuiltinRole{
	{Guest, "", Everything.Minus(registeredGives)},
	{Registered, Guest, registeredGives},
	{Member, Registered, 0},
	{Admin, Member, 0},
	{Operator, Admin, 0},
}

// registeredGives are the permissions that registered adds to guest.
const registeredGives = Set(1<<Federate | 1<<AccountRead | 1<<AccountWrite | 1<<LegacyStorageRead | 1<<LegacyStorageWrite)

// BuiltinRoles returns the built-in roles, parents before children. The caller
// may change the slice.
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

// IsReserved reports whether name begins with the prefix of the built-in roles.
func IsReserved(name string) bool { return strings.HasPrefix(name, ReservedPrefix) }
