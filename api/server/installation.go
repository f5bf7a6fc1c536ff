package server

import (
	"net/http"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/projections"
)

// sharedService is the kind of a shared service in an api.Owner. The other kinds,
// "domain" and "service", belong to tenants.
const sharedService = "shared service"

func readSharedServices(_ *http.Request, v *projections.View) (any, error) {
	return api.SharedServiceList{Position: uint64(v.Position()), Services: list(v.Installation().SharedServices())}, nil
}
