package projections

import (
	"errors"
	"fmt"

	"github.com/postern-im/postern/events"
)

// A Past folds the commits of one tenant, and of no other, so that the tenant
// can be looked at as it was without folding what concerns everybody else. The
// positions between two commits of a tenant are others' and are passed over;
// all else is checked as ever: versions are dense, every event must apply.
//
// What the tenant had to share with others, the owning of names, was checked
// when its commits were made. One goroutine owns a Past.
type Past struct {
	tenant string
	b      *Builder
	// shared holds the shared services of the time: see Installation.
	shared Installation
}

// NewPast begins before a tenant's first commit.
func NewPast(tenant string) *Past { return &Past{tenant: tenant, b: NewBuilder()} }

// Apply folds the tenant's next commit. After an error the Past is of no use.
func (p *Past) Apply(c *events.Commit) error {
	v := p.b.view
	switch {
	case v == nil:
		return p.b.Apply(c) // says why
	case c.Tenant != p.tenant || c.Tenant == "":
		return fmt.Errorf("apply commit %d: it is of tenant %q, not of %q", c.Position, c.Tenant, p.tenant)
	case c.Position <= v.position:
		return fmt.Errorf("apply commit %d: the past is at %d", c.Position, v.position)
	}
	v.position = c.Position - 1
	return p.b.Apply(c)
}

// Installation folds the installation's next commit: of it, what is looked up
// when an address of the tenant is judged, which is the shared services. They
// may be folded before the tenant's commits or after: that no name was a
// tenant's and shared at once was checked when the commits were made.
func (p *Past) Installation(c *events.Commit) error {
	if c.Tenant != "" {
		return fmt.Errorf("apply commit %d: it is of tenant %q, not of the installation", c.Position, c.Tenant)
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

// Tenant is the tenant after the last commit, nil before its first and after
// its removal. It holds until the next Apply.
func (p *Past) Tenant() *Tenant {
	if p.b.view == nil {
		return nil
	}
	return p.b.view.Tenant([]byte(p.tenant))
}

// View gives the View at a position, which must not be before the last commit
// applied and must be before the tenant's next one, as for the installation's:
// that the caller knows. It holds this tenant and the shared services alone. It
// answers for the tenant as the View of the whole log at that position does, but
// that its Time is the tenant's own. The Past is spent.
func (p *Past) View(at events.Position) (*View, error) {
	v := p.b.View()
	switch {
	case v == nil:
		return nil, errors.New("the past is spent")
	case at < v.position:
		return nil, fmt.Errorf("a view at %d: the past is at %d", at, v.position)
	}
	v.position, v.installation.shared = at, p.shared.shared
	return v, nil
}
