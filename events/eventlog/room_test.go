package eventlog_test

import (
	"errors"
	"io"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
)

// TestRoom: nothing is written on a disk that is nearly full, but the log has
// not failed. The same append succeeds once there is room.
func TestRoom(t *testing.T) {
	mem := vfs.NewMem()
	disk := newDisk(mem)
	l, err := eventlog.Open(eventlog.Config{Dir: "log", FS: disk})
	if err != nil {
		t.Fatal(err)
	}
	free := func(bytes uint64) {
		mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: bytes, TotalBytes: 1 << 40})
	}
	appended := func(n int) error { return l.Append(t.Context(), events.Position(n-1), testCommit(n)) }
	snapshot := func(at events.Position) error {
		return l.WriteSnapshot(t.Context(), at, func(w io.Writer) error { _, err := w.Write([]byte("view")); return err })
	}
	if err := appended(1); err != nil {
		t.Fatalf("the file system does not tell what is free: %v", err)
	}
	before := disk.operations()
	free(64 << 20)
	if err := appended(2); !errors.Is(err, events.ErrNoRoom) || errors.Is(err, events.ErrFailed) {
		t.Errorf("append: %v", err)
	}
	free(64<<20 - 1)
	if err := snapshot(1); !errors.Is(err, events.ErrNoRoom) {
		t.Errorf("snapshot: %v", err)
	}
	if n := disk.operations() - before; n > 0 {
		t.Errorf("%d operations on a full disk", n)
	}
	free(255 << 20)
	if err := snapshot(1); !errors.Is(err, events.ErrNoRoom) {
		t.Errorf("snapshot: %v", err)
	}
	if err := appended(2); err != nil {
		t.Errorf("append beside a snapshot's reserve: %v", err)
	}
	free(257 << 20)
	if err := errors.Join(snapshot(2), appended(3)); err != nil {
		t.Errorf("there is room: %v", err)
	}
	free(0)
	if err := l.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if l, err = eventlog.Open(eventlog.Config{Dir: "log", FS: disk, Existing: true}); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if head, _ := l.Head(); head != 3 {
		t.Errorf("head %d", head)
	}
}

// TestRoomGoesMeanwhile: if a snapshot cannot be finished, the earlier snapshot
// stays and no chunk of the new one is left. If the process was killed meanwhile,
// the next snapshot deletes the chunks first, even if there is no room for it.
func TestRoomGoesMeanwhile(t *testing.T) {
	mem := vfs.NewCrashableMem()
	l, err := eventlog.Open(eventlog.Config{Dir: "log", FS: mem})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for n := 1; n <= 3; n++ {
		if err := l.Append(t.Context(), events.Position(n-1), testCommit(n)); err != nil {
			t.Fatal(err)
		}
	}
	free := func(fs *vfs.MemFS, bytes uint64) {
		fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: bytes, TotalBytes: 1 << 40})
	}
	write := func(each func(n int) error) func(io.Writer) error {
		return func(w io.Writer) error {
			for n := range 5 {
				if err := each(n); err != nil {
					return err
				}
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					return err
				}
			}
			return nil
		}
	}
	if err := l.WriteSnapshot(t.Context(), 1, write(func(int) error { return nil })); err != nil {
		t.Fatal(err)
	}
	whole := chunks(t, l)
	check := func(l *eventlog.Log, when string) {
		t.Helper()
		if n := chunks(t, l); n != whole {
			t.Errorf("%s: %d chunks, want %d", when, n, whole)
		}
		at, r, found, err := l.Snapshot(t.Context(), 3)
		if err != nil || !found || at != 1 {
			t.Fatalf("%s: the snapshot at %d, %v, %v", when, at, found, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	err = l.WriteSnapshot(t.Context(), 2, write(func(n int) error { free(mem, uint64(258-n)<<20); return nil }))
	if !errors.Is(err, events.ErrNoRoom) {
		t.Errorf("snapshot: %v", err)
	}
	check(l, "the room has gone")
	free(mem, 1<<30)
	var killed *vfs.MemFS
	broken := errors.New("cannot encode")
	err = l.WriteSnapshot(t.Context(), 2, write(func(n int) error {
		if n < 4 {
			return nil
		}
		killed = mem.CrashClone(vfs.CrashCloneCfg{})
		return broken
	}))
	if err != broken {
		t.Errorf("snapshot: %v", err)
	}
	check(l, "the writing has failed")

	again, err := eventlog.Open(eventlog.Config{Dir: "log", FS: killed, Existing: true})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if n := chunks(t, again); n <= whole {
		t.Fatalf("%d chunks after a kill: the kill came too early", n)
	}
	free(killed, 255<<20)
	if err := again.WriteSnapshot(t.Context(), 3, write(nil)); !errors.Is(err, events.ErrNoRoom) {
		t.Errorf("snapshot: %v", err)
	}
	check(again, "killed meanwhile")
}

func chunks(t *testing.T, l *eventlog.Log) int {
	t.Helper()
	n, err := l.Chunks()
	if err != nil {
		t.Fatal(err)
	}
	return n
}
