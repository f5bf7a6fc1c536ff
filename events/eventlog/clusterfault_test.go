package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
)

// An Ingesting holds the arguments of Ingest.
type Ingesting struct {
	Cursor  events.Cursor
	Records [][]byte
}

// Bind binds the log as a member.
func (s *Server) Bind(g events.Generation, a *Answer) error {
	return a.set(s.log.Bind(context.Background(), g, false))
}

// Ingest ingests records.
func (s *Server) Ingest(in Ingesting, a *Answer) error {
	return a.set(s.log.Ingest(context.Background(), in.Cursor, in.Records))
}

// Take takes records. Each settleEach entries it also settles.
func (s *Server) Take(in Ingesting, a *Answer) error {
	err := s.log.Take(context.Background(), in.Cursor, in.Records)
	if err == nil && in.Cursor.Seq%settleEach == 0 {
		err = s.log.Settle(context.Background())
	}
	return a.set(err)
}

// settleEach is the number of writes that share a Settle.
const settleEach = 3

// A joining is the life of a member: it binds an empty log to a generation, copies
// the commits before the generation, and follows the order.
type joining struct {
	generation events.Generation
	writes     []Ingesting
	heads      []events.Position // heads[n] is the head after n writes
}

func newJoining(t *testing.T) *joining {
	t.Helper()
	l := open(t, vfs.NewMem(), false)
	appendMore(t, l, 9)
	records := mustRecords(t, l, 1)
	j := &joining{heads: []events.Position{0}, generation: events.Generation{
		ID: [16]byte{1}, Cluster: "acme", LogID: l.LogID(), Position: 5, Hash: events.Hash(records[4])}}
	closeLog(t, l)
	for i, n := range []int{3, 2, 1, 0, 2, 1} {
		from := j.heads[i]
		j.writes = append(j.writes, Ingesting{events.Cursor{Generation: j.generation.ID, Seq: uint64(i + 1)}, records[from : int(from)+n]})
		j.heads = append(j.heads, from+events.Position(n))
	}
	return j
}

// A joined is what is known of a member.
type joined struct {
	bound  bool
	writes int  // known to be durable
	taken  int  // after these, seen by readers and perhaps not durable
	unsure bool // the next step may have happened
}

// finish checks the log that is left on a disk, and lets the member do the rest.
func (j *joining) finish(fs vfs.FS, is joined) error {
	l, err := eventlog.Open(eventlog.Config{Dir: "var/log", FS: fs, Clustered: true})
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	err = j.finishOn(l, is)
	return errors.Join(err, l.Close())
}

func (j *joining) finishOn(l *eventlog.Log, is joined) error {
	ctx := context.Background()
	g, creator, bound := l.Generation()
	switch {
	case bound && (g != j.generation || creator || l.LogID() != g.LogID):
		return fmt.Errorf("bound to %v, creator %v, log %s", g, creator, l.LogID())
	case !bound && is.bound:
		return errors.New("the binding is lost")
	case bound && !is.bound && !is.unsure:
		return errors.New("it is bound, but was not")
	}
	done := 0
	if c, found := l.Cursor(); found {
		done = int(c.Seq)
	}
	most := is.writes + is.taken
	if is.unsure {
		most++
	}
	if done < is.writes || done > most {
		return fmt.Errorf("%d writes are left, %d acknowledged, %d at most", done, is.writes, most)
	}
	if head, _ := l.Head(); head != j.heads[done] {
		return fmt.Errorf("the head is at %d after %d writes", head, done)
	}
	if err := errors.Join(l.Verify(ctx), l.Bind(ctx, j.generation, false)); err != nil {
		return err
	}
	for _, w := range j.writes[done:] {
		if err := l.Ingest(ctx, w.Cursor, w.Records); err != nil {
			return err
		}
	}
	if head, _ := l.Head(); head != j.heads[len(j.writes)] {
		return fmt.Errorf("the head is at %d at last", head)
	}
	return l.Verify(ctx)
}

// TestEveryIngestError makes each operation of the disk of a member fail in turn, in
// each of four ways. The process may end or return errors, but the disk must hold
// every write that it acknowledged, with its cursor, and no part of another.
//
// A write that was taken and not settled may be lost, but only with all after it.
func TestEveryIngestError(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"Server.Ingest", "Server.Take"} {
		t.Run(method, func(t *testing.T) { testEveryIngestError(t, method) })
	}
}

func testEveryIngestError(t *testing.T, method string) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(8, 1))
	j := newJoining(t)
	run := func(f *DiskFault) (operations int, outcome string) {
		p := &process{boot: Boot{Percent: keep(rng), Seed: rng.Uint64(), Fault: f, Clustered: true}}
		is, outcome := joined{}, "all well"
		if _, err := p.Boot(); err != nil {
			outcome = "open fails"
		} else {
			is, outcome = j.do(t, p, method)
			if p.child.call("Server.Operations", struct{}{}, &operations) == nil {
				if err := p.child.Close(); err == errNoAnswer {
					t.Error("close does not return")
				}
			}
		}
		p.Crash(rng)
		mem := vfs.NewCrashableMem()
		if err := writeFiles(mem, p.boot.Files); err != nil {
			t.Fatal(err)
		}
		if err := j.finish(mem, is); err != nil {
			t.Errorf("%s: %v", outcome, err)
		}
		return operations, outcome
	}
	all, outcome := run(nil)
	if outcome != "all well" {
		t.Fatal(outcome)
	}
	t.Logf("%d operations", all)
	outcomes := map[string]int{}
	for at := range all {
		for way := range 4 {
			if soak(rng.IntN(8), 0) != 0 {
				continue
			}
			f := DiskFault{At: at, Happened: way%2 == 1, All: way > 1}
			_, outcome := run(&f)
			if t.Failed() {
				t.Fatalf("%+v: %s", f, outcome)
			}
			outcomes[outcome]++
		}
	}
	t.Log(outcomes)
}

// do lets a process join until a step fails.
func (j *joining) do(t *testing.T, p *process, method string) (is joined, outcome string) {
	ask := func(method string, in any) bool {
		var a Answer
		err := p.child.call(method, in, &a)
		if err == errNoAnswer {
			t.Errorf("%s does not return", method)
		}
		return err == nil && a.Err == ""
	}
	if !ask("Server.Bind", j.generation) {
		return joined{unsure: true}, "bind fails"
	}
	is.bound = true
	for _, w := range j.writes {
		if !ask(method, w) {
			is.unsure = true
			return is, "ingest fails"
		}
		is.taken++
		if method == "Server.Ingest" || w.Cursor.Seq%settleEach == 0 {
			is.writes, is.taken = is.writes+is.taken, 0
		}
	}
	return is, "all well"
}

// TestPowerCutsWhileJoining simulates a power cut after each operation of a member's
// disk.
func TestPowerCutsWhileJoining(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(9, 1))
	j := newJoining(t)
	cases := 0
	for range soak(1, 20) {
		d := newDisk(vfs.NewCrashableMem())
		l, err := eventlog.Open(eventlog.Config{Dir: "var/log", FS: d, Clustered: true})
		if err != nil {
			t.Fatal(err)
		}
		step := func(is joined, do func() error) {
			left := cuts(d, rng, 1)
			if err := do(); err != nil {
				t.Fatal(err)
			}
			for _, fs := range left() {
				cases++
				if err := j.finish(fs, is); err != nil {
					t.Errorf("%+v: %v", is, err)
				}
			}
		}
		is := joined{unsure: true}
		step(is, func() error { return l.Bind(t.Context(), j.generation, false) })
		is.bound = true
		for _, w := range j.writes {
			step(is, func() error { return l.Ingest(t.Context(), w.Cursor, w.Records) })
			is.writes++
			if err := j.finish(d.afterCrash(0, 1), joined{bound: true, writes: is.writes}); err != nil {
				t.Errorf("%+v acknowledged: %v", is, err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d power cuts", cases)
}

// TestPowerCutsAfterTake simulates a power cut after each operation of a member's disk
// that takes records early: what was settled stays, and the rest is lost from the end.
func TestPowerCutsAfterTake(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(10, 1))
	j := newJoining(t)
	for range soak(2, 20) {
		d := newDisk(vfs.NewCrashableMem())
		l, err := eventlog.Open(eventlog.Config{Dir: "var/log", FS: d, Clustered: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Bind(t.Context(), j.generation, false); err != nil {
			t.Fatal(err)
		}
		is := joined{bound: true}
		for i, w := range j.writes {
			left := cuts(d, rng, 1)
			if err := l.Take(t.Context(), w.Cursor, w.Records); err != nil {
				t.Fatal(err)
			}
			if head, _ := l.Head(); head != j.heads[i+1] {
				t.Fatalf("the head is at %d after %d writes", head, i+1)
			}
			is.unsure = true
			for _, fs := range left() {
				if err := j.finish(fs, is); err != nil {
					t.Errorf("%+v: %v", is, err)
				}
			}
			is.taken, is.unsure = is.taken+1, false
			if w.Cursor.Seq%settleEach != 0 {
				continue
			}
			if err := l.Settle(t.Context()); err != nil {
				t.Fatal(err)
			}
			is.writes, is.taken = is.writes+is.taken, 0
			if durable, _ := l.Durable(); durable != j.heads[is.writes] {
				t.Errorf("durable up to %d after %d writes", durable, is.writes)
			}
			if err := j.finish(d.afterCrash(0, 1), is); err != nil {
				t.Errorf("%+v settled: %v", is, err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := j.finish(d.afterCrash(0, 1), joined{bound: true, writes: len(j.writes)}); err != nil {
			t.Errorf("closed: %v", err)
		}
	}
}
