package overnats

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/postern-im/postern/decision"
)

// The Asker's times and bounds.
const (
	// hedgeAfter is how long a message may go unanswered before another node
	// is asked the same.
	hedgeAfter = 100 * time.Millisecond
	// tryFor is how long an answer is waited for at all. A verdict older than
	// a second is worth nothing to a session.
	tryFor = 500 * time.Millisecond
	// forgetNode is how long a node is remembered without an announcement:
	// three of them.
	forgetNode = 3 * announceEach
	// leaveAlone is how long a node that missed is left alone before it is
	// asked, with an empty message, whether it is well again; it doubles with
	// each miss up to leaveAloneMost.
	leaveAlone     = 250 * time.Millisecond
	leaveAloneMost = 4 * time.Second
	// waitBehind and waitNotFresh are how long a node that said so is left
	// alone: commits spread in milliseconds, freshness in ticks.
	waitBehind   = 20 * time.Millisecond
	waitNotFresh = 100 * time.Millisecond
	// pingEach is how often somebody is looked for while nobody answers.
	pingEach = 250 * time.Millisecond
	// atLeastFor is how long the newest position seen is insisted on: one
	// lease. Whoever is still behind then is not fresh either.
	atLeastFor = 15 * time.Second
	// inFlight bounds the messages a node is sent before it has answered one.
	// What waits meanwhile travels together, and the fewer messages the
	// cheaper each question: another one goes only for as many more requests
	// as are worth it, or when the last is not answered within patience.
	inFlight = 4
	worth    = 32
	patience = 2 * time.Millisecond
	// maxBatchBytes bounds a message, well under what NATS carries.
	maxBatchBytes = 256 << 10
	// maxNodes bounds the nodes remembered; announcements of more are ignored.
	maxNodes = 64
	// afterUnsent is how long nothing is sent after a send went wrong.
	afterUnsent = 50 * time.Millisecond
	// pruneOver: below it, requests whose call is over are left to be passed
	// over where they wait.
	pruneOver = 1024
)

// A request is one thing asked, from its arrival to its result. Its call owns
// it; once the call is over, done, nothing is written through it any more.
type request struct {
	call  *call
	index int
	kind  decision.RequestKind
	body  []byte // encoded
	alone bool   // a batch it was in was bad: it travels by itself
	done  bool
}

// A call is what one caller waits for: all its requests, or an error.
type call struct {
	requests []request
	at       time.Time     // when the caller asked
	hold     time.Duration // how long an outage may last for it
	left     int           // requests without a result
	err      error         // the first thing that went wrong
	over     bool

	// Where results go: verdicts[i] for requests[i], or the one of its kind.
	verdicts  []decision.Verdict
	admission decision.Admission
	opening   decision.Opening

	prev, next *call         // the core's list of open calls
	finished   chan struct{} // signalled by the shell; buffered
	buffer     []byte        // the shell's: what the bodies are views of
}

// A node is what the core knows of one policy node. The zero id is "whoever
// is in the queue group".
type node struct {
	id        string
	boot      uint64
	load      uint16
	ready     bool
	heard     time.Time // its last announcement
	inFlight  int
	lastSent  time.Time
	misses    int       // in a row; above zero it is asked nothing but pings
	waitUntil time.Time // nothing is sent to it before
}

func (n *node) anyone() bool { return n.id == "" }

// A flight is a set of requests that travel together until they are answered
// or all tries have missed. A flight of none is a ping.
type flight struct {
	requests []*request
	open     int // tries in the air
	hedged   bool
}

// A try is one message in the air.
type try struct {
	id      uint64
	node    *node
	sent    time.Time
	atLeast decision.Mark
	flight  *flight // nil once another try has answered
}

// A sending is a message the core wants sent.
type sending struct {
	try     uint64
	node    string // empty: the queue group
	atLeast decision.Mark
	flight  *flight
}

// counts is what the core counts.
type counts struct {
	requests, messages, hedges, misses, malformed, behind, notFresh, bad, unavailable uint64
}

// A core is the Asker without NATS, clock or goroutine: inputs and the time go
// in, sendings and finished calls come out, which the owner takes after each
// input. The owner calls it from one place at a time.
//
// It guarantees that a call ends exactly once, with a result for each request
// that came in a reply to a message which carried that very request, or with
// an error.
type core struct {
	random *rand.Rand

	nodes   []*node
	anyone  node
	tries   []*try     // in the air, oldest first
	queue   []*request // waiting, from head on
	head    int
	again   []*request // waiting after a miss, before the queue
	calls   call       // sentinel of the list of open calls, oldest first
	pending int        // requests of open calls
	dead    int        // requests that may still wait though their call is over
	nextTry uint64

	connected   bool
	pausedUntil time.Time
	out         bool      // nobody answers
	outSince    time.Time // where out
	lastOK      time.Time
	nextPing    time.Time
	// expiry is not later than the first call's that may expire.
	expiry time.Time

	newest   decision.Mark
	newestAt time.Time

	// The core's owner takes these after each input.
	sends []sending
	ended []*call
	rearm bool          // next may tell something sooner than before
	took  time.Duration // how long the answer just taken took

	counts counts

	freeTries   []*try
	freeFlights []*flight
}

// newCore returns a core that does not know yet whether anybody answers: the
// outage it begins with ends with the first answer.
func newCore(now time.Time, seed uint64) *core {
	c := &core{
		random:   rand.New(rand.NewPCG(seed, 0)),
		out:      true,
		outSince: now,
		anyone:   node{ready: true},
	}
	c.calls.prev, c.calls.next = &c.calls, &c.calls
	return c
}

// add takes a call. It may end at once.
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

// cancel ends a call whose caller has gone.
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

// expires tells when the call has waited long enough.
func (c *core) expires(k *call) time.Time {
	since := k.at
	if c.out && c.outSince.Before(since) {
		since = c.outSince
	}
	return since.Add(k.hold)
}

// end takes a call off the list. What is left of its requests in queue and
// flights is passed over from then on.
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

// prune drops what is done from everything that waits.
func (c *core) prune() {
	done := func(r *request) bool { return r.done }
	c.again = slices.DeleteFunc(c.again, done)
	c.queue = slices.DeleteFunc(c.queue[c.head:], done)
	c.head, c.dead = 0, 0
}

// maySend tells whether sending makes sense.
func (c *core) maySend(now time.Time) bool {
	return c.connected && !now.Before(c.pausedUntil)
}

// connection tells whether there is one. Without one nothing is sent, and
// what was in the air is lost.
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
	c.anyone.waitUntil = now
	c.dispatch(now)
}

// announced takes what a node says of itself.
//
// It reports whether the node was unknown, or another one before: notices of
// revocations may have been missed then.
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
		// What it was asked before died with it.
		for _, t := range slices.Clone(c.tries) {
			if t.node == n {
				c.miss(now, t, false)
			}
		}
		n.boot, n.misses, n.waitUntil = a.Boot, 0, time.Time{}
		anew = true
	}
	if a.Ready && !n.ready {
		n.waitUntil = time.Time{}
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

// readyNodes is how many nodes say that they decide.
func (c *core) readyNodes() (n int) {
	for _, node := range c.nodes {
		if node.ready {
			n++
		}
	}
	return n
}

// sawMark remembers the newest position there is known to be.
func (c *core) sawMark(now time.Time, m decision.Mark) {
	at := c.atLeast(now)
	if m.LogID != "" && (m.LogID != at.LogID || m.Position >= at.Position) {
		c.newest, c.newestAt = m, now
	}
}

// atLeast is what is insisted on now.
func (c *core) atLeast(now time.Time) decision.Mark {
	if now.Sub(c.newestAt) > atLeastFor {
		return decision.Mark{}
	}
	return c.newest
}

// tick does what is due: expired calls, overdue tries, hedges, pings. It is
// called at next or later.
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

// next tells when tick has something to do; the zero time means not before
// another input.
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

// forget drops nodes that have fallen silent.
func (c *core) forget(now time.Time) {
	c.nodes = slices.DeleteFunc(c.nodes, func(n *node) bool {
		return now.Sub(n.heard) >= forgetNode
	})
}

// expire ends the calls that have waited long enough.
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

// noAnswer notes that a message went unanswered: with no answer since it was
// sent, that is when the outage began.
func (c *core) noAnswer(since time.Time) {
	if c.out {
		return
	}
	if since.Before(c.lastOK) {
		since = c.lastOK
	}
	c.out, c.outSince, c.rearm = true, since, true
	// Whoever waits now waits for the outage's end, not from its own start.
	for k := c.calls.next; k != &c.calls; k = k.next {
		if at := c.expires(k); c.expiry.IsZero() || at.Before(c.expiry) {
			c.expiry = at
		}
	}
}
