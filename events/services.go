package events

// The events of a tenant's service.
type (
	// ServiceAdded declares a component domain, such as a MUC service, local
	// to the tenant.
	ServiceAdded struct{ Service string }
	// ServiceRemoved makes it remote again.
	ServiceRemoved struct{ Service string }
)

func (e *ServiceAdded) wire(c *codec) {
	c.name(1, &e.Service)
}

func (e *ServiceRemoved) wire(c *codec) {
	c.name(1, &e.Service)
}
