package overnats

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/postern-im/postern/decision"
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
	// leaveAlone is how long a path is avoided after a miss. Then it is sent an
	// empty message to find out whether the node answers again. The time doubles
	// with each further miss, up to leaveAloneMost.
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
	// remaining node has reached would block all decisions. It must not be shorter
	// than the lease: a node that proves a challenge of the time after the report has
	// that position anyway, and older proofs are refused once the lease is over.
	atLeastFor = decision.Lease
	// oneOutage is the longest time between two failures of the same outage. A
	// node that fails a message does so within tryFor, and a hedge begins later.
	oneOutage = 2 * tryFor
	// inFlight bounds the unanswered messages on a path. Fewer, larger messages
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
	// afterUnsent is how long the core sends nothing over a link after a failed send.
	afterUnsent = 50 * time.Millisecond
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
	at       time.Duration // when the caller asked
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

// entry reports whether the call asks to let a client in, and not about a session.
func (k *call) entry() bool { return len(k.requests) > 0 && k.requests[0].kind != decision.Ask }

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
	path    *path
	sent    time.Duration
	overdue bool // it is counted in path.overdue
	wire    decision.Wire
	atLeast decision.Mark
	flight  *flight // nil once another try of the flight was answered
}

// A sending is a message that the core's owner must send.
type sending struct {
	try       uint64
	link      int
	node      string // empty: the queue group
	wire      decision.Wire
	challenge uint64
	atLeast   decision.Mark
	flight    *flight
}

// counts are the core's counters.
type counts struct {
	requests, messages, hedges, misses, malformed, behind, notFresh, unproven, version, busy, bad, unavailable uint64
}

// A core is the logic of the Asker, without NATS, clock or goroutines. Its owner
// passes it events and the time. After each of these inputs, the owner takes the
// core's sendings and finished calls. A core is not safe for concurrent use. All
// times are those of the gateway's boot-time clock; zero stands for no time.
//
// It guarantees that a call ends exactly once: with an error, or with a result for
// each request. Each result comes from the reply to a message that contained the
// request. Each verdict has a proof of this run of the gateway, which was not older
// than the lease when the verdict arrived.
type core struct {
	random     *rand.Rand
	challenges decision.Challenges

	links   []*link
	nodes   []*node
	tries   []*try // unanswered, oldest first
	waiting waiting
	calls   call // sentinel of the list of open calls, oldest first
	pending int  // requests of open calls
	nextTry uint64

	out      bool          // there is an outage: no node answers
	outSince time.Duration // the beginning of the outage
	lastOK   time.Duration
	// round counts the answers. A path that has failed in the present round has
	// failed since any node last answered.
	round       uint64
	failing     time.Duration // the first failure of the round, as far as it belongs to one outage; zero: none
	lastFailure time.Duration
	nextPing    time.Duration
	// expiry: no open call expires before this time. Zero: no call is open.
	expiry time.Duration

	newest   decision.Mark
	newestAt time.Duration

	rechecks rechecks

	// The outputs, which the owner takes after each input.
	sends    []sending
	ended    []*call
	rearm    bool          // the result of next may now be earlier
	took     time.Duration // the latency of the last answer
	proofAge time.Duration // the age of its proof

	counts counts

	freeTries   []*try
	freeFlights []*flight
}

// newCore returns a core with the given number of links, which does not know yet
// whether any node answers. It begins in an outage, which ends with the first
// answer.
func newCore(now time.Duration, seed uint64, links int, challenges decision.Challenges) *core {
	c := &core{
		random:     rand.New(rand.NewPCG(seed, 0)),
		challenges: challenges,
		out:        true,
		outSince:   now,
		round:      1,
	}
	for i := range links {
		l := &link{index: i}
		l.anyone.link = l
		c.links = append(c.links, l)
	}
	c.calls.prev, c.calls.next = &c.calls, &c.calls
	return c
}

// add accepts a call. The call may end at once.
func (c *core) add(now time.Duration, k *call) {
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
	if at <= now {
		c.counts.unavailable++
		c.end(k, ErrUnavailable)
		return
	}
	if c.expiry == 0 || at < c.expiry {
		c.expiry, c.rearm = at, true
	}
	for i := range k.requests {
		c.waiting.add(&k.requests[i])
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
func (c *core) expires(k *call) time.Duration {
	since := k.at
	if c.out {
		since = min(since, c.outSince)
	}
	return since + k.hold
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
	c.waiting.abandon(k.left)
	k.prev.next, k.next.prev = k.next, k.prev
	k.prev, k.next = nil, nil
	c.ended = append(c.ended, k)
}

// sawMark records a position of the log that a node has reported, unless a newer
// position of the same log is known.
func (c *core) sawMark(now time.Duration, m decision.Mark) {
	at := c.atLeast(now)
	if m.LogID != "" && (m.LogID != at.LogID || m.Position >= at.Position) {
		c.newest, c.newestAt = m, now
	}
}

// atLeast returns the Mark that a node must have reached to answer now. The zero
// Mark sets no condition.
func (c *core) atLeast(now time.Duration) decision.Mark {
	if now-c.newestAt > atLeastFor {
		return decision.Mark{}
	}
	return c.newest
}

// revoked records a revocation that a node has published.
func (c *core) revoked(now time.Duration, e decision.Revocation) {
	c.sawMark(now, decision.Mark{LogID: e.LogID, Position: e.Position})
	c.rechecks.one(e)
}

// tick handles everything that is due: expired calls, overdue tries, hedges and
// pings. The owner calls it at the time of next or later.
func (c *core) tick(now time.Duration) {
	c.forget(now)
	for i := 0; i < len(c.tries); {
		if t := c.tries[i]; now-t.sent >= tryFor {
			c.miss(now, t, true)
		} else {
			i++
		}
	}
	c.hedge(now)
	c.dispatch(now)
	c.expire(now)
	c.ping(now)
	c.rechecks.tick(now)
}

// next returns the time when tick must be called. Zero means that no call is
// needed before the next input.
func (c *core) next(now time.Duration) time.Duration {
	var at time.Duration
	sooner := func(t time.Duration) {
		if t != 0 && (at == 0 || t < at) {
			at = t
		}
	}
	later := func(t time.Duration) {
		if t > now {
			sooner(t)
		}
	}
	for _, t := range c.tries {
		sooner(t.sent + tryFor)
		if !t.overdue {
			sooner(t.sent + hedgeAfter)
		}
	}
	path := func(p *path) {
		later(p.waitUntil)
		if c.waiting.len() > 0 {
			later(p.lastSent + patience)
		}
	}
	for _, n := range c.nodes {
		later(n.waitUntil)
		later(n.busyUntil)
		for _, p := range n.paths {
			sooner(p.heard + forgetNode)
			path(p)
		}
	}
	for _, l := range c.links {
		path(&l.anyone)
		later(l.pausedUntil)
	}
	if c.maySend(now) && c.lonely() {
		if c.nextPing == 0 {
			return now
		}
		sooner(c.nextPing)
	}
	sooner(c.expiry)
	sooner(c.rechecks.next())
	return at
}

// expire ends the calls that have expired.
func (c *core) expire(now time.Duration) {
	if c.expiry == 0 || now < c.expiry {
		return
	}
	c.expiry = 0
	for k := c.calls.next; k != &c.calls; {
		next, at := k.next, c.expires(k)
		if at <= now {
			c.counts.unavailable++
			c.end(k, ErrUnavailable)
		} else if c.expiry == 0 || at < c.expiry {
			c.expiry = at
		}
		k = next
	}
}

// noAnswer records that a message sent at since was not answered. If no other node
// is left to ask, an outage has begun: with the first failure since the last answer.
func (c *core) noAnswer(now, since time.Duration) {
	if c.out {
		return
	}
	if c.failing == 0 || now-c.lastFailure > oneOutage {
		c.failing = max(since, c.lastOK)
	}
	c.lastFailure = now
	if c.untried(now) {
		return
	}
	c.out, c.outSince, c.rearm = true, c.failing, true
	// For calls made after the outage began, the hold time now counts from outSince.
	for k := c.calls.next; k != &c.calls; k = k.next {
		if at := c.expires(k); c.expiry == 0 || at < c.expiry {
			c.expiry = at
		}
	}
}

// untried reports whether a node could answer: it is ready, and a path to it works
// and has not failed since any node last answered.
func (c *core) untried(now time.Duration) bool {
	return slices.ContainsFunc(c.nodes, func(n *node) bool {
		return n.ready && slices.ContainsFunc(n.paths, func(p *path) bool {
			return p.link.usable(now) && p.misses == 0 && p.failedIn != c.round
		})
	})
}
