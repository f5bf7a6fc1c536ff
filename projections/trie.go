package projections

import (
	"iter"
	"slices"
)

// An owner identifies one fold in progress: one Apply, or one Builder. Memory
// that it made is not in any View yet, so it may change that memory in place.
// Memory made by another owner may be in a View, so it is copied before it is
// changed. When the fold ends, its owner is dropped. After that, memory
// that this owner made never changes.
type owner struct {
	_ byte // not empty, so that no two owners have the same address
}

// A trie is a hash trie. An inner node has fanout branches: each level selects
// one by the next fanoutBits of the hash, from the lowest bits up. A leaf holds
// a few entries. A change copies one leaf and the nodes above it, except those
// that its owner made. So a change costs the same in a trie of ten entries and
// in one of ten million. The hash is keyed (maphash), so an attacker cannot
// choose entries that fall into the same leaf.
//
// The zero trie is one empty leaf.
type trie[L any] struct {
	leaf L
	node *[fanout]trie[L] // nil in a leaf
	// by is the owner that made the memory that leaf or node points to.
	by *owner
}

const (
	fanoutBits = 3
	fanout     = 1 << fanoutBits
	// maxDepth is the depth at which leaves are no longer split. With a keyed
	// hash it takes about 2^32 leaves to reach it.
	maxDepth = 32 / fanoutBits
)

// branch returns the branch that a hash selects at a depth.
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

// edit returns the leaf a hash leads to, and its depth. The caller, as owner by,
// may replace the leaf. The memory that the leaf points to may still belong to
// another owner; the leaf's field by names it. t itself must belong to by.
func (t *trie[L]) edit(by *owner, hash uint64) (leaf *trie[L], depth int) {
	for ; t.node != nil; depth++ {
		if t.by != by {
			node := *t.node
			t.node, t.by = &node, by
		}
		t = &t.node[branch(hash, depth)]
	}
	return t, depth
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

// owned calls fn with every leaf that an owner made; fn may change it in place.
// t itself must belong to that owner.
func (t *trie[L]) owned(by *owner, fn func(*L)) {
	switch {
	case t.by != by: // then by made no node or leaf below t either
	case t.node == nil:
		fn(&t.leaf)
	default:
		for i := range t.node {
			t.node[i].owned(by, fn)
		}
	}
}

// A table is a map from short strings to values, kept in a trie. The caller
// computes the hash of each key, always with the same seed.
type table[V any] struct {
	root trie[[]slot[V]]
	len  int
}

type slot[V any] struct {
	hash  uint64
	key   string
	value V
}

// maxSlots is the number of slots above which a table's leaf is split. It is
// small enough for a linear search.
const maxSlots = 8

// search returns the index of a key among slots, or -1.
func search[V any](slots []slot[V], hash uint64, key string) int {
	for i := range slots {
		if s := &slots[i]; s.hash == hash && s.key == key {
			return i
		}
	}
	return -1
}

// find looks a key up. The caller must not change the value.
func (t *table[V]) find(hash uint64, key []byte) (*V, bool) {
	leaf := *t.root.find(hash)
	for i := range leaf {
		if s := &leaf[i]; s.hash == hash && s.key == string(key) {
			return &s.value, true
		}
	}
	return nil, false
}

// get looks a key up and returns a copy of its value.
func (t *table[V]) get(hash uint64, key []byte) (V, bool) {
	if v, ok := t.find(hash, key); ok {
		return *v, true
	}
	var none V
	return none, false
}

// edit returns a pointer to a key's value, or nil if there is no such key. The
// caller, as owner by, may change the value. The pointer is valid until the next
// change of the table.
func (t *table[V]) edit(by *owner, hash uint64, key string) *V {
	i := search(*t.root.find(hash), hash, key)
	if i < 0 {
		return nil
	}
	leaf, _ := t.root.edit(by, hash)
	own(leaf, by, 0)
	return &leaf.leaf[i].value
}

// own copies a leaf's slots for the owner by, unless by made them already. The
// copy has spare capacity for room further slots.
func own[V any](leaf *trie[[]slot[V]], by *owner, room int) {
	if leaf.by == by {
		return
	}
	slots := make([]slot[V], len(leaf.leaf), len(leaf.leaf)+room)
	copy(slots, leaf.leaf)
	leaf.leaf, leaf.by = slots, by
}

// put sets a key's value, and adds the key if it is new.
func (t *table[V]) put(by *owner, hash uint64, key string, value V) {
	leaf, depth := t.root.edit(by, hash)
	if i := search(leaf.leaf, hash, key); i >= 0 {
		own(leaf, by, 0)
		leaf.leaf[i].value = value
		return
	}
	t.len++
	own(leaf, by, 1)
	leaf.leaf = append(leaf.leaf, slot[V]{hash, key, value})
	if len(leaf.leaf) <= maxSlots || depth >= maxDepth {
		return
	}
	node := new([fanout]trie[[]slot[V]])
	for _, s := range leaf.leaf {
		kid := &node[branch(s.hash, depth)]
		kid.leaf, kid.by = append(kid.leaf, s), by
	}
	*leaf = trie[[]slot[V]]{node: node, by: by}
}

// remove removes a key.
func (t *table[V]) remove(by *owner, hash uint64, key string) {
	i := search(*t.root.find(hash), hash, key)
	if i < 0 {
		return
	}
	t.len--
	leaf, _ := t.root.edit(by, hash)
	own(leaf, by, 0)
	last := len(leaf.leaf) - 1
	leaf.leaf[i], leaf.leaf[last] = leaf.leaf[last], slot[V]{}
	leaf.leaf = leaf.leaf[:last]
}

// trim cuts the spare capacity of the leaves that an owner made.
func (t *table[V]) trim(by *owner) {
	t.root.owned(by, func(leaf *[]slot[V]) { *leaf = trimmed(*leaf) })
}

// trimmed returns a list without spare capacity.
func trimmed[T any](list []T) []T {
	if len(list) == cap(list) {
		return list
	}
	return slices.Clone(list)
}

// all yields every key and value, in no particular order.
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
