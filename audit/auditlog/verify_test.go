package auditlog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/postern-im/postern/audit"
	"github.com/postern-im/postern/internal/pebbledb"
)

// A mutation changes a stored log. It returns the first and last leaf of the place
// where it must be found, and whether only a checkpoint can show it.
type mutation struct {
	name string
	make func(t *testing.T, rng *rand.Rand, db *pebble.DB, leaves uint64) (first, last uint64, outside bool)
}

func mustGet(t *testing.T, db *pebble.DB, k []byte) []byte {
	t.Helper()
	v, closer, err := db.Get(k)
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	return append([]byte(nil), v...)
}

func set(t *testing.T, db *pebble.DB, k, v []byte) {
	t.Helper()
	if err := db.Set(k, v, pebble.Sync); err != nil {
		t.Fatal(err)
	}
}

var mutations = []mutation{
	{"a bit", func(t *testing.T, rng *rand.Rand, db *pebble.DB, leaves uint64) (uint64, uint64, bool) {
		leaf := rng.Uint64N(leaves)
		v := mustGet(t, db, key(prefixEntry, leaf))
		v[rng.IntN(len(v))] ^= 1 << rng.IntN(8)
		set(t, db, key(prefixEntry, leaf), v)
		return leaf, leaf, false
	}},
	{"a removed entry", func(t *testing.T, rng *rand.Rand, db *pebble.DB, leaves uint64) (uint64, uint64, bool) {
		leaf := rng.Uint64N(leaves)
		if err := db.Delete(key(prefixEntry, leaf), pebble.Sync); err != nil {
			t.Fatal(err)
		}
		return leaf, leaf, false
	}},
	{"an entry replaced by its hash", func(t *testing.T, rng *rand.Rand, db *pebble.DB, leaves uint64) (uint64, uint64, bool) {
		leaf := rng.Uint64N(leaves)
		h, err := leafHash(mustGet(t, db, key(prefixEntry, leaf)))
		if err != nil {
			t.Fatal(err)
		}
		set(t, db, key(prefixEntry, leaf), append([]byte{removed}, h[:]...))
		return leaf, leaf, false
	}},
	{"another entry", func(t *testing.T, rng *rand.Rand, db *pebble.DB, leaves uint64) (uint64, uint64, bool) {
		leaf, other := rng.Uint64N(leaves-1), rng.Uint64N(leaves)
		if leaf == other {
			other = leaf + 1
		}
		set(t, db, key(prefixEntry, leaf), mustGet(t, db, key(prefixEntry, other)))
		return leaf, leaf, false
	}},
	{"two entries in each other's place", func(t *testing.T, rng *rand.Rand, db *pebble.DB, leaves uint64) (uint64, uint64, bool) {
		leaf := rng.Uint64N(leaves - 1)
		a, b := mustGet(t, db, key(prefixEntry, leaf)), mustGet(t, db, key(prefixEntry, leaf+1))
		set(t, db, key(prefixEntry, leaf), b)
		set(t, db, key(prefixEntry, leaf+1), a)
		return leaf, leaf + 1, false
	}},
	{"a name", func(t *testing.T, rng *rand.Rand, db *pebble.DB, leaves uint64) (uint64, uint64, bool) {
		h, err := decodeHead(mustGet(t, db, []byte(keyHead)))
		if err != nil {
			t.Fatal(err)
		}
		number := 1 + rng.Uint64N(h.names)
		v := mustGet(t, db, key(prefixName, number))
		v[rng.IntN(len(v))] ^= 1 << rng.IntN(8)
		set(t, db, key(prefixName, number), v)
		return 0, leaves - 1, false
	}},
	{"a hash of the tree", func(t *testing.T, rng *rand.Rand, db *pebble.DB, leaves uint64) (uint64, uint64, bool) {
		n := rng.Uint64N(leaves / block)
		k := key(prefixHash, uint64(tlog.StoredHashIndex(treeLevel, int64(n))))
		v := mustGet(t, db, k)
		v[rng.IntN(len(v))] ^= 1 << rng.IntN(8)
		set(t, db, k, v)
		return n * block, n*block + block - 1, false
	}},
	{"a history without the newest entries, whole in itself", func(t *testing.T, rng *rand.Rand, db *pebble.DB, leaves uint64) (uint64, uint64, bool) {
		left := leaves - 1 - rng.Uint64N(leaves/4)
		e, err := loadEdge(db, left)
		if err != nil {
			t.Fatal(err)
		}
		h, err := decodeHead(mustGet(t, db, []byte(keyHead)))
		if err != nil {
			t.Fatal(err)
		}
		h.leaves, h.root = left, e.root()
		set(t, db, []byte(keyHead), encodeHead(h))
		if err := db.DeleteRange(key(prefixEntry, left), key(prefixEntry, leaves), pebble.Sync); err != nil {
			t.Fatal(err)
		}
		return left, leaves - 1, true
	}},
	{"a history with another entry, whole in itself", func(t *testing.T, rng *rand.Rand, db *pebble.DB, leaves uint64) (uint64, uint64, bool) {
		leaf := rng.Uint64N(leaves)
		v := mustGet(t, db, key(prefixEntry, leaf))
		at := 1 + rng.IntN(len(v)-1)
		v[at] ^= 1 << rng.IntN(8)
		set(t, db, key(prefixEntry, leaf), v)
		var e edge
		if err := scan(db, 0, leaves, func(_ uint64, value []byte) error {
			hash, err := leafHash(value)
			e.add(hash, func(level int, n int64, hash tlog.Hash) {
				if level >= treeLevel {
					set(t, db, key(prefixHash, uint64(tlog.StoredHashIndex(level, n))), hash[:])
				}
			})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		h, err := decodeHead(mustGet(t, db, []byte(keyHead)))
		if err != nil {
			t.Fatal(err)
		}
		h.root = e.root()
		set(t, db, []byte(keyHead), encodeHead(h))
		return 0, leaves - 1, true
	}},
}

// TestMutations changes copies of a log in many ways. Verify must find each change, at
// its place, with the help of one checkpoint from outside where the log is whole in
// itself. The log without a change has no finding.
func TestMutations(t *testing.T) {
	rounds := 30
	if os.Getenv("POSTERN_SOAK") == "1" {
		rounds = 1000
	}
	fs := vfs.NewMem()
	l, stop := run(t, Config{Dir: "audit", FS: fs})
	rng := rand.New(rand.NewPCG(4, 4))
	var known []tlog.Tree
	for i := range 900 {
		if err := l.Append(randomGroup(rng, time.UnixMicro(int64(1000+i)))); err != nil {
			t.Fatal(err)
		}
		if i == 400 {
			known = append(known, l.Tree())
		}
	}
	known = append(known, l.Tree())
	if report, err := l.Verify(t.Context(), known, nil); err != nil || report.Count > 0 || report.Records == 0 || report.Names == 0 {
		t.Fatalf("without a change: %+v, %v", report, err)
	}
	leaves := uint64(l.Tree().N)
	stop()
	for round := range rounds {
		m := mutations[round%len(mutations)]
		dir := fmt.Sprint("copy", round)
		if _, err := vfs.Clone(fs, fs, "audit", dir); err != nil {
			t.Fatal(err)
		}
		if err := fs.Remove(fs.PathJoin(dir, highWaterName)); err != nil {
			t.Fatal(err)
		}
		db, err := pebble.Open(dir, pebbledb.Options(pebbledb.Config{FS: fs}))
		if err != nil {
			t.Fatal(err)
		}
		first, last, outside := m.make(t, rng, db, leaves)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		findIt(t, Config{Dir: dir, FS: fs, ReadOnly: true}, m.name, known, first, last, outside)
		if err := fs.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
}

// findIt opens a changed log and verifies it. Open may refuse it, if the change is in
// the newest entries.
func findIt(t *testing.T, c Config, name string, known []tlog.Tree, first, last uint64, outside bool) {
	t.Helper()
	l, err := Open(c)
	if err != nil {
		if outside {
			t.Errorf("%s: a log that is whole in itself is refused: %v", name, err)
		}
		return
	}
	defer l.Close()
	if outside {
		report, err := l.Verify(t.Context(), nil, nil)
		if err != nil || report.Count > 1 {
			t.Errorf("%s, without a checkpoint: %+v, %v", name, report.Bad, err)
		}
	}
	report, err := l.Verify(t.Context(), known, nil)
	if err != nil || report.Count == 0 {
		t.Errorf("%s at %d to %d: not found: %v", name, first, last, err)
		return
	}
	for _, f := range report.Bad {
		if f.First <= last && first <= f.Last {
			return
		}
	}
	t.Errorf("%s at %d to %d: found elsewhere: %v", name, first, last, report.Bad)
}

// TestVerifyErased: an erased name is no finding.
func TestVerifyErased(t *testing.T) {
	l, _ := run(t, Config{Dir: "audit", FS: vfs.NewMem()})
	if err := l.Append(verdicts(0, 3, "t", "ann@a.test")); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Erase(t.Context(), time.Unix(1, 0), audit.Name{Kind: audit.JIDName, Text: []byte("ann@a.test")}, "admin", "asked"); err != nil {
		t.Fatal(err)
	}
	report, err := l.Verify(t.Context(), nil, nil)
	if err != nil || report.Count > 0 || report.Erased != 1 {
		t.Errorf("%+v, %v", report, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Verify(ended, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestPrune removes the old entries of one tenant. Those of the other tenant and the
// newer ones stay, the tree stays as it was, and verification has no finding.
func TestPrune(t *testing.T) {
	fs := vfs.NewMem()
	l, stop := run(t, Config{Dir: "audit", FS: fs})
	for i := range uint64(300) {
		if err := l.Append(verdicts(i, 1, fmt.Sprintf("t%d", i%2), "ann@a.test")); err != nil {
			t.Fatal(err)
		}
	}
	before := l.Tree()
	keep := func(tenant string) time.Time {
		if tenant == "t1" {
			return time.UnixMicro(200)
		}
		return time.Time{}
	}
	r := Retention{Until: time.UnixMicro(1 << 40), Keep: keep}
	if n, err := l.Prune(t.Context(), time.UnixMicro(400), r, "retention"); err != nil || n != 100 {
		t.Fatalf("%d removed, %v", n, err)
	}
	if n, err := l.Prune(t.Context(), time.UnixMicro(400), r, "retention"); err != nil || n != 0 {
		t.Errorf("%d removed again, %v", n, err)
	}
	check := func(l *Log) {
		t.Helper()
		report, err := l.Verify(t.Context(), []tlog.Tree{before}, nil)
		if err != nil || report.Count > 0 || report.Removed != 100 {
			t.Errorf("%+v, %v", report, err)
		}
		found, err := l.Find(t.Context(), &audit.Query{Tenant: "t1"}, func(_ audit.Ref, r *audit.Record) error {
			if r.Question < 200 {
				t.Errorf("question %d was removed", r.Question)
			}
			return nil
		})
		if err != nil || found.Records != 50 {
			t.Errorf("%+v, %v", found, err)
		}
	}
	check(l)
	stop()
	again, _ := run(t, Config{Dir: "audit", FS: fs})
	check(again)
}
