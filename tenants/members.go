package tenants

import (
	"fmt"
	"slices"

	"github.com/postern-im/postern/events"
)

// The commands on an account of one of the tenant's domains.
type (
	// SetMemberRoles replaces an account's roles. A change of the primary role
	// ends the account's sessions; a change of secondary roles does not.
	SetMemberRoles struct {
		JID       string
		Role      string // empty: the domain's default role
		Secondary []string
		Suspended *bool // nil: no change
	}
	// RemoveMember removes the account's entry and ends its sessions. The
	// account then has its domain's default role. A suspended account must be
	// resumed first.
	RemoveMember struct{ JID string }
	// SuspendMember ends the account's sessions and admits no new ones. If an
	// operator gives the command, the tenant cannot undo it, even if it had
	// suspended the account itself before.
	SuspendMember struct{ JID string }
	// ResumeMember undoes SuspendMember. Only an operator may undo a
	// suspension by an operator.
	ResumeMember struct{ JID string }
	// EndMemberSessions ends the account's present sessions. It does not block
	// new ones.
	EndMemberSessions struct{ JID string }
)

// Name is the command's name.
func (SetMemberRoles) Name() string    { return "member.set-role" }
func (RemoveMember) Name() string      { return "member.remove" }
func (SuspendMember) Name() string     { return "member.suspend" }
func (ResumeMember) Name() string      { return "member.resume" }
func (EndMemberSessions) Name() string { return "member.end-sessions" }

// memberCommands are the commands on an account.
func memberCommands() []Entry {
	return []Entry{
		{Zero: SetMemberRoles{}, Makes: events.MemberRolesSet{}},
		{Zero: RemoveMember{}, Makes: events.MemberRemoved{}},
		{Zero: SuspendMember{}, Makes: events.MemberSuspended{}},
		{Zero: ResumeMember{}, Makes: events.MemberResumed{}},
		{Zero: EndMemberSessions{}, Makes: events.MemberSessionsEnded{}},
	}
}

func (c SetMemberRoles) check(p *checker) {
	before := p.failures
	account, ok := p.account("jid", c.JID)
	if c.Role != "" {
		ok = p.role("role", c.Role) && ok
	}
	if len(c.Secondary) > MaxSecondary {
		p.fail(Invalid, "secondary", "%d secondary roles: at most %d", len(c.Secondary), MaxSecondary)
		return
	}
	for i, name := range c.Secondary {
		at := fmt.Sprintf("secondary[%d]", i)
		ok = p.role(at, name) && ok
		p.once(at, "role", c.Secondary[:i], name)
	}
	if !ok || p.failed(before) {
		return
	}
	m, listed := p.tenant.Member(account)
	same := m.Role == c.Role && slices.Equal(m.Secondary, c.Secondary)
	suspend := c.Suspended != nil && (*c.Suspended && p.suspends(m.Suspended, m.ByOperator) || !*c.Suspended && m.Suspended)
	if !listed && (!same || suspend) && p.tenant.MemberCount() >= MaxMembers {
		p.fail(Conflict, "jid", "the tenant already has %d members, the maximum", MaxMembers)
		return
	}
	if !same {
		p.emit(events.MemberRolesSet{JID: account, Role: c.Role, Secondary: slices.Clone(c.Secondary)})
	}
	if suspend {
		if *c.Suspended {
			p.emit(events.MemberSuspended{JID: account, ByOperator: p.operator})
		} else {
			p.emit(events.MemberResumed{JID: account})
		}
	}
}

func (c RemoveMember) check(p *checker) {
	account, ok := p.account("jid", c.JID)
	if !ok {
		return
	}
	switch m, listed := p.tenant.Member(account); {
	case !listed:
		p.fail(NotFound, "jid", "%s is no member: it has its domain's default role; suspend it to keep it out", quote(account))
		return
	case m.ByOperator && !p.operator:
		p.fail(Forbidden, "jid", "account %s was suspended by the operator, and removing it would admit it again: only an operator may resume it; set its roles to none instead", quote(account))
		return
	case m.Suspended:
		p.fail(Conflict, "jid", "%s is suspended, and removing it would admit it again: resume it first, or set its roles to none", quote(account))
		return
	}
	p.emit(events.MemberRemoved{JID: account})
}

func (c SuspendMember) check(p *checker) {
	account, ok := p.account("jid", c.JID)
	if !ok {
		return
	}
	m, listed := p.tenant.Member(account)
	switch {
	case !p.suspends(m.Suspended, m.ByOperator):
	case !listed && !p.operator && p.tenant.MemberCount() >= MaxMembers:
		// An operator may suspend even in a full tenant. Otherwise a tenant
		// could prevent a suspension by filling itself with members.
		p.fail(Conflict, "jid", "the tenant already has %d members, the maximum", MaxMembers)
	default:
		p.emit(events.MemberSuspended{JID: account, ByOperator: p.operator})
	}
}

func (c ResumeMember) check(p *checker) {
	account, ok := p.account("jid", c.JID)
	if !ok {
		return
	}
	if m, _ := p.tenant.Member(account); m.Suspended {
		p.emit(events.MemberResumed{JID: account})
	}
}

func (c EndMemberSessions) check(p *checker) {
	if account, ok := p.account("jid", c.JID); ok {
		p.emit(events.MemberSessionsEnded{JID: account})
	}
}
