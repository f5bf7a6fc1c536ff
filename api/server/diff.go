package server

import (
	"context"
	"fmt"
	"net/http"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/projections"
)

// diffParams returns the parameters of diff.
func diffParams() []param {
	return []param{
		{name: "from", max: maxMoment, doc: "the earlier moment, required: " + momentDoc},
		{name: "to", max: maxMoment, doc: "the later moment, in the same form; absent: now"},
	}
}

// diff answers with the changes of the tenant of the path between two moments.
func (s *Server) diff(_ http.ResponseWriter, r *http.Request) (any, error) {
	v, err := s.view()
	if err != nil {
		return nil, err
	}
	id := r.PathValue("tenant")
	if !v.Used([]byte(id)) {
		return nil, notFound("no tenant %q", id)
	}
	from, to := queryOf(r).text("from"), queryOf(r).text("to")
	if from == "" {
		return nil, &api.Error{Code: api.CodeBadRequest, Text: "from is missing: give the earlier moment"}
	}
	if to == "" {
		to = fmt.Sprint(uint64(v.Position()))
	}
	reply := api.DiffReply{Position: uint64(v.Position()), Tenant: id}
	var before, after *projections.Tenant
	if before, reply.From, err = s.tenantThen(r.Context(), v, id, "from", from); err != nil {
		return nil, err
	}
	if after, reply.To, err = s.tenantThen(r.Context(), v, id, "to", to); err != nil {
		return nil, err
	}
	if reply.From.Position > reply.To.Position {
		return nil, &api.Error{Code: api.CodeInvalid, Text: fmt.Sprintf("from (position %d) is later than to (position %d)", reply.From.Position, reply.To.Position)}
	}
	reply.Changes, reply.Effective = differenceOf(before, after)
	return reply, nil
}

// tenantThen returns a tenant at a moment. It is nil if the tenant did not exist
// then.
func (s *Server) tenantThen(ctx context.Context, v *projections.View, id, name, asked string) (*projections.Tenant, api.Moment, error) {
	at, as, err := s.moment(v, name, asked)
	if err != nil {
		return nil, api.Moment{}, err
	}
	then, err := s.history.At(ctx, callerOf(ctx).inHistory(), id, at)
	if err != nil {
		return nil, api.Moment{}, err
	}
	if !callerOf(ctx).operator {
		as.At.Time = then.Time() // as in tenantAt
	}
	return then.Tenant([]byte(id)), *as.At, nil
}
