package projections

import (
	"errors"
	"fmt"

	"github.com/postern-im/postern/events"
)

// A Past folds only the commits of one tenant. So it gives the state of
// the tenant at an earlier position without the cost of folding all other
// tenants. It skips the positions between two commits of the tenant, because
// the commits there are not the tenant's. Otherwise a Past makes the same checks as
// a View: versions must have no gaps, and every event must apply.
//
// A Past cannot check that no other tenant owned a name at the same time. This
// was checked when the commits were made. One goroutine owns a Past.
type Past struct {
	tenant string
	b      *Builder
	// shared holds only the shared services: see the method Installation.
	shared Installation
}

// NewPast returns the Past of a tenant before its first commit.
func NewPast(tenant string) *Past { return &Past{tenant: tenant, b: NewBuilder()} }

// Apply folds the tenant's next commit. After an error the Past is of no use.
func (p *Past) Apply(c *events.Commit) error {
	v := p.b.view
	switch {
	case v == nil:
		return p.b.Apply(c) // returns the error
	case c.Tenant != p.tenant || c.Tenant == "":
		return fmt.Errorf("apply commit %d: it belongs to tenant %q, not to %q", c.Position, c.Tenant, p.tenant)
	case c.Position <= v.position:
		return fmt.Errorf("apply commit %d: the past is at %d", c.Position, v.position)
	}
	v.position = c.Position - 1
	return p.b.Apply(c)
}

// Installation folds the installation's next commit. It uses only the events
// about shared services: a decision looks these up when it judges an address.
// The installation's commits may be folded before the tenant's or after them.
// The order has no effect: when the commits were made, a check ensured that no
// tenant owned the name of a shared service.
func (p *Past) Installation(c *events.Commit) error {
	if c.Tenant != "" {
		return fmt.Errorf("apply commit %d: it belongs to tenant %q, not to the installation", c.Position, c.Tenant)
	}
	for i, e := range c.Events {
		if events.SubjectOf(e).Kind != events.KindSharedService {
			continue
		}
		if err := p.shared.foldSharedService(nil, e); err != nil {
			return fmt.Errorf("apply commit %d: event %d: %T: %w", c.Position, i+1, e, err)
		}
	}
	return nil
}

// Tenant returns the tenant after the last commit, or nil before its first
// commit and after its removal. The result is valid until the next Apply.
func (p *Past) Tenant() *Tenant {
	if p.b.view == nil {
		return nil
	}
	return p.b.view.Tenant([]byte(p.tenant))
}

// View returns the View at a position. The View holds only this tenant and the
// shared services. It answers for the tenant as the View of the whole log at
// that position does. Only its Time differs: it is the time of the tenant's
// last commit.
//
// The position must not be before the last commit applied. It must also be
// before the next commit of the tenant and of the installation; View cannot
// check this, so the caller must. After View the Past is of no use.
func (p *Past) View(at events.Position) (*View, error) {
	v := p.b.View()
	switch {
	case v == nil:
		return nil, errors.New("the past has already returned its view, or an apply failed")
	case at < v.position:
		return nil, fmt.Errorf("a view at %d: the past is already at %d", at, v.position)
	}
	v.position, v.installation.shared = at, p.shared.shared
	return v, nil
}
