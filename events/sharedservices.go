package events

// The events of the services that all tenants share. They are events of the
// installation.
type (
	// SharedServiceAdded makes a service local to every tenant. The service belongs
	// to no tenant. An example is the push or upload service of a vendor.
	SharedServiceAdded struct{ Service string }
	// SharedServiceRemoved makes the service remote to every tenant again.
	SharedServiceRemoved struct{ Service string }
)

func (e *SharedServiceAdded) wire(c *codec)           { c.name(1, &e.Service) }
func (e SharedServiceAdded) encode(out []byte) []byte { return encodeBody(out, 26, &e) }
func (e SharedServiceAdded) describe() string         { return line("shared service added", plain(e.Service)) }
func (e SharedServiceAdded) subject() Subject         { return Subject{KindSharedService, e.Service} }
func (SharedServiceAdded) effects() Effects           { return 0 }

func (e *SharedServiceRemoved) wire(c *codec)           { c.name(1, &e.Service) }
func (e SharedServiceRemoved) encode(out []byte) []byte { return encodeBody(out, 27, &e) }
func (e SharedServiceRemoved) describe() string {
	return line("shared service removed", plain(e.Service))
}
func (e SharedServiceRemoved) subject() Subject { return Subject{KindSharedService, e.Service} }
func (SharedServiceRemoved) effects() Effects   { return Withdraws }
