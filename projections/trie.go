package projections

import (
	"iter"
	"slices"
)

// An owner stands for one fold under way: one Apply, or one Builder. What it
// made is not yet in any View, so it alone may change it, in place; what
// another made is in a View, or may be, and is copied before it is changed.
// An owner is forgotten when its fold ends, and then nothing it made ever
// changes again.
type owner struct {
	_ byte // no two makers have one address
}

// A trie is a hash trie: an inner node has fanout branches, taken by
// fanoutBits of the hash per level from the lowest, and a leaf holds a few
// entries. A change copies one leaf and the nodes above it, unless its owner
// made them, so it costs the same in a trie of ten entries and in one of ten
// million. The hash is keyed (maphash), so nobody outside can choose entries
// that meet in one leaf.
//
// The zero trie is one empty leaf.
type trie[L any] struct {
	leaf L
	node *[fanout]trie[L] // nil in a leaf
	// by made what leaf or node points to.
	by *owner
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

// edit returns the leaf a hash leads to, for its owner to replace, and its
// depth. t itself must be its owner's. What the leaf points to may still be
// another's: its own by tells.
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

// owned gives fn every leaf that an owner made, to change in place. t itself
// must be its owner's.
func (t *trie[L]) owned(by *owner, fn func(*L)) {
	switch {
	case t.by != by: // and so nothing below
	case t.node == nil:
		fn(&t.leaf)
	default:
		for i := range t.node {
			t.node[i].owned(by, fn)
		}
	}
}

// A table is a map from short strings to values, kept in a trie. The caller
// computes the hash, always by the same function.
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

// search finds a key among slots, -1 when it is not there.
func search[V any](slots []slot[V], hash uint64, key string) int {
	for i := range slots {
		if s := &slots[i]; s.hash == hash && s.key == key {
			return i
		}
	}
	return -1
}

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

// edit returns a key's value for its owner to change, until the next change
// of the table; nil when the key is not there.
func (t *table[V]) edit(by *owner, hash uint64, key string) *V {
	i := search(*t.root.find(hash), hash, key)
	if i < 0 {
		return nil
	}
	leaf, _ := t.root.edit(by, hash)
	own(leaf, by, 0)
	return &leaf.leaf[i].value
}

// own makes a leaf's slots its owner's, with room for some more.
func own[V any](leaf *trie[[]slot[V]], by *owner, room int) {
	if leaf.by == by {
		return
	}
	slots := make([]slot[V], len(leaf.leaf), len(leaf.leaf)+room)
	copy(slots, leaf.leaf)
	leaf.leaf, leaf.by = slots, by
}

// put replaces or adds a key's value.
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

// remove takes a key out.
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

// trim takes from the leaves that an owner made the room for more.
func (t *table[V]) trim(by *owner) {
	t.root.owned(by, func(leaf *[]slot[V]) { *leaf = trimmed(*leaf) })
}

// trimmed is a list without room for more.
func trimmed[T any](list []T) []T {
	if len(list) == cap(list) {
		return list
	}
	return slices.Clone(list)
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
