package tenants

import (
	"github.com/postern-im/postern/events"
)

// MaxSharedServices bounds the services of the installation. They are few by
// nature, and a change copies their list.
const MaxSharedServices = 1000

// The commands on the services of the installation.
type (
	// AddSharedService declares a service that belongs to no tenant, such as a
	// push or upload service of a vendor, local to every tenant: stanzas to it
	// and from it do not ask for xmpp:federate.
	AddSharedService struct{ Service string }
	// RemoveSharedService makes it remote to every tenant again, from the next
	// stanza on. Sessions go on.
	RemoveSharedService struct{ Service string }
)

// Name is the command's name.
func (AddSharedService) Name() string    { return "shared-service.add" }
func (RemoveSharedService) Name() string { return "shared-service.remove" }

// sharedServiceCommands are the commands on a service of the installation.
func sharedServiceCommands() []Entry {
	return []Entry{
		{Zero: AddSharedService{}, Makes: events.SharedServiceAdded{}},
		{Zero: RemoveSharedService{}, Makes: events.SharedServiceRemoved{}},
	}
}

func (c AddSharedService) check(p *checker) {
	name, ok := p.domainName("service", "service", c.Service)
	if !ok {
		return
	}
	owner, kind := p.view.Owner([]byte(name))
	switch {
	case owner != nil:
		p.fail(Conflict, "service", "%s is a %s of tenant %s: only what belongs to no tenant can be shared; remove it there first", quote(name), kind, quote(owner.ID()))
	case p.view.Installation().Shared([]byte(name)):
		p.fail(Exists, "service", "%s is a shared service already", quote(name))
	case len(p.view.Installation().SharedServices()) >= MaxSharedServices:
		p.fail(Conflict, "service", "the installation has %d shared services: no more", MaxSharedServices)
	default:
		p.emit(events.SharedServiceAdded{Service: name})
	}
}

func (c RemoveSharedService) check(p *checker) {
	name, ok := p.domainName("service", "service", c.Service)
	if !ok {
		return
	}
	if !p.view.Installation().Shared([]byte(name)) {
		p.fail(NotFound, "service", "the installation has no shared service %s", quote(name))
		return
	}
	p.emit(events.SharedServiceRemoved{Service: name})
}

// unshared refuses to give a tenant what the operator shares.
func (p *checker) unshared(field, name string) {
	if p.view.Installation().Shared([]byte(name)) {
		p.fail(Conflict, field, "%s is a shared service of the installation, local to every tenant already: leave it out", quote(name))
	}
}
