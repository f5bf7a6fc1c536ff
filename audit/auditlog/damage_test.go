package auditlog

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-im/postern/audit"
	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/internal/pebbledb"
)

// damage changes a byte in each table of a closed log, in its first block.
func damage(t *testing.T, fs vfs.FS) {
	t.Helper()
	names, err := fs.List("audit")
	if err != nil {
		t.Fatal(err)
	}
	tables := 0
	for _, name := range names {
		if fs.PathBase(name) == name && len(name) > 4 && name[len(name)-4:] == ".sst" {
			f, err := fs.OpenReadWrite(fs.PathJoin("audit", name), vfs.WriteCategoryUnspecified)
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.WriteAt([]byte("damage"), 20)
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
			tables++
		}
	}
	if tables == 0 {
		t.Fatal("there is no table to damage")
	}
}

// search counts the records that a query finds.
func search(t *testing.T, l *Log, q *audit.Query) Found {
	t.Helper()
	found, err := l.Find(t.Context(), q, func(audit.Ref, *audit.Record) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestDamagedBlock: a block that cannot be read costs its own entries only. Readers get
// and queries count each of them, and the index goes past them.
func TestDamagedBlock(t *testing.T) {
	const entries = 1 << treeLevel // so that Open needs none of them
	fs := vfs.NewMem()
	l, stop := run(t, Config{Dir: "audit", FS: fs})
	for i := range uint64(entries) {
		// An entry fills a block.
		m := &audit.Mark{Mark: audit.StartMark}
		for range pebbledb.BlockSize / 4096 {
			m.Values = append(m.Values, strings.Repeat(string(rune('a'+i%26)), 4096))
		}
		g := &audit.Group{At: time.UnixMicro(int64(i)), Records: []audit.Record{{Kind: audit.MarkKind, Tenant: []byte("t"), Body: m}}}
		if err := l.Append(g); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.db.Flush(); err != nil {
		t.Fatal(err)
	}
	stop()
	damage(t, fs)
	l, err := Open(Config{Dir: "audit", FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.chunkRecords = 50
	good, bad, next := uint64(0), uint64(0), uint64(0)
	if err := l.Entries(t.Context(), 0, entries, func(leaf uint64, e *audit.Entry, err error) error {
		if leaf != next {
			t.Fatalf("entry %d after %d", leaf, next)
		}
		next++
		if err != nil {
			bad++
		} else {
			good++
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if bad == 0 || good == 0 || good+bad != entries {
		t.Fatalf("%d entries were read, %d not", good, bad)
	}
	want := Found{Records: int(good), Searched: good, Unreadable: bad}
	if found := search(t, l, &audit.Query{}); found != want {
		t.Errorf("without an index: %+v, want %+v", found, want)
	}
	leaf := uint64(0)
	for n := range good / 50 {
		if leaf, err = l.makeChunk(t.Context(), n, leaf); err != nil {
			t.Fatal(err)
		}
	}
	if found := search(t, l, &audit.Query{Tenant: "t"}); found != want {
		t.Errorf("with an index: %+v, want %+v", found, want)
	}
}

// TestUnreadable: a missing entry and a judged question that cannot be decoded do not
// end the index, and each query counts them.
func TestUnreadable(t *testing.T) {
	fs := vfs.NewMem()
	l, stop := run(t, Config{Dir: "audit", FS: fs})
	for i := range uint64(9) {
		g := verdicts(i, 1, "t", "ann@a.test")
		switch i {
		case 2:
			g.Records[0].Judged = []byte{0xff}
		case 5:
			g.Records[0].Judged = audit.AppendJudged(nil, &decision.Facts{Peer: decision.Remote}, &decision.Verdict{Effect: decision.Drop})
		}
		if err := l.Append(g); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	l, err := Open(Config{Dir: "audit", FS: fs}) // makes no index by itself
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.chunkRecords = 8
	if err := l.db.Delete(key(prefixEntry, 4), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	drops := &audit.Query{Effects: []decision.Effect{decision.Drop}, Before: &audit.Ref{Leaf: math.MaxUint64}}
	for _, when := range []string{"before", "after"} {
		if found := search(t, l, drops); found.Records != 1 || found.Unreadable != 2 {
			t.Errorf("%s the index is made: %+v", when, found)
		}
		if when == "before" {
			if _, err := l.makeChunk(t.Context(), 0, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if chunks, err := l.chunks(); err != nil || len(chunks) != 1 {
		t.Errorf("chunks %v, %v", chunks, err)
	}
	// A damaged list costs time only.
	if err := l.db.Set(keyTerm(term{byEffect, string(rune(decision.Drop))}, 0), []byte{0x80}, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if found := search(t, l, drops); found.Records != 1 || found.Unreadable != 2 {
		t.Errorf("with a damaged list: %+v", found)
	}
}
