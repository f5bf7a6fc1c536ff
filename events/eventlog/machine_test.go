package eventlog_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/events/logtest"
)

var errDead = errors.New("the machine is dead")

// A machine is one whose power can go, at any operation of its disk, before or
// after it. The log runs in the test's process: it is stuck at that operation
// until nobody asks it anything any more, and then runs to an end on a disk
// that is not looked at again. So it never sees an error, which is not for
// this machine: Pebble dies of errors, and takes its process with it.
type machine struct {
	disk  *disk
	power *power
	log   *eventlog.Log
}

// power is there until it goes.
type power struct {
	dead chan struct{} // closed when it goes
	left *vfs.MemFS    // what is on the disk then
	gone chan struct{} // closed when nobody asks the log anything any more
}

func newMachine() logtest.Machine { return machineOn(vfs.NewCrashableMem()) }

func machineOn(mem *vfs.MemFS) *machine {
	return &machine{disk: newDisk(mem), power: &power{dead: make(chan struct{}), gone: make(chan struct{})}}
}

func (m *machine) Boot() (logtest.Log, error) {
	disk, dead, opened := m.disk, m.power.dead, make(chan *eventlog.Log, 1)
	err := do(dead, func() error {
		log, err := eventlog.Open(eventlog.Config{Dir: "var/log", FS: disk})
		if err != nil {
			return err
		}
		select {
		case <-dead:
			return log.Close() // nobody waits for it
		default:
			opened <- log
			return nil
		}
	})
	if err != nil {
		return nil, err
	}
	m.log = <-opened
	return running{dead, m.log}, nil
}

// Break has the power go at one of the next operations that write.
func (m *machine) Break(rng *rand.Rand) {
	at, late, percent, seed := rng.IntN(60), rng.IntN(2) == 1, keep(rng), rng.Uint64()
	n, power, disk := 0, m.power, m.disk
	var once sync.Once
	cut := func() error {
		once.Do(func() {
			power.left = disk.afterCrash(percent, seed)
			close(power.dead)
		})
		<-power.gone
		return nil
	}
	disk.breakBy(func(write bool) (before, after func() error) {
		if write {
			n++
		}
		switch {
		case n <= at:
			return nil, nil
		case n == at+1 && write && late:
			return nil, cut
		default:
			return cut, nil
		}
	})
}

func (m *machine) Crash(rng *rand.Rand) {
	percent, seed := keep(rng), rng.Uint64()
	m.disk.breakBy(nil)
	var left *vfs.MemFS
	select {
	case <-m.power.dead:
		left = m.power.left
	default:
		left = m.disk.afterCrash(percent, seed)
	}
	close(m.power.gone)
	if m.log != nil {
		m.log.Close() // what becomes of it does not matter
	}
	*m = *machineOn(left)
}

// keep is how much of what was not synced a crash leaves, in percent.
func keep(rng *rand.Rand) int { return [...]int{0, 30, 100}[rng.IntN(3)] }

// do waits for a call until the power goes.
func do(dead <-chan struct{}, call func() error) error {
	answer := make(chan error, 1)
	go func() { answer <- call() }()
	select {
	case err := <-answer:
		return err
	case <-dead:
		return errDead
	}
}

// running is a log that gives no more answers when the power has gone.
type running struct {
	dead <-chan struct{}
	log  *eventlog.Log
}

func (r running) LogID() string                     { return r.log.LogID() }
func (r running) Head() (events.Position, [32]byte) { return r.log.Head() }

func (r running) Append(ctx context.Context, head events.Position, commits ...*events.Commit) error {
	// The call may go on when nobody waits for it: with commits of its own.
	var own []*events.Commit
	for _, c := range commits {
		copied := *c
		own = append(own, &copied)
	}
	err := do(r.dead, func() error { return r.log.Append(ctx, head, own...) })
	if err == nil {
		for i, c := range commits {
			*c = *own[i]
		}
	}
	return err
}

func (r running) Read(ctx context.Context, from events.Position, fn func(*events.Commit) error) error {
	var read []*events.Commit
	err := do(r.dead, func() error {
		return r.log.Read(ctx, from, func(c *events.Commit) error {
			own := c.Clone()
			read = append(read, &own)
			return nil
		})
	})
	if err != nil {
		return err
	}
	for _, c := range read {
		if err := fn(c); err != nil {
			return err
		}
	}
	return nil
}

func (r running) ByCommand(tenant, commandID string) (events.Commit, bool, error) {
	type found struct {
		commit events.Commit
		found  bool
	}
	answer := make(chan found, 1)
	err := do(r.dead, func() error {
		c, ok, err := r.log.ByCommand(tenant, commandID)
		answer <- found{c, ok}
		return err
	})
	if err != nil {
		return events.Commit{}, false, err
	}
	got := <-answer
	return got.commit, got.found, nil
}

func (r running) Wait(ctx context.Context, after events.Position) (events.Position, error) {
	head := make(chan events.Position, 1)
	err := do(r.dead, func() error {
		p, err := r.log.Wait(ctx, after)
		head <- p
		return err
	})
	if err != nil {
		return 0, err
	}
	return <-head, nil
}

func (r running) Verify(ctx context.Context) error {
	return do(r.dead, func() error { return r.log.Verify(ctx) })
}

func (r running) Close() error { return do(r.dead, r.log.Close) }

func TestPowerCuts(t *testing.T) {
	t.Parallel()
	logtest.RunFaults(t, soak(15, 2000), newMachine)
}

// soak is for tests that have a short form: it gives the long one's size when
// POSTERN_SOAK is set.
func soak(short, long int) int {
	if os.Getenv("POSTERN_SOAK") == "1" {
		return long
	}
	return short
}
