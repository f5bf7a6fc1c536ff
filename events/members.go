package events

// The events of an account.
type (
	// MemberRolesSet replaces a member's roles. An empty Role means the
	// domain's default role.
	MemberRolesSet struct {
		JID       string // prepared bare JID
		Role      string
		Secondary []string
	}
	// MemberRemoved forgets the member's roles and ends its sessions.
	MemberRemoved struct{ JID string }
	// MemberSuspended ends the member's sessions and admits none. ByOperator
	// is as in DomainSuspended.
	MemberSuspended struct {
		JID        string
		ByOperator bool
	}
	// MemberResumed undoes MemberSuspended, whoever did it.
	MemberResumed struct{ JID string }
	// MemberSessionsEnded ends the member's sessions, once.
	MemberSessionsEnded struct{ JID string }
)

func (e *MemberRolesSet) wire(c *codec) {
	c.name(1, &e.JID)
	c.text(2, &e.Role)
	c.names(3, &e.Secondary)
}

func (e *MemberRemoved) wire(c *codec) {
	c.name(1, &e.JID)
}

func (e *MemberSuspended) wire(c *codec) {
	c.name(1, &e.JID)
	c.flag(2, &e.ByOperator)
}

func (e *MemberResumed) wire(c *codec) {
	c.name(1, &e.JID)
}

func (e *MemberSessionsEnded) wire(c *codec) {
	c.name(1, &e.JID)
}
