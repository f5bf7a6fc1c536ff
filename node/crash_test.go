package node_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/tenants"
)

// A journalled file system is in memory. When a file is synced, it also makes the
// entries of the file's folder durable, as journalling file systems on disks do.
// Pebble depends on that.
type journalled struct {
	vfs.FS
	mem *vfs.MemFS
}

func (j journalled) file(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return journalledFile{f, j, name}, nil
}

func (j journalled) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := j.FS.Create(name, c)
	return j.file(name, f, err)
}

func (j journalled) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := j.FS.OpenReadWrite(name, c, opts...)
	return j.file(name, f, err)
}

func (j journalled) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := j.FS.ReuseForWrite(from, to, c)
	return j.file(to, f, err)
}

type journalledFile struct {
	vfs.File
	on   journalled
	name string
}

func (f journalledFile) Sync() error     { return f.sync() }
func (f journalledFile) SyncData() error { return f.sync() }

func (f journalledFile) sync() error {
	if err := f.File.Sync(); err != nil {
		return err
	}
	folder, err := f.on.mem.OpenDir(f.on.PathDir(f.name))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// A crash is the content of the disk after a power cut, and the number of commits
// that the log must have.
type crash struct {
	left         *vfs.MemFS
	acknowledged int
	what         string
}

// crashes collects the contents that the disk would have after power cuts.
type crashes struct {
	mem *vfs.MemFS

	mu           sync.Mutex // guards the fields below
	rng          *rand.Rand
	acknowledged int
	list         []crash
}

func (c *crashes) acknowledge() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acknowledged++
}

// one adds a crash. 0, 30 or 100 % of the data that was not synced is kept.
func (c *crashes) one(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	percent := [...]int{0, 30, 100}[c.rng.IntN(3)]
	left := c.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(c.rng.Uint64(), 0))})
	c.list = append(c.list, crash{left, c.acknowledged, fmt.Sprintf("%s, %d %% kept", what, percent)})
}

// crashingSnapshots adds crashes before, during and after the writing of a snapshot.
type crashingSnapshots struct {
	*eventlog.Log
	crashes *crashes
}

func (s crashingSnapshots) WriteSnapshot(ctx context.Context, at events.Position, write func(io.Writer) error) error {
	s.crashes.one("before a snapshot")
	err := s.Log.WriteSnapshot(ctx, at, func(w io.Writer) error {
		err := write(w)
		s.crashes.one("in a snapshot")
		return err
	})
	s.crashes.one("after a snapshot")
	return err
}

// TestCrashes runs a node that runs commands and writes snapshots, and simulates
// power cuts at many moments. A node must start from each disk, with every
// acknowledged commit and with the View that a rebuild gives.
func TestCrashes(t *testing.T) {
	cases := 24
	if os.Getenv("POSTERN_SOAK") == "1" {
		cases = 2000
	}
	fromSnapshot, done := 0, 0
	for seed := uint64(0); done < cases; seed++ {
		for _, c := range takeCrashes(t, seed) {
			if done++; survive(t, seed, c) {
				fromSnapshot++
			}
		}
	}
	t.Logf("%d crashes, of which %d left a snapshot", done, fromSnapshot)
	if fromSnapshot == 0 || fromSnapshot == done {
		t.Error("crashes with a snapshot and without one are both needed")
	}
}

// takeCrashes runs one node and returns the crashes.
func takeCrashes(t *testing.T, seed uint64) []crash {
	t.Helper()
	mem := vfs.NewCrashableMem()
	taken := &crashes{mem: mem, rng: rand.New(rand.NewPCG(seed, 9))}
	l, err := eventlog.Open(eventlog.Config{Dir: "log", FS: journalled{mem, mem}})
	if err != nil {
		t.Fatal(err)
	}
	r := startSnapshots(t, l, l.LogID(), crashingSnapshots{l, taken}).ready()
	r.do("acme", "create", tenants.CreateTenant{Domains: []tenants.AddDomain{{Domain: "acme.test"}},
		Roles: []tenants.DefineRole{{Role: "lab:mute", Inherits: []string{"prosody:registered"}}}})
	taken.acknowledge()
	for i := range 12 {
		r.members(i, i+1)
		taken.acknowledge()
		if i%4 == 0 {
			taken.one("after a command")
		}
	}
	if err := errors.Join(r.stop(), l.Close()); err != nil {
		t.Fatal(err)
	}
	taken.one("after the end")
	return taken.list
}

// survive starts a node on the disk after a crash, and reports whether there was a
// snapshot.
func survive(t *testing.T, seed uint64, c crash) bool {
	t.Helper()
	l, err := eventlog.Open(eventlog.Config{Dir: "log", FS: c.left})
	if err != nil {
		t.Fatalf("seed %d, %s: %v", seed, c.what, err)
	}
	defer l.Close()
	if err := l.Verify(t.Context()); err != nil {
		t.Fatalf("seed %d, %s: %v", seed, c.what, err)
	}
	list, err := l.Snapshots()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list { // each listed snapshot must be valid
		at, s, found, err := l.Snapshot(t.Context(), p)
		if err != nil || !found || at != p {
			t.Fatalf("seed %d, %s: the snapshot at %d: %d, %v, %v", seed, c.what, p, at, found, err)
		}
		v, err := projections.Decode(s)
		if err := errors.Join(err, s.Close()); err != nil || v.Position() != p {
			t.Fatalf("seed %d, %s: the snapshot at %d: %v", seed, c.what, p, err)
		}
	}
	r := startSnapshots(t, l, l.LogID(), l).ready()
	v := r.View()
	if int(v.Position()) < c.acknowledged {
		t.Fatalf("seed %d, %s: %d commits of %d acknowledged", seed, c.what, v.Position(), c.acknowledged)
	}
	if v.Hash() != rebuilt(t, l).Hash() {
		t.Fatalf("seed %d, %s: the View differs from that of a rebuild", seed, c.what)
	}
	// The node runs further commands.
	if v.Position() > 0 {
		r.do("acme", "after-the-crash", tenants.SetMemberRoles{JID: "new@acme.test", Role: "prosody:guest"})
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	return len(list) > 0
}
