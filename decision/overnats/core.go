package overnats

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/internal/boottime"
)

// The Asker's times and bounds.
const (
	// hedgeAfter is how long a message may stay unanswered before it is sent to
	// another node too.
	hedgeAfter = 100 * time.Millisecond
	// tryFor is how long the core waits for the answer to a message. A session
	// cannot use a verdict older than a second.
	tryFor = 500 * time.Millisecond
	// forgetNode is how long a node is remembered without an announcement: three
	// intervals of announcements.
	forgetNode = 3 * announceEach
	// leaveAlone is how long a node is avoided after a miss. Then it is sent an
	// empty message to find out whether it answers again. The time doubles with
	// each further miss, up to leaveAloneMost.
	leaveAlone     = 250 * time.Millisecond
	leaveAloneMost = 4 * time.Second
	// waitBehind and waitNotFresh are how long a node is avoided after it answered
	// StatusBehind or StatusNotFresh. Commits spread within milliseconds, but a node
	// that may not decide usually needs longer to recover.
	waitBehind   = 20 * time.Millisecond
	waitNotFresh = 100 * time.Millisecond
	// pingEach is the interval of pings while no node answers.
	pingEach = 250 * time.Millisecond
	// atLeastFor is how long the Asker requires a position of the log after a node
	// last reported it or a newer one. Without this bound, a position that no
	// remaining node has reached would block all decisions.
	atLeastFor = 15 * time.Second
	// inFlight bounds the unanswered messages to a node. Fewer, larger messages
	// make each question cheaper, so further requests wait and travel together.
	// Another message is sent only if at least 32 requests (worth) wait for each
	// message in flight, or if 2 ms (patience) have passed since the last message.
	inFlight = 4
	worth    = 32
	patience = 2 * time.Millisecond
	// maxBatchBytes bounds a message. It is well below the maximum payload of NATS.
	maxBatchBytes = 256 << 10
	// maxNodes bounds the nodes remembered. Announcements of further nodes are
	// ignored.
	maxNodes = 64
	// afterUnsent is how long the core sends nothing after a failed send.
	afterUnsent = 50 * time.Millisecond
	// pruneOver is the number of abandoned requests above which the queues are
	// pruned. Up to that number, they stay queued and are skipped.
	pruneOver = 1024
)

// A request is a question, admission or opening, from its arrival to its result.
// Its call owns it. Once the call is over, the request is done and no result is
// written for it any more.
type request struct {
	call  *call
	index int
	kind  decision.RequestKind
	body  []byte // encoded
	alone bool   // it was in a bad batch, so it is sent without other requests
	done  bool
}

// A call holds the requests of one caller. The caller waits until all requests
// have a result, or an error ends the call.
type call struct {
	requests []request
	at       time.Time     // when the caller asked
	hold     time.Duration // the longest outage that the caller waits for
	left     int           // requests without a result
	err      error         // the first error
	over     bool

	// The results: verdicts[i] for requests[i], or else one admission or opening.
	verdicts  []decision.Verdict
	admission decision.Admission
	opening   decision.Opening

	prev, next *call         // the core's list of open calls
	finished   chan struct{} // signalled by the Asker when the call ends; buffered
	buffer     []byte        // the encoded requests; the bodies are views of it
}

// A node is the core's knowledge of one policy node. The empty id stands for any
// node of the queue group.
type node struct {
	id        string
	boot      uint64
	load      uint16
	ready     bool
	heard     time.Time // the time of its last announcement
	inFlight  int
	lastSent  time.Time
	misses    int       // consecutive misses; above zero it receives only pings
	waitUntil time.Time // no message is sent to it before this time
	// unanswered is set if the node did not answer, or refused, a message that was
	// sent after readyAt: when the node became ready, or NATS was connected.
	unanswered bool
	readyAt    time.Time
}

func (n *node) anyone() bool { return n.id == "" }

// A flight is a set of requests that stay in one batch until they are answered or
// all tries have missed. A flight without requests is a ping.
type flight struct {
	requests []*request
	open     int // its unanswered tries
	hedged   bool
}

// A try is one message that is sent and not answered yet.
type try struct {
	id      uint64
	node    *node
	sent    time.Time
	asked   time.Duration // when it was sent, by the boot-time clock
	atLeast decision.Mark
	flight  *flight // nil once another try of the flight was answered
}

// A sending is a message that the core's owner must send.
type sending struct {
	try     uint64
	node    string // empty: the queue group
	atLeast decision.Mark
	flight  *flight
}

// counts are the core's counters.
type counts struct {
	requests, messages, hedges, misses, malformed, behind, notFresh, bad, unavailable uint64
}

// A core is the logic of the Asker, without NATS, clock or goroutines, except that
// it dates its tries by the boot-time clock. Its owner passes it events and the time. After each of these inputs, the owner takes the
// core's sendings and finished calls. A core is not safe for concurrent use.
//
// It guarantees that a call ends exactly once: with an error, or with a result for
// each request. Each result comes from the reply to a message that contained the
// request.
type core struct {
	random *rand.Rand
	boot   boottime.Clock // dates the tries, for the freshness of their results

	nodes   []*node
	anyone  node
	tries   []*try     // unanswered, oldest first
	queue   []*request // waiting, from head on
	head    int
	again   []*request // waiting after a miss, ahead of the queue
	calls   call       // sentinel of the list of open calls, oldest first
	pending int        // requests of open calls
	dead    int        // requests of ended calls that may still be queued
	nextTry uint64

	connected   bool
	pausedUntil time.Time
	out         bool      // there is an outage: no node answers
	outSince    time.Time // the beginning of the outage
	lastOK      time.Time
	nextPing    time.Time
	// expiry: no open call expires before this time. Zero: no call is open.
	expiry time.Time

	newest   decision.Mark
	newestAt time.Time

	// The outputs, which the owner takes after each input.
	sends []sending
	ended []*call
	rearm bool          // the result of next may now be earlier
	took  time.Duration // the latency of the last answer

	counts counts

	freeTries   []*try
	freeFlights []*flight
}

// newCore returns a core that does not know yet whether any node answers. It
// begins in an outage, which ends with the first answer.
func newCore(now time.Time, boot boottime.Clock, seed uint64) *core {
	c := &core{
		boot:     boot,
		random:   rand.New(rand.NewPCG(seed, 0)),
		out:      true,
		outSince: now,
		anyone:   node{ready: true},
	}
	c.calls.prev, c.calls.next = &c.calls, &c.calls
	return c
}

// add accepts a call. The call may end at once.
func (c *core) add(now time.Time, k *call) {
	k.left = len(k.requests)
	c.counts.requests += uint64(len(k.requests))
	k.prev, k.next = c.calls.prev, &c.calls
	k.prev.next, k.next.prev = k, k
	c.pending += len(k.requests)
	if k.left == 0 {
		c.end(k, nil)
		return
	}
	at := c.expires(k)
	if !at.After(now) {
		c.counts.unavailable++
		c.end(k, ErrUnavailable)
		return
	}
	if c.expiry.IsZero() || at.Before(c.expiry) {
		c.expiry, c.rearm = at, true
	}
	for i := range k.requests {
		c.queue = append(c.queue, &k.requests[i])
	}
	c.dispatch(now)
}

// cancel ends a call that its caller has abandoned.
func (c *core) cancel(k *call, err error) {
	if !k.over {
		c.end(k, err)
	}
}

// close ends all calls.
func (c *core) close(err error) {
	for c.calls.next != &c.calls {
		c.end(c.calls.next, err)
	}
}

// expires returns the time when the call expires: its hold time after it was made,
// or after the beginning of the outage if the outage began earlier.
func (c *core) expires(k *call) time.Time {
	since := k.at
	if c.out && c.outSince.Before(since) {
		since = c.outSince
	}
	return since.Add(k.hold)
}

// end ends a call and removes it from the list. Its requests may still be in the
// queues and in flights, where they are ignored from then on.
func (c *core) end(k *call, err error) {
	if k.err == nil {
		k.err = err
	}
	k.over = true
	for i := range k.requests {
		k.requests[i].done = true
	}
	c.pending -= len(k.requests)
	if c.dead += k.left; c.dead > pruneOver && 2*c.dead > len(c.again)+len(c.queue) {
		c.prune()
	}
	k.prev.next, k.next.prev = k.next, k.prev
	k.prev, k.next = nil, nil
	c.ended = append(c.ended, k)
}

// prune removes the requests that are done from both queues.
func (c *core) prune() {
	done := func(r *request) bool { return r.done }
	c.again = slices.DeleteFunc(c.again, done)
	c.queue = slices.DeleteFunc(c.queue[c.head:], done)
	c.head, c.dead = 0, 0
}

// maySend reports whether messages can be sent now.
func (c *core) maySend(now time.Time) bool {
	return c.connected && !now.Before(c.pausedUntil)
}

// connection records whether NATS is connected. When the connection is lost, all
// unanswered tries are lost too. Without a connection nothing is sent.
func (c *core) connection(now time.Time, up bool) {
	if c.connected == up {
		return
	}
	c.connected, c.rearm = up, true
	if !up {
		for len(c.tries) > 0 {
			c.miss(now, c.tries[0], false)
		}
		c.noAnswer(now)
	}
	for _, n := range c.nodes {
		n.readyAt, n.unanswered = now, false
	}
	c.anyone.waitUntil = now
	c.dispatch(now)
}

// announced records a node's announcement.
//
// It reports whether the node was unknown before or has restarted. In both cases
// revocations may have been missed.
func (c *core) announced(now time.Time, a *decision.Announcement) (anew bool) {
	c.sawMark(now, a.At)
	n := c.node(a.Node)
	if n == nil {
		if len(c.nodes) >= maxNodes {
			return false
		}
		anew = true
		c.rearm = true
		n = &node{id: a.Node, boot: a.Boot}
		c.nodes = append(c.nodes, n)
	}
	if n.boot != a.Boot {
		// The restart has lost everything that the node was asked before.
		for _, t := range slices.Clone(c.tries) {
			if t.node == n {
				c.miss(now, t, false)
			}
		}
		n.boot, n.misses, n.waitUntil = a.Boot, 0, time.Time{}
		n.readyAt, n.unanswered = now, false
		anew = true
	}
	if a.Ready && !n.ready {
		n.waitUntil = time.Time{}
		n.readyAt, n.unanswered = now, false
	}
	n.heard, n.load, n.ready = now, a.Load, a.Ready
	c.dispatch(now)
	return anew
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

// sawMark records a position of the log that a node has reported, unless a newer
// position of the same log is known.
func (c *core) sawMark(now time.Time, m decision.Mark) {
	at := c.atLeast(now)
	if m.LogID != "" && (m.LogID != at.LogID || m.Position >= at.Position) {
		c.newest, c.newestAt = m, now
	}
}

// atLeast returns the Mark that a node must have reached to answer now. The zero
// Mark sets no condition.
func (c *core) atLeast(now time.Time) decision.Mark {
	if now.Sub(c.newestAt) > atLeastFor {
		return decision.Mark{}
	}
	return c.newest
}

// tick handles everything that is due: expired calls, overdue tries, hedges and
// pings. The owner calls it at the time of next or later.
func (c *core) tick(now time.Time) {
	c.forget(now)
	for i := 0; i < len(c.tries); {
		if t := c.tries[i]; now.Sub(t.sent) >= tryFor {
			c.miss(now, t, true)
		} else {
			i++
		}
	}
	c.hedge(now)
	c.dispatch(now)
	c.expire(now)
	c.ping(now)
}

// next returns the time when tick must be called. The zero time means that no call
// is needed before the next input.
func (c *core) next(now time.Time) time.Time {
	var at time.Time
	sooner := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	for _, t := range c.tries {
		sooner(t.sent.Add(tryFor))
		if h := t.sent.Add(hedgeAfter); t.flight != nil && !t.flight.hedged && h.After(now) {
			sooner(h)
		}
	}
	later := func(t time.Time) {
		if t.After(now) {
			sooner(t)
		}
	}
	for _, n := range c.nodes {
		sooner(n.heard.Add(forgetNode))
		later(n.waitUntil)
		if c.backlog() > 0 {
			later(n.lastSent.Add(patience))
		}
	}
	if c.backlog() > 0 {
		later(c.anyone.lastSent.Add(patience))
	}
	later(c.anyone.waitUntil)
	later(c.pausedUntil)
	if c.maySend(now) && c.lonely() {
		if c.nextPing.IsZero() {
			return now
		}
		sooner(c.nextPing)
	}
	sooner(c.expiry)
	return at
}

// forget removes nodes that no longer send announcements.
func (c *core) forget(now time.Time) {
	c.nodes = slices.DeleteFunc(c.nodes, func(n *node) bool {
		return now.Sub(n.heard) >= forgetNode
	})
}

// expire ends the calls that have expired.
func (c *core) expire(now time.Time) {
	if c.expiry.IsZero() || now.Before(c.expiry) {
		return
	}
	c.expiry = time.Time{}
	for k := c.calls.next; k != &c.calls; {
		next, at := k.next, c.expires(k)
		if !at.After(now) {
			c.counts.unavailable++
			c.end(k, ErrUnavailable)
		} else if c.expiry.IsZero() || at.Before(c.expiry) {
			c.expiry = at
		}
		k = next
	}
}

// noAnswer records that a message sent at since was not answered. An outage then
// begins at since, or at the last answer if this is later.
func (c *core) noAnswer(since time.Time) {
	if c.out {
		return
	}
	if since.Before(c.lastOK) {
		since = c.lastOK
	}
	c.out, c.outSince, c.rearm = true, since, true
	// For calls made after the outage began, the hold time now counts from outSince.
	for k := c.calls.next; k != &c.calls; k = k.next {
		if at := c.expires(k); c.expiry.IsZero() || at.Before(c.expiry) {
			c.expiry = at
		}
	}
}
