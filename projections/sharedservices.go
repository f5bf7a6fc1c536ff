package projections

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/postern-im/postern/events"
)

// Shared reports whether a domain is a shared service. The operator declares
// shared services. They are local to every tenant and belong to none.
func (n *Installation) Shared(domain []byte) bool {
	_, shared := n.shared[string(domain)]
	return shared
}

// SharedServices lists the shared services, sorted.
func (n *Installation) SharedServices() []string { return slices.Sorted(maps.Keys(n.shared)) }

// HostKindFor returns the kind of a domain for judging an address of the tenant.
// A shared service counts as a service of the tenant; Tenant.HostKind knows only
// the tenant's own services. HostKindFor allocates nothing.
func (v *View) HostKindFor(t *Tenant, domain []byte) HostKind {
	if p := t.HostKind(domain); p != Elsewhere {
		return p
	}
	if v.installation.Shared(domain) {
		return Service
	}
	return Elsewhere
}

// foldSharedService folds an event about a shared service. It uses v to refuse
// a name that a tenant owns. If v is nil, it does not check the owner.
func (n *Installation) foldSharedService(v *View, e events.Event) error {
	switch e := e.(type) {
	case events.SharedServiceAdded:
		if v != nil {
			if owner, kind := v.Owner([]byte(e.Service)); owner != nil {
				return fmt.Errorf("%q is already a %s of tenant %q", e.Service, kind, owner.id)
			}
		}
		return n.share(e.Service)
	case events.SharedServiceRemoved:
		return n.unshare(e.Service)
	}
	return errUnknown
}

// share adds a shared service. It does not check whether a tenant owns the name.
func (n *Installation) share(service string) error {
	if service == "" {
		return errors.New("a service without a name")
	}
	if _, shared := n.shared[service]; shared {
		return fmt.Errorf("%q is already a shared service", service)
	}
	n.shared = maps.Clone(n.shared) // older Views share the old map
	if n.shared == nil {
		n.shared = map[string]struct{}{}
	}
	n.shared[strings.Clone(service)] = struct{}{}
	return nil
}

// unshare removes a shared service.
func (n *Installation) unshare(service string) error {
	if _, shared := n.shared[service]; !shared {
		return fmt.Errorf("no shared service %q", service)
	}
	n.shared = maps.Clone(n.shared)
	delete(n.shared, service)
	return nil
}

// sharedServices writes the list of shared services, sorted.
func (e *encoder) sharedServices(n *Installation) { e.texts(n.SharedServices()) }

// sharedServices reads the list of shared services. No service may belong to a
// tenant. Each was added by an event of the installation, which bounds their
// number.
func (d *decoder) sharedServices(n *Installation) {
	n.shared = map[string]struct{}{}
	last := ""
	d.each(uint64(events.MaxSize)*n.version, func() {
		name := d.text()
		if d.err == nil && name <= last {
			d.fail("shared service %q is out of order after %q", name, last)
		}
		if owner, kind := d.view.Owner([]byte(name)); d.err == nil && owner != nil {
			d.fail("shared service %q is also a %s of tenant %q", name, kind, owner.id)
		}
		if d.err != nil {
			return
		}
		last = name
		n.shared[name] = struct{}{}
	})
	if d.err == nil && len(n.shared) == 0 {
		d.fail("an empty section of shared services")
	}
}
