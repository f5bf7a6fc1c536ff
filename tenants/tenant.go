package tenants

import (
	"slices"

	"github.com/postern-im/postern/events"
)

// The commands on a tenant as a whole; CreateTenant stands in create.go.
type (
	// RenameTenant changes the display name.
	RenameTenant struct{ DisplayName string }
	// SuspendTenant ends all sessions and admits none.
	SuspendTenant struct{}
	// ResumeTenant undoes it.
	ResumeTenant struct{}
	// RemoveTenant removes the tenant and all that is its own. Its id is never
	// used again.
	RemoveTenant struct{}
	// SetCeiling replaces what no role of the tenant can give.
	SetCeiling struct{ Permissions []string }
	// SetLimits replaces the limits of the tenant, all of them.
	SetLimits struct {
		// MaxSessions is how many sessions the tenant may have at each gateway; 0:
		// as many as there is room for. Sessions that are open stay.
		MaxSessions uint64
	}
	// SetPresence says what becomes of an available presence of a session
	// without messages:read.
	SetPresence struct{ Mode events.PresenceMode }
	// SetAuditAddresses says how much of an address an audit record holds.
	SetAuditAddresses struct{ Addresses events.AuditAddresses }
)

// Name is the command's name.
func (RenameTenant) Name() string      { return "tenant.rename" }
func (SuspendTenant) Name() string     { return "tenant.suspend" }
func (ResumeTenant) Name() string      { return "tenant.resume" }
func (RemoveTenant) Name() string      { return "tenant.remove" }
func (SetCeiling) Name() string        { return "tenant.set-ceiling" }
func (SetLimits) Name() string         { return "tenant.set-limits" }
func (SetPresence) Name() string       { return "tenant.set-presence" }
func (SetAuditAddresses) Name() string { return "tenant.set-audit-addresses" }

func (c RenameTenant) plan(p *plan) {
	p.text("DisplayName", "display name", c.DisplayName, MaxDisplayName, isPrintable)
	if c.DisplayName != p.tenant.Name() {
		p.emit(events.TenantRenamed{Name: c.DisplayName})
	}
}

func (SuspendTenant) plan(p *plan) {
	if !p.tenant.Suspended() {
		p.emit(events.TenantSuspended{})
	}
}

func (ResumeTenant) plan(p *plan) {
	if p.tenant.Suspended() {
		p.emit(events.TenantResumed{})
	}
}

func (RemoveTenant) plan(p *plan) { p.emit(events.TenantRemoved{}) }

func (c SetCeiling) plan(p *plan) { p.ceiling("Permissions", c.Permissions) }

func (p *plan) ceiling(field string, permissions []string) {
	p.permissions(field, permissions)
	if !slices.Equal(permissions, p.tenant.Ceiling()) {
		p.emit(events.CeilingSet{Permissions: slices.Clone(permissions)})
	}
}

func (c SetLimits) plan(p *plan) { p.limits("MaxSessions", c.MaxSessions) }

func (p *plan) limits(field string, sessions uint64) {
	if sessions > MaxSessions {
		p.fail(Invalid, field, "a limit of %d sessions: at most %d, or 0 for none", sessions, MaxSessions)
		return
	}
	if sessions != p.tenant.MaxSessions() {
		p.emit(events.TenantLimitsSet{MaxSessions: sessions})
	}
}

func (c SetPresence) plan(p *plan) {
	p.presence("Mode", c.Mode)
	s := p.tenant.Settings()
	p.settings(c.Mode, s.AuditAddresses)
}

func (c SetAuditAddresses) plan(p *plan) {
	p.audit("Addresses", c.Addresses)
	s := p.tenant.Settings()
	p.settings(s.PresenceWithoutMessages, c.Addresses)
}

func (p *plan) presence(field string, mode events.PresenceMode) {
	if !mode.Valid() {
		p.fail(Invalid, field, "unknown presence mode: want %s", oneOf(events.Names[events.PresenceMode]()))
	}
}

func (p *plan) audit(field string, addresses events.AuditAddresses) {
	if !addresses.Valid() {
		p.fail(Invalid, field, "unknown audit setting: want %s", oneOf(events.Names[events.AuditAddresses]()))
	}
}

// settings is the event of new settings, all of them.
func (p *plan) settings(presence events.PresenceMode, audit events.AuditAddresses) {
	s := p.tenant.Settings()
	if s.PresenceWithoutMessages != presence || s.AuditAddresses != audit {
		p.emit(events.SettingsChanged{PresenceWithoutMessages: presence, AuditAddresses: audit})
	}
}
