package projections

import (
	"errors"
	"fmt"

	"github.com/postern-im/postern/events"
)

// An Installation is what belongs to no tenant, at one position. Like the View
// it belongs to it never changes.
//
// A new noun of it has a field here, a file of its own for what it answers, how
// its events fold and how it is encoded, a case in fold, and a section of the
// encoding. The View and the tenants need not know of it.
type Installation struct {
	version uint64 // counts the commits
	// tokens holds revoked ones too, by id: an id is never used again. There
	// are few, and a new list is made for each change.
	tokens []*Token
	// shared holds the shared services. There are few, and a new map is made
	// for each change; nil while there are none.
	shared map[string]struct{}
}

// Installation returns what belongs to no tenant.
func (v *View) Installation() *Installation { return &v.installation }

// Version counts the commits of the installation as a whole.
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

var errOutside = errors.New("it stands outside a tenant")

// fold applies an event of the commit at v's position. v is the View that n
// belongs to; it tells what the tenants have.
func (n *Installation) fold(v *View, e events.Event) error {
	switch events.SubjectOf(e).Kind {
	case events.KindToken:
		return n.foldToken(v.position, e)
	case events.KindSharedService:
		return n.foldSharedService(v, e)
	}
	return errOutside
}

// The sections of the installation. Each is left out when it is empty.
const (
	sectionInstallation = 2
	sectionShared       = 3
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
}

// installation reads the sections of the installation, of which the number of
// the first is read already, and returns the number of what follows.
func (d *decoder) installation(section uint64) (next uint64) {
	n := &d.view.installation
	if section == sectionInstallation {
		if n.version = d.number(uint64(d.view.position)); n.version == 0 {
			d.fail("an empty section")
		}
		d.tokens(n)
		section = d.section()
	}
	if section == sectionShared {
		d.sharedServices(n)
		section = d.section()
	}
	return section
}
