package projections

import (
	"encoding/binary"
	"errors"
	"hash/maphash"
	"iter"
	"slices"

	"github.com/postern-im/postern/events"
)

// members are the accounts of one domain of which something is known. An
// account that is not in it has the domain's default role.
//
// They stand in a trie whose leaves are packed into one run of bytes each: a
// million members are a few thousand allocations without a pointer inside, and
// a look-up reads a leaf in two places only.
type members struct {
	root trie[packed]
}

// packed is a leaf of members. Its bytes are, little-endian:
//
//	index   4 bytes per slot: tag (2), where the record begins (2); a hash
//	        table with linear probing, at most ¾ full; a free slot is 0
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

// The flags stand above the localpart's length in one 16-bit word.
const (
	// maxLocal is the longest localpart (RFC 7622 section 3.3): the low ten bits.
	maxLocal = 1023

	flagSuspended uint16 = 1 << 10
	// flagListed is set while the account is a member. Without it the record
	// only keeps the position that revoked the account's sessions.
	flagListed    uint16 = 1 << 11
	flagSecondary uint16 = 1 << 12
	// flagByOperator stands with flagSuspended only.
	flagByOperator uint16 = 1 << 13
)

const (
	slotBytes = 4
	// fixedBytes is a record without what varies.
	fixedBytes = 12
	// A leaf is split when it has more than maxMembers or maxLeafBytes. A
	// change copies one leaf, so the first bounds its cost, about 6 KB for
	// ordinary names; the second keeps every offset within 16 bits.
	maxMembers   = 256
	maxLeafBytes = 1 << 15
	// maxSecondary keeps a record small; commands allow far fewer.
	maxSecondary = 1 << 8
)

// errCrowded is what keeps a leaf at maxDepth, which no keyed hash fills,
// from overflowing its offsets.
var errCrowded = errors.New("too many accounts with one hash")

// The trie takes the low bits of a hash, a leaf's index the high half.
func tagOf(hash uint64) uint16         { return uint16(hash >> 48) }
func homeOf(hash uint64, mask int) int { return int(hash>>32) & mask }

// entryFor is an index entry.
func entryFor(hash uint64, at int) uint32 { return uint32(tagOf(hash)) | uint32(at)<<16 }

// record is a packed record, cut into what every reader needs.
type record struct {
	revokedAt events.Position
	role      roleRef
	flags     uint16
	local     []byte
	rest      []byte // what follows in the leaf
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

// find searches a leaf. at is where the record begins, 0 when the account is
// not there; slot is where its index entry stands or belongs.
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

// find looks an account up by its localpart; the zero record when it is not there.
func (m *members) find(hash uint64, local []byte) record {
	r, _, _ := m.root.find(hash).find(hash, local)
	return r
}

// unpack reads the record of local with its secondary roles.
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

// holds reports whether the account holds a role, primary or secondary.
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

// get returns an account's record; one with nothing but its name when there
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

// put replaces or adds one record, whose localpart has the hash. The members
// must be their owner's.
func (m *members) put(by *owner, seed maphash.Seed, hash uint64, rec member) error {
	var buf [128]byte // most records are far shorter
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
		// A clone, for what a packer is given goes to the heap: here only.
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

// takes reports whether a leaf has room for a new record of a size.
func (p packed) takes(size int) bool {
	return p.count > 0 && p.count < maxMembers && 4*(int(p.count)+1) <= 3<<p.bits && len(p.bytes)+size <= maxLeafBytes
}

// packer puts one packed record into a leaf that has to be packed anew.
type packer struct {
	by     *owner
	seed   maphash.Seed
	record []byte
}

// rebuild packs a leaf with the new record, instead of the one at skip unless
// that is 0, and splits it if it is too large.
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

// split makes a leaf of packed records, or a node when they are too many.
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

// leaf packs records that fit.
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

// records yields a leaf's records and where they begin.
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

// trim takes from the leaves that an owner made the room for more.
func (m *members) trim(by *owner) {
	m.root.owned(by, func(leaf *packed) { leaf.bytes = trimmed(leaf.bytes) })
}

// all yields every record, in no order.
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
