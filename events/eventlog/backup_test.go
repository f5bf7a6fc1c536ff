package eventlog

import (
	"context"
	"errors"
	"math/rand/v2"
	"path"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-im/postern/events"
)

func quiet(string, uint64, uint64) {}

func readWhole(t *testing.T, l *Log) []events.Commit {
	t.Helper()
	var got []events.Commit
	if err := l.Read(t.Context(), 1, func(c *events.Commit) error { got = append(got, c.Clone()); return nil }); err != nil {
		t.Fatal(err)
	}
	return got
}

// TestBackup backs up a log while it is written to and restores the backup. It
// then appends to the restored log, backs that up, and restores once more.
func TestBackup(t *testing.T) {
	fs := vfs.NewMem()
	fill(t, fs, 200)
	l := reopened(t, fs)
	if err := l.WriteSnapshot(t.Context(), 150, writeContent(content(150, snapshotSize))); err != nil {
		t.Fatal(err)
	}
	var appending sync.WaitGroup
	begun, stop := make(chan struct{}), make(chan struct{})
	appending.Go(func() {
		for i := 200; ; i++ {
			if err := l.Append(context.Background(), events.Position(i), nthCommit(i)); err != nil {
				t.Error(err)
				return
			}
			if i == 210 {
				close(begun)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	<-begun
	var steps []string
	b, err := l.Backup(t.Context(), "backups/one", func(step string, done, all uint64) {
		if done > all {
			t.Errorf("%s: %d of %d", step, done, all)
		}
		steps = append(steps, step)
	})
	close(stop)
	appending.Wait()
	if err != nil {
		t.Fatal(err)
	}
	want := readWhole(t, l)[:b.Position]
	if b.Position < 210 || b.LogID != l.LogID() || !slices.Contains(steps, "verifying") {
		t.Errorf("%+v, %v", b, steps)
	}
	if _, err := l.Backup(t.Context(), "backups/one", quiet); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("backup over a backup: %v", err)
	}
	ids := []string{l.LogID()}
	from := "backups/one"
	for _, dir := range []string{"a/log", "b/log"} {
		if _, _, err := Restore(t.Context(), from, Config{Dir: dir, FS: fs}, quiet); err != nil {
			t.Fatal(err)
		}
		r, err := Open(Config{Dir: dir, FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		if got := readWhole(t, r); !reflect.DeepEqual(got, want) {
			t.Fatalf("got %d commits, want these %d", len(got), len(want))
		}
		if slices.Contains(ids, r.LogID()) {
			t.Errorf("the restored log has the old id %s", r.LogID())
		}
		ids = append(ids, r.LogID())
		origins := r.Origins()
		if len(origins) != len(ids)-1 {
			t.Fatalf("origins %+v", origins)
		}
		for i, o := range origins {
			if o.LogID != ids[i] || o.Time.IsZero() || o.Hash != events.Hash(events.AppendCommit(nil, &want[o.Position-1])) {
				t.Errorf("origin %d: %+v", i, o)
			}
		}
		if at := newestSnapshot(t, r, 1<<60, snapshotSize); at != 0 {
			t.Errorf("a snapshot of another log is used: %d", at)
		}
		c := nthCommit(len(want))
		c.Reason = dir
		if err := r.Append(t.Context(), events.Position(len(want)), c); err != nil {
			t.Fatal(err)
		}
		want = append(want, *c)
		if err := r.Verify(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Restore(t.Context(), from, Config{Dir: dir, FS: fs}, quiet); !errors.Is(err, ErrNotEmpty) {
			t.Errorf("restore over a log: %v", err)
		}
		from = path.Join("backups", path.Dir(dir))
		if _, err := r.Backup(t.Context(), from, quiet); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBackupCalledOff: a cancelled backup or restore leaves no backup and no
// log.
func TestBackupCalledOff(t *testing.T) {
	fs := vfs.NewMem()
	fill(t, fs, 30)
	l := reopened(t, fs)
	for _, step := range []string{"copying", "verifying"} {
		ctx, cancel := context.WithCancel(t.Context())
		off := func(s string, _, _ uint64) {
			if s == step {
				cancel()
			}
		}
		if _, err := l.Backup(ctx, "backup", off); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", step, err)
		}
		if _, err := ReadBackup(fs, "backup"); err == nil {
			t.Errorf("%s: a backup is left", step)
		}
	}
	if _, err := l.Backup(t.Context(), "backup", quiet); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, _, err := Restore(ctx, "backup", Config{Dir: "new/log", FS: fs}, func(string, uint64, uint64) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("restore: %v", err)
	}
	if names, _ := fs.List("new"); len(names) != 0 {
		t.Errorf("left behind: %v", names)
	}
}

// TestDamagedLogIsNoBackup: damage to the log is found when the copy is read
// back.
func TestDamagedLogIsNoBackup(t *testing.T) {
	fs := vfs.NewMem()
	fill(t, fs, 30)
	l := reopened(t, fs)
	record := value(t, l.db, keyCommit(12))
	record[len(record)-3] ^= 1
	if err := l.db.Set([]byte(keyCommit(12)), record, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Backup(t.Context(), "backup", quiet); position(err) != 12 {
		t.Errorf("%v", err)
	}
	if _, err := ReadBackup(fs, "backup"); err == nil {
		t.Error("a backup is left")
	}
}

// TestBackupFlips flips bits anywhere in a backup. The backup is then refused,
// or the flip changed nothing.
func TestBackupFlips(t *testing.T) {
	t.Parallel()
	whole := vfs.NewMem()
	want := fill(t, whole, 300)
	l := reopened(t, whole)
	if _, err := l.Backup(t.Context(), "backup", quiet); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(3, 3))
	outcomes := map[string]int{}
	for range soak(40, 1000) {
		fs := vfs.NewMem()
		if _, err := vfs.Clone(whole, fs, "backup", testDir); err != nil {
			t.Fatal(err)
		}
		var name string
		if rng.IntN(5) == 0 {
			name = path.Join(testDir, backupName)
			data := fileData(t, fs, name)
			data[rng.IntN(len(data))] ^= 1 << rng.IntN(8)
			setFile(t, fs, name, data)
		} else {
			name = flipIn(t, fs, rng, path.Join(testDir, backupLog))
		}
		_, _, err := Restore(t.Context(), testDir, Config{Dir: "new/log", FS: fs}, quiet)
		if err != nil {
			outcomes["refused"]++
			if names, _ := fs.List("new"); len(names) != 0 {
				t.Fatalf("%s: %v, and yet there is %v", name, err, names)
			}
			continue
		}
		outcomes["not affected"]++
		r, err := Open(Config{Dir: "new/log", FS: fs})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := readWhole(t, r); !reflect.DeepEqual(got, want) {
			t.Fatalf("%s: %d commits of %d, or others", name, len(got), len(want))
		}
		if err := errors.Join(r.Verify(t.Context()), r.Close()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	t.Log(outcomes)
	if outcomes["refused"] == 0 {
		t.Error("too few flips changed anything")
	}
}

// A fullFile is a file on a full disk.
type fullFile struct{ vfs.File }

func (fullFile) WriteAt([]byte, int64) (int, error) { return 0, errors.New("no space left") }

// TestBackupOfFailed: a log in which it is unknown whether the last append is
// durable refuses a backup at once.
func TestBackupOfFailed(t *testing.T) {
	fs := vfs.NewMem()
	fill(t, fs, 9)
	l := reopened(t, fs)
	l.highWater.file = fullFile{l.highWater.file} // the record is in the log by then
	if err := l.Append(t.Context(), 9, nthCommit(9)); !errors.Is(err, events.ErrFailed) {
		t.Fatal(err)
	}
	if _, err := l.Backup(t.Context(), "backup", quiet); !errors.Is(err, events.ErrFailed) {
		t.Errorf("%v", err)
	}
	if _, err := ReadBackup(fs, "backup"); err == nil {
		t.Error("a backup is left")
	}
}

func TestNoBackup(t *testing.T) {
	fs := vfs.NewMem()
	if err := fs.MkdirAll("empty", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Restore(t.Context(), "empty", Config{Dir: testDir, FS: fs}, quiet); err == nil || !strings.Contains(err.Error(), "not a backup") {
		t.Errorf("%v", err)
	}
	setFile(t, fs, "empty/BACKUP", []byte(`{"format": 2}`))
	if _, _, err := Restore(t.Context(), "empty", Config{Dir: testDir, FS: fs}, quiet); err == nil || !strings.Contains(err.Error(), "format 2") {
		t.Errorf("%v", err)
	}
}
