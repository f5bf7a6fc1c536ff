package projections

import "iter"

// A trie is an immutable hash trie: an inner node has fanout branches, taken
// by fanoutBits of the hash per level from the lowest, and a leaf holds a few
// entries. A change copies one leaf and the nodes above it, so it costs the
// same in a trie of ten entries and in one of ten million. The hash is keyed
// (maphash), so nobody outside can choose entries that meet in one leaf.
//
// The zero trie is one empty leaf.
type trie[L any] struct {
	leaf L
	node *[fanout]trie[L] // nil in a leaf
}

const (
	fanoutBits = 3
	fanout     = 1 << fanoutBits
	// maxDepth is where leaves are no longer split: it takes 2^32 leaves to
	// get there with a keyed hash.
	maxDepth = 32 / fanoutBits
)

// branch is the branch a hash takes at a depth.
func branch(hash uint64, depth int) uint64 {
	return hash >> (depth * fanoutBits) % fanout
}

// find returns the leaf a hash leads to.
func (t *trie[L]) find(hash uint64) *L {
	for t.node != nil {
		t = &t.node[hash%fanout]
		hash >>= fanoutBits
	}
	return &t.leaf
}

// with returns the trie in which edit's answer stands in place of the leaf
// that hash leads to. depth is the caller's own: 0 at the root.
func (t *trie[L]) with(hash uint64, depth int, edit func(leaf L, depth int) trie[L]) trie[L] {
	if t.node == nil {
		return edit(t.leaf, depth)
	}
	node := *t.node
	kid := &node[branch(hash, depth)]
	*kid = kid.with(hash, depth+1, edit)
	return trie[L]{node: &node}
}

// leaves yields every leaf, in the order of the hash.
func (t *trie[L]) leaves(yield func(L) bool) bool {
	if t.node == nil {
		return yield(t.leaf)
	}
	for i := range t.node {
		if !t.node[i].leaves(yield) {
			return false
		}
	}
	return true
}

// A table is an immutable map from short strings to values, kept in a trie.
// The caller computes the hash, always by the same function.
type table[V any] struct {
	root trie[[]slot[V]]
	len  int
}

type slot[V any] struct {
	hash  uint64
	key   string
	value V
}

// maxSlots is the size at which a table's leaf is split: small enough to be
// searched one by one.
const maxSlots = 8

// find looks a key up; the value is not to be changed.
func (t *table[V]) find(hash uint64, key []byte) (*V, bool) {
	leaf := *t.root.find(hash)
	for i := range leaf {
		if s := &leaf[i]; s.hash == hash && s.key == string(key) {
			return &s.value, true
		}
	}
	return nil, false
}

// get is find by value.
func (t *table[V]) get(hash uint64, key []byte) (V, bool) {
	if v, ok := t.find(hash, key); ok {
		return *v, true
	}
	var none V
	return none, false
}

// put returns the table with the key's value replaced or added.
func (t *table[V]) put(hash uint64, key string, value V) table[V] {
	n := t.len
	root := t.root.with(hash, 0, func(leaf []slot[V], depth int) trie[[]slot[V]] {
		slots := make([]slot[V], len(leaf), len(leaf)+1)
		copy(slots, leaf)
		for i := range slots {
			if slots[i].hash == hash && slots[i].key == key {
				slots[i].value = value
				return trie[[]slot[V]]{leaf: slots}
			}
		}
		n++
		return splitSlots(append(slots, slot[V]{hash, key, value}), depth)
	})
	return table[V]{root, n}
}

// splitSlots makes a leaf of slots, or a node when they are too many.
func splitSlots[V any](slots []slot[V], depth int) trie[[]slot[V]] {
	if len(slots) <= maxSlots || depth >= maxDepth {
		return trie[[]slot[V]]{leaf: slots}
	}
	node := new([fanout]trie[[]slot[V]])
	for _, s := range slots {
		kid := &node[branch(s.hash, depth)]
		kid.leaf = append(kid.leaf, s)
	}
	return trie[[]slot[V]]{node: node}
}

// without returns the table without the key.
func (t *table[V]) without(hash uint64, key string) table[V] {
	n := t.len
	root := t.root.with(hash, 0, func(leaf []slot[V], _ int) trie[[]slot[V]] {
		for i := range leaf {
			if leaf[i].hash == hash && leaf[i].key == key {
				n--
				slots := append([]slot[V](nil), leaf[:i]...)
				return trie[[]slot[V]]{leaf: append(slots, leaf[i+1:]...)}
			}
		}
		return trie[[]slot[V]]{leaf: leaf}
	})
	return table[V]{root, n}
}

// all yields every key and value, in no order.
func (t *table[V]) all() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		t.root.leaves(func(leaf []slot[V]) bool {
			for i := range leaf {
				if !yield(leaf[i].key, leaf[i].value) {
					return false
				}
			}
			return true
		})
	}
}
