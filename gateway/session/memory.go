package session

import (
	"hash/maphash"
	"slices"
	"sync"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/xmpp/jid"
	"github.com/postern-im/postern/xmpp/stanza"
)

const (
	// maxOutstanding bounds the requests remembered per direction. A client
	// asks each contact for its capabilities on login: several hundred.
	maxOutstanding = 1024
	// maxJoined bounds the bare JIDs remembered for directed presence.
	maxJoined = 512
)

// A memory is what a session remembers because rules need it, see
// [decision.Memory]. It holds keyed hashes, not addresses and ids: 8 bytes
// each, whatever a peer sends, and whoever does not know the seed cannot make
// two of them equal. It is empty, and small, until used.
type memory struct {
	mu     sync.Mutex // guards all below; no other lock is taken under it
	asked  [2]recent  // requests handed over, by the direction they went
	joined recent
}

// Outstanding implements decision.Memory.
func (m *memory) Outstanding(d decision.Direction, peer jid.Addr, id []byte) bool {
	h := hashOf(peer.Bytes(), id)
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked[opposite(d)].has(h)
}

// Joined implements decision.Memory.
func (m *memory) Joined(bare []byte) bool {
	h := hashOf(bare, nil)
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.joined.has(h)
}

// note remembers what rules need of a stanza that is about to be handed over
// in direction d. It comes before the bytes, so that an answer cannot
// overtake it.
func (m *memory) note(d decision.Direction, s *stanza.Descriptor) {
	peer := peerOf(d, s)
	if peer.IsZero() {
		return
	}
	switch s.Kind {
	case stanza.IQ:
		if isRequest(s) {
			h := hashOf(peer.Bytes(), s.ID)
			m.mu.Lock()
			defer m.mu.Unlock()
			m.asked[d].add(h, maxOutstanding)
		}
	case stanza.Presence:
		if d == decision.Out {
			m.directed(hashOf(peer.Bare(), nil), s.Type)
		}
	}
}

// directed notes presence sent to one address (RFC 6121 section 4.6). One that
// is left is not forgotten at once, because its own "unavailable" is still to
// come (XEP-0045 section 7.14); it becomes the first to be forgotten. Knowing
// it longer gives nothing away: whoever may leave may also join again.
func (m *memory) directed(h uint64, t stanza.Type) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch t {
	case stanza.Available:
		m.joined.remove(h) // presence is repeated; one entry is enough
		m.joined.add(h, maxJoined)
	case stanza.Unavailable:
		m.joined.demote(h)
	}
}

// forget forgets a request: withdrawn, when s is the request itself and goes
// in its own direction d, or answered, when s is the answer that went in d.
func (m *memory) forget(d decision.Direction, s *stanza.Descriptor) {
	peer := peerOf(d, s)
	if s.Kind != stanza.IQ || peer.IsZero() {
		return
	}
	if !isRequest(s) {
		d = opposite(d)
	}
	h := hashOf(peer.Bytes(), s.ID)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked[d].remove(h)
}

func isRequest(s *stanza.Descriptor) bool { return s.Type == stanza.Get || s.Type == stanza.Set }

// peerOf returns the other entity of a stanza that goes in direction d.
func peerOf(d decision.Direction, s *stanza.Descriptor) jid.Addr {
	if d == decision.Out {
		return s.To
	}
	return s.From
}

func opposite(d decision.Direction) decision.Direction { return 1 - d }

// seed keys the hashes of this process.
var seed = maphash.MakeSeed()

// hashOf hashes an address and an id; an address has no NUL in it.
func hashOf(address, id []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	_, _ = h.Write(address)
	_ = h.WriteByte(0)
	_, _ = h.Write(id)
	return h.Sum64()
}

// recent is a bounded list, the newest last. Equal entries may stand in it
// more than once.
type recent []uint64

func (r recent) has(h uint64) bool { return slices.Contains(r, h) }

// add appends h; the oldest makes room.
func (r *recent) add(h uint64, limit int) {
	if len(*r) >= limit {
		*r = slices.Delete(*r, 0, len(*r)-limit+1)
	}
	*r = append(*r, h)
}

// remove takes out the oldest h.
func (r *recent) remove(h uint64) {
	i := slices.Index(*r, h)
	if i < 0 {
		return
	}
	if *r = slices.Delete(*r, i, i+1); len(*r) == 0 {
		*r = nil
	}
}

// demote makes h the oldest.
func (r *recent) demote(h uint64) {
	if i := slices.Index(*r, h); i > 0 {
		copy((*r)[1:i+1], (*r)[:i])
		(*r)[0] = h
	}
}
