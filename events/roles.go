package events

// The events of a role.
type (
	// RoleDefined creates or replaces a custom role.
	RoleDefined struct {
		Name     string
		Inherits []string
		Allow    []string
		Deny     []string
	}
	// RoleRemoved removes a custom role that is not in use.
	RoleRemoved struct{ Name string }
	// BuiltinRoleAdjusted replaces the tenant's changes to a built-in role. Remove
	// takes precedence over Add.
	BuiltinRoleAdjusted struct {
		Name   string
		Add    []string
		Remove []string
	}
)

func (e *RoleDefined) wire(c *codec) {
	c.name(1, &e.Name)
	c.names(2, &e.Inherits)
	c.names(3, &e.Allow)
	c.names(4, &e.Deny)
}
func (e RoleDefined) encode(out []byte) []byte { return encodeBody(out, 16, &e) }
func (e RoleDefined) describe() string {
	return line("role defined", plain(e.Name), list("inherits", e.Inherits), list("allow", e.Allow), list("deny", e.Deny))
}
func (e RoleDefined) subject() Subject { return Subject{KindRole, e.Name} }
func (RoleDefined) effects() Effects   { return ChangesPermissions | RevokesSessions }

func (e *RoleRemoved) wire(c *codec)           { c.name(1, &e.Name) }
func (e RoleRemoved) encode(out []byte) []byte { return encodeBody(out, 17, &e) }
func (e RoleRemoved) describe() string         { return line("role removed", plain(e.Name)) }
func (e RoleRemoved) subject() Subject         { return Subject{KindRole, e.Name} }
func (RoleRemoved) effects() Effects           { return ChangesPermissions | RevokesSessions }

func (e *BuiltinRoleAdjusted) wire(c *codec) {
	c.name(1, &e.Name)
	c.names(2, &e.Add)
	c.names(3, &e.Remove)
}
func (e BuiltinRoleAdjusted) encode(out []byte) []byte { return encodeBody(out, 18, &e) }
func (e BuiltinRoleAdjusted) describe() string {
	return line("built-in role adjusted", plain(e.Name), list("add", e.Add), list("remove", e.Remove))
}
func (e BuiltinRoleAdjusted) subject() Subject { return Subject{KindRole, e.Name} }
func (BuiltinRoleAdjusted) effects() Effects   { return ChangesPermissions | RevokesSessions }
