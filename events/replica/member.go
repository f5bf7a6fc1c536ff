package replica

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/postern-im/postern/events"
)

const (
	// maxMembers bounds the nodes that a node remembers. A cluster has a handful
	// of them; the rest is for names that are no longer used.
	maxMembers = 64

	// A node that hears its own name from another process for longer than
	// twinAfter believes that there is such a process: a message of its own
	// previous process is not repeated. It believes so until it has heard none for
	// twinFor. Nodes tell their state each second.
	twinAfter = 2 * time.Second
	twinFor   = 5 * time.Second

	// maxPasts bounds the former processes of a member that are remembered. More copies
	// of a node than this that are heard always in the same order are not found.
	maxPasts = 8

	// recentHashes is the number of the newest commits whose hashes are compared
	// with those of other nodes' states. A node that is further behind is compared
	// by its ticks, or when it has caught up.
	recentHashes = 256
)

// maxClock is the last millisecond of the year 9999. A node's clock may be wrong.
const maxClock = 253402300799999

// A Member is a node of the cluster, as it told itself when it was heard last.
type Member struct {
	Node       string
	Boot       uint64          // random for each process
	Data       string          // names the node's data
	Generation [16]byte        // zeros: the node has not joined yet
	Position   events.Position // the newest commit that the node's own disk has
	Hash       [32]byte        // of that commit
	Level      uint64          // the highest event number that the node reads
	// Decides is the position of the View from which the node decides.
	Decides events.Position
	Clock   time.Time // the node's own clock when it told its state
	Release string    // the version of the node's program
	Heard   time.Time // by this node's clock
	// ProofAge is the time since the node applied a tick, as it was at Heard;
	// negative if the node has applied none.
	ProofAge time.Duration
	// Failed means that the node has stopped for good.
	Failed bool
	// Twice means that two processes with this name are heard in turn. It is unknown
	// then which one Position and the other fields are about.
	Twice bool
}

// A roster holds the nodes that a node has heard of.
type roster struct {
	members map[string]Member
	pasts   map[string]past
	// firstTwin and lastTwin are when this node's name was heard from another
	// process, for the first and the last time of a series.
	firstTwin, lastTwin time.Time
}

// A past holds the processes of a member that were heard before its present one.
type past struct {
	boots []uint64  // the newest is at the end
	again time.Time // when one was heard again after a later one; zero: never
}

// turn notes a member's process, and reports whether two processes with its name run.
// A process that is heard again after its successor is proof of it: a restart alone is
// not, because the former process is not heard again.
func (r *roster) turn(s *state, now time.Time) (twice bool) {
	if r.pasts == nil {
		r.pasts = map[string]past{}
	}
	last, known := r.members[s.Node]
	p := r.pasts[s.Node]
	if known && last.Boot != s.Boot {
		if i := slices.Index(p.boots, s.Boot); i >= 0 {
			p.boots, p.again = slices.Delete(p.boots, i, i+1), now
		}
		p.boots = append(p.boots, last.Boot)
		p.boots = slices.Delete(p.boots, 0, max(len(p.boots)-maxPasts, 0))
		r.pasts[s.Node] = p
	}
	return !p.again.IsZero() && now.Sub(p.again) <= twinFor
}

// add keeps a member's newest state.
func (r *roster) add(s *state, now time.Time) {
	if r.members == nil {
		r.members = map[string]Member{}
	}
	if _, known := r.members[s.Node]; !known && len(r.members) >= maxMembers {
		oldest := slices.MinFunc(slices.Collect(maps.Values(r.members)), func(a, b Member) int { return a.Heard.Compare(b.Heard) })
		delete(r.members, oldest.Node)
		delete(r.pasts, oldest.Node)
	}
	twice := r.turn(s, now)
	m := memberOf(s, now)
	m.Twice = twice
	r.members[s.Node] = m
}

func memberOf(s *state, now time.Time) Member {
	age, ok := s.age()
	if !ok {
		age = -1
	}
	return Member{
		Node: s.Node, Boot: s.Boot, Data: s.Data, Generation: s.Generation,
		Position: s.Position, Hash: s.Hash, Level: s.Level,
		Decides: s.Decides, Clock: time.UnixMilli(int64(min(s.Clock, maxClock))), Release: s.Release,
		Heard: now, ProofAge: age, Failed: s.Failed,
	}
}

// twin notes that another process uses this node's name.
func (r *roster) twin(now time.Time) {
	if now.Sub(r.lastTwin) > twinFor {
		r.firstTwin = now
	}
	r.lastTwin = now
}

// hasTwin reports whether another process uses this node's name now.
func (r *roster) hasTwin(now time.Time) bool {
	return r.lastTwin.Sub(r.firstTwin) >= twinAfter && now.Sub(r.lastTwin) <= twinFor
}

// list returns the members in the order of their names.
func (r *roster) list() []Member {
	return slices.SortedFunc(maps.Values(r.members), func(a, b Member) int { return cmp.Compare(a.Node, b.Node) })
}

// recent holds the hashes of the newest commits.
type recent struct{ heads [recentHashes]head }

func (r *recent) add(h head) { r.heads[h.position%recentHashes] = h }

// at returns the hash of the commit at a position, if it is among the newest.
func (r *recent) at(p events.Position) (hash [32]byte, ok bool) {
	h := r.heads[p%recentHashes]
	return h.hash, p > 0 && h.position == p
}

// forked is the error about a node that has another commit at a position.
func forked(node string, p events.Position, its, own [32]byte) error {
	return stopf("two histories: at %d node %s has the commit %x, and this node has %x; compare the nodes before any of them decides again: policyctl cluster diff %[2]s",
		p, node, its[:8], own[:8])
}
