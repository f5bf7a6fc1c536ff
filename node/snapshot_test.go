package node_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/node"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/tenants"
)

// openOn opens the log on a file system until the end of the test or Close.
func openOn(t *testing.T, fs vfs.FS) *eventlog.Log {
	t.Helper()
	l, err := eventlog.Open(eventlog.Config{Dir: "log", FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// startSnapshots runs a node that writes a snapshot every few commits.
func startSnapshots(t *testing.T, l node.Log, id string, s node.Snapshots) *rig {
	t.Helper()
	return run(t, node.Config{Log: l, LogID: id, Snapshots: s, SnapshotEvery: 5})
}

// A readFrom is a log that keeps the positions from which it was read.
type readFrom struct {
	*eventlog.Log

	mu   sync.Mutex
	from []events.Position
}

func (l *readFrom) Read(ctx context.Context, from events.Position, fn func(*events.Commit) error) error {
	l.mu.Lock()
	l.from = append(l.from, from)
	l.mu.Unlock()
	return l.Log.Read(ctx, from, fn)
}

func (l *readFrom) began(p events.Position) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, from := range l.from {
		if from == p {
			return true
		}
	}
	return false
}

// rebuilt folds a log from position 1.
func rebuilt(t *testing.T, l node.Log) *projections.View {
	t.Helper()
	b := projections.NewBuilder()
	if err := l.Read(t.Context(), 1, b.Apply); err != nil {
		t.Fatal(err)
	}
	return b.View()
}

// members sets the roles of members n to m-1.
func (r *rig) members(n, m int) {
	r.t.Helper()
	for i := n; i < m; i++ {
		r.do("acme", fmt.Sprint("member-", i), tenants.SetMemberRoles{JID: fmt.Sprintf("m%d@acme.test", i), Role: "lab:mute"})
	}
}

// grown runs a node until its log has 22 commits and two snapshots at positions that
// the node chose. It returns these positions.
func grown(t *testing.T, fs vfs.FS) []events.Position {
	t.Helper()
	l := openOn(t, fs)
	r := startSnapshots(t, l, l.LogID(), l).ready()
	r.tenants()
	r.members(0, 12)
	until(t, "a snapshot", func() bool { list, err := l.Snapshots(); return err == nil && len(list) > 0 && list[0] >= 10 })
	r.members(12, 20)
	until(t, "the last snapshot", func() bool { list, err := l.Snapshots(); return err == nil && list[0] > 22-5 })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	list, err := l.Snapshots()
	if err != nil || len(list) != 2 {
		t.Fatalf("snapshots at %v, %v", list, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return list
}

// TestStartFromSnapshot: a start reads the newest snapshot and the commits after it,
// and skips an invalid snapshot. The View is always equal to a rebuilt one.
func TestStartFromSnapshot(t *testing.T) {
	fs := vfs.NewMem()
	list := grown(t, fs)
	for _, c := range []struct {
		name  string
		spoil func(l *eventlog.Log) error
		from  events.Position // where the fold begins
	}{
		{"as it is", func(*eventlog.Log) error { return nil }, list[0] + 1},
		{"the newest is not a View", func(l *eventlog.Log) error {
			return l.WriteSnapshot(t.Context(), list[0], func(w io.Writer) error { _, err := w.Write([]byte("nonsense")); return err })
		}, list[1] + 1},
		{"the newest holds another position", func(l *eventlog.Log) error {
			return l.WriteSnapshot(t.Context(), list[0], projections.New().Encode)
		}, list[1] + 1},
		{"none is a View", func(l *eventlog.Log) error {
			nothing := func(io.Writer) error { return nil }
			return errors.Join(l.WriteSnapshot(t.Context(), list[0], nothing), l.WriteSnapshot(t.Context(), list[1], nothing))
		}, 1},
	} {
		l := openOn(t, fs)
		if err := c.spoil(l); err != nil {
			t.Fatal(err)
		}
		log := &readFrom{Log: l}
		r := startSnapshots(t, log, l.LogID(), l).ready()
		if !log.began(c.from) {
			t.Errorf("%s: read from %v, want %d", c.name, log.from, c.from)
		}
		if r.View().Hash() != rebuilt(t, l).Hash() {
			t.Errorf("%s: the View differs from that of a rebuild", c.name)
		}
		if v := r.ask("acme", "m3@acme.test", "carol@acme.test", uint64(r.View().Position())); v.Effect != decision.Refuse {
			t.Errorf("%s: %+v", c.name, v)
		}
		if c.from == 1 {
			// The node writes valid snapshots again.
			r.members(100, 106)
			until(t, "a snapshot", func() bool { list, err := l.Snapshots(); return err == nil && len(list) > 0 && list[0] > 22 })
		} else {
			until(t, "the past to be checked", func() bool { return log.began(1) })
		}
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDamageBeforeSnapshot: a record before the snapshot is damaged. The start does
// not read it, but the check in the background finds it and stops the node deciding.
func TestDamageBeforeSnapshot(t *testing.T) {
	fs := vfs.NewMem()
	grown(t, fs)
	db, err := pebble.Open("log", &pebble.Options{FS: fs, Logger: silent{}})
	if err != nil {
		t.Fatal(err)
	}
	key := binary.BigEndian.AppendUint64([]byte("e|"), 7)
	v, closer, err := db.Get(key)
	if err != nil {
		t.Fatal(err)
	}
	bad := strings.Replace(string(v), "m4@acme", "m5@acme", 1)
	if bad == string(v) {
		t.Fatal("the record does not hold the expected account")
	}
	if err := errors.Join(closer.Close(), db.Set(key, []byte(bad), pebble.Sync), db.Close()); err != nil {
		t.Fatal(err)
	}
	l := openOn(t, fs)
	r := startSnapshots(t, l, l.LogID(), l)
	until(t, "the node to fail", func() bool { return r.Failure() != nil })
	if corrupt, ok := errors.AsType[*events.CorruptError](r.Failure()); !ok || corrupt.Position != 7 {
		t.Errorf("%v", r.Failure())
	}
	if reply := r.answer(decision.Mark{}, chat(t, "acme", "m3@acme.test", "carol@acme.test", 1)); reply.Status != decision.StatusNotFresh {
		t.Errorf("%+v", reply)
	}
}

// noSnapshots fails to write and to read snapshots.
type noSnapshots struct{ *eventlog.Log }

var errNoSpace = errors.New("no space left")

func (noSnapshots) WriteSnapshot(context.Context, events.Position, func(io.Writer) error) error {
	return errNoSpace
}

func (noSnapshots) Snapshot(context.Context, events.Position) (events.Position, io.ReadCloser, bool, error) {
	return 0, nil, false, errNoSpace
}

// TestNoSnapshots: a node whose snapshots fail starts, decides and stops normally.
func TestNoSnapshots(t *testing.T) {
	l := openOn(t, vfs.NewMem())
	for range 2 {
		r := startSnapshots(t, l, l.LogID(), noSnapshots{l}).ready()
		if head, _ := l.Head(); head == 0 {
			r.tenants()
			r.members(0, 20)
		}
		if v := r.ask("acme", "m3@acme.test", "carol@acme.test", r.State().At.Position); v.Effect != decision.Refuse {
			t.Errorf("%+v", v)
		}
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	}
}

// calledOff delays the writing of the first snapshot until the node ends.
type calledOff struct {
	*eventlog.Log
	once  sync.Once
	begun chan struct{}
}

func (s *calledOff) WriteSnapshot(ctx context.Context, at events.Position, write func(io.Writer) error) error {
	first := false
	s.once.Do(func() { first = true; close(s.begun) })
	if first {
		<-ctx.Done()
		return ctx.Err()
	}
	return s.Log.WriteSnapshot(ctx, at, write)
}

// TestSnapshotCalledOff: if the end of the node interrupts the writing of a snapshot,
// the node writes it again before it ends.
func TestSnapshotCalledOff(t *testing.T) {
	l := openOn(t, vfs.NewMem())
	s := &calledOff{Log: l, begun: make(chan struct{})}
	r := startSnapshots(t, l, l.LogID(), s).ready()
	r.tenants()
	r.members(0, 3)
	<-s.begun
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	head, _ := l.Head()
	if list, err := l.Snapshots(); err != nil || len(list) != 1 || list[0] != head {
		t.Errorf("snapshots at %v, %v; the head is at %d", list, err, head)
	}
}

// TestTimesNeverGoBack: after the clock was set back, a commit has the time of the
// commit before it.
func TestTimesNeverGoBack(t *testing.T) {
	l := openOn(t, vfs.NewMem())
	future := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	c := &events.Commit{
		Tenant: "later", TenantVersion: 1, Time: future, Actor: "operator:root", CommandID: "create",
		Events: []events.Event{events.TenantCreated{}},
	}
	if err := l.Append(t.Context(), 0, c); err != nil {
		t.Fatal(err)
	}
	r := startSnapshots(t, l, l.LogID(), l).ready()
	r.tenants()
	for p := range events.Position(3) {
		if c, err := l.Commit(p + 1); err != nil || !c.Time.Equal(future) {
			t.Errorf("%d: %v, %v", p+1, c.Time, err)
		}
	}
	if p, err := l.PositionAt(time.Now()); err != nil || p != 0 {
		t.Errorf("now: %d, %v", p, err)
	}
}

type silent struct{}

func (silent) Infof(string, ...any)      {}
func (silent) Errorf(string, ...any)     {}
func (silent) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }

// TestWrongSnapshot: an undamaged snapshot differs from the state that the log gives,
// as a version with other rules might have written it. The check in the background
// stops the node and replaces the snapshot, or deletes it if there is no room, so that
// the next start is correct.
func TestWrongSnapshot(t *testing.T) {
	for name, free := range map[string]uint64{"room": 1 << 40, "no room": 200 << 20} {
		t.Run(name, func(t *testing.T) { wrongSnapshot(t, free) })
	}
}

func wrongSnapshot(t *testing.T, free uint64) {
	fs := vfs.NewMem()
	grown(t, fs)
	l := openOn(t, fs)
	at, old, found, err := l.Snapshot(t.Context(), ^events.Position(0))
	if err != nil || !found {
		t.Fatal(found, err)
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	wrong := projections.NewBuilder()
	if err := l.Read(t.Context(), 1, func(c *events.Commit) error {
		if c.Position > at {
			return nil
		}
		changed := *c
		changed.Time = c.Time.Add(time.Second)
		return wrong.Apply(&changed)
	}); err != nil {
		t.Fatal(err)
	}
	if err := l.WriteSnapshot(t.Context(), at, wrong.View().Encode); err != nil {
		t.Fatal(err)
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: free, TotalBytes: 1 << 40})
	r := startSnapshots(t, l, l.LogID(), l)
	until(t, "the node to fail", func() bool { return r.Failure() != nil })
	if !strings.Contains(r.Failure().Error(), "differs from the state that the log gives") {
		t.Fatal(r.Failure())
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	whole := projections.NewBuilder()
	if err := l.Read(t.Context(), 1, whole.Apply); err != nil {
		t.Fatal(err)
	}
	r = startSnapshots(t, l, l.LogID(), l)
	r.ready()
	if r.View().Hash() != whole.View().Hash() {
		t.Error("the next start uses the wrong snapshot again")
	}
}
