package server

import (
	"net/http"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/projections"
)

// permissionParam is the parameter for the permission of blame.
func permissionParam() param {
	return param{name: "permission", max: maxText, doc: "the permission's name; required"}
}

// blame answers with the last command that changed whether the account or role of
// the path has a permission.
func (s *Server) blame(r *http.Request, v *projections.View, t *projections.Tenant) (any, error) {
	perm := queryOf(r).text("permission")
	if err := permission.CheckName(perm); err != nil {
		return nil, &api.Error{Code: api.CodeInvalid, Text: err.Error()}
	}
	reply := api.BlameReply{Position: uint64(v.Position()), Tenant: t.ID(), Permission: perm, Role: r.PathValue("role")}
	var b *projections.Blame
	if reply.Role != "" {
		b = projections.BlameRole(t.ID(), reply.Role, perm)
	} else {
		bare, err := bareJID(r.PathValue("jid"))
		if err != nil {
			return nil, err
		}
		reply.Account = bare
		b = projections.BlameAccount(t.ID(), bare, perm)
	}
	if s.history == nil {
		return nil, &api.Error{Code: api.CodeUnavailable, Text: "this node has no log to show, and therefore no past"}
	}
	if err := s.history.Fold(r.Context(), callerOf(r.Context()).inHistory(), t.ID(), v.Position(), b.Apply); err != nil {
		return nil, err
	}
	switch {
	case b.Commit == nil && reply.Role != "":
		return nil, notFound("tenant %q never had a role %q", t.ID(), reply.Role)
	case b.Commit == nil:
		return nil, notFound("tenant %q never had a domain %q", t.ID(), domainOf(reply.Account))
	}
	concerned := *b.Commit
	concerned.Events = b.Events()
	reply.By = entryFrom(&concerned)
	reply.OtherEvents = len(b.Commit.Events) - len(concerned.Events)
	reply.FromTheBeginning = !b.Before.Known
	reply.Now, reply.Before, reply.After = holdingFrom(&b.Now), holdingFrom(&b.Before), holdingFrom(&b.After)
	return reply, nil
}

func holdingFrom(h *projections.Entitlement) api.Holding {
	return api.Holding{
		Known: h.Known, Held: h.Held(), Role: h.Role, RoleIsOwn: h.OwnRole,
		BarredBy: list(h.BarredBy), BarredByOperator: list(h.ByOperator), Steps: stepsFrom(h.Steps),
	}
}

func stepsFrom(steps []projections.Step) []api.Step {
	out := make([]api.Step, 0, len(steps))
	for _, step := range steps {
		out = append(out, api.Step{Role: step.Role, Depth: step.Depth, Answer: step.Answer.String()})
	}
	return out
}
