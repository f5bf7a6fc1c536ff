// Package trial puts the text of a stanza to the policy the way a gateway and
// a node do together: framed by the same framer, described by the same
// describer, asked by the same question, decided by policy.Explain. It serves
// whoever wants to know beforehand: explain, check and policy tests. It is
// pure, decides nothing itself, and takes any text.
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

// A Trial tries stanzas, one after the other.
type Trial struct {
	client, backend *stream.Framer
	describe        stanza.Descriptor
}

// New returns a Trial with the limits gateways have.
func New() *Trial {
	return &Trial{
		client:  stream.NewFramer(stream.Config{Limits: stream.ClientLimits()}),
		backend: stream.NewFramer(stream.Config{Limits: stream.BackendLimits(), Lenient: true}),
	}
}

// Session is the session of an account of a tenant, opened now.
func Session(v *projections.View, tenant string, full jid.Addr) decision.Session {
	return decision.Session{
		Tenant:   []byte(tenant),
		Account:  full.Bare(),
		Resource: full.Resource(),
		Opened:   uint64(v.Position()),
	}
}

// Explain says what becomes of one stanza, and what of it could not be
// described. An error is a text that is not one well-formed element: a gateway
// would end the stream.
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

// A Memory is what a session is said to remember. It implements
// decision.Memory; the zero one is empty.
type Memory struct {
	joined   []jid.Addr
	requests []request
}

type request struct {
	peer jid.Addr
	id   string
}

// Join remembers that the session has asked to join a room.
func (m *Memory) Join(room string) error {
	a, err := jid.Parse([]byte(room))
	if err != nil {
		return fmt.Errorf("joined %q: %w", room, err)
	}
	m.joined = append(m.joined, a.WithoutResource())
	return nil
}

// Await remembers a request that is not answered yet, of or to a peer.
func (m *Memory) Await(peer, id string) error {
	a, err := jid.Parse([]byte(peer))
	if err != nil {
		return fmt.Errorf("outstanding request of %q: %w", peer, err)
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

// Queried implements decision.Memory. It is not said of a request what it asks
// for, so one to a bare JID may be an archive query.
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
