package api

// What concerns the services of the installation, which belong to no tenant.

type (
	// SharedServiceAdd declares a service local to every tenant: stanzas to it
	// and from it do not ask for xmpp:federate. What a tenant has cannot be
	// shared.
	SharedServiceAdd struct {
		Service string `json:"service"`
	}
	// SharedServiceRemove makes it remote again, from the next stanza on.
	SharedServiceRemove struct {
		Service string `json:"service"`
	}
)

// Command is the command's name.
func (SharedServiceAdd) Command() string    { return "shared-service.add" }
func (SharedServiceRemove) Command() string { return "shared-service.remove" }

// A SharedServiceList is the services of the installation, by name.
type SharedServiceList struct {
	Position uint64   `json:"position"`
	Services []string `json:"services"`
}
