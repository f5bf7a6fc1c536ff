// Package trial asks the policy about a stanza given as text. It takes the steps
// of a gateway and a node with the same code: it frames and describes the stanza
// and makes the question, and policy.Explain decides. The commands policyctl
// explain, check and policy test use it. It is pure, decides nothing itself, and
// accepts any text.
package trial

import (
	"bytes"
	"fmt"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/policy"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/xmpp/jid"
	"github.com/postern-im/postern/xmpp/stanza"
	"github.com/postern-im/postern/xmpp/stream"
)

// A Trial explains stanzas, one at a time. It is not safe for concurrent use.
type Trial struct {
	client, backend *stream.Framer
	describe        stanza.Descriptor
}

// New returns a Trial with the limits of a gateway.
func New() *Trial {
	return &Trial{
		client:  stream.NewFramer(stream.Config{Limits: stream.ClientLimits()}),
		backend: stream.NewFramer(stream.Config{Limits: stream.BackendLimits(), Lenient: true}),
	}
}

// Session returns the session of the full address full, of an account of the
// tenant, as if it were opened at the position of v.
func Session(v *projections.View, tenant string, full jid.Addr) decision.Session {
	return decision.Session{
		Tenant:   []byte(tenant),
		Account:  full.Bare(),
		Resource: full.Resource(),
		Opened:   uint64(v.Position()),
	}
}

// Explain returns the decision about one stanza, and its fault if it could not
// be described. It returns an error if the text is not one well-formed element:
// a gateway that receives such a text ends the stream.
func (t *Trial) Explain(v *projections.View, s decision.Session, dir decision.Direction, xml string, m decision.Memory, at time.Time) (policy.Explanation, stanza.Fault, error) {
	framer := t.client
	if dir == decision.In {
		framer = t.backend
	}
	el, err := framer.ParseStanza(bytes.Trim([]byte(xml), " \t\r\n"))
	if !el.Valid() {
		return policy.Explanation{}, 0, fmt.Errorf("the stanza is not one well-formed element: %w", err)
	}
	t.describe.Describe(el)
	question := decision.NewQuestion(s, dir, &t.describe, m)
	return policy.Explain(v, &question, at), question.Desc.Fault, nil
}

// A Memory is the memory of a session for a trial. It implements
// decision.Memory. The zero Memory is empty.
type Memory struct {
	joined   []jid.Addr
	requests []request
}

type request struct {
	peer jid.Addr
	id   string
}

// Join records that the session has asked to join a room.
func (m *Memory) Join(room string) error {
	a, err := jid.Parse([]byte(room))
	if err != nil {
		return fmt.Errorf("joined %q: %w", room, err)
	}
	m.joined = append(m.joined, a.WithoutResource())
	return nil
}

// Await records an unanswered request to or from a peer.
func (m *Memory) Await(peer, id string) error {
	a, err := jid.Parse([]byte(peer))
	if err != nil {
		return fmt.Errorf("outstanding request with %q: %w", peer, err)
	}
	m.requests = append(m.requests, request{a, id})
	return nil
}

// Joined implements decision.Memory.
func (m *Memory) Joined(peer jid.Addr, _ stanza.Type) (joined, muc bool) {
	for _, a := range m.joined {
		if bytes.Equal(a.Bytes(), peer.Bare()) {
			return true, true
		}
	}
	return false, false
}

// Queried implements decision.Memory. The payload of a recorded request is not
// known, so any request to an address without a resource counts as an archive
// query.
func (m *Memory) Queried(peer jid.Addr) bool {
	for _, r := range m.requests {
		if r.peer.Equal(peer) && !peer.HasResource() {
			return true
		}
	}
	return false
}

// Outstanding implements decision.Memory.
func (m *Memory) Outstanding(_ decision.Direction, peer jid.Addr, id []byte) bool {
	for _, r := range m.requests {
		if r.peer.Equal(peer) && r.id == string(id) {
			return true
		}
	}
	return false
}
