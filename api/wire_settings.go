package api

// To add a setting, add a field to Settings, and a command that changes the
// setting: a type with only this field, a Command method below, and a line in the
// server's list of commands. Package events has the values; the description of the
// API lists them.

// Settings are the settings of a tenant.
type Settings struct {
	PresenceWithoutMessages string `json:"presence_without_messages,omitempty"`
	AuditAddresses          string `json:"audit_addresses,omitempty"`
}

// The commands on a tenant's settings, one for each.
type (
	// TenantSetPresence says how available presence of a session without
	// messages:read is treated: clamp or refuse.
	TenantSetPresence struct {
		PresenceWithoutMessages string `json:"presence_without_messages"`
	}
	// TenantSetAuditAddresses says which part of an address an audit record holds:
	// full, domain or class.
	TenantSetAuditAddresses struct {
		AuditAddresses string `json:"audit_addresses"`
	}
)

// Command returns the command's name.
func (TenantSetPresence) Command() string       { return "tenant.set-presence" }
func (TenantSetAuditAddresses) Command() string { return "tenant.set-audit-addresses" }
