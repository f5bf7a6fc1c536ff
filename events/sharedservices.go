package events

// The events of the services that all tenants share. They are events of the
// installation.
type (
	// SharedServiceAdded declares a service that belongs to no tenant, such as
	// a push or upload service of a vendor, local to every tenant.
	SharedServiceAdded struct{ Service string }
	// SharedServiceRemoved makes it remote to every tenant again.
	SharedServiceRemoved struct{ Service string }
)

func (e *SharedServiceAdded) wire(c *codec) {
	c.name(1, &e.Service)
}

func (e *SharedServiceRemoved) wire(c *codec) {
	c.name(1, &e.Service)
}

func describeSharedService(e Event) string {
	switch e := e.(type) {
	case SharedServiceAdded:
		return line("shared service added", plain(e.Service))
	case SharedServiceRemoved:
		return line("shared service removed", plain(e.Service))
	}
	return ""
}
