package tenants

import (
	"slices"

	"github.com/postern-im/postern/events"
)

// The commands on a tenant as a whole; CreateTenant is in
// create.go, SetSetting in settings.go.
type (
	// RenameTenant changes the display name.
	RenameTenant struct{ DisplayName string }
	// SuspendTenant ends all sessions of the tenant and admits no new ones.
	SuspendTenant struct{}
	// ResumeTenant undoes SuspendTenant.
	ResumeTenant struct{}
	// RemoveTenant removes the tenant and all that belongs to it. Its id is
	// never used again.
	RemoveTenant struct{}
	// SetCeiling replaces the list of permissions that no role of the tenant
	// can give.
	SetCeiling struct{ Permissions []string }
	// SetLimits replaces all limits of the tenant.
	SetLimits struct {
		// MaxSessions is the greatest number of sessions that the tenant may
		// have at each gateway; 0: no limit. A new limit closes no open session.
		MaxSessions uint64
	}
)

// Name is the command's name.
func (RenameTenant) Name() string  { return "tenant.rename" }
func (SuspendTenant) Name() string { return "tenant.suspend" }
func (ResumeTenant) Name() string  { return "tenant.resume" }
func (RemoveTenant) Name() string  { return "tenant.remove" }
func (SetCeiling) Name() string    { return "tenant.set-ceiling" }
func (SetLimits) Name() string     { return "tenant.set-limits" }

// tenantCommands are the commands on a tenant as a whole.
func tenantCommands() []Entry {
	return []Entry{
		{Zero: CreateTenant{}, Makes: events.TenantCreated{}, Operator: true},
		{Zero: ApplyTenant{}},
		{Zero: RenameTenant{}, Makes: events.TenantRenamed{}},
		{Zero: SuspendTenant{}, Makes: events.TenantSuspended{}, Operator: true},
		{Zero: ResumeTenant{}, Makes: events.TenantResumed{}, Operator: true},
		{Zero: RemoveTenant{}, Makes: events.TenantRemoved{}, Operator: true},
		{Zero: SetCeiling{}, Makes: events.CeilingSet{}, Operator: true},
		{Zero: SetLimits{}, Makes: events.TenantLimitsSet{}, Operator: true},
	}
}

func (c RenameTenant) check(p *checker) {
	p.text("display_name", "display name", c.DisplayName, MaxDisplayName, isPrintable)
	if c.DisplayName != p.tenant.Name() {
		p.emit(events.TenantRenamed{Name: c.DisplayName})
	}
}

func (SuspendTenant) check(p *checker) {
	if !p.tenant.Suspended() {
		p.emit(events.TenantSuspended{})
	}
}

func (ResumeTenant) check(p *checker) {
	if p.tenant.Suspended() {
		p.emit(events.TenantResumed{})
	}
}

func (RemoveTenant) check(p *checker) { p.emit(events.TenantRemoved{}) }

func (c SetCeiling) check(p *checker) { p.ceiling("permissions", c.Permissions) }

func (p *checker) ceiling(field string, permissions []string) {
	p.permissions(field, permissions)
	if !slices.Equal(permissions, p.tenant.Ceiling()) {
		p.emit(events.CeilingSet{Permissions: slices.Clone(permissions)})
	}
}

func (c SetLimits) check(p *checker) { p.limits("max_sessions", c.MaxSessions) }

func (p *checker) limits(field string, sessions uint64) {
	if sessions > MaxSessions {
		p.fail(Invalid, field, "a limit of %d sessions: at most %d, or 0 for none", sessions, MaxSessions)
		return
	}
	if sessions != p.tenant.MaxSessions() {
		p.emit(events.TenantLimitsSet{MaxSessions: sessions})
	}
}
