package server

import (
	"context"
	"errors"
	"math"
	"net/http"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/tenants"
)

// enforcedRoutes returns the route that says when a position is enforced. It shows
// nothing of a tenant.
func (s *Server) enforcedRoutes() []route {
	return []route{{
		method: http.MethodGet, path: "/v1/enforced", name: "enforced", scope: anyone,
		summary: "Whether a position of the log is enforced everywhere",
		doc: "A position is enforced everywhere if no gateway hands a stanza over on a verdict from an older state. In a cluster, this is so " +
			"when all nodes have reported that they decide from the position, and at the latest 20 seconds after the change. With wait, the " +
			"answer comes when it is so, or when the wait ends. A result with takes_away should be followed by this request.",
		query: []param{
			{name: "position", kind: number, min: 1, max: math.MaxInt64, doc: "the position, such as a result's; required"},
			{name: "wait", kind: number, min: 1, max: maxWait, doc: "how many seconds to wait"},
		},
		reply: api.Enforced{}, handle: s.getEnforced,
	}}
}

func (s *Server) getEnforced(_ http.ResponseWriter, r *http.Request) (any, error) {
	q := queryOf(r)
	position, given := q.number("position")
	if !given {
		return nil, &api.Error{Code: api.CodeBadRequest, Text: "position is missing: give the position of a result"}
	}
	wait, waits := q.number("wait")
	if waits {
		leave, ok := s.limits.follow(callerOf(r.Context()))
		if !ok {
			return nil, &api.Error{Code: api.CodeBusy, Text: "too many requests wait for the log; try again"}
		}
		defer leave()
	}
	if err := s.reach(r.Context(), events.Position(position)); err != nil {
		return nil, err
	}
	waiting, cancel := context.WithTimeout(r.Context(), time.Duration(wait)*time.Second)
	defer cancel()
	defer context.AfterFunc(stoppingOf(r.Context()), cancel)()
	e, err := s.runner.Enforced(waiting, events.Position(position))
	if errors.Is(err, events.ErrNoSuchPosition) {
		return nil, errBehind(position)
	}
	if err != nil {
		return nil, err
	}
	c := callOf(r)
	c.Position, c.Enforced = position, e.How.String()
	return enforcedFrom(e, callerOf(r.Context()).operator), nil
}

// enforcedFrom converts an Enforcement to its form on the wire. Only operators see the
// names of nodes.
func enforcedFrom(e tenants.Enforcement, operator bool) api.Enforced {
	out := api.Enforced{
		Position: uint64(e.Position), Enforced: e.How != tenants.Pending, By: e.How.String(),
		TookMicros: e.Took.Microseconds(), MarginMicros: e.Margin.Microseconds(), Nodes: []api.EnforcedNode{},
	}
	if !operator {
		return out
	}
	for _, r := range e.Nodes {
		n := api.EnforcedNode{Node: r.Node, Reported: r.Reported}
		if r.Reported {
			n.TookMicros = new(r.Took.Microseconds())
		}
		out.Nodes = append(out.Nodes, n)
	}
	return out
}
