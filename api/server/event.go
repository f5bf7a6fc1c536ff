package server

import (
	"fmt"
	"strings"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/tenants/overapi"
)

// eventFrom puts an event into the wire's words and fields.
func eventFrom(e events.Event) api.LogEvent {
	out := api.LogEvent{Type: eventType(e), What: events.Describe(e)}
	switch e := e.(type) {
	case events.TenantCreated:
		out.DisplayName = e.Name
	case events.TenantRenamed:
		out.DisplayName = e.Name
	case events.SettingsChanged:
		out.Settings = overapi.Settings(events.Settings(e))
	case events.CeilingSet:
		out.Permissions = e.Permissions
	case events.TenantLimitsSet:
		out.MaxSessions = e.MaxSessions
	case events.DomainAdded:
		out.Domain, out.Role, out.Backends = e.Domain, e.DefaultRole, overapi.Backends(e.Backends)
	case events.DomainBackendsSet:
		out.Domain, out.Backends = e.Domain, overapi.Backends(e.Backends)
	case events.DomainDefaultRoleSet:
		out.Domain, out.Role = e.Domain, e.Role
	case events.DomainSuspended:
		out.Domain, out.ByOperator = e.Domain, e.ByOperator
	case events.DomainResumed:
		out.Domain = e.Domain
	case events.DomainRemoved:
		out.Domain = e.Domain
	case events.ServiceAdded:
		out.Service = e.Service
	case events.ServiceRemoved:
		out.Service = e.Service
	case events.SharedServiceAdded:
		out.Service = e.Service
	case events.SharedServiceRemoved:
		out.Service = e.Service
	case events.RoleDefined:
		out.Role, out.Inherits, out.Allow, out.Deny = e.Name, e.Inherits, e.Allow, e.Deny
	case events.RoleRemoved:
		out.Role = e.Name
	case events.BuiltinRoleAdjusted:
		out.Role, out.Add, out.Remove = e.Name, e.Add, e.Remove
	case events.MemberRolesSet:
		out.JID, out.Role, out.Secondary = e.JID, e.Role, e.Secondary
	case events.MemberRemoved:
		out.JID = e.JID
	case events.MemberSuspended:
		out.JID, out.ByOperator = e.JID, e.ByOperator
	case events.MemberResumed:
		out.JID = e.JID
	case events.MemberSessionsEnded:
		out.JID = e.JID
	}
	return out
}

// eventType is an event's Go name as words: MemberRolesSet is member_roles_set.
func eventType(e events.Event) string {
	name := strings.TrimPrefix(fmt.Sprintf("%T", e), "events.")
	var b strings.Builder
	for i, r := range name {
		if r >= 'A' && r <= 'Z' {
			if i > 0 {
				b.WriteByte('_')
			}
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}
