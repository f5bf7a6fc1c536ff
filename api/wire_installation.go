package api

// This file has the commands and answers for shared services, which belong to no
// tenant.

type (
	// SharedServiceAdd declares that a service is local to every tenant: stanzas to
	// it and from it do not require xmpp:federate. A domain or service of a tenant
	// cannot be shared.
	SharedServiceAdd struct {
		Service string `json:"service"`
	}
	// SharedServiceRemove makes the service remote again, from the next stanza on.
	SharedServiceRemove struct {
		Service string `json:"service"`
	}
)

// Command returns the command's name.
func (SharedServiceAdd) Command() string    { return "shared-service.add" }
func (SharedServiceRemove) Command() string { return "shared-service.remove" }

// A SharedServiceList is the list of shared services, ordered by name.
type SharedServiceList struct {
	Position uint64   `json:"position"`
	Services []string `json:"services"`
}
