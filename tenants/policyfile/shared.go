package policyfile

import (
	"fmt"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/tenants"
)

// Share adds shared services to a View of policy files, for judging stanzas
// offline. Policy files cannot declare shared services, since these belong to
// the operator. As a node does, Share refuses a name that belongs to a tenant.
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
