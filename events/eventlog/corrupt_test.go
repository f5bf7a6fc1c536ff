package eventlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/internal/pebbledb"
)

const testDir = "log"

// fill creates a log of n commits of a few tenants, and closes it.
func fill(t *testing.T, fs vfs.FS, n int) []events.Commit {
	t.Helper()
	l, err := Open(Config{Dir: testDir, FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	var all []events.Commit
	for i := range n {
		c := nthCommit(i)
		if err := l.Append(t.Context(), events.Position(i), c); err != nil {
			t.Fatal(err)
		}
		all = append(all, *c)
	}
	if err := l.db.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return all
}

// nthCommit is the commit that fill appends after i others.
func nthCommit(i int) *events.Commit {
	return &events.Commit{
		Tenant:        fmt.Sprint("tenant", i%3),
		TenantVersion: uint64(i/3 + 1),
		Time:          time.Date(2026, 11, 23, 9, 0, i, 0, time.UTC),
		Actor:         "operator:root",
		CommandID:     fmt.Sprint("command ", i+1),
		Events:        []events.Event{events.RoleDefined{Name: "lab:kiosk", Allow: []string{"xmpp:federate"}}},
	}
}

// tamper changes the keys of a closed log directly in Pebble.
func tamper(t *testing.T, fs vfs.FS, change func(db *pebble.DB) error) {
	t.Helper()
	db, err := pebble.Open(testDir, pebbledb.Options(database(Config{FS: fs})))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(change(db), db.Close()); err != nil {
		t.Fatal(err)
	}
}

// value returns the value of a key.
func value(t *testing.T, db *pebble.DB, key string) []byte {
	t.Helper()
	v, closer, err := db.Get([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	return bytes.Clone(v)
}

// corruptAt returns the position at which Open or Verify finds a log corrupt,
// and the log's length. Reading must stop at the same position, and must never
// return a commit that is not in want.
func corruptAt(t *testing.T, fs vfs.FS, want []events.Commit) (events.Position, int, error) {
	t.Helper()
	l, err := Open(Config{Dir: testDir, FS: fs, ReadOnly: true})
	if err != nil {
		return position(err), 0, err
	}
	defer l.Close()
	verify := l.Verify(t.Context())
	head, _ := l.Head()
	if head > events.Position(len(want)) {
		t.Fatalf("the head is at %d", head)
	}
	for _, p := range []events.Position{1, position(verify), head} {
		if p == 0 || p > head {
			continue
		}
		at := p
		err := l.Read(t.Context(), p, func(c *events.Commit) error {
			if !reflect.DeepEqual(*c, want[at-1]) {
				t.Fatalf("it shows at %d\n%+v", at, *c)
			}
			at++
			return nil
		})
		if err == nil && at != head+1 || err != nil && p == 1 && verify == nil {
			t.Fatalf("read from %d to %d of %d: %v; verify: %v", p, at-1, head, err, verify)
		}
		if c, err := l.Commit(p); err == nil && !reflect.DeepEqual(c, want[p-1]) {
			t.Fatalf("it shows at %d\n%+v", p, c)
		}
		c, found, err := l.ByCommand(want[p-1].Tenant, want[p-1].CommandID)
		if err == nil && found && !reflect.DeepEqual(c, want[p-1]) {
			t.Fatalf("by command it shows at %d\n%+v", p, c)
		}
	}
	return position(verify), int(head), verify
}

// TestTenantGap: Tenant does not skip a commit that its index has lost.
func TestTenantGap(t *testing.T) {
	for _, lost := range []events.Position{2, 5} {
		fs := vfs.NewMem()
		fill(t, fs, 9)
		tamper(t, fs, func(db *pebble.DB) error { return db.Delete([]byte(keyTenant("tenant1", lost)), pebble.Sync) })
		l, err := Open(Config{Dir: testDir, FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		shown := 0
		err = l.Tenant(t.Context(), "tenant1", 0, func(*events.Commit) error { shown++; return nil })
		if position(err) != lost+3 || shown != int(lost/3) {
			t.Errorf("without %d: %v after %d", lost, err, shown)
		}
	}
}

func position(err error) events.Position {
	if corrupt, ok := errors.AsType[*events.CorruptError](err); ok {
		return corrupt.Position
	}
	return 0
}

// TestBitFlips flips each bit of some records, like damage that Pebble's
// checksums miss. The position must be reported, and the record must not be
// returned.
func TestBitFlips(t *testing.T) {
	fs := vfs.NewMem()
	want := fill(t, fs, 6)
	l, err := Open(Config{Dir: testDir, FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, p := range []events.Position{1, 2, 4, 5, 6} {
		record := value(t, l.db, keyCommit(p))
		for bit := 0; bit < len(record)*8; bit += soak(7, 1) {
			flipped := bytes.Clone(record)
			flipped[bit/8] ^= 1 << (bit % 8)
			if err := l.db.Set([]byte(keyCommit(p)), flipped, pebble.NoSync); err != nil {
				t.Fatal(err)
			}
			shown := events.Position(0)
			read := l.Read(t.Context(), 1, func(c *events.Commit) error { shown = c.Position; return nil })
			_, commit := l.Commit(p)
			_, _, byCommand := l.ByCommand(want[p-1].Tenant, want[p-1].CommandID)
			for _, err := range []error{l.Verify(t.Context()), read, commit, byCommand} {
				if position(err) != p || shown >= p {
					t.Fatalf("bit %d of record %d: %v, shown are %d", bit, p, err, shown)
				}
			}
		}
		if err := l.db.Set([]byte(keyCommit(p)), record, pebble.Sync); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestTampered makes changes that an attacker with access to the disk could
// make.
func TestTampered(t *testing.T) {
	const n = 9
	set := func(key string, v []byte) func(*testing.T, *pebble.DB) error {
		return func(_ *testing.T, db *pebble.DB) error { return db.Set([]byte(key), v, pebble.Sync) }
	}
	remove := func(key string) func(*testing.T, *pebble.DB) error {
		return func(_ *testing.T, db *pebble.DB) error { return db.Delete([]byte(key), pebble.Sync) }
	}
	// rewrite replaces a record with a valid one of different content.
	rewrite := func(p events.Position, change func(*events.Commit)) func(*testing.T, *pebble.DB) error {
		return func(t *testing.T, db *pebble.DB) error {
			c, err := events.DecodeCommit(value(t, db, keyCommit(p)))
			if err != nil {
				return err
			}
			change(c)
			return db.Set([]byte(keyCommit(p)), events.AppendCommit(nil, c), pebble.Sync)
		}
	}
	otherHead := encodeHead(head{n, [32]byte{1}})
	shortHead := encodeHead(head{n - 1, [32]byte{1}})
	for _, c := range []struct {
		name   string
		change func(*testing.T, *pebble.DB) error
		at     events.Position // 0: the error has no position
		words  string
	}{
		{"other events", rewrite(3, func(c *events.Commit) { c.Events = []events.Event{events.TenantSuspended{}} }), 3, "chain"},
		{"other events in the first", rewrite(1, func(c *events.Commit) { c.Actor = "mallory" }), 1, "chain"},
		{"other events in the last", rewrite(n, func(c *events.Commit) { c.Actor = "mallory" }), n, "chain"},
		{"another chain", rewrite(5, func(c *events.Commit) { c.Previous[0] ^= 1 }), 5, "chain"},
		{"a first with a past", rewrite(1, func(c *events.Commit) { c.Previous[0] = 1 }), 1, "chain"},
		{"a record of another place", rewrite(4, func(c *events.Commit) { c.Position = 5 }), 4, "says 5"},
		{"no record", remove(keyCommit(4)), 4, "no record"},
		{"no first record", remove(keyCommit(1)), 1, "no record"},
		{"no last record", remove(keyCommit(n)), n, "newest record is 8"},
		{"an empty record", set(keyCommit(4), nil), 4, "missing"},
		{"a record too many", set(keyCommit(n+1), []byte("x")), n + 1, "newest record is 10"},
		{"a record at zero", set(keyCommit(0), []byte("x")), 0, ""},
		{"another head", set(keyHead, otherHead), n, "chain"},
		{"a shorter head", set(keyHead, shortHead), n, "newest record is 9"},
		{"no head", remove(keyHead), 0, "cannot be read"},
		{"half a head", set(keyHead, otherHead[:20]), 0, "cannot be read"},
		{"no id", remove(keyLogID), 0, "cannot be read"},
		{"no format", remove(keyFormat), 0, "not a log's"},
		{"a later format", set(keyFormat, []byte("3")), 0, `format "3"`},
		{"a bound format", set(keyFormat, []byte(formatBound)), 0, "does not agree with its binding"},
		{"a generation", set(keyCluster, []byte("x")), 0, "does not agree with its binding"},
		{"no tenant entry", remove(keyTenant("tenant1", 5)), 5, "index"},
		{"a wrong tenant entry", set(keyTenant("tenant1", 5), []byte(u64(1))), 5, "index"},
		{"no time entry", remove(keyTime(time.Date(2026, 11, 23, 9, 0, 4, 0, time.UTC), 5)), 5, "index"},
		{"no command entry", remove(keyCommand("tenant1", "command 5")), 5, "index"},
		{"a wrong command entry", set(keyCommand("tenant1", "command 5"), []byte(u64(2))), 5, "index"},
		{"half a command entry", set(keyCommand("tenant1", "command 5"), []byte("x")), 5, "index"},
		{"a command nobody gave", set(keyCommand("tenant1", "command 0"), []byte(u64(5))), 0, "index"},
		{"a tenant entry too many", set(keyTenant("tenant9", 5), []byte(u64(1))), 0, "index"},
		{"a time entry too many", set(keyTime(time.Unix(1, 0), 5), nil), 0, "index"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs := vfs.NewMem()
			want := fill(t, fs, n)
			tamper(t, fs, func(db *pebble.DB) error { return c.change(t, db) })
			at, _, err := corruptAt(t, fs, want)
			if c.words == "" {
				if err != nil {
					t.Errorf("%v", err) // harmless: no reader looks there
				}
				return
			}
			if err == nil || at != c.at || !strings.Contains(err.Error(), c.words) {
				t.Errorf("%v, want %q at %d", err, c.words, c.at)
			}
		})
	}
}

// TestFileFlips flips bits anywhere in the files of a closed log. The log must
// fail to open, or report the damage, or be unaffected.
//
// Some of the logs are in Pebble's tables, some in the write-ahead log, where
// Pebble treats damage near the end as a write that was cut short.
func TestFileFlips(t *testing.T) {
	t.Parallel()
	const n = 400
	rng := rand.New(rand.NewPCG(1, 1))
	outcomes := map[string]int{}
	for _, flushed := range []bool{true, false} {
		whole := vfs.NewMem()
		want := fill(t, whole, n)
		if !flushed {
			want = addUnflushed(t, whole, want, n)
		}
		for range soak(8, 1000) {
			fs := vfs.NewMem()
			if _, err := vfs.Clone(whole, fs, testDir, testDir); err != nil {
				t.Fatal(err)
			}
			name := flipSomewhere(t, fs, rng)
			at, length, err := corruptAt(t, fs, want)
			switch {
			case err == nil && length == len(want):
				outcomes["not affected"]++
			case err == nil:
				t.Fatalf("%s: %d of %d commits", name, length, len(want))
			case at == 0:
				outcomes["refused"]++
			default:
				outcomes["named"]++
			}
		}
	}
	t.Log(outcomes)
	if outcomes["refused"] == 0 || outcomes["named"] == 0 {
		t.Error("too few flips changed anything")
	}
}

// addUnflushed appends commits that stay in the write-ahead log.
func addUnflushed(t *testing.T, fs vfs.FS, want []events.Commit, n int) []events.Commit {
	t.Helper()
	l, err := Open(Config{Dir: testDir, FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		c := nthCommit(len(want))
		if err := l.Append(t.Context(), events.Position(len(want)), c); err != nil {
			t.Fatal(err)
		}
		want = append(want, *c)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return want
}

func soak(short, long int) int {
	if os.Getenv("POSTERN_SOAK") == "1" {
		return long
	}
	return short
}

// flipSomewhere flips one bit of the log's files and returns the file's name.
func flipSomewhere(t *testing.T, fs vfs.FS, rng *rand.Rand) string {
	t.Helper()
	return flipIn(t, fs, rng, testDir)
}

// flipIn flips one bit of the files in a folder.
func flipIn(t *testing.T, fs vfs.FS, rng *rand.Rand, dir string) string {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	var total int64
	ends := make([]int64, len(names))
	for i, name := range names {
		info, err := fs.Stat(path.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
		ends[i] = total
	}
	at := rng.Int64N(total)
	i, _ := slices.BinarySearch(ends, at+1)
	name := path.Join(dir, names[i])
	data := fileData(t, fs, name)
	data[int64(len(data))-(ends[i]-at)] ^= 1 << rng.IntN(8)
	setFile(t, fs, name, data)
	return name
}

// TestCutOff truncates the write-ahead log at every possible place. Pebble
// opens the rest; the log must refuse to open, unless nothing is missing.
func TestCutOff(t *testing.T) {
	whole := vfs.NewMem()
	want := addUnflushed(t, whole, fill(t, whole, 20), 30)
	name := newestWAL(t, whole)
	size := len(fileData(t, whole, name))
	rng := rand.New(rand.NewPCG(1, 1))
	for range soak(40, 1000) {
		keep := rng.IntN(size)
		fs := vfs.NewMem()
		if _, err := vfs.Clone(whole, fs, testDir, testDir); err != nil {
			t.Fatal(err)
		}
		setFile(t, fs, name, fileData(t, whole, name)[:keep])
		_, length, err := corruptAt(t, fs, want)
		if err == nil && length == len(want) {
			continue // only Pebble's own end mark is cut off
		}
		if !errors.Is(err, errShorter) || position(err) <= 20 || position(err) > 50 {
			t.Fatalf("cut to %d of %d bytes: %d commits, %v", keep, size, length, err)
		}
		if second, err := Open(Config{Dir: testDir, FS: fs}); err == nil {
			second.Close()
			t.Fatalf("cut to %d of %d bytes: it opens to write", keep, size)
		}
		// An operator decides to continue without the missing part.
		if err := fs.Remove(path.Join(testDir, highWaterName)); err != nil {
			t.Fatal(err)
		}
		if at, length, err := corruptAt(t, fs, want); err != nil || length < 20 {
			t.Fatalf("cut to %d of %d bytes, no high-water mark: %d commits, corrupt at %d, %v", keep, size, length, at, err)
		}
	}
}

func TestHighWater(t *testing.T) {
	whole := vfs.NewMem()
	want := fill(t, whole, 9)
	other := vfs.NewMem()
	fill(t, other, 9)
	name := path.Join(testDir, highWaterName)
	data := fileData(t, whole, name)
	damaged := func(places ...int) []byte {
		b := bytes.Clone(data)
		for _, at := range places {
			b[at] ^= 1
		}
		return b
	}
	for _, c := range []struct {
		what  string
		data  []byte
		words string // in the error; empty: no error
	}{
		{"as it is", data, ""},
		{"one place damaged", damaged(5), ""},
		{"the other place damaged", damaged(placeStep + 70), ""},
		{"both damaged", damaged(5, placeStep+70), "damaged"},
		{"cut", data[:100], "damaged"},
		{"empty", nil, ""},
		{"another log's", fileData(t, other, name), "another log"},
	} {
		fs := vfs.NewMem()
		if _, err := vfs.Clone(whole, fs, testDir, testDir); err != nil {
			t.Fatal(err)
		}
		setFile(t, fs, name, c.data)
		_, length, err := corruptAt(t, fs, want)
		switch {
		case c.words == "" && (err != nil || length != len(want)):
			t.Errorf("%s: %d commits, %v", c.what, length, err)
		case c.words != "" && (err == nil || !strings.Contains(err.Error(), c.words)):
			t.Errorf("%s: %v", c.what, err)
		}
	}
	// An older log with the same id and length, and with another valid chain.
	fork := vfs.NewMem()
	if _, err := vfs.Clone(whole, fork, testDir, testDir); err != nil {
		t.Fatal(err)
	}
	for fs, reason := range map[*vfs.MemFS]string{whole: "one", fork: "two"} {
		l, err := Open(Config{Dir: testDir, FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		c := nthCommit(9)
		c.Reason = reason
		if err := errors.Join(l.Append(t.Context(), 9, c), l.Close()); err != nil {
			t.Fatal(err)
		}
	}
	setFile(t, fork, name, fileData(t, whole, name))
	if at, _, err := corruptAt(t, fork, want); at != 10 || !errors.Is(err, errChain) {
		t.Errorf("a fork: %v", err)
	}
}

func newestWAL(t *testing.T, fs vfs.FS) string {
	t.Helper()
	names, err := fs.List(testDir)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	slices.Reverse(names)
	for _, name := range names {
		if strings.HasSuffix(name, ".log") && len(fileData(t, fs, path.Join(testDir, name))) > 0 {
			return path.Join(testDir, name)
		}
	}
	t.Fatal("no write-ahead log")
	return ""
}

func fileData(t *testing.T, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return data
}

func setFile(t *testing.T, fs vfs.FS, name string, data []byte) {
	t.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(bytes.Clone(data)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}
