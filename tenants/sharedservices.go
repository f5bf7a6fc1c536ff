package tenants

import (
	"github.com/postern-im/postern/events"
)

// MaxSharedServices bounds the shared services. An installation needs only a
// few, and each change copies their list.
const MaxSharedServices = 1000

// The commands on shared services.
type (
	// AddSharedService makes a service local to every tenant. The service, such
	// as a vendor's push or upload service, belongs to no tenant. Stanzas to it
	// and from it do not need xmpp:federate.
	AddSharedService struct{ Service string }
	// RemoveSharedService makes a shared service remote to every tenant again,
	// from the next stanza on. It ends no session.
	RemoveSharedService struct{ Service string }
)

// Name is the command's name.
func (AddSharedService) Name() string    { return "shared-service.add" }
func (RemoveSharedService) Name() string { return "shared-service.remove" }

// sharedServiceCommands are the commands on a shared service.
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
		p.fail(Conflict, "service", "%s is a %s of tenant %s: only a name that belongs to no tenant can be shared; remove it there first", quote(name), kind, quote(owner.ID()))
	case p.view.Installation().Shared([]byte(name)):
		p.fail(Exists, "service", "%s is a shared service already", quote(name))
	case len(p.view.Installation().SharedServices()) >= MaxSharedServices:
		p.fail(Conflict, "service", "the installation already has %d shared services, the maximum", MaxSharedServices)
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

// unshared refuses to give a tenant the name of a shared service.
func (p *checker) unshared(field, name string) {
	if p.view.Installation().Shared([]byte(name)) {
		p.fail(Conflict, field, "%s is a shared service of the installation, already local to every tenant: leave it out", quote(name))
	}
}
