package projections

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/postern-im/postern/events"
)

// Shared reports whether the operator declared a domain a service of the
// installation: such a service is local to every tenant and belongs to none.
func (n *Installation) Shared(domain []byte) bool {
	_, shared := n.shared[string(domain)]
	return shared
}

// SharedServices lists the services of the installation, sorted.
func (n *Installation) SharedServices() []string { return slices.Sorted(maps.Keys(n.shared)) }

// HostKindFor says what a domain is to a tenant when an address is judged: a
// shared service counts as one of the tenant's own. Tenant.HostKind knows those
// of the tenant alone. It allocates nothing.
func (v *View) HostKindFor(t *Tenant, domain []byte) HostKind {
	if p := t.HostKind(domain); p != Elsewhere {
		return p
	}
	if v.installation.Shared(domain) {
		return Service
	}
	return Elsewhere
}

// foldSharedService folds an event about a shared service. v tells which names
// the tenants have; nil where that was checked before.
func (n *Installation) foldSharedService(v *View, e events.Event) error {
	switch e := e.(type) {
	case events.SharedServiceAdded:
		if v != nil {
			if owner, kind := v.Owner([]byte(e.Service)); owner != nil {
				return fmt.Errorf("%q is a %s of tenant %q already", e.Service, kind, owner.id)
			}
		}
		return n.share(e.Service)
	case events.SharedServiceRemoved:
		return n.unshare(e.Service)
	}
	return errUnknown
}

// share adds a shared service. It does not look whether a tenant has the name.
func (n *Installation) share(service string) error {
	if service == "" {
		return errors.New("a service without a name")
	}
	if _, shared := n.shared[service]; shared {
		return fmt.Errorf("%q is a shared service already", service)
	}
	n.shared = maps.Clone(n.shared) // Views made before keep theirs
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

// sharedServices writes the section of the shared services, sorted.
func (e *encoder) sharedServices(n *Installation) { e.texts(n.SharedServices()) }

// sharedServices reads it. Each service took a commit or a part of one, and none is a
// tenant's.
func (d *decoder) sharedServices(n *Installation) {
	n.shared = map[string]struct{}{}
	last := ""
	d.each(uint64(events.MaxSize)*n.version, func() {
		name := d.text()
		if d.err == nil && name <= last {
			d.fail("shared service %q behind %q", name, last)
		}
		if owner, kind := d.view.Owner([]byte(name)); d.err == nil && owner != nil {
			d.fail("shared service %q is a %s of tenant %q", name, kind, owner.id)
		}
		if d.err != nil {
			return
		}
		last = name
		n.shared[name] = struct{}{}
	})
	if d.err == nil && len(n.shared) == 0 {
		d.fail("an empty section")
	}
}
