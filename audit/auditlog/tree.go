package auditlog

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/mod/sumdb/tlog"
)

// treeLevel is the lowest level whose hashes are stored: one hash for 256 leaves. The
// hashes below it are made again from the entries when a proof needs them.
const treeLevel = 8

// An edge is the right edge of a tree: for each complete subtree that no larger
// complete subtree contains, its level and hash, from left to right. It has all that
// is needed to append leaves and to hash the tree.
type edge struct {
	leaves uint64
	hashes []tlog.Hash
}

// add appends a leaf. done is called for each subtree that it completes, with the
// index at its level.
func (e *edge) add(leaf tlog.Hash, done func(level int, n int64, h tlog.Hash)) {
	h := leaf
	n := int64(e.leaves)
	level := 0
	for ; e.leaves>>level&1 == 1; level++ {
		last := len(e.hashes) - 1
		h = tlog.NodeHash(e.hashes[last], h)
		e.hashes = e.hashes[:last]
		n >>= 1
		done(level+1, n, h)
	}
	e.hashes = append(e.hashes, h)
	e.leaves++
}

// root returns the hash of the tree (RFC 6962 section 2.1).
func (e *edge) root() tlog.Hash {
	if len(e.hashes) == 0 {
		h, _ := tlog.TreeHash(0, nil) // the hash of the empty tree needs no reader
		return h
	}
	h := e.hashes[len(e.hashes)-1]
	for i := len(e.hashes) - 2; i >= 0; i-- {
		h = tlog.NodeHash(e.hashes[i], h)
	}
	return h
}

// leafHash returns the leaf hash of a value under e|.
func leafHash(value []byte) (tlog.Hash, error) {
	switch {
	case len(value) == 1+tlog.HashSize && value[0] == removed:
		return tlog.Hash(value[1:]), nil
	case len(value) > 1 && value[0] == present:
		return tlog.RecordHash(value[1:]), nil
	}
	return tlog.Hash{}, errors.New("neither an entry nor the hash of one")
}

// The first byte of a value under e|.
const (
	removed = 0
	present = 1
)

// Hashes returns a reader of the tree's hashes, for proofs.
func (l *Log) Hashes() tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		if err := l.use(); err != nil {
			return nil, err
		}
		defer l.users.Done()
		return readHashes(l.db, indexes)
	})
}

func readHashes(db pebble.Reader, indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		h, err := readHash(db, index)
		if err != nil {
			return nil, err
		}
		hashes[i] = h
	}
	return hashes, nil
}

// readHash reads one hash of the tree, or makes it from at most 128 entries.
func readHash(db pebble.Reader, index int64) (tlog.Hash, error) {
	level, n := tlog.SplitStoredHashIndex(index)
	if level >= treeLevel {
		v, closer, err := db.Get(key(prefixHash, uint64(index)))
		if err != nil {
			return tlog.Hash{}, fmt.Errorf("read hash %d of the tree: %w", index, err)
		}
		defer closer.Close()
		if len(v) != tlog.HashSize {
			return tlog.Hash{}, fmt.Errorf("hash %d of the tree has %d bytes", index, len(v))
		}
		return tlog.Hash(v), nil
	}
	first, after := uint64(n)<<level, uint64(n+1)<<level
	var e edge
	err := scan(db, first, after, func(leaf uint64, value []byte) error {
		h, err := leafHash(value)
		if err != nil {
			return &DamagedError{Leaf: leaf, Err: err}
		}
		e.add(h, func(int, int64, tlog.Hash) {})
		return nil
	})
	if err != nil {
		return tlog.Hash{}, err
	}
	return e.root(), nil
}

// loadEdge makes the right edge of a tree of a number of leaves.
func loadEdge(db pebble.Reader, leaves uint64) (*edge, error) {
	e := &edge{leaves: leaves}
	first := uint64(0)
	for level := 63; level >= 0; level-- {
		if leaves>>level&1 == 0 {
			continue
		}
		h, err := readHash(db, tlog.StoredHashIndex(level, int64(first>>level)))
		if err != nil {
			return nil, err
		}
		e.hashes = append(e.hashes, h)
		first += 1 << level
	}
	return e, nil
}
