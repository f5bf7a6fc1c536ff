package eventlog_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/logtest"
)

// testCommit is the nth commit of a log with one tenant.
func testCommit(n int) *events.Commit {
	return &events.Commit{
		Tenant:        "acme",
		TenantVersion: uint64(n),
		Time:          time.Date(2026, 11, 23, 9, 0, n, 0, time.UTC),
		Actor:         "operator:root",
		CommandID:     fmt.Sprint("command ", n),
		Events:        []events.Event{events.RoleDefined{Name: "lab:kiosk", Allow: []string{"xmpp:federate"}}},
	}
}

// appendMore appends the log's next n commits.
func appendMore(t *testing.T, l logtest.Log, n int) {
	t.Helper()
	for range n {
		head, _ := l.Head()
		if err := l.Append(t.Context(), head, testCommit(int(head)+1)); err != nil {
			t.Fatal(err)
		}
	}
}

func readAll(t *testing.T, l logtest.Log) ([]events.Commit, error) {
	var got []events.Commit
	err := l.Read(t.Context(), 1, func(c *events.Commit) error {
		got = append(got, c.Clone())
		return nil
	})
	return got, err
}

func mustRead(t *testing.T, l logtest.Log) []events.Commit {
	t.Helper()
	got, err := readAll(t, l)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestEveryDiskError makes each operation of the disk fail in turn, reads too,
// in each of four ways, while a log is opened, appended to, read and closed.
// The process may end or return errors, but never a wrong answer, and the disk
// must hold everything that it acknowledged.
func TestEveryDiskError(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 1))
	p := newProcess().(*process)
	var before []events.Commit
	for range 3 { // so that there are tables, and a write-ahead log to replay
		l, err := p.Boot()
		if err != nil {
			t.Fatal(err)
		}
		appendMore(t, l, 10)
		before = mustRead(t, l)
		p.Crash(rng)
	}
	files := p.boot.Files
	run := errorRun{process: p, before: before}
	run.do(t)
	if run.outcome != "all well" {
		t.Fatal(run.outcome)
	}
	t.Logf("%d operations", run.operations)

	outcomes := map[string]int{}
	for at := range run.operations {
		for way := range 4 {
			// The third way, in which all later operations fail too, once kept
			// the process running in circles.
			if (way != 2 || at%3 != 2) && soak(rng.IntN(12), 0) != 0 {
				continue
			}
			f := DiskFault{At: at, Happened: way%2 == 1, All: way > 1}
			run := errorRun{before: before, process: &process{
				boot: Boot{Files: files, Percent: keep(rng), Seed: rng.Uint64(), Fault: &f}}}
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

// An errorRun is the life of a process on a disk that may fail.
type errorRun struct {
	process *process
	before  []events.Commit // the log's content at the start

	operations   int
	acknowledged []events.Commit // before, and the acknowledged appends
	unsure       *events.Commit  // the append that failed
	outcome      string
}

// do appends until an append fails, then reads in every way.
func (r *errorRun) do(t *testing.T) {
	r.acknowledged, r.outcome = slices.Clone(r.before), "all well"
	l, err := r.process.Boot()
	if err != nil {
		r.outcome = "open fails"
		if err == errNoAnswer {
			t.Error("open does not return")
		}
		return
	}
	for range 8 {
		n := len(r.acknowledged)
		c := testCommit(n + 1)
		if err := l.Append(t.Context(), events.Position(n), c); err != nil {
			r.unsure, r.outcome = c, "append fails"
			if err == errNoAnswer {
				t.Error("append does not return")
			}
			break
		}
		r.acknowledged = append(r.acknowledged, *c)
	}
	r.ask(t, l)
	if r.process.child.call("Server.Operations", struct{}{}, &r.operations) == nil {
		if err := l.Close(); err != nil && r.outcome == "all well" {
			r.outcome = "close fails"
		}
	}
}

// ask reads the log. Reads may fail, but must not return anything wrong.
func (r *errorRun) ask(t *testing.T, l logtest.Log) {
	got, err := readAll(t, l)
	if err == nil && !reflect.DeepEqual(got, r.acknowledged) {
		t.Errorf("the log has %d commits; %d are acknowledged", len(got), len(r.acknowledged))
	}
	verify := l.Verify(t.Context())
	for _, c := range r.acknowledged[len(r.acknowledged)-10:] {
		same, found, err := l.ByCommand(c.Tenant, c.CommandID)
		if err == nil && (!found || !reflect.DeepEqual(same, c)) {
			t.Errorf("command %q: %v, %+v", c.CommandID, found, same)
		}
	}
	for _, err := range []error{err, verify} {
		if corrupt, ok := errors.AsType[*events.CorruptError](err); ok {
			t.Errorf("the error is taken for corruption: %v", corrupt)
		}
		if err != nil && r.outcome == "all well" {
			r.outcome = "reading fails"
		}
	}
}

// check opens the log from what is left on the disk, without faults.
func (r *errorRun) check(t *testing.T) {
	mem := vfs.NewCrashableMem()
	if err := writeFiles(mem, r.process.boot.Files); err != nil {
		t.Fatal(err)
	}
	m := machineOn(mem)
	defer m.Crash(rand.New(rand.NewPCG(1, 1)))
	l, err := m.Boot()
	if err != nil {
		t.Errorf("on a whole machine: %v", err)
		return
	}
	got := mustRead(t, l)
	if r.unsure != nil && len(got) > len(r.acknowledged) {
		happened := *r.unsure
		happened.Position = events.Position(len(got))
		happened.Previous = events.Hash(events.AppendCommit(nil, &r.acknowledged[len(r.acknowledged)-1]))
		r.acknowledged = append(r.acknowledged, happened)
		r.outcome = strings.Replace(r.outcome, "fails", "fails but has happened", 1)
	}
	if !reflect.DeepEqual(got, r.acknowledged) {
		t.Errorf("after it the log holds %d commits, acknowledged are %d", len(got), len(r.acknowledged))
	}
	if err := l.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	appendMore(t, l, 2)
}

// TestFailed makes the write of an append fail in a process that recovers the
// log's panic. The log must refuse further appends, even if the disk works
// again, and must return nothing of the failed one.
func TestFailed(t *testing.T) {
	for _, f := range []DiskFault{
		{Writes: true},                            // the record is not written
		{Writes: true, At: 1},                     // it is not synced
		{Writes: true, At: 1, Happened: true},     // it is synced all the same
		{Writes: true, All: true},                 // all later operations fail too
		{Writes: true, At: 1, All: true},          //
		{Writes: true, Happened: true},            // all succeed, but the disk reports errors
		{Writes: true, Happened: true, All: true}, //
	} {
		t.Run(fmt.Sprintf("%+v", f), func(t *testing.T) {
			p := &process{boot: Boot{Recover: true}}
			defer p.Crash(rand.New(rand.NewPCG(1, 1)))
			l, err := p.Boot()
			if err != nil {
				t.Fatal(err)
			}
			appendMore(t, l, 3)
			want := mustRead(t, l)
			if err := p.child.call("Server.Break", f, &struct{}{}); err != nil {
				t.Fatal(err)
			}
			err = l.Append(t.Context(), 3, testCommit(4))
			if err == nil || !strings.Contains(err.Error(), "the disk has failed") {
				t.Fatalf("append: %v", err)
			}
			for _, head := range []events.Position{3, 4} {
				if err := l.Append(t.Context(), head, testCommit(int(head)+1)); !errors.Is(err, events.ErrFailed) {
					t.Errorf("append at %d after it: %v", head, err)
				}
			}
			if head, _ := l.Head(); head != 3 {
				t.Errorf("the head is at %d", head)
			}
			if got := mustRead(t, l); !reflect.DeepEqual(got, want) {
				t.Errorf("it shows %d commits", len(got))
			}
			if _, found, err := l.ByCommand("acme", "command 4"); found || err != nil {
				t.Errorf("the command that failed: %v, %v", found, err)
			}
			if err := l.Verify(t.Context()); err != nil {
				t.Error(err)
			}
			if err := l.Close(); err == errNoAnswer {
				t.Error("close does not return")
			}
		})
	}
}

// TestDamaged flips bits in the files of a log, and a process opens it for
// writing. The process may end or refuse, but it must neither return nor
// acknowledge anything wrong.
func TestDamaged(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(2, 1))
	p := newProcess().(*process)
	var want []events.Commit
	for range 3 {
		l, err := p.Boot()
		if err != nil {
			t.Fatal(err)
		}
		appendMore(t, l, 10)
		want = mustRead(t, l)
		p.Crash(rng)
	}
	files := p.boot.Files
	var names []string
	for name, data := range files {
		if strings.HasSuffix(name, ".sst") && len(data) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	whole := 0
	for i := range 1 + soak(15, 300) {
		p := newProcess().(*process)
		p.boot.Files = maps.Clone(files)
		name := names[rng.IntN(len(names))]
		data := slices.Clone(files[name])
		if i > 0 { // the first log is undamaged
			data[rng.IntN(len(data))] ^= 1 << rng.IntN(8)
		}
		p.boot.Files[name] = data
		if l, err := p.Boot(); err == nil {
			if got, err := readAll(t, l); err == nil {
				if !reflect.DeepEqual(got, want) {
					t.Errorf("%s: it shows %d commits", name, len(got))
				}
				whole++
			}
			head, _ := l.Head()
			if err := l.Append(t.Context(), head, testCommit(int(head)+1)); err == nil && int(head) != len(want) {
				t.Errorf("%s: it appends at %d", name, head)
			}
		}
		p.Crash(rng)
	}
	t.Logf("%d logs could be read whole", whole)
	if whole == 0 {
		t.Error("not even the undamaged log could be read")
	}
}
