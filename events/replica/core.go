package replica

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/postern-im/postern/events"
)

// maxStep bounds the records that one step takes into the log, in bytes. It holds
// several full batches, so that a node that is behind syncs its disk seldom, and is
// well below the bound of the log.
const maxStep = 4 << 20

// errDisorder means that an entry has a lower number than one before it. The node
// follows again from its log.
var errDisorder = errors.New("the numbers of the entries do not rise")

// A stopError stops a node for good: it means that the order, or this node's log,
// is not what the other nodes have, so the node must decide nothing more.
type stopError struct{ err error }

func (e *stopError) Error() string { return e.err.Error() }
func (e *stopError) Unwrap() error { return e.err }

func stopf(format string, args ...any) error { return &stopError{fmt.Errorf(format, args...)} }

// A head is a position and the hash of the record there.
type head struct {
	position events.Position
	hash     [32]byte
}

// A reading is one pass over the order, from the entry that the log's cursor names.
// It is the only place where order becomes history: its rules depend on the log and
// the entries alone, so all nodes decide alike.
type reading struct {
	generation events.Generation
	cursor     events.Cursor // of the log when the reading began; Seq 0: it has none
	head       head          // of the log when the reading began
	begun      bool          // the first entry has been checked
	last       uint64        // the number of the last entry
}

// after is the number after which the reading begins. The first entry is the one
// that the cursor names, although it has been applied: it shows whether the order
// still has what this node took from it.
func (r *reading) after() uint64 { return max(r.cursor.Seq, 1) - 1 }

// A step is the effect of some entries: records for the log, and then the proofs of
// the ticks behind them.
type step struct {
	head    head // of the log after the records
	cursor  events.Cursor
	records [][]byte
	size    int
	ticks   []appliedTick
	foreign uint64 // entries of other generations, which are skipped
}

// An appliedTick is a tick, its number in the order and the head at its place.
type appliedTick struct {
	tick
	seq uint64
	at  head
}

// plan returns the step of the first n entries on a log with a head. After an error
// the step holds the effect of the entries before the one that the error is about.
func (r *reading) plan(h head, entries []Entry) (s step, n int, err error) {
	s.head = h
	for n < len(entries) && s.size < maxStep {
		e := entries[n]
		if e.Seq <= r.last {
			return s, n, errDisorder
		}
		if err := r.add(&s, e); err != nil {
			return s, n, fmt.Errorf("entry %d: %w", e.Seq, err)
		}
		r.last = e.Seq
		n++
	}
	return s, n, nil
}

// add adds the effect of the next entry to a step.
func (r *reading) add(s *step, e Entry) error {
	if !r.begun {
		if err := r.first(e); err != nil {
			return err
		}
		r.begun = true
		return nil
	}
	if len(e.Data) == 0 {
		return stopf("it is empty")
	}
	switch e.Data[0] {
	case kindBatch:
		return r.batch(s, e)
	case kindTick:
		return r.tick(s, e)
	case kindGeneration:
		// Its offer was repeated, or another node had created a cluster too: the first
		// entry counts.
		return nil
	}
	return stopf("its kind %d is not known: a newer version wrote it, so upgrade this node", e.Data[0])
}

// first checks that the order begins, or has at the cursor, what this node has
// applied already. Otherwise this node is ahead of the order: it may be the only
// node that knows a revocation, and it must not follow another history.
func (r *reading) first(e Entry) error {
	if r.cursor.Seq == 0 {
		return r.same(e.Data)
	}
	if e.Seq != r.cursor.Seq {
		return stopf("this node has applied entry %d before, and the order does not have it any more; compare the nodes: policyctl cluster status, policyctl cluster diff", r.cursor.Seq)
	}
	_, records, err := readBatch(e.Data)
	if err != nil || events.Hash(records[len(records)-1]) != r.head.hash {
		return stopf("two histories: this node has taken the commit %x at %d from this entry, and it is another entry now; compare the nodes: policyctl cluster status, policyctl cluster diff",
			r.head.hash[:8], r.head.position)
	}
	return nil
}

// same checks that the first entry is the generation that this node belongs to.
func (r *reading) same(data []byte) error {
	g, err := events.DecodeGeneration(data)
	switch {
	case err != nil:
		return stopf("the order should begin with its generation: %w", err)
	case g.Cluster != r.generation.Cluster:
		return stopf("the order belongs to the cluster %q, and this node's data to the cluster %q", g.Cluster, r.generation.Cluster)
	case g != r.generation:
		return stopf("the order belongs to generation %x of the cluster, and this node's data to generation %x: "+
			"a cluster was created on this node's data too. If that was a mistake, move the data folder away, and the node joins with an empty one", g.ID[:4], r.generation.ID[:4])
	}
	return nil
}

// batch applies the rule about batches. A batch of another generation comes from a
// node that does not belong to the cluster; it is skipped, because such a node must
// not be able to stop the others. A batch for a position that is taken lost
// the race for it, or is a repetition; it is skipped whole. A batch for the next
// position is taken whole. Anything else means that this node misses something.
func (r *reading) batch(s *step, e Entry) error {
	generation, records, err := readBatch(e.Data)
	if err != nil {
		return stopf("it cannot be read: %w", err)
	}
	if generation != r.generation.ID {
		s.foreign++
		return nil
	}
	next := s.head
	var c events.Commit
	for i, record := range records {
		err := c.Decode(record)
		switch {
		case events.Newer(err):
			return stopf("a newer version wrote the commit after %d, so upgrade this node: %w", next.position, err)
		case err != nil:
			return stopf("the commit after %d: %w", next.position, err)
		}
		if i == 0 && c.Position <= s.head.position {
			return nil
		}
		if c.Position != next.position+1 {
			return stopf("a commit for %d comes after the commit at %d", c.Position, next.position)
		}
		if c.Previous != next.hash {
			return stopf("the commit for %d follows another commit than this node has at %d", c.Position, next.position)
		}
		next = head{c.Position, events.Hash(record)}
	}
	for _, record := range records {
		s.records = append(s.records, bytes.Clone(record))
		s.size += len(record)
	}
	s.head = next
	s.cursor = events.Cursor{Generation: r.generation.ID, Seq: e.Seq}
	return nil
}

// tick takes a tick of this generation. A node offers a tick after it has applied
// everything up to the tick's position, so this node must be there as well.
func (r *reading) tick(s *step, e Entry) error {
	t, known, err := readTick(e.Data)
	if err != nil || !known {
		return nil // it proves nothing, and the next tick comes in a second
	}
	if t.Generation != r.generation.ID {
		s.foreign++
		return nil
	}
	if t.Position > s.head.position {
		return stopf("node %s has commits up to %d, and the order gave this node only those up to %d", t.Node, t.Position, s.head.position)
	}
	s.ticks = append(s.ticks, appliedTick{t, e.Seq, s.head})
	return nil
}
