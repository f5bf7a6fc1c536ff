package projections

import (
	"errors"
	"fmt"

	"github.com/postern-im/postern/events"
)

// An Installation holds the facts at one position that belong to no tenant. It
// belongs to a View and, like the View, never changes.
//
// To add a kind of fact, add a field here, a case in fold and a section of the
// encoding. Put its methods, the folding of its events and its encoding into a
// new file. View and Tenant need no change.
type Installation struct {
	version uint64 // counts the installation's commits
	// tokens is sorted by id. It holds revoked tokens too, since an id must
	// never be used again. There are few, so each change makes a new list.
	tokens []*Token
	// shared holds the shared services. There are few, so each change makes a
	// new map. It is nil until the first one is added.
	shared map[string]struct{}
	// gateways is sorted by id, then by position. It holds removed registrations
	// too, since a key must never be used again. There are few changes, so each
	// makes a new list.
	gateways []*Gateway
}

// Installation returns the facts that belong to no tenant.
func (v *View) Installation() *Installation { return &v.installation }

// Version counts the installation's commits, which are those without a tenant.
func (n *Installation) Version() uint64 { return n.version }

// foldInstallation applies a commit without a tenant.
func (v *View) foldInstallation(c *events.Commit) error {
	n := &v.installation
	if c.TenantVersion != n.version+1 {
		return fmt.Errorf("apply commit %d: version %d: the installation is at %d", c.Position, c.TenantVersion, n.version)
	}
	n.version = c.TenantVersion
	for i, e := range c.Events {
		if err := n.fold(v, e); err != nil {
			return fmt.Errorf("apply commit %d: event %d: %T: %w", c.Position, i+1, e, err)
		}
	}
	return nil
}

var errOutside = errors.New("the event must be in a commit of a tenant")

// fold applies an event of the commit at v's position. v is the View that n
// belongs to; fold uses it to look up names that tenants own.
func (n *Installation) fold(v *View, e events.Event) error {
	switch events.SubjectOf(e).Kind {
	case events.KindToken:
		return n.foldToken(v.position, e)
	case events.KindSharedService:
		return n.foldSharedService(v, e)
	case events.KindGateway:
		return n.foldGateway(v, e)
	}
	return errOutside
}

// The sections of the installation. Each is left out when it is empty.
const (
	sectionInstallation = 2
	sectionShared       = 3
	sectionGateways     = 4
)

// installation writes the sections of the installation, in the order of their
// numbers.
func (e *encoder) installation(n *Installation) {
	if n.version > 0 {
		e.number(sectionInstallation)
		e.number(n.version)
		e.tokens(n.tokens)
	}
	if len(n.shared) > 0 {
		e.number(sectionShared)
		e.sharedServices(n)
	}
	if len(n.gateways) > 0 {
		e.number(sectionGateways)
		e.gateways(n.gateways)
	}
}

// installation reads the sections of the installation. The caller has already
// read section, the number of the first section. next is the number of the
// section that follows the installation's.
func (d *decoder) installation(section uint64) (next uint64) {
	n := &d.view.installation
	if section == sectionInstallation {
		if n.version = d.number(uint64(d.view.position)); n.version == 0 {
			d.fail("an empty section of the installation")
		}
		d.tokens(n)
		section = d.section()
	}
	if section == sectionShared {
		d.sharedServices(n)
		section = d.section()
	}
	if section == sectionGateways {
		d.gateways(n)
		section = d.section()
	}
	return section
}
