package eventlog_test

import (
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/events/logtest"
)

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
	err := logtest.Until(dead, func() error {
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
	return logtest.Mortal(m.log, dead), nil
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
