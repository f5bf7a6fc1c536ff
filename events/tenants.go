package events

// The events of a tenant as a whole. SettingsChanged is in settings.go.
type (
	// TenantCreated is always the first event of a tenant.
	TenantCreated struct{ Name string }
	// TenantRenamed changes the display name.
	TenantRenamed struct{ Name string }
	// TenantSuspended ends all sessions and admits none.
	TenantSuspended struct{}
	// TenantResumed undoes TenantSuspended.
	TenantResumed struct{}
	// TenantRemoved frees the tenant's domains and services; its id is never
	// used again.
	TenantRemoved struct{}
	// CeilingSet replaces the ceiling: what no role of the tenant can give.
	CeilingSet struct{ Permissions []string }
	// TenantLimitsSet replaces the limits of the tenant, all of them.
	TenantLimitsSet struct {
		// MaxSessions is how many sessions the tenant may have at each gateway;
		// 0: as many as there is room for.
		MaxSessions uint64
	}
)

func (e *TenantCreated) wire(c *codec) {
	c.text(1, &e.Name)
}

func (e *TenantRenamed) wire(c *codec) {
	c.text(1, &e.Name)
}

func (e *TenantSuspended) wire(*codec) {}

func (e *TenantResumed) wire(*codec) {}

func (e *TenantRemoved) wire(*codec) {}

func (e *CeilingSet) wire(c *codec) {
	c.names(1, &e.Permissions)
}

func (e *TenantLimitsSet) wire(c *codec) {
	c.count(1, &e.MaxSessions)
}
