package eventlog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
)

const backupDir = "backups/one"

func ignore(string, uint64, uint64) {}

// snapshotAt is the content of the snapshot at a position: two chunks.
func snapshotAt(p events.Position) []byte {
	return bytes.Repeat([]byte(fmt.Sprintf("%08d", p)), 40_000)
}

func writeSnapshotAt(l *eventlog.Log, p events.Position) error {
	return l.WriteSnapshot(context.Background(), p, func(w io.Writer) error {
		_, err := w.Write(snapshotAt(p))
		return err
	})
}

// readSnapshot returns the position of the newest snapshot. It returns an error
// if the content differs from the content written.
func readSnapshot(l *eventlog.Log, atMost events.Position) (events.Position, error) {
	at, r, found, err := l.Snapshot(context.Background(), atMost)
	if err != nil || !found {
		return 0, err
	}
	got, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return 0, err
	}
	if !bytes.Equal(got, snapshotAt(at)) {
		return 0, errWrong
	}
	return at, nil
}

var errWrong = errors.New("a wrong answer")

// WriteSnapshot writes a snapshot.
func (s *Server) WriteSnapshot(p events.Position, a *Answer) error {
	return a.set(writeSnapshotAt(s.log, p))
}

// Snapshot reads the newest snapshot.
func (s *Server) Snapshot(_ struct{}, a *Answer) (err error) {
	a.Head, err = readSnapshot(s.log, 1<<60)
	return a.set(err)
}

// Backup backs up the log.
func (s *Server) Backup(_ struct{}, a *Answer) error {
	b, err := s.log.Backup(context.Background(), backupDir, ignore)
	a.Head = b.Position
	return a.set(err)
}

// Restore restores the backup.
func (s *Server) Restore(b Boot, a *Answer) error {
	c, err := s.prepare(b)
	if err != nil {
		return err
	}
	_, _, err = eventlog.Restore(context.Background(), backupDir, c, ignore)
	return a.set(err)
}

// A keeping is the life of a process that appends, writes a snapshot, reads it
// and backs up, on a disk that may fail.
type keeping struct {
	errorRun
	snapshot, backup events.Position // acknowledged; zero: none
}

// ask makes a request to the process and reports whether it succeeded.
func (k *keeping) ask(t *testing.T, method string, in any) (a Answer, done bool) {
	err := k.process.child.call(method, in, &a)
	if err == errNoAnswer {
		t.Errorf("%s does not return", method)
	}
	if strings.Contains(a.Err, errWrong.Error()) || a.Corrupt != nil {
		t.Errorf("%s: %s", method, a.Err)
	}
	if err != nil || a.Err != "" {
		if k.outcome == "all well" {
			k.outcome = strings.TrimPrefix(method, "Server.") + " fails"
		}
		return a, false
	}
	return a, true
}

func (k *keeping) do(t *testing.T) {
	k.acknowledged, k.outcome = append([]events.Commit(nil), k.before...), "all well"
	l, err := k.process.Boot()
	if err != nil {
		if k.outcome = "open fails"; err == errNoAnswer {
			t.Error("open does not return")
		}
		return
	}
	k.append(t, 3)
	at := events.Position(len(k.acknowledged))
	if _, done := k.ask(t, "Server.WriteSnapshot", at); done {
		k.snapshot = at
	}
	k.append(t, 3)
	if a, done := k.ask(t, "Server.Snapshot", struct{}{}); done && a.Head < k.snapshot {
		t.Errorf("the newest snapshot is at %d, acknowledged is %d", a.Head, k.snapshot)
	}
	if a, done := k.ask(t, "Server.Backup", struct{}{}); done {
		if k.backup = a.Head; int(k.backup) < len(k.acknowledged) {
			t.Errorf("backed up to %d of %d", k.backup, len(k.acknowledged))
		}
	}
	if k.process.child.call("Server.Operations", struct{}{}, &k.operations) == nil {
		if err := l.Close(); err == errNoAnswer {
			t.Error("close does not return")
		}
	}
}

// append appends until an append fails.
func (k *keeping) append(t *testing.T, n int) {
	for range n {
		if k.unsure != nil {
			return
		}
		c := testCommit(len(k.acknowledged) + 1)
		err := k.process.child.Append(t.Context(), events.Position(len(k.acknowledged)), c)
		if err == errNoAnswer {
			t.Error("append does not return")
		}
		if err != nil {
			if k.unsure = c; k.outcome == "all well" {
				k.outcome = "append fails"
			}
			return
		}
		k.acknowledged = append(k.acknowledged, *c)
	}
}

// check checks what is left on the disk, without faults.
func (k *keeping) check(t *testing.T) {
	mem := vfs.NewCrashableMem()
	if err := writeFiles(mem, k.process.boot.Files); err != nil {
		t.Fatal(err)
	}
	checkKept(t, mem, k.snapshot, k.backup)
	k.errorRun.check(t)
}

// checkKept checks that each snapshot is whole, and the backup too if there is
// one, and that the acknowledged ones exist.
func checkKept(t *testing.T, fs vfs.FS, snapshot, backup events.Position) {
	t.Helper()
	l, err := eventlog.Open(eventlog.Config{Dir: "var/log", FS: fs})
	if err != nil {
		t.Errorf("on a whole machine: %v", err)
		return
	}
	defer l.Close()
	list, err := l.Snapshots()
	if err != nil || snapshot > 0 && (len(list) == 0 || list[0] < snapshot) {
		t.Errorf("snapshots at %v, %v; acknowledged is %d", list, err, snapshot)
	}
	for _, p := range list {
		if at, err := readSnapshot(l, p); at != p || err != nil {
			t.Errorf("the snapshot at %d: %d, %v", p, at, err)
		}
	}
	c, b, err := eventlog.OpenBackup(eventlog.Config{Dir: backupDir, FS: fs})
	if err != nil {
		if backup > 0 {
			t.Errorf("the backup: %v", err)
		}
		return
	}
	defer c.Close()
	copied, all := mustRead(t, c), mustRead(t, l)
	if b.Position < backup || len(copied) != int(b.Position) || len(copied) > len(all) || !reflect.DeepEqual(copied, all[:len(copied)]) {
		t.Errorf("the backup of %d holds %d commits; the log %d", b.Position, len(copied), len(all))
	}
	if err := c.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestEveryKeepingError is TestEveryDiskError for snapshots and backups.
func TestEveryKeepingError(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(5, 1))
	p := newProcess().(*process)
	l, err := p.Boot()
	if err != nil {
		t.Fatal(err)
	}
	appendMore(t, l, 10)
	before := mustRead(t, l)
	p.Crash(rng)
	files := p.boot.Files
	run := keeping{errorRun: errorRun{process: p, before: before}}
	run.do(t)
	p.Crash(rng)
	run.check(t)
	if run.outcome != "all well" || run.snapshot == 0 || run.backup == 0 {
		t.Fatal(run.outcome)
	}
	t.Logf("%d operations", run.operations)
	outcomes := map[string]int{}
	for at := range run.operations {
		for way := range 4 {
			if soak(rng.IntN(60), 0) != 0 {
				continue
			}
			f := DiskFault{At: at, Happened: way%2 == 1, All: way > 1}
			run := keeping{errorRun: errorRun{before: before, process: &process{
				boot: Boot{Files: files, Percent: keep(rng), Seed: rng.Uint64(), Fault: &f}}}}
			run.do(t)
			run.process.Crash(rng)
			run.check(t)
			if t.Failed() {
				t.Fatalf("%+v: %s", f, run.outcome)
			}
			outcomes[run.outcome]++
		}
	}
	t.Log(outcomes)
}

// backedUp returns the files of a disk that holds only a backup, and the
// backup's commits.
func backedUp(t *testing.T) (map[string][]byte, []events.Commit) {
	t.Helper()
	mem := vfs.NewCrashableMem()
	l, err := eventlog.Open(eventlog.Config{Dir: "var/log", FS: mem})
	if err != nil {
		t.Fatal(err)
	}
	appendMore(t, l, 10)
	want := mustRead(t, l)
	if _, err := l.Backup(t.Context(), backupDir, ignore); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := readFiles(mem)
	if err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(files, func(name string, _ []byte) bool { return strings.HasPrefix(name, "/var/log/") && name != "/var/log/" })
	return files, want
}

// checkRestored checks that a log is whole, or does not exist and can then be
// restored.
func checkRestored(t *testing.T, fs vfs.FS, want []events.Commit, acknowledged bool) string {
	t.Helper()
	names, err := fs.List("var/log")
	outcome := "complete"
	if err != nil || len(names) == 0 {
		if outcome = "nothing there"; acknowledged {
			t.Error("the restored log does not exist")
		}
		if _, _, err := eventlog.Restore(t.Context(), backupDir, eventlog.Config{Dir: "var/log", FS: fs}, ignore); err != nil {
			t.Errorf("restore again: %v", err)
			return outcome
		}
	}
	l, err := eventlog.Open(eventlog.Config{Dir: "var/log", FS: fs})
	if err != nil {
		t.Errorf("%s: %v", outcome, err)
		return outcome
	}
	defer l.Close()
	if got := mustRead(t, l); !reflect.DeepEqual(got, want) || len(l.Origins()) != 1 || l.Origins()[0].LogID == l.LogID() {
		t.Errorf("%s: %d commits of %d, origins %+v", outcome, len(got), len(want), l.Origins())
	}
	if err := l.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	return outcome
}

// TestEveryRestoreError makes each operation of a restore fail in turn.
func TestEveryRestoreError(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(6, 1))
	files, want := backedUp(t)
	try := func(f *DiskFault) (operations int, outcome string) {
		c, err := start()
		if err != nil {
			t.Fatal(err)
		}
		var a Answer
		err = c.call("Server.Restore", Boot{Files: files, Percent: keep(rng), Seed: rng.Uint64(), Fault: f}, &a)
		if err == errNoAnswer {
			t.Error("restore does not return")
		}
		if c.call("Server.Operations", struct{}{}, &operations) != nil {
			operations = 0 // the process has ended
		}
		left := c.kill()
		if left == nil {
			left = files
		}
		mem := vfs.NewCrashableMem()
		if err := writeFiles(mem, left); err != nil {
			t.Fatal(err)
		}
		done := err == nil && a.Err == ""
		return operations, fmt.Sprintf("done %v, %s", done, checkRestored(t, mem, want, done))
	}
	all, outcome := try(nil)
	if outcome != "done true, complete" {
		t.Fatal(outcome)
	}
	t.Logf("%d operations", all)
	outcomes := map[string]int{}
	for at := range all {
		for way := range 4 {
			if soak(rng.IntN(60), 0) != 0 {
				continue
			}
			f := DiskFault{At: at, Happened: way%2 == 1, All: way > 1}
			_, outcome := try(&f)
			if t.Failed() {
				t.Fatalf("%+v: %s", f, outcome)
			}
			outcomes[outcome]++
		}
	}
	t.Log(outcomes)
}

// cuts keeps, at some of a disk's operations, the content that a power cut
// would leave.
func cuts(d *disk, rng *rand.Rand, each int) (left func() []*vfs.MemFS) {
	var list []*vfs.MemFS
	gate := make(chan struct{}, 1) // Pebble's goroutines call it too, also after the next cuts
	rng = rand.New(rand.NewPCG(rng.Uint64(), 0))
	d.each(func() {
		gate <- struct{}{}
		defer func() { <-gate }()
		if rng.IntN(each) == 0 {
			list = append(list, d.afterCrash(keep(rng), rng.Uint64()))
		}
	})
	return func() []*vfs.MemFS {
		gate <- struct{}{}
		defer func() { <-gate }()
		return list
	}
}

// TestPowerCutsWhileCopying simulates power cuts during backups and restores.
func TestPowerCutsWhileCopying(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(7, 1))
	cases := 0
	for range soak(1, 20) {
		mem := vfs.NewCrashableMem()
		d := newDisk(mem)
		l, err := eventlog.Open(eventlog.Config{Dir: "var/log", FS: d})
		if err != nil {
			t.Fatal(err)
		}
		appendMore(t, l, 10)
		if err := writeSnapshotAt(l, 7); err != nil {
			t.Fatal(err)
		}
		left := cuts(d, rng, soak(4, 1))
		if _, err := l.Backup(t.Context(), backupDir, ignore); err != nil {
			t.Fatal(err)
		}
		after := d.afterCrash(0, 1)
		for _, fs := range left() {
			checkKept(t, fs, 7, 0)
			cases++
		}
		checkKept(t, after, 7, 10)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}

		files, want := backedUp(t)
		mem = vfs.NewCrashableMem()
		if err := writeFiles(mem, files); err != nil {
			t.Fatal(err)
		}
		d = newDisk(mem)
		left = cuts(d, rng, soak(4, 1))
		if _, _, err := eventlog.Restore(t.Context(), backupDir, eventlog.Config{Dir: "var/log", FS: d}, ignore); err != nil {
			t.Fatal(err)
		}
		outcomes := map[string]int{}
		for _, fs := range left() {
			outcomes[checkRestored(t, fs, want, false)]++
			cases++
		}
		checkRestored(t, d.afterCrash(0, 1), want, true)
		if t.Failed() {
			t.Fatal(outcomes)
		}
	}
	t.Logf("%d power cuts", cases)
}
