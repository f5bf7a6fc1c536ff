package session

import (
	"hash/maphash"
	"slices"
	"sync"
	"unicode/utf8"

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
	// maxQueries bounds the archive queries remembered: a client asks each of
	// its rooms for what it has missed.
	maxQueries = 512
)

// A memory is what a session remembers because rules need it, see
// [decision.Memory]. It holds keyed hashes, not addresses and ids: 8 bytes
// each, whatever a peer sends, and a peer that does not know the seed cannot
// make two of them equal. It is empty, and small, until used.
type memory struct {
	mu      sync.Mutex // guards all below; no other lock is taken under it
	asked   [2]recent  // requests handed over, by the direction they went
	joined  recent     // bare JIDs that directed presence was sent to
	rooms   recent     // those of joined that the presence asked to join as rooms
	leaving recent     // rooms left, by the hash of leftBy, until they answer
	queries []query    // archive queries handed over, the newest last
}

// A query is an archive query (XEP-0313) that is not at its end.
type query struct {
	peer    uint64 // the hash of the bare JID it was sent to
	request uint64 // the hash of that and the iq's id
	// byMessage: urn:xmpp:mam:0 ends a query with a message, and answers the iq
	// before that. Every other version ends it with the iq's result.
	byMessage bool
}

// joinedTo reports what the session remembers of presence it has directed to
// peer, whose presence of type t comes in.
func (m *memory) joinedTo(peer jid.Addr, t stanza.Type) (joined, muc bool) {
	h := hashOf(peer.Bare(), nil)
	m.mu.Lock()
	defer m.mu.Unlock()
	if t == stanza.Unavailable && (m.leaving.has(hashOf(peer.Bytes(), nil)) || m.leaving.has(h)) {
		return true, true
	}
	return m.joined.has(h), m.rooms.has(h)
}

// awaits counts the requests that a result or error of this hash, going in
// direction d, may still answer.
func (m *memory) awaits(d decision.Direction, h uint64) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked[opposite(d)].count(h)
}

// queried reports whether an archive query to peer is not at its end. A query
// whose iq is among answered counts only if a message is to end it.
func (m *memory) queried(peer jid.Addr, answered []uint64) bool {
	h := hashOf(peer.Bytes(), nil)
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.queries, func(q query) bool {
		return q.peer == h && (q.byMessage || !slices.Contains(answered, q.request))
	})
}

// note remembers what rules need of a stanza that is about to be handed over
// in direction d. It comes before the bytes, so that an answer cannot
// overtake it.
func (m *memory) note(d decision.Direction, s *stanza.Descriptor) {
	peer := peerOf(d, s)
	message := s.Kind == stanza.Message && (d == decision.Out || !endsQuery(s))
	if peer.IsZero() || message {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case s.Kind == stanza.IQ && isRequest(s):
		h := hashOf(peer.Bytes(), s.ID)
		m.asked[d].add(h, maxOutstanding)
		if d == decision.Out && isQuery(s) && !peer.HasResource() {
			m.ask(query{peer: hashOf(peer.Bytes(), nil), request: h, byMessage: isOldQuery(s)})
		}
	case s.Kind == stanza.Presence && d == decision.Out:
		m.directed(peer, s)
	case s.Kind == stanza.Presence && s.Type == stanza.Unavailable:
		m.leaving.remove(hashOf(peer.Bytes(), nil))
		m.leaving.remove(hashOf(peer.Bare(), nil))
	case s.Kind == stanza.Message:
		m.endQuery(hashOf(peer.Bytes(), nil))
	}
}

// directed notes presence sent to one address (RFC 6121 section 4.6). From then
// on presence from that room passes, until the session leaves the room. The
// room answers the leaving (XEP-0045 section 7.14): that answer passes once
// more.
func (m *memory) directed(to jid.Addr, s *stanza.Descriptor) {
	h := hashOf(to.Bare(), nil)
	switch s.Type {
	case stanza.Available:
		m.joined.renew(h, maxJoined)
		if s.Has(stanza.HasMUC) || m.rooms.has(h) {
			m.rooms.renew(h, maxJoined)
		}
	case stanza.Unavailable:
		if m.rooms.has(h) && to.HasResource() {
			m.leaving.renew(leftBy(to), maxJoined)
		}
		m.joined.remove(h)
		m.rooms.remove(h)
	}
}

// leftBy hashes the address that a room's answer to an unavailable is told by:
// the occupant's address that the unavailable went to. Servers bring a nickname
// that is not ASCII into a form of their own, so its answer may come from
// another address than was written to: such an answer is told by the room alone.
func leftBy(occupant jid.Addr) uint64 {
	for _, c := range occupant.Bytes()[len(occupant.Bare()):] {
		if c >= utf8.RuneSelf {
			return hashOf(occupant.Bare(), nil)
		}
	}
	return hashOf(occupant.Bytes(), nil)
}

func (m *memory) ask(q query) {
	if len(m.queries) >= maxQueries {
		m.queries = slices.Delete(m.queries, 0, len(m.queries)-maxQueries+1)
	}
	m.queries = append(m.queries, q)
}

// endQuery ends the oldest query to peer that a message ends.
func (m *memory) endQuery(peer uint64) {
	m.removeQuery(func(q query) bool { return q.peer == peer && q.byMessage })
}

func (m *memory) removeQuery(which func(query) bool) {
	i := slices.IndexFunc(m.queries, which)
	if i < 0 {
		return
	}
	if m.queries = slices.Delete(m.queries, i, i+1); len(m.queries) == 0 {
		m.queries = nil
	}
}

// forget forgets a request: withdrawn, when s is the request itself and goes
// in its own direction d, or answered, when s is the answer that went in d.
func (m *memory) forget(d decision.Direction, s *stanza.Descriptor) {
	peer := peerOf(d, s)
	if s.Kind != stanza.IQ || peer.IsZero() {
		return
	}
	withdrawn := isRequest(s)
	if !withdrawn {
		d = opposite(d)
	}
	h := hashOf(peer.Bytes(), s.ID)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked[d].remove(h)
	if d == decision.Out {
		over := withdrawn || s.Type == stanza.Error
		m.removeQuery(func(q query) bool { return q.request == h && (over || !q.byMessage) })
	}
}

func isRequest(s *stanza.Descriptor) bool { return s.Type == stanza.Get || s.Type == stanza.Set }

// isQuery reports whether a request asks for the messages of an archive.
func isQuery(s *stanza.Descriptor) bool {
	if len(s.Payloads) != 1 {
		return false
	}
	p := &s.Payloads[0]
	return (p.Space == stanza.MAM || p.Space == stanza.MAMOther) && string(p.Local) == "query"
}

func isOldQuery(s *stanza.Descriptor) bool {
	return string(s.Payloads[0].Other) == "urn:xmpp:mam:0"
}

// endsQuery reports whether a message is one that ends an archive query.
func endsQuery(s *stanza.Descriptor) bool {
	if !s.Has(stanza.IsArchive) {
		return false
	}
	return slices.ContainsFunc(s.Payloads, func(p stanza.Part) bool {
		return p.Space == stanza.MAM && string(p.Local) == "fin"
	})
}

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

// A recall is what a session remembers while questions about one batch are
// put: each of its stanzas is asked about before any is acted on, so a request
// that an earlier stanza of the batch answers counts as answered. It
// implements decision.Memory.
type recall struct {
	memory   *memory
	answered []uint64
}

// Joined implements decision.Memory.
func (r *recall) Joined(peer jid.Addr, t stanza.Type) (joined, muc bool) {
	return r.memory.joinedTo(peer, t)
}

// Outstanding implements decision.Memory.
func (r *recall) Outstanding(d decision.Direction, peer jid.Addr, id []byte) bool {
	h := hashOf(peer.Bytes(), id)
	used := 0
	for _, a := range r.answered {
		if a == h {
			used++
		}
	}
	if used >= r.memory.awaits(d, h) {
		return false
	}
	r.answered = append(r.answered, h)
	return true
}

// Queried implements decision.Memory.
func (r *recall) Queried(peer jid.Addr) bool {
	return r.memory.queried(peer, r.answered)
}

// recent is a bounded list, the newest last. Equal entries may stand in it
// more than once.
type recent []uint64

func (r recent) has(h uint64) bool { return slices.Contains(r, h) }

func (r recent) count(h uint64) (n int) {
	for _, e := range r {
		if e == h {
			n++
		}
	}
	return n
}

// add appends h; the oldest makes room.
func (r *recent) add(h uint64, limit int) {
	if len(*r) >= limit {
		*r = slices.Delete(*r, 0, len(*r)-limit+1)
	}
	*r = append(*r, h)
}

// renew makes h the newest; one entry of it is enough.
func (r *recent) renew(h uint64, limit int) {
	r.remove(h)
	r.add(h, limit)
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
