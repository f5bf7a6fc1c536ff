package projections

import (
	"encoding/binary"
	"hash/maphash"
	"iter"
	"strings"

	"github.com/postern-im/postern/events"
)

// members are the accounts of one domain of which something is known. An
// account that is not in it has the domain's default role.
//
// They stand in a trie whose leaves are packed into one string each, so that a
// million members are a few ten thousand allocations without a pointer inside
// and a look-up touches one leaf. A leaf is, all little-endian:
//
//	count   4 bytes
//	tags    count bytes: the top byte of each localpart's hash
//	records count × 16 bytes: ended (8), offset of the tail (4),
//	        length of the localpart and flags (2), role (2)
//	tails   the localpart, then, with flagSecondary, count (2) and roles (2 each)
type members struct {
	root trie[string]
}

// member is one record, unpacked.
type member struct {
	local     string
	ended     events.Position
	role      roleRef
	flags     uint16
	secondary []roleRef
}

// The flags stand above the localpart's length in one 16-bit word.
const (
	// maxLocal is the longest localpart (RFC 7622 section 3.3): the low ten bits.
	maxLocal = 1023

	flagSuspended uint16 = 1 << 10
	// flagListed is set while the account is a member. Without it the record
	// only keeps the position that ended the account's sessions.
	flagListed    uint16 = 1 << 11
	flagSecondary uint16 = 1 << 12
)

const (
	recordBytes = 16
	countBytes  = 4
	// maxMembers is the size at which a leaf is split. A change copies a leaf,
	// about 2 KB at most for ordinary names.
	maxMembers = 64
)

func tagOf(hash uint64) byte { return byte(hash >> 56) }

// record is the fixed part of a member in a leaf.
type record struct {
	ended events.Position
	tail  uint32
	local uint16 // length and flags
	role  roleRef
}

// le64 reads eight bytes of a string.
func le64(s string, i int) uint64 {
	s = s[i : i+8]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

func le16(s string, i int) uint16 {
	return uint16(s[i]) | uint16(s[i+1])<<8
}

func le32(s string, i int) uint32 {
	return uint32(le16(s, i)) | uint32(le16(s, i+2))<<16
}

// recordAt reads the i-th of a leaf's n records.
func recordAt(leaf string, n, i int) record {
	at := countBytes + n + i*recordBytes
	word := le64(leaf, at+8)
	return record{
		ended: events.Position(le64(leaf, at)),
		tail:  uint32(word),
		local: uint16(word >> 32),
		role:  roleRef(word >> 48),
	}
}

func (r record) localIn(leaf string) string {
	return leaf[r.tail : int(r.tail)+int(r.local&maxLocal)]
}

func leafLen(leaf string) int {
	if leaf == "" {
		return 0
	}
	return int(le32(leaf, 0))
}

// findIn searches one leaf.
func findIn(leaf string, hash uint64, local []byte) (record, bool) {
	if leaf == "" {
		return record{}, false
	}
	n := int(le32(leaf, 0))
	tags := leaf[countBytes : countBytes+n]
	for i := 0; ; i++ {
		j := strings.IndexByte(tags[i:], tagOf(hash))
		if j < 0 {
			return record{}, false
		}
		i += j
		if r := recordAt(leaf, n, i); r.localIn(leaf) == string(local) {
			return r, true
		}
	}
}

// find looks an account up by its localpart.
func (m *members) find(hash uint64, local []byte) (record, bool) {
	return findIn(*m.root.find(hash), hash, local)
}

// unpack reads one record with its tail.
func unpack(leaf string, r record) member {
	m := member{local: r.localIn(leaf), ended: r.ended, role: r.role, flags: r.local &^ maxLocal}
	if m.flags&flagSecondary == 0 {
		return m
	}
	at := int(r.tail) + len(m.local)
	m.secondary = make([]roleRef, le16(leaf, at))
	for i := range m.secondary {
		m.secondary[i] = roleRef(le16(leaf, at+2+2*i))
	}
	return m
}

// get returns the record of an account; the zero record when there is none.
func (m *members) get(hash uint64, local string) member {
	leaf := *m.root.find(hash)
	r, ok := findIn(leaf, hash, []byte(local))
	if !ok {
		return member{local: local}
	}
	return unpack(leaf, r)
}

// put returns the members with one record replaced or added.
func (m *members) put(seed maphash.Seed, rec member) members {
	hash := maphash.String(seed, rec.local)
	return members{root: m.root.with(hash, 0, func(leaf string, depth int) trie[string] {
		n := leafLen(leaf)
		recs := make([]member, 0, n+1)
		found := false
		for i := range n {
			old := unpack(leaf, recordAt(leaf, n, i))
			if old.local == rec.local {
				old, found = rec, true
			}
			recs = append(recs, old)
		}
		if !found {
			recs = append(recs, rec)
		}
		return splitMembers(seed, recs, depth)
	})}
}

// splitMembers packs records into a leaf, or into a node when they are many.
func splitMembers(seed maphash.Seed, recs []member, depth int) trie[string] {
	if len(recs) <= maxMembers || depth >= maxDepth {
		return trie[string]{leaf: pack(seed, recs)}
	}
	var parts [fanout][]member
	for _, r := range recs {
		b := branch(maphash.String(seed, r.local), depth)
		parts[b] = append(parts[b], r)
	}
	node := new([fanout]trie[string])
	for i, part := range parts {
		if len(part) > 0 {
			node[i].leaf = pack(seed, part)
		}
	}
	return trie[string]{node: node}
}

// pack writes a leaf.
func pack(seed maphash.Seed, recs []member) string {
	size := countBytes + len(recs)*(1+recordBytes)
	for i := range recs {
		size += len(recs[i].local)
		if recs[i].secondary != nil {
			size += 2 + 2*len(recs[i].secondary)
		}
	}
	head := make([]byte, 0, size)
	head = binary.LittleEndian.AppendUint32(head, uint32(len(recs)))
	for i := range recs {
		head = append(head, tagOf(maphash.String(seed, recs[i].local)))
	}
	tail := uint32(countBytes + len(recs)*(1+recordBytes))
	for i := range recs {
		r := &recs[i]
		flags := r.flags &^ flagSecondary
		length := uint32(len(r.local))
		if len(r.secondary) > 0 {
			flags |= flagSecondary
			length += 2 + 2*uint32(len(r.secondary))
		}
		head = binary.LittleEndian.AppendUint64(head, uint64(r.ended))
		head = binary.LittleEndian.AppendUint32(head, tail)
		head = binary.LittleEndian.AppendUint16(head, uint16(len(r.local))|flags)
		head = binary.LittleEndian.AppendUint16(head, uint16(r.role))
		tail += length
	}
	for i := range recs {
		head = append(head, recs[i].local...)
		if len(recs[i].secondary) > 0 {
			head = binary.LittleEndian.AppendUint16(head, uint16(len(recs[i].secondary)))
			for _, s := range recs[i].secondary {
				head = binary.LittleEndian.AppendUint16(head, uint16(s))
			}
		}
	}
	return string(head)
}

// all yields every record, in no order.
func (m *members) all() iter.Seq[member] {
	return func(yield func(member) bool) {
		m.root.leaves(func(leaf string) bool {
			n := leafLen(leaf)
			for i := range n {
				if !yield(unpack(leaf, recordAt(leaf, n, i))) {
					return false
				}
			}
			return true
		})
	}
}
