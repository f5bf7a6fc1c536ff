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
	// maxOutstanding bounds the requests remembered per direction. On log-in, a
	// client asks each contact for its capabilities: several hundred requests.
	maxOutstanding = 1024
	// maxJoined bounds the bare JIDs remembered for directed presence.
	maxJoined = 512
	// maxQueries bounds the archive queries remembered. A client asks each of
	// its rooms for the messages it missed.
	maxQueries = 512
)

// A memory holds the facts about a session's past that the rules need, see
// [decision.Memory]. It stores keyed hashes of addresses and ids. A hash takes
// 8 bytes whatever a peer sends, and a peer that does not know the seed cannot
// make two hashes equal. An unused memory is empty and small.
type memory struct {
	mu      sync.Mutex // guards the fields below; no other lock is taken while it is held
	asked   [2]recent  // requests forwarded, by their direction
	joined  recent     // bare JIDs to which directed presence was sent
	rooms   recent     // bare JIDs of rooms that the session asked to join
	leaving recent     // rooms left that have not answered yet, by leftBy
	queries []query    // unfinished archive queries, the newest last
}

// A query is an archive query (XEP-0313) whose answer is not complete.
type query struct {
	peer    uint64 // hash of the bare JID it was sent to
	request uint64 // hash of that bare JID and the iq's id
	// byMessage: the answer ends with a message after the iq result, as
	// urn:xmpp:mam:0 requires. In other versions the iq result ends it.
	byMessage bool
}

// joinedTo reports whether the session has sent directed presence to peer, and
// whether peer is a room. t is the type of the presence that comes from peer.
func (m *memory) joinedTo(peer jid.Addr, t stanza.Type) (joined, muc bool) {
	h := hashOf(peer.Bare(), nil)
	m.mu.Lock()
	defer m.mu.Unlock()
	if t == stanza.Unavailable && (m.leaving.has(hashOf(peer.Bytes(), nil)) || m.leaving.has(h)) {
		return true, true
	}
	return m.joined.has(h), m.rooms.has(h)
}

// awaits returns the number of outstanding requests that a result or error with
// hash h, sent in direction d, may answer.
func (m *memory) awaits(d decision.Direction, h uint64) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked[opposite(d)].count(h)
}

// queried reports whether an archive query to peer is unfinished. The hashes in
// answered are requests that have their iq result. A query among them is
// unfinished only if a message ends its answer.
func (m *memory) queried(peer jid.Addr, answered []uint64) bool {
	h := hashOf(peer.Bytes(), nil)
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.queries, func(q query) bool {
		return q.peer == h && (q.byMessage || !slices.Contains(answered, q.request))
	})
}

// note records the facts about a stanza that rules will need. The stanza is
// about to be written in direction d. note is called before the write, because
// the answer may arrive before the write returns.
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

// directed records presence sent to one address (RFC 6121 section 4.6). If it is
// available, presence from that bare JID passes until the session sends
// unavailable presence there. A room answers the latter (XEP-0045 section 7.14);
// that one answer still passes.
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

// leftBy returns the hash by which a room's answer to unavailable presence is
// recognized. It is the hash of the occupant's address to which the presence
// was sent. Servers normalize a nickname that is not ASCII, so the answer may
// come from a different spelling of the address. For such a nickname, leftBy
// hashes the room's address alone.
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

// endQuery removes the oldest query to peer that is ended by a message.
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

// forget removes a request. If s is the request itself, sent in direction d,
// the request is withdrawn. If s is an answer sent in direction d, the request
// is answered.
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

// isQuery reports whether a request asks for messages of an archive.
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

// endsQuery reports whether a message ends an archive query.
func endsQuery(s *stanza.Descriptor) bool {
	if !s.Has(stanza.IsArchive) {
		return false
	}
	return slices.ContainsFunc(s.Payloads, func(p stanza.Part) bool {
		return p.Space == stanza.MAM && string(p.Local) == "fin"
	})
}

// peerOf returns the remote entity of a stanza that is sent in direction d.
func peerOf(d decision.Direction, s *stanza.Descriptor) jid.Addr {
	if d == decision.Out {
		return s.To
	}
	return s.From
}

func opposite(d decision.Direction) decision.Direction { return 1 - d }

// seed keys the hashes. It is random for each process.
var seed = maphash.MakeSeed()

// hashOf hashes an address and an id. An address cannot contain NUL, the
// separator.
func hashOf(address, id []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	_, _ = h.Write(address)
	_ = h.WriteByte(0)
	_, _ = h.Write(id)
	return h.Sum64()
}

// A recall is the memory of a session while the questions about one batch are
// built. All questions of a batch are asked before the first stanza is acted
// on; therefore recall counts a request as answered if an earlier stanza of the
// batch answers it. It implements decision.Memory.
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

// recent is a bounded list with the newest entry last. It may contain equal
// entries.
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

// add appends h. If the list is full, it removes the oldest entry.
func (r *recent) add(h uint64, limit int) {
	if len(*r) >= limit {
		*r = slices.Delete(*r, 0, len(*r)-limit+1)
	}
	*r = append(*r, h)
}

// renew makes h the newest entry, and keeps one copy of it.
func (r *recent) renew(h uint64, limit int) {
	r.remove(h)
	r.add(h, limit)
}

// remove removes the oldest entry equal to h.
func (r *recent) remove(h uint64) {
	i := slices.Index(*r, h)
	if i < 0 {
		return
	}
	if *r = slices.Delete(*r, i, i+1); len(*r) == 0 {
		*r = nil
	}
}
