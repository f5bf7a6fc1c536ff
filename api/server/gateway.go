package server

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/projections"
)

// A Presence says what the node has heard from one gateway.
type Presence struct {
	Gateway string
	// Expected: the gateway is registered, or the node's configuration names it.
	Expected bool
	// Heard is when the gateway last announced itself. It is zero if it has not done so
	// since the node was started.
	Heard time.Time
	// Here: the gateway announces itself at present.
	Here bool
	// Twice: two gateways use the id.
	Twice bool
}

// readGateways lists the gateways of the registry, and those that are known to the
// node in another way. These are at NATS servers that the node does not run.
func (s *Server) readGateways(r *http.Request, v *projections.View) (any, error) {
	reply := api.GatewayList{Position: uint64(v.Position()), Gateways: []api.Gateway{}}
	present := map[string]Presence{}
	if s.gateways != nil {
		for _, p := range s.gateways.Presence() {
			present[p.Gateway] = p
		}
	}
	for _, g := range v.Installation().Gateways() {
		out := api.Gateway{
			ID: g.ID, PublicKey: g.PublicKey, Added: uint64(g.Added), Since: time.UnixMicro(g.Since).UTC(), Removed: uint64(g.Removed),
		}
		if g.Removed == 0 {
			out = heard(out, present[g.ID])
			delete(present, g.ID)
		}
		if g.Removed == 0 || queryOf(r).text("removed") == "true" {
			reply.Gateways = append(reply.Gateways, out)
		}
	}
	for id, p := range present {
		reply.Gateways = append(reply.Gateways, heard(api.Gateway{ID: id}, p))
	}
	slices.SortStableFunc(reply.Gateways, func(a, b api.Gateway) int { return strings.Compare(a.ID, b.ID) })
	return reply, nil
}

// heard adds what the node has heard from a gateway.
func heard(g api.Gateway, p Presence) api.Gateway {
	g.Connected, g.Heard, g.Twice = p.Here, p.Heard.UTC(), p.Twice
	return g
}
