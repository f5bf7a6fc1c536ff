package events

import "strconv"

// The events of a tenant as a whole. SettingsChanged is in settings.go.
type (
	// TenantCreated is always the first event of a tenant.
	TenantCreated struct{ Name string }
	// TenantRenamed changes the display name.
	TenantRenamed struct{ Name string }
	// TenantSuspended ends all sessions of the tenant and blocks new ones.
	TenantSuspended struct{}
	// TenantResumed undoes TenantSuspended.
	TenantResumed struct{}
	// TenantRemoved removes the tenant and frees its domains and services. Its id is
	// never used again.
	TenantRemoved struct{}
	// CeilingSet replaces the ceiling: the permissions that no role of the tenant
	// can give.
	CeilingSet struct{ Permissions []string }
	// TenantLimitsSet replaces all limits of the tenant.
	TenantLimitsSet struct {
		// MaxSessions is how many sessions the tenant may have at each gateway.
		// Zero means no limit.
		MaxSessions uint64
	}
)

func (e *TenantCreated) wire(c *codec)           { c.text(1, &e.Name) }
func (e TenantCreated) encode(out []byte) []byte { return encodeBody(out, 1, &e) }
func (e TenantCreated) describe() string         { return line("tenant created", quoted(e.Name)) }
func (TenantCreated) subject() Subject           { return Subject{Kind: KindTenant} }
func (TenantCreated) effects() Effects           { return ChangesPermissions | ChangesAdmission }

func (e *TenantRenamed) wire(c *codec)           { c.text(1, &e.Name) }
func (e TenantRenamed) encode(out []byte) []byte { return encodeBody(out, 2, &e) }
func (e TenantRenamed) describe() string         { return line("tenant renamed", quoted(e.Name)) }
func (TenantRenamed) subject() Subject           { return Subject{Kind: KindTenant} }
func (TenantRenamed) effects() Effects           { return 0 }

func (e *TenantSuspended) wire(*codec)             {}
func (e TenantSuspended) encode(out []byte) []byte { return encodeBody(out, 3, &e) }
func (TenantSuspended) describe() string           { return "tenant suspended" }
func (TenantSuspended) subject() Subject           { return Subject{Kind: KindTenant} }
func (TenantSuspended) effects() Effects           { return ChangesAdmission | RevokesSessions }

func (e *TenantResumed) wire(*codec)             {}
func (e TenantResumed) encode(out []byte) []byte { return encodeBody(out, 4, &e) }
func (TenantResumed) describe() string           { return "tenant resumed" }
func (TenantResumed) subject() Subject           { return Subject{Kind: KindTenant} }
func (TenantResumed) effects() Effects           { return ChangesAdmission }

func (e *TenantRemoved) wire(*codec)             {}
func (e TenantRemoved) encode(out []byte) []byte { return encodeBody(out, 5, &e) }
func (TenantRemoved) describe() string           { return "tenant removed" }
func (TenantRemoved) subject() Subject           { return Subject{Kind: KindTenant} }
func (TenantRemoved) effects() Effects {
	return ChangesPermissions | ChangesAdmission | RevokesSessions
}

func (e *CeilingSet) wire(c *codec)           { c.names(1, &e.Permissions) }
func (e CeilingSet) encode(out []byte) []byte { return encodeBody(out, 7, &e) }
func (e CeilingSet) describe() string {
	if len(e.Permissions) == 0 {
		return "ceiling set denies nothing"
	}
	return line("ceiling set", list("denies", e.Permissions))
}
func (CeilingSet) subject() Subject { return Subject{Kind: KindTenant} }
func (CeilingSet) effects() Effects { return ChangesPermissions | RevokesSessions }

func (e *TenantLimitsSet) wire(c *codec)           { c.count(1, &e.MaxSessions) }
func (e TenantLimitsSet) encode(out []byte) []byte { return encodeBody(out, 28, &e) }
func (e TenantLimitsSet) describe() string {
	if e.MaxSessions == 0 {
		return "tenant limits removed"
	}
	return line("tenant limits set", "sessions", strconv.FormatUint(e.MaxSessions, 10))
}
func (TenantLimitsSet) subject() Subject { return Subject{Kind: KindTenant} }

// A new limit ends no session. RevokesSessions makes gateways ask about all
// sessions again, as in earlier versions.
func (TenantLimitsSet) effects() Effects { return RevokesSessions }
