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

// A machine can lose its power at any operation of its disk, before or after
// the operation. The log runs in the test's process. When the power goes, the
// log blocks in that operation until the test has stopped calling it; then it
// runs to its end on a disk that nothing reads any more. So the log never sees
// a disk error, which this machine does not simulate: at an error Pebble ends
// its process.
type machine struct {
	disk  *disk
	power *power
	log   *eventlog.Log
}

// power is on until dead is closed.
type power struct {
	dead chan struct{} // closed when the power goes
	left *vfs.MemFS    // the disk's content then
	gone chan struct{} // closed when the test no longer calls the log
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
			return log.Close() // the caller no longer waits for it
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

// Break cuts the power at one of the next write operations.
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
		m.log.Close() // its result does not matter
	}
	*m = *machineOn(left)
}

// keep is how much unsynced data a crash leaves, in percent.
func keep(rng *rand.Rand) int { return [...]int{0, 30, 100}[rng.IntN(3)] }

// do waits until a call returns or the power goes.
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

// running is a log that returns errors once the power is gone.
type running struct {
	dead <-chan struct{}
	log  *eventlog.Log
}

func (r running) LogID() string                     { return r.log.LogID() }
func (r running) Head() (events.Position, [32]byte) { return r.log.Head() }

func (r running) Append(ctx context.Context, head events.Position, commits ...*events.Commit) error {
	// The call may continue after the caller has left, so it gets its own
	// commits.
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

// soak returns the size of a test: the long one if POSTERN_SOAK is set,
// otherwise the short one.
func soak(short, long int) int {
	if os.Getenv("POSTERN_SOAK") == "1" {
		return long
	}
	return short
}
