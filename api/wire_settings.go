package api

// To add a setting, give Settings a field, and add a command that changes it:
// a type with that field alone, a line in Command's methods below, and one in
// the server's list of commands. Its values are those of package events, which
// the description of the API lists.

// Settings are a tenant's own choices.
type Settings struct {
	PresenceWithoutMessages string `json:"presence_without_messages,omitempty"`
	AuditAddresses          string `json:"audit_addresses,omitempty"`
}

// The commands on a tenant's settings, one for each.
type (
	// TenantSetPresence says what becomes of an available presence of a
	// session without messages:read: clamp or refuse.
	TenantSetPresence struct {
		PresenceWithoutMessages string `json:"presence_without_messages"`
	}
	// TenantSetAuditAddresses says how much of an address an audit record
	// holds: full, domain or class.
	TenantSetAuditAddresses struct {
		AuditAddresses string `json:"audit_addresses"`
	}
)

// Command is the command's name.
func (TenantSetPresence) Command() string       { return "tenant.set-presence" }
func (TenantSetAuditAddresses) Command() string { return "tenant.set-audit-addresses" }
