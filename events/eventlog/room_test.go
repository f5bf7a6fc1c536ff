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
	free(255 << 20)
	if err := snapshot(1); !errors.Is(err, events.ErrNoRoom) {
		t.Errorf("snapshot: %v", err)
	}
	if n := disk.operations() - before; n > 0 {
		t.Errorf("%d operations on a full disk", n)
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

// TestRoomGoesMeanwhile: a snapshot that would use its reserve is abandoned,
// and the earlier snapshot stays.
func TestRoomGoesMeanwhile(t *testing.T) {
	mem := vfs.NewMem()
	l, err := eventlog.Open(eventlog.Config{Dir: "log", FS: mem})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for n := 1; n <= 2; n++ {
		if err := l.Append(t.Context(), events.Position(n-1), testCommit(n)); err != nil {
			t.Fatal(err)
		}
	}
	write := func(chunks int, each func()) func(io.Writer) error {
		return func(w io.Writer) error {
			for range chunks {
				each()
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					return err
				}
			}
			return nil
		}
	}
	if err := l.WriteSnapshot(t.Context(), 1, write(1, func() {})); err != nil {
		t.Fatal(err)
	}
	left := uint64(258 << 20)
	err = l.WriteSnapshot(t.Context(), 2, write(5, func() {
		mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: left, TotalBytes: 1 << 40})
		left -= 1 << 20
	}))
	if !errors.Is(err, events.ErrNoRoom) {
		t.Errorf("snapshot: %v", err)
	}
	at, r, found, err := l.Snapshot(t.Context(), 2)
	if err != nil || !found || at != 1 {
		t.Fatalf("the snapshot at %d, %v, %v", at, found, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}
