package overnats

import (
	"slices"
	"time"

	"github.com/postern-im/postern/decision"
)

// This file is the part of the core that knows the links and the nodes.

const (
	// maxLinks bounds the links of a gateway. Each link receives all announcements
	// and revocations of its nodes.
	maxLinks = 8
	// waitBusy is how long a node is avoided after it answered StatusBusy. A node
	// is busy once its queue is 10 ms old.
	waitBusy = 20 * time.Millisecond
	// easeFor is how long a busy node then receives messages of half the size, and
	// easeStep how long until the size doubles again.
	easeFor  = time.Second
	easeStep = 250 * time.Millisecond
	// leastShare is the smallest bound on the requests of a message.
	leastShare = 8
)

// A link is one of the gateway's connections to NATS.
type link struct {
	index       int
	connected   bool
	was         bool          // it was connected before
	pausedUntil time.Duration // nothing is sent before this time
	anyone      path          // the queue group of the nodes on this link
}

// usable reports whether messages can be sent over the link now.
func (l *link) usable(now time.Duration) bool { return l.connected && l.pausedUntil <= now }

// A path is a way to ask: a node over a link, or the queue group of a link.
type path struct {
	link      *link
	node      *node         // nil: any node of the queue group
	heard     time.Duration // the node's last announcement over this link
	inFlight  int
	overdue   int // how many of its messages are unanswered for longer than hedgeAfter
	lastSent  time.Duration
	misses    int           // consecutive misses; above zero it receives only pings
	failedIn  uint64        // the round in which a message last failed
	waitUntil time.Duration // no message is sent before this time
}

// A node is the core's knowledge of one policy node.
type node struct {
	id     string
	boot   uint64
	before uint64 // the boot before; zero: none is known
	load   uint16
	ready  bool
	paths  []*path
	// wire is the version of the messages to the node. It is the newest that both
	// read, or lower if the node could not read it.
	wire      decision.Wire
	lowered   bool
	waitUntil time.Duration // no message is sent to it before this time
	// share bounds the requests of a message. It is below decision.MaxBatch for a
	// while after the node was busy; easedUntil is when it may grow. Nothing is sent
	// to the node before busyUntil.
	share                 int
	busyUntil, easedUntil time.Duration
	// unanswered is set if the node did not answer, or refused, a message that was
	// sent after readyAt: when the node became ready, or came within reach.
	unanswered bool
	readyAt    time.Duration
}

// on returns the path to the node over a link, or nil.
func (n *node) on(l *link) *path {
	for _, p := range n.paths {
		if p.link == l {
			return p
		}
	}
	return nil
}

// begin records that the node can be asked from now on.
func (n *node) begin(now time.Duration) {
	n.readyAt, n.unanswered = now, false
	for _, p := range n.paths {
		p.failedIn = 0
	}
}

// most returns how many requests the next message to the node may carry.
func (n *node) most(now time.Duration) int {
	for n.share < decision.MaxBatch && now >= n.easedUntil {
		n.share, n.easedUntil = min(2*n.share, decision.MaxBatch), n.easedUntil+easeStep
	}
	return n.share
}

// busy records that the node has answered StatusBusy. Several such answers at once
// count as one.
func (n *node) busy(now time.Duration) {
	if now >= n.busyUntil {
		n.share = max(n.share/2, leastShare)
	}
	n.busyUntil, n.easedUntil = now+waitBusy, now+easeFor
}

// lower records that the node cannot read the version of a message. It reports
// whether an older version is left. The version stays low until the node restarts.
func (n *node) lower(w decision.Wire) bool {
	if w <= decision.Wire1 {
		return false
	}
	n.wire, n.lowered = min(n.wire, w-1), true
	return true
}

func (c *core) node(id string) *node {
	for _, n := range c.nodes {
		if n.id == id {
			return n
		}
	}
	return nil
}

// readyNodes returns how many nodes announce that they are ready, and whether one
// of them did not answer a message since.
func (c *core) readyNodes() (n int, unanswered bool) {
	for _, node := range c.nodes {
		if node.ready {
			n++
			unanswered = unanswered || node.unanswered
		}
	}
	return n, unanswered
}

// maySend reports whether messages can be sent now over any link.
func (c *core) maySend(now time.Duration) bool {
	return slices.ContainsFunc(c.links, func(l *link) bool { return l.usable(now) })
}

// connection records whether a link is connected. When the connection is lost, the
// unanswered tries of this link are lost too. When it is made again, revocations
// may have been missed.
func (c *core) connection(now time.Duration, index int, up bool) {
	l := c.links[index]
	if l.connected == up {
		return
	}
	l.connected, c.rearm = up, true
	if !up {
		c.drop(now, func(p *path) bool { return p.link == l })
		c.noAnswer(now, now)
	} else if l.was {
		c.rechecks.all(now, c.newest)
	}
	l.was = true
	l.anyone.waitUntil = 0
	for _, n := range c.nodes {
		if p := n.on(l); p != nil {
			p.misses, p.waitUntil = 0, 0
			n.begin(now)
		}
	}
	c.dispatch(now)
}

// drop loses the unanswered tries over the given paths. Their nodes are not to
// blame.
func (c *core) drop(now time.Duration, over func(*path) bool) {
	for _, t := range slices.Clone(c.tries) {
		if over(t.path) {
			c.miss(now, t, false)
		}
	}
}

// announced records a node's announcement, which was received over a link. If the
// node was unknown before or has restarted, revocations may have been missed, so
// all sessions are asked about.
func (c *core) announced(now time.Duration, index int, a *decision.Announcement) {
	c.sawMark(now, a.At)
	n := c.node(a.Node)
	switch {
	case n == nil:
		if len(c.nodes) >= maxNodes {
			return
		}
		n = &node{id: a.Node, boot: a.Boot, share: decision.MaxBatch}
		c.nodes = append(c.nodes, n)
		c.rearm = true
		c.rechecks.all(now, a.At)
	case n.boot != a.Boot && n.before == a.Boot:
		return // from before the restart, over a slower link
	case n.boot != a.Boot:
		c.restarted(now, n, a)
	}
	l := c.links[index]
	p := n.on(l)
	if p == nil {
		p = &path{link: l, node: n}
		n.paths = append(n.paths, p)
		c.rearm = true
	}
	if a.Ready && !n.ready {
		n.waitUntil = 0
		n.begin(now)
	}
	p.heard, n.load, n.ready = now, a.Load, a.Ready
	// A node announces itself in each version, so an older one does not lower it.
	if w := min(max(a.Wire, decision.Wire1), decision.NewestWire); w > n.wire && !n.lowered {
		n.wire = w
	}
	c.dispatch(now)
}

// restarted records that a node has a new boot. The restart has lost everything
// that the node was asked before.
func (c *core) restarted(now time.Duration, n *node, a *decision.Announcement) {
	c.drop(now, func(p *path) bool { return p.node == n })
	n.before, n.boot = n.boot, a.Boot
	n.wire, n.lowered, n.share, n.waitUntil, n.busyUntil = 0, false, decision.MaxBatch, 0, 0
	c.rearm = true
	for _, p := range n.paths {
		p.misses, p.waitUntil = 0, 0
	}
	n.begin(now)
	c.rechecks.all(now, a.At)
}

// forget removes the paths over which a node is no longer heard, and the nodes that
// have none left.
func (c *core) forget(now time.Duration) {
	for _, n := range c.nodes {
		n.paths = slices.DeleteFunc(n.paths, func(p *path) bool { return now-p.heard >= forgetNode })
	}
	c.nodes = slices.DeleteFunc(c.nodes, func(n *node) bool { return len(n.paths) == 0 })
}

// silent reports whether no node is heard over the link.
func (c *core) silent(l *link) bool {
	return !slices.ContainsFunc(c.nodes, func(n *node) bool { return n.on(l) != nil })
}

// wire returns the version of the messages over a path. Any node of a queue group
// may get the message, so it has the lowest of their versions.
func (c *core) wire(p *path) decision.Wire {
	if p.node != nil {
		return p.node.wire
	}
	lowest := decision.Wire(0)
	for _, n := range c.nodes {
		if n.on(p.link) != nil && (lowest == 0 || n.wire < lowest) {
			lowest = n.wire
		}
	}
	return max(lowest, decision.Wire1)
}

// pick chooses the path of the next message. It returns the path to the least busy
// healthy node, or to the queue group of a link if no node is healthy. For a hedge,
// not is the path whose node has not answered, and pick returns a different one. It
// returns nil if the healthy nodes have enough messages in flight, or if it is too
// early to ask a queue group again.
func (c *core) pick(now time.Duration, not *path) *path {
	var best *path
	well, seen := false, 0
	for _, n := range c.nodes {
		if n.ready && n.busyUntil > now {
			well = true // it is asked again soon, and the queue groups would only ask it sooner
			continue
		}
		p := n.route(now, not)
		if p == nil {
			continue
		}
		well = true
		if !c.room(now, p, not != nil) {
			continue
		}
		switch d := c.compare(p, best, not); {
		case d < 0:
			best, seen = p, 1
		case d == 0:
			// Choose among equal nodes with the same probability.
			if seen++; c.random.IntN(seen) == 0 {
				best = p
			}
		}
	}
	if well {
		return best
	}
	return c.pickAnyone(now, not)
}

// pickAnyone chooses the link whose queue group is asked.
func (c *core) pickAnyone(now time.Duration, not *path) *path {
	var best *path
	seen := 0
	for _, l := range c.links {
		p := &l.anyone
		if !l.usable(now) || p.waitUntil > now || !c.room(now, p, not != nil) {
			continue
		}
		if not != nil && (l == not.link || !c.silent(l)) {
			continue // the nodes of this link are known, and none is healthy
		}
		if best == nil || p.inFlight < best.inFlight {
			best, seen = p, 0
		}
		if p.inFlight == best.inFlight {
			if seen++; c.random.IntN(seen) == 0 {
				best = p
			}
		}
	}
	return best
}

// route returns the path over which the node is asked now, or nil if there is none.
// It is the path on which the node was last heard, of those that work. A path with
// an overdue message is taken only if there is no other. For a hedge, route avoids
// the link of the message that was not answered.
func (n *node) route(now time.Duration, not *path) *path {
	if !n.ready || n.waitUntil > now {
		return nil
	}
	var best *path
	for _, p := range n.paths {
		if p == not || p.misses > 0 || p.waitUntil > now || !p.link.usable(now) {
			continue
		}
		if best == nil || p.doubts(not) < best.doubts(not) || p.doubts(not) == best.doubts(not) && p.heard > best.heard {
			best = p
		}
	}
	return best
}

// doubts returns how doubtful it is that a message over the path is answered. For a
// hedge, not is the path of the message that was not answered.
func (p *path) doubts(not *path) (n int) {
	if p.overdue > 0 {
		n += 4
	}
	if not != nil && p.node == not.node {
		n += 2
	}
	if not != nil && p.link == not.link {
		n++
	}
	return n
}

// room reports whether one more message may be sent over a path now. A hedge does
// not wait for further requests.
func (c *core) room(now time.Duration, p *path, hedge bool) bool {
	switch {
	case p.inFlight == 0:
		return true
	case p.inFlight >= inFlight:
		return false
	}
	return hedge || c.waiting.len() >= p.inFlight*worth || now-p.lastSent >= patience
}

// loadStep is the smallest difference in load that pick considers. Announcements
// are up to a second old. If all gateways moved away from a node for a few
// percent, they would overload the next node together.
const loadStep = decision.MaxLoad / 4

// compare returns a negative number if p is better than best, and a positive number
// if it is worse. A path without doubts is better, and then the less busy node.
func (c *core) compare(p, best, not *path) int {
	if best == nil {
		return -1
	}
	if d := p.doubts(not) - best.doubts(not); d != 0 {
		return d
	}
	if d := p.inFlight - best.inFlight; d != 0 {
		return d
	}
	return int(p.node.load/loadStep) - int(best.node.load/loadStep)
}
