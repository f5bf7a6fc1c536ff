package policyfile

import (
	"fmt"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/tenants"
)

// Share declares services of the installation in a View of files, for judging
// offline: no policy file says what the operator shares. A name that a file's
// tenant has is refused, as a node would.
func Share(v *projections.View, services []string) (*projections.View, error) {
	for _, name := range services {
		outcome, err := tenants.Check(v, "", tenants.AddSharedService{Service: name})
		if err != nil {
			return nil, fmt.Errorf("share %s: %w", short(name), err)
		}
		v, err = v.Apply(&events.Commit{Position: v.Position() + 1, TenantVersion: v.Installation().Version() + 1, Events: outcome.Events})
		if err != nil {
			return nil, fmt.Errorf("share %s: %w", short(name), err)
		}
	}
	return v, nil
}
