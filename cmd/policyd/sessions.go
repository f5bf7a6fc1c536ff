package main

import (
	"context"
	"errors"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/api/server"
	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/decision/overnats"
)

// gateways queries the gateways' sessions for the admin API.
type gateways struct{ directory *overnats.SessionDirectory }

// Sessions implements server.Gateways.
func (g gateways) Sessions(ctx context.Context, q server.SessionQuery) (server.SessionsFound, error) {
	if q.Gateway != "" && !decision.IsToken(q.Gateway) {
		return server.SessionsFound{}, invalid("gateway %q: an id is one to 32 of a-z and 0-9", q.Gateway)
	}
	found, err := g.directory.Ask(ctx, q.Gateway, decision.SessionQuery{
		End: q.End, Tenant: q.Tenant, Domain: q.Domain, Account: q.Account, Session: q.Session,
		After: q.After, Limit: min(q.Limit, decision.MaxSessions),
	})
	switch {
	case errors.Is(err, overnats.ErrManyQueries):
		return server.SessionsFound{}, &api.Error{Code: api.CodeBusy, Text: err.Error()}
	case err != nil:
		return server.SessionsFound{}, err
	}
	reply := server.SessionsFound{Missing: found.Missing}
	for i := range found.Sessions {
		reply.Sessions = append(reply.Sessions, sessionFrom(&found.Sessions[i]))
	}
	if n := len(found.Sessions); found.More && n > 0 {
		reply.Next = found.Sessions[n-1].Key()
	}
	return reply, nil
}

func sessionFrom(s *decision.LiveSession) api.Session {
	return api.Session{
		ID: s.ID, Gateway: s.Gateway, Tenant: s.Tenant, Account: s.Account, Resource: s.Resource, Grant: s.Grant,
		Remote: s.Remote, TLS: s.TLS, Mechanism: s.Mechanism,
		Opened: s.Opened, Since: s.Since.UTC(), Active: s.Active.UTC(),
		PassedOut: s.PassedOut, RefusedOut: s.RefusedOut, PassedIn: s.PassedIn, RefusedIn: s.RefusedIn,
	}
}

// Presence implements server.Gateways.
func (g gateways) Presence() []server.Presence {
	var list []server.Presence
	for _, p := range g.directory.Presence() {
		list = append(list, server.Presence(p))
	}
	return list
}
