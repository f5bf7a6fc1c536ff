package server

import (
	"fmt"
	"strings"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/tenants/overapi"
)

// eventFrom converts an event to its form on the wire.
func eventFrom(e events.Event) api.LogEvent {
	out := api.LogEvent{Type: eventType(e), What: events.Describe(e)}
	switch subject := events.SubjectOf(e); subject.Kind {
	case events.KindDomain:
		out.Domain = subject.Name
	case events.KindService, events.KindSharedService:
		out.Service = subject.Name
	case events.KindRole:
		out.Role = subject.Name
	case events.KindMember:
		out.JID = subject.Name
	case events.KindGateway:
		out.Gateway = subject.Name
	}
	switch e := e.(type) { // the types that have more than a subject
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
		out.Role, out.Backends = e.DefaultRole, overapi.Backends(e.Backends)
	case events.DomainBackendsSet:
		out.Backends = overapi.Backends(e.Backends)
	case events.DomainDefaultRoleSet:
		out.Role = e.Role
	case events.DomainSuspended:
		out.ByOperator = e.ByOperator
	case events.RoleDefined:
		out.Inherits, out.Allow, out.Deny = e.Inherits, e.Allow, e.Deny
	case events.BuiltinRoleAdjusted:
		out.Add, out.Remove = e.Add, e.Remove
	case events.MemberRolesSet:
		out.Role, out.Secondary = e.Role, e.Secondary
	case events.MemberSuspended:
		out.ByOperator = e.ByOperator
	case events.GatewayAdded:
		out.PublicKey = e.PublicKey
	}
	return out
}

// eventType returns the wire name of an event's type, which is derived from its Go
// name: MemberRolesSet becomes member_roles_set.
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
