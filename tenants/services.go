package tenants

import (
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/projections"
)

// The commands on a service.
type (
	// AddService declares a component domain, such as a MUC service, local to
	// the tenant.
	AddService struct{ Service string }
	// RemoveService makes a service remote again.
	RemoveService struct{ Service string }
)

// Name is the command's name.
func (AddService) Name() string    { return "service.add" }
func (RemoveService) Name() string { return "service.remove" }

// serviceCommands are the commands on a service.
func serviceCommands() []Entry {
	return []Entry{
		{Zero: AddService{}, Makes: events.ServiceAdded{}, Operator: true},
		{Zero: RemoveService{}, Makes: events.ServiceRemoved{}},
	}
}

func (c AddService) check(p *checker) { c.add(p, "service") }

// add checks the service. field is its path in the change: in a list of services
// it names the list's item.
func (c AddService) add(p *checker, field string) {
	before := p.failures
	name, ok := p.domainName(field, "service", c.Service)
	if ok {
		p.free(field, projections.Service, name)
	}
	if p.tenant != nil && p.tenant.ServiceCount() >= MaxServices {
		p.fail(Conflict, field, "the tenant already has %d services, the maximum", MaxServices)
	}
	if !p.failed(before) {
		p.emit(events.ServiceAdded{Service: name})
	}
}

func (c RemoveService) check(p *checker) {
	name, ok := p.domainName("service", "service", c.Service)
	if !ok {
		return
	}
	if p.tenant.HostKind([]byte(name)) != projections.Service {
		p.fail(NotFound, "service", "tenant %s has no service %s", quote(p.id), quote(name))
		return
	}
	p.emit(events.ServiceRemoved{Service: name})
}
