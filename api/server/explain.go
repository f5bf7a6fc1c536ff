package server

import (
	"context"
	"fmt"
	"net/http"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/projections"
)

// An Explainer returns the decision on a stanza of an account, according to a View.
// The node provides it, because this package does not parse stanzas. The account is
// prepared and belongs to one of the tenant's domains. The error is an *api.Error if
// the request is at fault.
type Explainer func(ctx context.Context, v *projections.View, tenant string, q api.ExplainRequest) (Explained, error)

// Explained is the answer of an Explainer. Its fields have the meaning of those in
// api.ExplainReply. Asked are the permissions that the stanza requires. Asked and
// Missing are in the catalogue's order.
type Explained struct {
	Effect  string
	Row     string
	Asked   []string
	Missing []string
	Error   *api.StanzaError
	Text    string
}

// postExplain answers how a stanza would be decided, or whether an account has a
// permission, with the reasons.
func (s *Server) postExplain(w http.ResponseWriter, r *http.Request) (any, error) {
	var q api.ExplainRequest
	if err := decodeBody(w, r, &q); err != nil {
		return nil, err
	}
	v, t, as, err := s.tenantAt(r)
	if err != nil {
		return nil, err
	}
	a, err := accountOf(t, q.Account)
	if err != nil {
		return nil, err
	}
	q.Account = a.jid
	reply := api.ExplainReply{
		AsOf:     as,
		Position: uint64(v.Position()), Tenant: t.ID(), Account: a.jid,
		Role: a.access.Role, RoleIsOwn: a.member.Role != "",
		BarredBy: a.barredBy, BarredByOperator: a.byOperator, Permissions: []api.Permission{}, Missing: []string{},
	}
	asked := []string{q.Permission}
	switch {
	case (q.Stanza == "") == (q.Permission == ""):
		return nil, &api.Error{Code: api.CodeInvalid, Text: "give either a stanza or a permission"}
	case q.Permission != "":
		if err := permission.CheckName(q.Permission); err != nil {
			return nil, &api.Error{Code: api.CodeInvalid, Text: err.Error()}
		}
		if !t.Grants(a.access.Role, q.Permission) {
			reply.Missing = asked
		}
	default:
		if asked, err = s.explainStanza(r.Context(), v, q, &reply); err != nil {
			return nil, err
		}
	}
	for _, name := range asked {
		reply.Permissions = append(reply.Permissions, permissionOf(t, a.access.Role, name))
	}
	return reply, nil
}

// explainStanza adds the decision on a stanza to the reply. It returns the
// permissions that the stanza requires.
func (s *Server) explainStanza(ctx context.Context, v *projections.View, q api.ExplainRequest, reply *api.ExplainReply) ([]string, error) {
	switch q.Direction {
	case "":
		q.Direction = "out"
	case "out", "in":
	default:
		return nil, &api.Error{Code: api.CodeInvalid, Text: fmt.Sprintf("direction %q: give out or in", q.Direction)}
	}
	if s.explain == nil {
		return nil, &api.Error{Code: api.CodeUnavailable, Text: "this node cannot explain stanzas"}
	}
	e, err := s.explain(ctx, v, reply.Tenant, q)
	if err != nil {
		return nil, err
	}
	reply.Effect, reply.Row, reply.Error, reply.Text = e.Effect, e.Row, e.Error, e.Text
	reply.Missing = list(e.Missing)
	return e.Asked, nil
}
