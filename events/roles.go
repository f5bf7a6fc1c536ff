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
	// RoleRemoved removes a custom role nothing uses.
	RoleRemoved struct{ Name string }
	// BuiltinRoleAdjusted replaces what the tenant adds to and removes from a
	// built-in role (remove beats add).
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

func (e *RoleRemoved) wire(c *codec) {
	c.name(1, &e.Name)
}

func (e *BuiltinRoleAdjusted) wire(c *codec) {
	c.name(1, &e.Name)
	c.names(2, &e.Add)
	c.names(3, &e.Remove)
}
