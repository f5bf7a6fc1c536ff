package auditlog

import (
	"fmt"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// TestEdge compares the edge with package tlog, for each size of a tree: its hash, and
// each subtree that a leaf completes.
func TestEdge(t *testing.T) {
	var e edge
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var list []tlog.Hash
		for _, i := range indexes {
			list = append(list, stored[i])
		}
		return list, nil
	})
	for n := range int64(3000) {
		leaf := fmt.Appendf(nil, "leaf %d", n)
		hashes, err := tlog.StoredHashes(n, leaf, reader)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, hashes...)
		done := 1 // the leaf itself
		e.add(tlog.RecordHash(leaf), func(level int, at int64, h tlog.Hash) {
			done++
			if stored[tlog.StoredHashIndex(level, at)] != h {
				t.Errorf("size %d: another hash at level %d, %d", n+1, level, at)
			}
		})
		want, err := tlog.TreeHash(n+1, reader)
		if err != nil || e.root() != want || done != len(hashes) {
			t.Fatalf("size %d: hash %v, want %v; %d subtrees, want %d; %v", n+1, e.root(), want, done, len(hashes), err)
		}
	}
}
