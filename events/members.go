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
	// MemberRemoved removes the member's roles and ends its sessions.
	MemberRemoved struct{ JID string }
	// MemberSuspended ends the member's sessions and blocks new ones. ByOperator has
	// the same meaning as in DomainSuspended.
	MemberSuspended struct {
		JID        string
		ByOperator bool
	}
	// MemberResumed undoes MemberSuspended, whether ByOperator is set or not.
	MemberResumed struct{ JID string }
	// MemberSessionsEnded ends the member's current sessions. It blocks no new ones.
	MemberSessionsEnded struct{ JID string }
)

func (e *MemberRolesSet) wire(c *codec) {
	c.name(1, &e.JID)
	c.text(2, &e.Role)
	c.names(3, &e.Secondary)
}
func (e MemberRolesSet) encode(out []byte) []byte { return encodeBody(out, 19, &e) }
func (e MemberRolesSet) describe() string {
	role := "default role"
	if e.Role != "" {
		role = "role " + plain(e.Role)
	}
	return line("member roles set", plain(e.JID), role, list("secondary", e.Secondary))
}
func (e MemberRolesSet) subject() Subject { return Subject{KindMember, e.JID} }
func (MemberRolesSet) effects() Effects   { return ChangesPermissions | RevokesSessions }

func (e *MemberRemoved) wire(c *codec)           { c.name(1, &e.JID) }
func (e MemberRemoved) encode(out []byte) []byte { return encodeBody(out, 20, &e) }
func (e MemberRemoved) describe() string         { return line("member removed", plain(e.JID)) }
func (e MemberRemoved) subject() Subject         { return Subject{KindMember, e.JID} }
func (MemberRemoved) effects() Effects           { return ChangesPermissions | RevokesSessions }

func (e *MemberSuspended) wire(c *codec) {
	c.name(1, &e.JID)
	c.flag(2, &e.ByOperator)
}
func (e MemberSuspended) encode(out []byte) []byte { return encodeBody(out, 21, &e) }
func (e MemberSuspended) describe() string {
	return line("member suspended", plain(e.JID), byOperator(e.ByOperator))
}
func (e MemberSuspended) subject() Subject { return Subject{KindMember, e.JID} }
func (MemberSuspended) effects() Effects   { return ChangesAdmission | RevokesSessions }

func (e *MemberResumed) wire(c *codec)           { c.name(1, &e.JID) }
func (e MemberResumed) encode(out []byte) []byte { return encodeBody(out, 22, &e) }
func (e MemberResumed) describe() string         { return line("member resumed", plain(e.JID)) }
func (e MemberResumed) subject() Subject         { return Subject{KindMember, e.JID} }
func (MemberResumed) effects() Effects           { return ChangesAdmission }

func (e *MemberSessionsEnded) wire(c *codec)           { c.name(1, &e.JID) }
func (e MemberSessionsEnded) encode(out []byte) []byte { return encodeBody(out, 23, &e) }
func (e MemberSessionsEnded) describe() string         { return line("member sessions ended", plain(e.JID)) }
func (e MemberSessionsEnded) subject() Subject         { return Subject{KindMember, e.JID} }
func (MemberSessionsEnded) effects() Effects           { return RevokesSessions }
