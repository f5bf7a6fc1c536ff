package server

import (
	"net/http"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/projections"
)

// sharedService is the kind of what the operator declared for the
// installation, where a tenant's is "domain" or "service".
const sharedService = "shared service"

func readSharedServices(_ *http.Request, v *projections.View) (any, error) {
	return api.SharedServiceList{Position: uint64(v.Position()), Services: list(v.Installation().SharedServices())}, nil
}
