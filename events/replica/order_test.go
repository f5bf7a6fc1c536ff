package replica

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/events"
)

var update = flag.Bool("update", false, "rewrite the expected answers")

// TestOrder reads testdata/order.txt. A line with ">" is an entry, or something that
// happens to the node; the lines after it are the answer. A blank line begins a new
// node. "a3" is the third commit of the history a; "b3" is another commit for the
// same place, after a2.
func TestOrder(t *testing.T) {
	const path = "testdata/order.txt"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	o := newOrderCase(t)
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		line := lines.Text()
		switch {
		case line == "":
			o = newOrderCase(t)
			fmt.Fprintln(&out)
		case line[0] == '#':
			fmt.Fprintln(&out, line)
		case line[0] == '>':
			fmt.Fprintf(&out, "%s\n%s\n", line, o.run(strings.Fields(line[1:])))
		}
	}
	if *update {
		if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(out.Bytes(), text) {
		t.Errorf("%s differs; see the difference with -update:\n%s", path, out.Bytes())
	}
}

// An orderCase is a node that reads an order.
type orderCase struct {
	t    *testing.T
	node *simNode
	seq  uint64
}

func newOrderCase(t *testing.T) *orderCase {
	o := newFuzzCase()
	o.t = t
	return o
}

// newFuzzCase returns a case that has no test yet.
func newFuzzCase() *orderCase {
	s := newSim(1)
	s.ending = true // nothing crashes by itself
	n := s.nodes[0]
	s.must(n.log.Bind(context.Background(), simGeneration(n.log), true))
	o := &orderCase{node: n}
	o.restart()
	return o
}

// restart starts the node's process and its pass over the order.
func (o *orderCase) restart() {
	o.node.boot()
	o.node.r.caughtUp = true // TestTicksOfTheProcessBefore is about the time before
	o.node.sim.must(o.node.r.join(context.Background()))
	o.node.r.start()
}

// run runs one line and returns the answer.
func (o *orderCase) run(words []string) string {
	if words[0] == "restart" {
		o.restart()
		return fmt.Sprintf("reads after %d", o.node.r.reading.after())
	}
	o.seq++
	if len(words) > 1 && words[0] == "at" {
		seq, err := strconv.ParseUint(words[1], 10, 64)
		if err != nil {
			o.t.Fatal(err)
		}
		o.seq = seq
		words = words[2:]
	}
	before, _ := o.node.log.Head()
	err := o.node.r.take(context.Background(), []Entry{{o.seq, o.entry(words)}})
	if err := o.node.r.judge(err); err != nil {
		o.t.Fatal(err)
	}
	st := o.node.r.Status()
	switch {
	case st.Failure != nil:
		return "stops: " + st.Failure.Error()
	case err != nil:
		return "reads again: " + err.Error()
	case st.Position > before:
		return fmt.Sprintf("takes %d to %d, cursor %d", before+1, st.Position, o.node.log.cursor.Seq)
	case words[0] == "tick" && o.node.r.Prove("edge", 1<<60, st.Position) != 0:
		return fmt.Sprintf("proves %d at %d", o.node.r.Prove("edge", 1<<60, st.Position)-1<<60, st.Position)
	}
	return fmt.Sprintf("skips, foreign %d", st.Foreign)
}

func (o *orderCase) entry(words []string) []byte {
	g, _, _ := o.node.log.Generation()
	id := g.ID
	if words[0] == "foreign" {
		id, words = [16]byte{9}, words[1:]
	}
	switch words[0] {
	case "generation":
		g.ID = id
		if len(words) > 1 {
			g.Cluster = words[1]
		}
		return events.AppendGeneration(nil, &g)
	case "tick":
		tick := tick{Node: "n2", Generation: id, Position: place(words[1]), Hash: events.Hash(record(words[1]))}
		for _, number := range words[2:] {
			n, err := strconv.Atoi(number)
			if err != nil {
				o.t.Fatal(err)
			}
			tick.Challenges = append(tick.Challenges, challenge{"edge", 1<<60 + uint64(n)})
		}
		return appendTick(nil, &tick)
	case "batch":
		var records [][]byte
		for _, name := range words[1:] {
			records = append(records, record(name))
		}
		batch, err := appendBatch(nil, id, records)
		if err != nil {
			o.t.Fatal(err)
		}
		return batch
	case "raw":
		return []byte(strings.Join(words[1:], " "))
	case "kind":
		n, err := strconv.Atoi(words[1])
		if err != nil {
			o.t.Fatal(err)
		}
		return append([]byte{byte(n)}, strings.Join(words[2:], " ")...)
	}
	o.t.Fatalf("%q is not an entry", words)
	return nil
}

func place(name string) events.Position {
	n, _ := strconv.Atoi(name[1:])
	return events.Position(n)
}

// record returns the record of a commit, by its name.
func record(name string) []byte {
	if name[0] == '?' { // an event of a newer version: number 4000
		c := append(record("a" + name[1:])[:0:0], record("a"+name[1:])...)
		return append(c, 0x4a, 0x04, 0x82, 0xfa, 0x01, 0x00)
	}
	p := place(name)
	c := events.Commit{
		Position: p, Tenant: "acme", TenantVersion: uint64(p), Time: time.Unix(1_763_890_200, 0),
		Actor: "operator:root", CommandID: name, Events: []events.Event{events.MemberRolesSet{JID: "anna@alpha.test"}},
	}
	if p > 1 {
		c.Previous = events.Hash(record(fmt.Sprintf("a%d", p-1)))
	}
	return events.AppendCommit(nil, &c)
}

// TestUnknownRecord checks that the record named "?1" is one of a newer version.
func TestUnknownRecord(t *testing.T) {
	if _, err := events.DecodeCommit(record("?1")); !errors.Is(err, events.ErrUnknownEvent) {
		t.Error(err)
	}
}

// TestDamagedLog lets the node's log have a damaged record when a tick is compared with
// it. The replica stops and says the remedy. After a passing error it tries again.
func TestDamagedLog(t *testing.T) {
	for _, test := range []struct {
		err   error
		stops bool
	}{
		{&events.CorruptError{Position: 2, Err: errors.New("checksum mismatch")}, true},
		{events.ErrNoRoom, false},
		{errors.New("the disk does not answer"), false},
	} {
		o := newOrderCase(t)
		o.run([]string{"generation"})
		o.run([]string{"batch", "a1", "a2"})
		o.node.r.cfg.Log = damagedLog{o.node.r.cfg.Log, test.err}
		answer := o.run([]string{"tick", "a1", "1"})
		if failure := o.node.r.Failure(); (failure != nil) != test.stops {
			t.Errorf("%v: %s", test.err, answer)
		} else if test.stops && (!errors.Is(failure, test.err) || !strings.Contains(failure.Error(), "policyctl verify")) {
			t.Errorf("%v: %v", test.err, failure)
		}
	}
}

// TestGap: a replica stops for a gap in the order.
func TestGap(t *testing.T) {
	r := newOrderCase(t).node.r
	if err := r.judge(fmt.Errorf("read the order: %w", ErrGap)); err != nil || !errors.Is(r.Failure(), ErrGap) {
		t.Errorf("%v; failure: %v", err, r.Failure())
	}
}

// A damagedLog cannot read commits.
type damagedLog struct {
	Log
	err error
}

func (l damagedLog) Commit(events.Position) (events.Commit, error) { return events.Commit{}, l.err }

// FuzzEntry gives a node any entry. The node takes it, skips it or stops; what it
// takes chains.
func FuzzEntry(f *testing.F) {
	o := newFuzzCase()
	for _, words := range []string{"batch a1 a2", "batch a3", "tick a2 1", "generation", "foreign batch a3", "batch ?1", "kind 9", "kind 2 x"} {
		f.Add(o.entry(strings.Fields(words)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o := newFuzzCase()
		for seq, entry := range [][]byte{o.entry([]string{"generation"}), o.entry([]string{"batch", "a1"}), data, o.entry([]string{"batch", "a2"})} {
			err := o.node.r.take(context.Background(), []Entry{{uint64(seq + 1), entry}})
			if err := o.node.r.judge(err); err != nil {
				t.Fatal(err)
			}
			if o.node.r.Failure() != nil {
				break
			}
		}
		if err := o.node.sim.failed; err != nil {
			t.Error(err)
		}
		for i, record := range o.node.log.records {
			c, err := events.DecodeCommit(record)
			if err != nil || c.Position != events.Position(i+1) || i > 0 && c.Previous != o.node.log.hashes[i-1] {
				t.Errorf("the commit at %d is %+v, %v", i+1, c, err)
			}
		}
	})
}
