package logtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/postern-im/postern/events"
)

// A Machine runs a log and can fail.
type Machine interface {
	// Boot starts the log from the disk's content, which is empty at first. It
	// succeeds unless Break was called.
	Boot() (Log, error)
	// Break makes some later operation of the machine fail. The machine chooses
	// how: the operation fails, it fails but takes effect, or the power is cut
	// there. From then on a call to Boot's log may fail, or return only with an
	// error.
	Break(rng *rand.Rand)
	// Crash ends the running log like a power cut, and repairs the machine.
	// Written data that is not durable may be lost, or not.
	Crash(rng *rand.Rand)
}

// boots is how often one case starts the machine.
const boots = 4

// RunFaults runs seeded cases on machines that fail. After each crash, every
// acknowledged commit must be in the log, once and unchanged. An append that
// was not acknowledged may be there, but only as a whole. No reader may have
// seen a commit that is missing later. The same seeds give the same cases, as
// far as the machine's goroutines allow.
func RunFaults(t *testing.T, cases int, newMachine func() Machine) {
	for _, test := range []struct {
		name string
		run  func(*faultCase)
	}{
		{"one writer", (*faultCase).oneWriter},
		{"writers and a follower", (*faultCase).writersAndFollower},
	} {
		t.Run(test.name, func(t *testing.T) {
			lost, kept := 0, 0
			for seed := range cases {
				rng := rand.New(rand.NewPCG(uint64(seed), 1))
				c := &faultCase{rng: rng, author: newAuthor(uint64(seed)), machine: newMachine()}
				for boot := range boots {
					if err := c.boot(rng.IntN(3) == 0); err != nil {
						t.Fatalf("seed %d, boot %d: %v", seed, boot+1, err)
					}
					test.run(c)
					if c.err != nil {
						t.Fatalf("seed %d, boot %d: %v", seed, boot+1, c.err)
					}
					c.machine.Crash(rng)
				}
				lost, kept = lost+c.lost, kept+c.kept
			}
			t.Logf("%d cases: of the appends that failed, %d had happened, %d had not", cases, kept, lost)
			if lost == 0 || kept == 0 {
				t.Error("not both kinds of faults occurred")
			}
		})
	}
}

// A faultCase is the life of one machine.
type faultCase struct {
	rng     *rand.Rand
	author  *author
	machine Machine
	log     Log

	logID string
	// content is the log's content after the last boot and the acknowledged
	// appends since.
	content []events.Commit
	// acknowledged holds the commits acknowledged since the last boot to
	// concurrent writers, who do not know which commits are between theirs.
	acknowledged map[events.Position]events.Commit
	// unsure are the failed appends. Each may have happened, but only as a
	// whole.
	unsure [][]*events.Commit
	// seen are the commits that a follower got.
	seen []events.Commit

	lost, kept int
	err        error // the first fault found
}

func (c *faultCase) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
}

// boot starts the log and checks its content. With fault, the start itself may
// fail first.
func (c *faultCase) boot(fault bool) error {
	if fault {
		c.machine.Break(c.rng)
		if l, err := c.machine.Boot(); err == nil {
			_, read := readAll(context.Background(), l, 1)
			err := cmp.Or(read, l.Verify(context.Background()))
			if corrupt, ok := errors.AsType[*events.CorruptError](err); ok {
				return fmt.Errorf("a fault was taken for corruption: %w", corrupt)
			}
		}
		c.machine.Crash(c.rng)
	}
	var err error
	if c.log, err = c.machine.Boot(); err != nil {
		return fmt.Errorf("start without a fault: %w", err)
	}
	if c.logID != "" && c.log.LogID() != c.logID {
		return fmt.Errorf("log id %s became %s", c.logID, c.log.LogID())
	}
	c.logID = c.log.LogID()
	if err := c.log.Verify(context.Background()); err != nil {
		return err
	}
	got, err := readAll(context.Background(), c.log, 1)
	if err != nil {
		return err
	}
	return c.settle(got)
}

// settle compares the content after a boot with the expected content, and finds
// out which of the failed appends happened.
func (c *faultCase) settle(got []events.Commit) error {
	if len(got) < len(c.content) {
		return fmt.Errorf("%d commits of %d acknowledged are left", len(got), len(c.content))
	}
	if diff := firstDifference(got[:len(c.content)], c.content); diff != "" {
		return errors.New(diff)
	}
	for i := len(c.content); i < len(got); {
		if want, ok := c.acknowledged[got[i].Position]; ok {
			if !reflect.DeepEqual(got[i], want) {
				return fmt.Errorf("the log holds\n%+v\nacknowledged was\n%+v", got[i], want)
			}
			delete(c.acknowledged, got[i].Position)
			i++
			continue
		}
		n, err := c.happened(got[:i], got[i:])
		if err != nil {
			return err
		}
		i += n
	}
	if len(c.acknowledged) > 0 {
		return fmt.Errorf("acknowledged, but not there: %+v", c.acknowledged)
	}
	c.lost += len(c.unsure)
	for _, batch := range c.unsure {
		c.author.takeBack(batch)
	}
	c.unsure, c.content = nil, got
	if diff := firstDifference(c.seen, got[:min(len(c.seen), len(got))]); diff != "" {
		return fmt.Errorf("a reader saw commits that are missing now: %s", diff)
	}
	return nil
}

// happened finds the failed append whose commits, as a whole, are at the
// beginning of rest.
func (c *faultCase) happened(before, rest []events.Commit) (int, error) {
	for i, batch := range c.unsure {
		want, err := asRead(before, batch)
		if err != nil {
			return 0, err
		}
		if len(rest) >= len(want) && firstDifference(rest[:len(want)], want) == "" {
			c.unsure = slices.Delete(c.unsure, i, i+1)
			c.kept++
			return len(batch), nil
		}
	}
	return 0, fmt.Errorf("no writer appended this: %+v", rest[0])
}

// oneWriter appends until the machine fails or it has enough commits. In
// between it tries appends that must be refused.
func (c *faultCase) oneWriter() {
	healthy := c.rng.IntN(5)
	for i := range 40 {
		if i == healthy {
			c.machine.Break(c.rng)
		}
		if i%5 == 4 {
			c.refused()
		}
		batch := c.author.batch()
		want, err := asRead(c.content, batch)
		if err != nil {
			c.fail("%w", err)
			return
		}
		head := events.Position(len(c.content))
		if err := c.log.Append(context.Background(), head, batch...); err != nil {
			if i < healthy {
				c.fail("append on a whole machine: %w", err)
			}
			c.unsure = append(c.unsure, batch)
			c.afterFailure(head, batch)
			return
		}
		if diff := firstDifference(appendAll(nil, batch), want); diff != "" {
			c.fail("append: %s", diff)
			return
		}
		c.content = append(c.content, want...)
	}
}

// refused tries a stale head and a command that was carried out before. An
// error that the machine has failed is allowed too, success is not.
func (c *faultCase) refused() {
	if len(c.content) == 0 {
		return
	}
	head := events.Position(len(c.content))
	again := c.content[c.rng.IntN(len(c.content))]
	if err := c.log.Append(context.Background(), head-1, &again); err == nil {
		c.fail("an append at a stale head was acknowledged")
	}
	if err := c.log.Append(context.Background(), head, &again); err == nil {
		c.fail("a command was carried out twice")
	}
}

// afterFailure calls a log after a failed append, if the log still answers. It
// may return only acknowledged commits. If it accepts another append at the
// same head, the failed one has not happened.
func (c *faultCase) afterFailure(head events.Position, batch []*events.Commit) {
	if got, err := readAll(context.Background(), c.log, 1); err == nil {
		if diff := firstDifference(got, c.content); diff != "" {
			c.fail("after an append failed: %s", diff)
		}
	}
	if _, found, err := c.log.ByCommand(batch[0].Tenant, batch[0].CommandID); err == nil && found {
		c.fail("a command whose append failed is found")
	}
	other := []*events.Commit{c.author.commit("other")}
	if err := c.log.Append(context.Background(), head, other...); err != nil {
		c.author.takeBack(other)
		return
	}
	c.content = appendAll(c.content, other)
	c.unsure = nil
	c.author.takeBack(batch)
	c.lost++
}

// writersAndFollower runs several writers and one follower while the machine
// fails.
func (c *faultCase) writersAndFollower() {
	const writers = 4
	var (
		mu  sync.Mutex
		all sync.WaitGroup
	)
	c.acknowledged = map[events.Position]events.Commit{}
	c.machine.Break(c.rng)
	at := events.Position(len(c.content))
	batches := make([][][]*events.Commit, writers)
	for w := range batches { // written beforehand, because the author is not safe for concurrent use
		tenant := fmt.Sprintf("tenant%d", w)
		for range 8 {
			batches[w] = append(batches[w], []*events.Commit{c.author.commit(tenant), c.author.commit(tenant)})
		}
	}
	done := make([]int, writers)
	reading := make(chan struct{}, 1)
	var following sync.WaitGroup
	following.Go(func() { c.follow(at, reading) })
	for w := range batches {
		all.Go(func() {
			for _, batch := range batches[w] {
				select {
				case reading <- struct{}{}: // the follower is to read meanwhile
				default:
				}
				if err := appendBehind(c.log, batch); err != nil {
					return
				}
				mu.Lock()
				done[w]++
				for _, commit := range batch {
					c.acknowledged[commit.Position] = *commit
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	close(reading)
	following.Wait()

	for w, n := range done {
		// The first unacknowledged append may have happened; later ones were
		// not begun.
		for i := len(batches[w]) - 1; i > n; i-- {
			c.author.takeBack(batches[w][i])
		}
		if n < len(batches[w]) {
			c.unsure = append(c.unsure, batches[w][n])
		}
	}
}

func appendBehind(l Log, batch []*events.Commit) error {
	head, _ := l.Head()
	for {
		err := l.Append(context.Background(), head, batch...)
		conflict, ok := errors.AsType[*events.ConflictError](err)
		if !ok {
			return err
		}
		head = conflict.Head
	}
}

// follow collects the commits that a reader gets. It reads each time it gets a
// signal.
func (c *faultCase) follow(at events.Position, reading <-chan struct{}) {
	c.seen = slices.Clone(c.content)
	for range reading {
		err := c.log.Read(context.Background(), at+1, func(commit *events.Commit) error {
			c.seen = append(c.seen, commit.Clone())
			at = commit.Position
			return nil
		})
		if err != nil {
			return
		}
	}
}
