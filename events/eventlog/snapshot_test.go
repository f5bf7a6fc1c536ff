package eventlog

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-im/postern/events"
)

// content is the content of the snapshot at a position: some chunks.
func content(p events.Position, size int) []byte {
	b := make([]byte, 0, size+8)
	rng := rand.New(rand.NewPCG(uint64(p), 1))
	for len(b) < size {
		b = binary.BigEndian.AppendUint64(b, rng.Uint64())
	}
	return b[:size]
}

func writeContent(b []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		for len(b) > 0 { // in pieces that do not match the chunks
			n := min(len(b), 70_001)
			if _, err := w.Write(b[:n]); err != nil {
				return err
			}
			b = b[n:]
		}
		return nil
	}
}

// newestSnapshot returns the position of the newest snapshot, zero for none,
// and compares its content with content.
func newestSnapshot(t *testing.T, l *Log, atMost events.Position, size int) events.Position {
	t.Helper()
	at, r, found, err := l.Snapshot(t.Context(), atMost)
	if err != nil {
		t.Fatal(err)
	}
	if !found {
		return 0
	}
	got, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, content(at, size)) {
		t.Fatalf("the snapshot at %d holds other %d bytes", at, len(got))
	}
	return at
}

const snapshotSize = chunkSize + 17

// withSnapshots creates a log of 20 commits with snapshots at 8 and 15.
func withSnapshots(t *testing.T) vfs.FS {
	t.Helper()
	fs := vfs.NewMem()
	fill(t, fs, 20)
	l, err := Open(Config{Dir: testDir, FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []events.Position{3, 8, 15} {
		if err := l.WriteSnapshot(t.Context(), p, writeContent(content(p, snapshotSize))); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return fs
}

func reopened(t *testing.T, fs vfs.FS) *Log {
	t.Helper()
	l, err := Open(Config{Dir: testDir, FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestSnapshots(t *testing.T) {
	l := reopened(t, withSnapshots(t))
	for atMost, want := range map[events.Position]events.Position{
		0: 0, 7: 0, 8: 8, 14: 8, 15: 15, 20: 15, 1 << 60: 15, // the one at 3 is deleted
	} {
		if at := newestSnapshot(t, l, atMost, snapshotSize); at != want {
			t.Errorf("at most %d: %d, want %d", atMost, at, want)
		}
	}
	if list, err := l.Snapshots(); err != nil || !slices.Equal(list, []events.Position{15, 8}) {
		t.Errorf("%v, %v", list, err)
	}
	for _, p := range []events.Position{0, 21} {
		if err := l.WriteSnapshot(t.Context(), p, nil); !errors.Is(err, events.ErrNoSuchPosition) {
			t.Errorf("at %d: %v", p, err)
		}
	}
	// A snapshot whose writer fails does not exist, and the others stay.
	mine := errors.New("mine")
	err := l.WriteSnapshot(t.Context(), 20, func(w io.Writer) error {
		if err := writeContent(content(20, 2*chunkSize))(w); err != nil {
			return err
		}
		return mine
	})
	if err != mine {
		t.Errorf("an error of write: %v", err)
	}
	if at := newestSnapshot(t, l, 20, snapshotSize); at != 15 {
		t.Errorf("after a failed snapshot: %d", at)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.WriteSnapshot(ctx, 20, writeContent(content(20, snapshotSize))); !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
	// The next snapshot replaces what the failed ones left.
	for _, size := range []int{0, 5, chunkSize, 3*chunkSize + 17, snapshotSize} {
		if err := l.WriteSnapshot(t.Context(), 19, writeContent(content(19, size))); err != nil {
			t.Fatal(err)
		}
		if at := newestSnapshot(t, l, 20, size); at != 19 {
			t.Errorf("of %d bytes: %d", size, at)
		}
	}
	if list, err := l.snapshots(); err != nil || len(list) != 2 || list[0].at != 19 || list[1].at != 15 {
		t.Errorf("%+v, %v", list, err)
	}
	if err := l.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestSnapshotDamage: a snapshot that was changed, or that is of another
// history, is skipped.
func TestSnapshotDamage(t *testing.T) {
	t.Parallel()
	whole := withSnapshots(t)
	change := func(key string, f func([]byte) []byte) func(*testing.T, *pebble.DB) error {
		return func(t *testing.T, db *pebble.DB) error {
			return db.Set([]byte(key), f(value(t, db, key)), pebble.Sync)
		}
	}
	remove := func(key string) func(*testing.T, *pebble.DB) error {
		return func(_ *testing.T, db *pebble.DB) error { return db.Delete([]byte(key), pebble.Sync) }
	}
	edit := func(f func(m *manifest)) func([]byte) []byte {
		return func(b []byte) []byte {
			m, err := decodeManifest(b)
			if err != nil {
				panic(err)
			}
			f(&m)
			return m.encode()
		}
	}
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte { b[at] ^= 1; return b }
	}
	cut := func(b []byte) []byte { return b[:len(b)-1] }
	for _, c := range []struct {
		name   string
		change func(*testing.T, *pebble.DB) error
	}{
		{"a bit of the first chunk", change(keyChunk(15, 0), flip(100))},
		{"a bit of the last chunk", change(keyChunk(15, 1), flip(3))},
		{"a chunk cut", change(keyChunk(15, 0), cut)},
		{"an empty chunk", change(keyChunk(15, 0), func([]byte) []byte { return nil })},
		{"no first chunk", remove(keyChunk(15, 0))},
		{"no last chunk", remove(keyChunk(15, 1))},
		{"no manifest", remove(keySnapshot(15))},
		{"a bit of the manifest", change(keySnapshot(15), flip(40))},
		{"the manifest cut", change(keySnapshot(15), cut)},
		{"another log", change(keySnapshot(15), edit(func(m *manifest) { m.logID = strings.Repeat("0", logIDLength) }))},
		{"another history", change(keySnapshot(15), edit(func(m *manifest) { m.of.hash[0] ^= 1 }))},
		{"another position", change(keySnapshot(15), edit(func(m *manifest) { m.of.position = 14 }))},
		{"of what is not there", func(t *testing.T, db *pebble.DB) error {
			m := value(t, db, keySnapshot(15))
			return errors.Join(db.Set([]byte(keySnapshot(21)), m, nil), db.Delete([]byte(keySnapshot(15)), pebble.Sync))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs := vfs.NewMem()
			if _, err := vfs.Clone(whole, fs, testDir, testDir); err != nil {
				t.Fatal(err)
			}
			tamper(t, fs, func(db *pebble.DB) error { return c.change(t, db) })
			l := reopened(t, fs)
			if at := newestSnapshot(t, l, 1<<60, snapshotSize); at != 8 {
				t.Errorf("used is the one at %d", at)
			}
			if at := newestSnapshot(t, l, 7, snapshotSize); at != 0 {
				t.Errorf("before all: %d", at)
			}
		})
	}
}

// TestSnapshotFlips changes bytes of a snapshot's content on the disk, where
// Pebble's checksums notice it. Only that snapshot is affected: the other one
// is used, the log opens and is whole, and the next snapshot replaces the
// damaged one.
func TestSnapshotFlips(t *testing.T) {
	t.Parallel()
	// Random bytes are stored uncompressed. Pebble would search for seconds for
	// the flipped bit of a block as large as a whole chunk.
	size := soak(minChunk, 2*chunkSize+minChunk)
	whole := vfs.NewMem()
	fill(t, whole, 20)
	l, err := Open(Config{Dir: testDir, FS: whole})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []events.Position{8, 15} {
		if err := l.WriteSnapshot(t.Context(), p, writeContent(content(p, size))); err != nil {
			t.Fatal(err)
		}
	}
	// Compact into few tables, so that everything is stored side by side.
	compact := l.db.Compact(t.Context(), []byte{0}, []byte{0xff}, false)
	if err := errors.Join(compact, l.Close()); err != nil {
		t.Fatal(err)
	}
	for _, damaged := range []events.Position{8, 15} {
		for _, at := range []int{0, size - 8} {
			t.Run(fmt.Sprintf("snapshot=%d/byte=%d", damaged, at), func(t *testing.T) {
				fs := vfs.NewMem()
				if _, err := vfs.Clone(whole, fs, testDir, testDir); err != nil {
					t.Fatal(err)
				}
				overwrite(t, fs, content(damaged, size)[at:at+8])
				l := reopened(t, fs)
				want := map[events.Position]events.Position{8: 0, 14: 0, 15: 15, 20: 15} // by atMost
				if damaged == 15 {
					want = map[events.Position]events.Position{8: 8, 14: 8, 15: 8, 20: 8}
				}
				for atMost, p := range want {
					if got := newestSnapshot(t, l, atMost, size); got != p {
						t.Errorf("at most %d: %d, want %d", atMost, got, p)
					}
				}
				if err := l.Verify(t.Context()); err != nil {
					t.Error(err)
				}
				if err := l.Append(t.Context(), 20, nthCommit(20)); err != nil {
					t.Error(err)
				}
				if err := l.WriteSnapshot(t.Context(), 21, writeContent(content(21, size))); err != nil {
					t.Error(err)
				}
				if list, err := l.Snapshots(); err != nil || !slices.Equal(list, []events.Position{21, 23 - damaged}) {
					t.Errorf("after the next one: %v, %v", list, err)
				}
			})
		}
	}
}

// overwrite changes bytes that occur in exactly one place of the log's tables.
func overwrite(t *testing.T, fs vfs.FS, old []byte) {
	t.Helper()
	names, err := fs.List(testDir)
	if err != nil {
		t.Fatal(err)
	}
	changed := 0
	for _, name := range names {
		name = path.Join(testDir, name)
		if data := fileData(t, fs, name); strings.HasSuffix(name, ".sst") && bytes.Contains(data, old) {
			changed += bytes.Count(data, old)
			setFile(t, fs, name, bytes.ReplaceAll(data, old, make([]byte, len(old))))
		}
	}
	if changed != 1 {
		t.Fatalf("the bytes stand in %d places", changed)
	}
}

// TestPositionAt compares the index with the definition, with clocks that are
// set back, and on logs whose index has no marks.
func TestPositionAt(t *testing.T) {
	begin := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 2))
		fs := vfs.NewMem()
		l := reopened(t, fs)
		var times []int
		for i := range 30 {
			c := nthCommit(i)
			at := i
			if seed > 0 && rng.IntN(3) == 0 {
				at = rng.IntN(35)
			}
			times = append(times, at)
			c.Time = begin.Add(time.Duration(at) * time.Second)
			if err := l.Append(t.Context(), events.Position(i), c); err != nil {
				t.Fatal(err)
			}
		}
		check := func(l *Log) {
			t.Helper()
			for at := -1; at < 36; at++ {
				want := events.Position(0)
				for want < 30 && times[want] <= at {
					want++
				}
				for _, more := range []time.Duration{0, time.Microsecond, time.Second - time.Nanosecond} {
					got, err := l.PositionAt(begin.Add(time.Duration(at)*time.Second + more))
					if err != nil || got != want {
						t.Fatalf("seed %d, times %v, at %d: %d, %v; want %d", seed, times, at, got, err, want)
					}
				}
			}
			if p, err := l.PositionAt(time.Time{}); p != 0 || err != nil {
				t.Fatalf("before everything: %d, %v", p, err)
			}
			if err := l.Verify(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		check(l)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		// This log's index does not mark where the clock was set back, as in
		// older versions.
		tamper(t, fs, func(db *pebble.DB) error {
			for i, at := range times {
				key := keyTime(begin.Add(time.Duration(at)*time.Second), events.Position(i+1))
				if err := db.Set([]byte(key), nil, nil); err != nil {
					return err
				}
			}
			return db.Delete([]byte(keyTimes), pebble.Sync)
		})
		old, err := Open(Config{Dir: testDir, FS: fs, ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		check(old)
		old.Close()
		check(reopened(t, fs))
	}
}

func TestNewest(t *testing.T) {
	fs := vfs.NewMem()
	want := fill(t, fs, 30)
	l := reopened(t, fs)
	collect := func(tenant string, before events.Position, limit int) (got []events.Commit, err error) {
		add := func(c *events.Commit) error { got = append(got, *c); return nil }
		if tenant == "" {
			err = l.Newest(t.Context(), before, limit, add)
		} else {
			err = l.NewestOf(t.Context(), tenant, before, limit, add)
		}
		return got, err
	}
	for _, tenant := range []string{"", "tenant0", "tenant1", "tenant2", "none", strings.Repeat("a", 1000)} {
		for before := range events.Position(33) {
			for _, limit := range []int{0, 1, 4, 100} {
				var expect []events.Commit
				for _, c := range slices.Backward(want) {
					if (tenant == "" || c.Tenant == tenant) && (before == 0 || c.Position < before) && len(expect) < limit {
						expect = append(expect, c)
					}
				}
				if got, err := collect(tenant, before, limit); err != nil || !reflect.DeepEqual(got, expect) {
					t.Fatalf("%q before %d, %d: %d commits, %v; want %d", tenant, before, limit, len(got), err, len(expect))
				}
			}
		}
	}
	// A changed record is reported, and not returned.
	for _, p := range []events.Position{1, 29, 30} {
		record := value(t, l.db, keyCommit(p))
		bad := bytes.Replace(record, []byte("kiosk"), []byte("sokik"), 1)
		if err := l.db.Set([]byte(keyCommit(p)), bad, pebble.Sync); err != nil {
			t.Fatal(err)
		}
		for _, tenant := range []string{"", fmt.Sprint("tenant", (p-1)%3)} {
			got, err := collect(tenant, 0, 100)
			if position(err) != p || len(got) > 0 && got[len(got)-1].Position <= p {
				t.Errorf("%q, changed at %d: %v after %d", tenant, p, err, len(got))
			}
		}
		if err := l.db.Set([]byte(keyCommit(p)), record, pebble.Sync); err != nil {
			t.Fatal(err)
		}
	}
}
