package tenants

import (
	"slices"
	"strings"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/xmpp/jid"
)

// Repeats refuses a command whose id was used for another one, of which the
// commit is left: somebody who repeats a command is to hear that it is done,
// and not somebody who made up the same id. Compared is what a commit can
// tell: the actor, the kind of command, and what it is about.
func (c *Command) Repeats(first *events.Commit) error {
	same := c.Actor.Name == first.Actor && c.Change != nil
	for i := 0; same && i < len(first.Events); i++ {
		same = couldMake(c.Change, first.Events[i])
	}
	if create, ok := c.Change.(CreateTenant); same && ok {
		same = makesAll(c.Tenant, create, first.Events)
	}
	if same {
		return nil
	}
	return Errors{{Code: Conflict, Field: "ID", Text: "command id " + quote(c.ID) + " was used for another command: use one of its own for each"}}
}

// couldMake reports whether a change can come to an event.
func couldMake(c Change, e events.Event) bool {
	switch c := c.(type) {
	case CreateTenant:
		return true // see makesAll
	case ApplyTenant:
		_, created := e.(events.TenantCreated)
		return !created
	case SetAuditAddresses:
		s, ok := e.(events.SettingsChanged)
		return ok && s.AuditAddresses == c.Addresses
	case SetPresence:
		s, ok := e.(events.SettingsChanged)
		return ok && s.PresenceWithoutMessages == c.Mode
	case CreateToken:
		return e == c.event()
	case RevokeToken:
		return e == events.Event(events.TokenRevoked(c))
	case RenameTenant:
		return e == events.Event(events.TenantRenamed{Name: c.DisplayName})
	case SetMemberRoles:
		if set, ok := e.(events.MemberRolesSet); ok {
			return set.JID == account(c.JID) && set.Role == c.Role && slices.Equal(set.Secondary, c.Secondary)
		}
		return c.Suspended != nil && events.Describe(e) == events.Describe(memberSuspension(account(c.JID), *c.Suspended))
	case SetDomainBackends:
		set, ok := e.(events.DomainBackendsSet)
		return ok && set.Domain == place(c.Domain) && slices.Equal(set.Backends, c.Backends)
	case AddDomain:
		return (commandOf(e) == c.Name() || commandOf(e) == SuspendDomain{}.Name()) && about(e) == place(c.Domain)
	}
	return commandOf(e) == c.Name() && about(e) == subject(c)
}

// makesAll reports whether a tenant's creation, which rests on nothing that was
// there, comes to just these events.
func makesAll(tenant string, c CreateTenant, evs []events.Event) bool {
	plan, err := Check(projections.New(), tenant, c)
	return err == nil && slices.EqualFunc(plan.Events, evs, func(a, b events.Event) bool {
		return events.Describe(a) == events.Describe(b)
	})
}

// account and place are names as the events have them, if they are any.
func account(s string) string {
	if bare, err := jid.Bare(s); err == nil {
		return bare
	}
	return s
}

func place(s string) string {
	if name, err := jid.Domain(s); err == nil {
		return name
	}
	return s
}

// subject is what a change of one thing is about, in the words of about.
func subject(c Change) string {
	switch c := c.(type) {
	case SetCeiling:
		return strings.Join(c.Permissions, " ")
	case SetDomainDefaultRole:
		return place(c.Domain) + " " + c.Role
	case SuspendDomain:
		return place(c.Domain)
	case ResumeDomain:
		return place(c.Domain)
	case RemoveDomain:
		return place(c.Domain)
	case AddService:
		return place(c.Service)
	case RemoveService:
		return place(c.Service)
	case DefineRole:
		return events.Describe(c.event())
	case AdjustRole:
		return events.Describe(events.BuiltinRoleAdjusted{Name: c.Role, Add: c.Add, Remove: c.Remove})
	case RemoveRole:
		return c.Role
	case RemoveMember:
		return account(c.JID)
	case SuspendMember:
		return account(c.JID)
	case ResumeMember:
		return account(c.JID)
	case EndMemberSessions:
		return account(c.JID)
	}
	return ""
}

func (c DefineRole) event() events.RoleDefined {
	return events.RoleDefined{Name: c.Role, Inherits: c.Inherits, Allow: c.Allow, Deny: c.Deny}
}

// about is what an event is about.
func about(e events.Event) string {
	switch e := e.(type) {
	case events.CeilingSet:
		return strings.Join(e.Permissions, " ")
	case events.DomainAdded:
		return e.Domain
	case events.DomainBackendsSet:
		return e.Domain
	case events.DomainDefaultRoleSet:
		return e.Domain + " " + e.Role
	case events.DomainSuspended:
		return e.Domain
	case events.DomainResumed:
		return e.Domain
	case events.DomainRemoved:
		return e.Domain
	case events.ServiceAdded:
		return e.Service
	case events.ServiceRemoved:
		return e.Service
	case events.RoleDefined, events.BuiltinRoleAdjusted:
		return events.Describe(e)
	case events.RoleRemoved:
		return e.Name
	case events.MemberRolesSet:
		return e.JID
	case events.MemberRemoved:
		return e.JID
	case events.MemberSuspended:
		return e.JID
	case events.MemberResumed:
		return e.JID
	case events.MemberSessionsEnded:
		return e.JID
	}
	return ""
}
