package main

import (
	"context"
	"fmt"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/api/server"
	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/policy"
	"github.com/postern-im/postern/policy/trial"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/xmpp/jid"
)

// explainStanza explains the verdict on a stanza in a session that is opened now.
// It decides with the same code as for gateways. It is the admin API's Explainer.
func explainStanza(_ context.Context, v *projections.View, tenant string, q api.ExplainRequest) (server.Explained, error) {
	full, err := jid.Parse([]byte(q.Account + "/" + q.Resource))
	if q.Resource == "" {
		full, err = jid.Parse([]byte(q.Account))
	}
	if err != nil {
		return server.Explained{}, invalid("the session's address %s/%s: %v", q.Account, q.Resource, err)
	}
	memory, err := memoryOf(q)
	if err != nil {
		return server.Explained{}, err
	}
	direction := decision.Out
	if q.Direction == "in" {
		direction = decision.In
	}
	e, _, err := trial.New().Explain(v, trial.Session(v, tenant, full), direction, q.Stanza, memory, time.Now())
	if err != nil {
		return server.Explained{}, invalid("%v", err)
	}
	return explained(e), nil
}

func invalid(format string, args ...any) error {
	return &api.Error{Code: api.CodeInvalid, Text: fmt.Sprintf(format, args...)}
}

// explained converts an explanation to the API's type.
func explained(e policy.Explanation) server.Explained {
	out := server.Explained{
		Effect:  e.Verdict.Effect.String(),
		Row:     e.Row,
		Asked:   e.Asked.Names(),
		Missing: e.Missing.Names(),
		Text:    e.Verdict.Text(),
	}
	if answer := e.Verdict.Answer(); answer.Condition != "" {
		out.Error = &api.StanzaError{Type: answer.Type, Condition: answer.Condition}
	}
	return out
}

func memoryOf(q api.ExplainRequest) (*trial.Memory, error) {
	m := &trial.Memory{}
	for _, room := range q.Joined {
		if err := m.Join(room); err != nil {
			return nil, invalid("%v", err)
		}
	}
	for _, r := range q.Outstanding {
		if err := m.Await(r.Peer, r.ID); err != nil {
			return nil, invalid("%v", err)
		}
	}
	return m, nil
}
