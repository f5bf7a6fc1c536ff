package replicatest

import (
	"math/rand/v2"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/events/logtest"
	"github.com/postern-im/postern/events/replica"
)

// maxWrites and maxOffers are the numbers of writes or offers among which the power
// goes.
const (
	maxWrites = 60
	maxOffers = 10
)

// A Machine is the first node of a cluster, as a machine that can lose its power.
// The other two nodes are its cluster; they keep their disks and restart with it.
type Machine struct {
	connect Connect
	settle  func()
	disk    *disk
	others  [2]vfs.FS

	dead  chan struct{}  // closed when the power goes
	left  *vfs.MemFS     // the disk's content then
	nodes []*Node        // that run
	late  sync.WaitGroup // nodes that were started when the power went
}

// NewMachine returns a Machine with an empty disk. settle lets the transport order
// what it has not ordered yet; it is called while no node runs.
func NewMachine(connect Connect, settle func()) *Machine {
	m := &Machine{connect: connect, settle: settle, others: [2]vfs.FS{vfs.NewMem(), vfs.NewMem()}}
	m.repaired(vfs.NewCrashableMem())
	return m
}

func (m *Machine) repaired(mem *vfs.MemFS) {
	m.disk, m.dead, m.left = newDisk(mem), make(chan struct{}), nil
}

// Boot starts all nodes, and returns when the first one has caught up.
func (m *Machine) Boot() (logtest.Log, error) {
	disk, dead := m.disk, m.dead
	opened := make(chan *Node, 1)
	err := logtest.Until(dead, func() error {
		n, err := Serve(Config{Node: names[0], Creator: true, FS: disk, Dir: "log", Connect: m.connectUntil(dead)})
		opened <- n
		return err
	})
	if err != nil {
		m.late.Go(func() { // the power has gone while Serve was at work
			if n := <-opened; n != nil {
				_ = n.Close()
			}
		})
		return nil, err
	}
	n := <-opened
	m.nodes = append(m.nodes, n)
	for i, fs := range m.others {
		other, err := Serve(Config{Node: names[i+1], FS: fs, Dir: "log", Connect: m.connect})
		if err != nil {
			return nil, err
		}
		m.nodes = append(m.nodes, other)
	}
	return logtest.Mortal(n, dead), logtest.Until(dead, func() error { return readyUntil(n, dead) })
}

// connectUntil is connect for a node that is not heard any more once it is dead,
// although its process runs on in the test.
func (m *Machine) connectUntil(dead <-chan struct{}) Connect {
	disk := m.disk
	return func(node string, log *eventlog.Log) (replica.Sequencer, replica.Peers, func(), error) {
		sequencer, peers, end, err := m.connect(node, log)
		return mortal{sequencer, disk, dead}, peers, end, err
	}
}

// mortal is the sequencer of a node that can die.
type mortal struct {
	replica.Sequencer
	disk *disk
	dead <-chan struct{}
}

func (s mortal) Offer(data []byte) {
	if data[0] == 1 { // a batch
		s.disk.offer()
	}
	select {
	case <-s.dead:
	default:
		s.Sequencer.Offer(data)
	}
}

// Break cuts the power at one of the next writes, or before one of the next offers
// of a batch is sent.
func (m *Machine) Break(rng *rand.Rand) {
	disk, dead, percent, seed := m.disk, m.dead, keep(rng), rng.Uint64()
	cut := func() {
		m.left = disk.afterCrash(percent, seed)
		close(dead)
	}
	if rng.IntN(2) == 0 {
		disk.breakAfter(rng.IntN(maxWrites), cut)
	} else {
		disk.breakAfterOffers(rng.IntN(maxOffers), cut)
	}
}

// Crash cuts the power, and repairs the machine.
func (m *Machine) Crash(rng *rand.Rand) {
	percent, seed := keep(rng), rng.Uint64()
	var left *vfs.MemFS
	select {
	case <-m.dead:
		left = m.left
	default:
		left = m.disk.afterCrash(percent, seed)
	}
	m.disk.repair()
	var all sync.WaitGroup
	for _, n := range m.nodes {
		all.Go(func() { _ = n.Close() })
	}
	all.Wait()
	m.late.Wait()
	m.nodes = nil
	m.settle()
	m.repaired(left)
}

// keep is how much unsynced data a crash leaves, in percent.
func keep(rng *rand.Rand) int { return [...]int{0, 30, 100}[rng.IntN(3)] }
