package projections

import (
	"encoding/binary"
	"errors"
	"hash/maphash"
	"iter"
	"slices"

	"github.com/postern-im/postern/events"
)

// members holds the records of one domain's accounts. An account without a
// record has the domain's default role.
//
// The records are kept in a trie. Each leaf of it is one byte slice. So a
// million members take only a few thousand allocations, which hold no pointers,
// and a look-up reads only two places of a leaf.
type members struct {
	root trie[packed]
}

// packed is a leaf of members. Its bytes are, little-endian:
//
//	index   a hash table with linear probing, at most ¾ full; 4 bytes per
//	        slot: tag (2), offset of the record (2); a free slot is 0
//	records revokedAt (8), role (2), length of the localpart and flags (2), the
//	        localpart; then, with flagSecondary, count (2) and roles (2 each)
type packed struct {
	bytes []byte
	count uint16
	bits  uint8 // the index has 1<<bits slots
}

// member is one record, unpacked.
type member struct {
	local     string
	revokedAt events.Position
	role      roleRef
	flags     uint16
	secondary []roleRef
}

// The flags and the length of the localpart share one 16-bit word: the length
// is the low ten bits.
const (
	// maxLocal is the length of the longest localpart (RFC 7622 section 3.3),
	// and the mask of the low ten bits.
	maxLocal = 1023

	flagSuspended uint16 = 1 << 10
	// flagListed is set while the account is a member. A record without it
	// only keeps the position at which the account's sessions were revoked.
	flagListed    uint16 = 1 << 11
	flagSecondary uint16 = 1 << 12
	// flagByOperator is set with flagSuspended only.
	flagByOperator uint16 = 1 << 13
)

const (
	slotBytes = 4
	// fixedBytes is the length of a record's fields before the localpart.
	fixedBytes = 12
	// A leaf is split when it has more than maxMembers or maxLeafBytes. A
	// change copies one leaf, so maxMembers bounds the cost of a change: about
	// 6 KB for ordinary names. maxLeafBytes keeps every offset within 16 bits.
	maxMembers   = 256
	maxLeafBytes = 1 << 15
	// maxSecondary keeps a record small; commands allow far fewer.
	maxSecondary = 1 << 8
)

// errCrowded refuses a record for a full leaf at maxDepth. Such a leaf cannot be
// split, and the offsets in a larger leaf would overflow. With a keyed hash no
// leaf at maxDepth becomes full.
var errCrowded = errors.New("too many accounts with one hash")

// The trie uses the low bits of a hash, so a leaf's index uses the high half.
func tagOf(hash uint64) uint16         { return uint16(hash >> 48) }
func homeOf(hash uint64, mask int) int { return int(hash>>32) & mask }

// entryFor returns the index entry for a record at an offset.
func entryFor(hash uint64, at int) uint32 { return uint32(tagOf(hash)) | uint32(at)<<16 }

// record is a view of a packed record in a leaf.
type record struct {
	revokedAt events.Position
	role      roleRef
	flags     uint16
	local     []byte
	rest      []byte // the leaf's bytes behind the localpart
}

func recordAt(leaf []byte, at int) record {
	r := leaf[at:]
	word := binary.LittleEndian.Uint16(r[10:])
	end := fixedBytes + int(word&maxLocal)
	return record{
		revokedAt: events.Position(binary.LittleEndian.Uint64(r)),
		role:      roleRef(binary.LittleEndian.Uint16(r[8:])),
		flags:     word &^ maxLocal,
		local:     r[fixedBytes:end],
		rest:      r[end:],
	}
}

// find searches a leaf for an account. at is the offset of its record, 0 if it
// has none. slot is the index slot of its entry, or the free slot for it.
func (p packed) find(hash uint64, local []byte) (r record, at, slot int) {
	if p.count == 0 {
		return record{}, 0, 0
	}
	mask := 1<<p.bits - 1
	for i := homeOf(hash, mask); ; i = (i + 1) & mask {
		entry := binary.LittleEndian.Uint32(p.bytes[slotBytes*i:])
		if entry == 0 {
			return record{}, 0, i
		}
		if uint16(entry) != tagOf(hash) {
			continue
		}
		at := int(entry >> 16)
		if r := recordAt(p.bytes, at); string(r.local) == string(local) {
			return r, at, i
		}
	}
}

// find returns an account's record by its localpart, or the zero record.
func (m *members) find(hash uint64, local []byte) record {
	r, _, _ := m.root.find(hash).find(hash, local)
	return r
}

// unpack converts the record to a member. local must equal the record's
// localpart. The caller already has this string, so unpack allocates no copy.
func (r record) unpack(local string) member {
	m := member{local: local, revokedAt: r.revokedAt, role: r.role, flags: r.flags}
	if n := r.secondaryCount(); n > 0 {
		m.secondary = make([]roleRef, n)
		for i := range m.secondary {
			m.secondary[i] = r.secondary(i)
		}
	}
	return m
}

func (r record) secondaryCount() int {
	if r.flags&flagSecondary == 0 {
		return 0
	}
	return int(binary.LittleEndian.Uint16(r.rest))
}

func (r record) secondary(i int) roleRef {
	return roleRef(binary.LittleEndian.Uint16(r.rest[2+2*i:]))
}

// holds reports whether the account has a role, as its primary or a secondary
// one.
func (r record) holds(ref roleRef) bool {
	for i := range r.secondaryCount() {
		if r.secondary(i) == ref {
			return true
		}
	}
	return r.role == ref
}

// size is the length of the packed record.
func (r record) size() int {
	n := fixedBytes + len(r.local)
	if r.flags&flagSecondary != 0 {
		n += 2 + 2*r.secondaryCount()
	}
	return n
}

// get returns an account's record, or a record with only the localpart if there
// is none.
func (m *members) get(hash uint64, local string) member {
	r := m.find(hash, []byte(local))
	if len(r.local) == 0 {
		return member{local: local}
	}
	return r.unpack(local)
}

// pack appends the record's packed form.
func (m *member) pack(b []byte) []byte {
	flags := m.flags &^ flagSecondary
	if len(m.secondary) > 0 {
		flags |= flagSecondary
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(m.revokedAt))
	b = binary.LittleEndian.AppendUint16(b, uint16(m.role))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(m.local))|flags)
	b = append(b, m.local...)
	if len(m.secondary) > 0 {
		b = binary.LittleEndian.AppendUint16(b, uint16(len(m.secondary)))
		for _, r := range m.secondary {
			b = binary.LittleEndian.AppendUint16(b, uint16(r))
		}
	}
	return b
}

// put replaces or adds one record. hash is the hash of its localpart. m itself
// must belong to by.
func (m *members) put(by *owner, seed maphash.Seed, hash uint64, rec member) error {
	var buf [128]byte // enough for most records, without an allocation
	record := rec.pack(buf[:0])
	t, depth := m.root.edit(by, hash)
	leaf := &t.leaf
	old, at, slot := leaf.find(hash, []byte(rec.local))
	switch {
	case at > 0 && old.size() == len(record):
		if t.by != by {
			leaf.bytes = slices.Clone(leaf.bytes)
		}
		copy(leaf.bytes[at:], record)
	case at == 0 && leaf.takes(len(record)):
		if t.by != by {
			b := make([]byte, len(leaf.bytes), len(leaf.bytes)+len(record))
			copy(b, leaf.bytes)
			leaf.bytes = b
		}
		binary.LittleEndian.PutUint32(leaf.bytes[slotBytes*slot:], entryFor(hash, len(leaf.bytes)))
		leaf.bytes = append(leaf.bytes, record...)
		leaf.count++
	default:
		// A packer's record escapes to the heap. Only this case needs one,
		// so only here the record is cloned; buf stays on the stack.
		p := packer{by: by, seed: seed, record: slices.Clone(record)}
		rebuilt, err := p.rebuild(*leaf, at, depth)
		if err != nil {
			return err
		}
		*t = rebuilt
	}
	t.by = by
	return nil
}

// takes reports whether a new record of a size fits into a leaf, so that the leaf
// need not be rebuilt.
func (p packed) takes(size int) bool {
	return p.count > 0 && p.count < maxMembers && 4*(int(p.count)+1) <= 3<<p.bits && len(p.bytes)+size <= maxLeafBytes
}

// packer rebuilds a leaf with one more record.
type packer struct {
	by     *owner
	seed   maphash.Seed
	record []byte
}

// rebuild packs the records of a leaf together with the new record, and splits
// the result if it is too large. If skip is not 0, the new record
// replaces the record at this offset.
func (p *packer) rebuild(leaf packed, skip, depth int) (trie[packed], error) {
	records := make([][]byte, 1, leaf.count+1)
	records[0] = p.record
	for at, r := range leaf.records {
		if at != skip {
			records = append(records, leaf.bytes[at:at+r.size()])
		}
	}
	return p.split(records, depth)
}

// split makes a leaf of packed records, or a node if one leaf cannot hold them.
func (p *packer) split(records [][]byte, depth int) (trie[packed], error) {
	bits := uint8(2)
	for 4*len(records) > 3<<bits {
		bits++
	}
	size := slotBytes << bits
	for _, r := range records {
		size += len(r)
	}
	if len(records) <= maxMembers && size <= maxLeafBytes {
		return trie[packed]{leaf: p.leaf(records, bits, size), by: p.by}, nil
	}
	if depth == maxDepth {
		return trie[packed]{}, errCrowded
	}
	var parts [fanout][][]byte
	for _, r := range records {
		b := branch(p.hash(r), depth)
		parts[b] = append(parts[b], r)
	}
	node := new([fanout]trie[packed])
	for i, part := range parts {
		if len(part) == 0 {
			continue
		}
		var err error
		if node[i], err = p.split(part, depth+1); err != nil {
			return trie[packed]{}, err
		}
	}
	return trie[packed]{node: node, by: p.by}, nil
}

func (p *packer) hash(r []byte) uint64 {
	return maphash.Bytes(p.seed, recordAt(r, 0).local)
}

// leaf packs records that fit into one leaf.
func (p *packer) leaf(records [][]byte, bits uint8, size int) packed {
	b := make([]byte, slotBytes<<bits, size)
	mask := 1<<bits - 1
	for _, r := range records {
		hash := p.hash(r)
		i := homeOf(hash, mask)
		for binary.LittleEndian.Uint32(b[slotBytes*i:]) != 0 {
			i = (i + 1) & mask
		}
		binary.LittleEndian.PutUint32(b[slotBytes*i:], entryFor(hash, len(b)))
		b = append(b, r...)
	}
	return packed{b, uint16(len(records)), bits}
}

// records yields a leaf's records with their offsets.
func (p packed) records(yield func(int, record) bool) {
	if p.count == 0 {
		return
	}
	for at := slotBytes << p.bits; at < len(p.bytes); {
		r := recordAt(p.bytes, at)
		if !yield(at, r) {
			return
		}
		at += r.size()
	}
}

// trim cuts the spare capacity of the leaves that an owner made.
func (m *members) trim(by *owner) {
	m.root.owned(by, func(leaf *packed) { leaf.bytes = trimmed(leaf.bytes) })
}

// all yields every record, in no particular order.
func (m *members) all() iter.Seq[record] {
	return func(yield func(record) bool) {
		m.root.leaves(func(leaf packed) bool {
			for _, r := range leaf.records {
				if !yield(r) {
					return false
				}
			}
			return true
		})
	}
}
