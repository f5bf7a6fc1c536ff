package projections

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/postern-im/postern/events"
)

// installation is what concerns no tenant.
type installation struct {
	version uint64 // counts the commits
	// tokens holds revoked ones too, by id: an id is never used again. There
	// are few, and a new list is made for each change.
	tokens []*Token
	// shared holds the shared services. There are few, and a new map is made
	// for each change; nil while there are none.
	shared map[string]struct{}
}

// Version counts the commits of the installation as a whole.
func (v *View) Version() uint64 { return v.installation.version }

// Shared reports whether the operator declared a domain a service of the
// installation: such a service is local to every tenant and belongs to none.
func (v *View) Shared(domain []byte) bool {
	_, shared := v.installation.shared[string(domain)]
	return shared
}

// SharedServices lists the services of the installation, sorted.
func (v *View) SharedServices() []string {
	return slices.Sorted(maps.Keys(v.installation.shared))
}

// PlaceFor says what a domain is to a tenant when an address is judged: a
// shared service counts as one of the tenant's own. Tenant.Place knows those
// of the tenant alone. It allocates nothing.
func (v *View) PlaceFor(t *Tenant, domain []byte) Place {
	if p := t.Place(domain); p != Elsewhere {
		return p
	}
	if v.Shared(domain) {
		return Service
	}
	return Elsewhere
}

// foldInstallation applies a commit without a tenant.
func (v *View) foldInstallation(c *events.Commit) error {
	if c.TenantVersion != v.installation.version+1 {
		return fmt.Errorf("apply commit %d: version %d: the installation is at %d", c.Position, c.TenantVersion, v.installation.version)
	}
	v.installation.version = c.TenantVersion
	for i, e := range c.Events {
		if err := v.applyInstallation(c.Position, e); err != nil {
			return fmt.Errorf("apply commit %d: event %d: %T: %w", c.Position, i+1, e, err)
		}
	}
	return nil
}

var errOutside = errors.New("it stands outside a tenant")

func (v *View) applyInstallation(p events.Position, e events.Event) error {
	switch e := e.(type) {
	case events.TokenCreated, events.TokenRevoked:
		return v.installation.applyToken(p, e)
	case events.SharedServiceAdded:
		if owner, kind := v.Owner([]byte(e.Service)); owner != nil {
			return fmt.Errorf("%q is a %s of tenant %q already", e.Service, kind, owner.id)
		}
		return v.installation.share(e.Service)
	case events.SharedServiceRemoved:
		return v.installation.unshare(e.Service)
	}
	return errOutside
}

// share adds a shared service. It does not look whether a tenant has the name.
func (n *installation) share(service string) error {
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
func (n *installation) unshare(service string) error {
	if _, shared := n.shared[service]; !shared {
		return fmt.Errorf("no shared service %q", service)
	}
	n.shared = maps.Clone(n.shared)
	delete(n.shared, service)
	return nil
}

// installation writes the section of the installation.
func (e *encoder) installation(n *installation) {
	e.number(n.version)
	e.tokens(n.tokens)
}

// installation reads it.
func (d *decoder) installation() {
	n := &d.view.installation
	if n.version = d.number(uint64(d.view.position)); n.version == 0 {
		d.fail("an empty section")
	}
	d.tokens(n)
}

// shared writes the section of the shared services, sorted.
func (e *encoder) shared(v *View) { e.texts(v.SharedServices()) }

// shared reads it. Each service took a commit or a part of one, and none is a
// tenant's.
func (d *decoder) shared() {
	n := &d.view.installation
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
