package events

// The events of a tenant's service.
type (
	// ServiceAdded declares that a component domain, such as a MUC service, is
	// local to the tenant.
	ServiceAdded struct{ Service string }
	// ServiceRemoved makes the service remote again.
	ServiceRemoved struct{ Service string }
)

func (e *ServiceAdded) wire(c *codec)           { c.name(1, &e.Service) }
func (e ServiceAdded) encode(out []byte) []byte { return encodeBody(out, 14, &e) }
func (e ServiceAdded) describe() string         { return line("service added", plain(e.Service)) }
func (e ServiceAdded) subject() Subject         { return Subject{KindService, e.Service} }
func (ServiceAdded) effects() Effects           { return 0 }

func (e *ServiceRemoved) wire(c *codec)           { c.name(1, &e.Service) }
func (e ServiceRemoved) encode(out []byte) []byte { return encodeBody(out, 15, &e) }
func (e ServiceRemoved) describe() string         { return line("service removed", plain(e.Service)) }
func (e ServiceRemoved) subject() Subject         { return Subject{KindService, e.Service} }
func (ServiceRemoved) effects() Effects           { return Withdraws }
