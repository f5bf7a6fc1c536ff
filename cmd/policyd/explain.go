package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/policy"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/xmpp/jid"
	"github.com/postern-im/postern/xmpp/stanza"
	"github.com/postern-im/postern/xmpp/stream"
)

// explainStanza says what would become of a stanza of a session opened now,
// by the very code that answers gateways. It is the admin API's Explainer.
func explainStanza(_ context.Context, v *projections.View, tenant string, q api.ExplainRequest) (api.Explained, error) {
	full, err := jid.Parse([]byte(q.Account + "/" + q.Resource))
	if q.Resource == "" {
		full, err = jid.Parse([]byte(q.Account))
	}
	if err != nil {
		return api.Explained{}, invalid("the session's address %s/%s: %v", q.Account, q.Resource, err)
	}
	memory, err := memoryOf(q)
	if err != nil {
		return api.Explained{}, err
	}
	direction, config := decision.Out, stream.Config{Limits: stream.ClientLimits()}
	if q.Direction == "in" {
		direction, config = decision.In, stream.Config{Limits: stream.BackendLimits(), Lenient: true}
	}
	element, err := stream.NewFramer(config).ParseStanza(bytes.Trim([]byte(q.Stanza), " \t\r\n"))
	if !element.Valid() {
		return api.Explained{}, invalid("the stanza is not one well-formed element: %v", err)
	}
	var described stanza.Descriptor
	described.Describe(element)
	session := decision.Session{
		Tenant:   []byte(tenant),
		Account:  full.Bare(),
		Resource: full.Resource(),
		Opened:   uint64(v.Position()),
	}
	question := decision.NewQuestion(session, direction, &described, memory)
	return explained(policy.Explain(v, &question, time.Now())), nil
}

func invalid(format string, args ...any) error {
	return &api.Error{Code: api.CodeInvalid, Text: fmt.Sprintf(format, args...)}
}

// explained puts an explanation into the API's words.
func explained(e policy.Explanation) api.Explained {
	out := api.Explained{
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

// An explainMemory is what the session is said to remember. It implements
// decision.Memory.
type explainMemory struct {
	joined      []jid.Addr
	outstanding []explainRequest
}

type explainRequest struct {
	peer jid.Addr
	id   string
}

func memoryOf(q api.ExplainRequest) (*explainMemory, error) {
	m := &explainMemory{}
	for _, s := range q.Joined {
		a, err := jid.Parse([]byte(s))
		if err != nil {
			return nil, invalid("joined %q: %v", s, err)
		}
		m.joined = append(m.joined, a.WithoutResource())
	}
	for _, r := range q.Outstanding {
		a, err := jid.Parse([]byte(r.Peer))
		if err != nil {
			return nil, invalid("outstanding request of %q: %v", r.Peer, err)
		}
		m.outstanding = append(m.outstanding, explainRequest{a, r.ID})
	}
	return m, nil
}

// Joined implements decision.Memory.
func (m *explainMemory) Joined(bare []byte) bool {
	for _, a := range m.joined {
		if bytes.Equal(a.Bytes(), bare) {
			return true
		}
	}
	return false
}

// Outstanding implements decision.Memory.
func (m *explainMemory) Outstanding(_ decision.Direction, peer jid.Addr, id []byte) bool {
	for _, r := range m.outstanding {
		if r.peer.Equal(peer) && r.id == string(id) {
			return true
		}
	}
	return false
}
