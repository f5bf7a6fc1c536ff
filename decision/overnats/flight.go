package overnats

import (
	"slices"
	"time"

	"github.com/postern-im/postern/decision"
)

// This file is the part of the core that sends messages and processes the answers.

// dispatch sends waiting requests as long as a node may receive a message.
func (c *core) dispatch(now time.Duration) {
	for c.maySend(now) && c.waiting.any() {
		p := c.pick(now, nil)
		if p == nil {
			c.rearm = true
			return
		}
		most := decision.MaxBatch
		if p.node != nil {
			most = p.node.most(now)
		}
		f := c.newFlight()
		c.waiting.load(f, most)
		c.send(now, p, f)
	}
}

// send sends a flight over a path, as a new try.
func (c *core) send(now time.Duration, p *path, f *flight) {
	c.nextTry++
	t := c.newTry()
	*t = try{id: c.nextTry, path: p, sent: now, wire: c.wire(p), atLeast: c.atLeast(now), flight: f}
	c.tries = append(c.tries, t)
	p.inFlight++
	p.lastSent = now
	f.open++
	c.rearm = true
	c.counts.messages++
	s := sending{try: t.id, link: p.link.index, wire: t.wire, atLeast: t.atLeast, flight: f}
	if p.node != nil {
		s.node = p.node.id
	}
	if t.wire >= decision.Wire2 {
		s.challenge = c.challenges.At(now)
	}
	c.sends = append(c.sends, s)
}

// hedge sends flights that have been unanswered for hedgeAfter to a second node.
func (c *core) hedge(now time.Duration) {
	for _, t := range c.tries {
		if !t.overdue && now-t.sent >= hedgeAfter {
			t.overdue = true
			t.path.overdue++
		}
	}
	if !c.maySend(now) {
		return
	}
	for i := range len(c.tries) { // the tries added in this loop are not hedged
		t := c.tries[i]
		if !t.overdue || t.flight == nil || t.flight.hedged || len(t.flight.requests) == 0 {
			continue
		}
		if p := c.pick(now, t.path); p != nil {
			t.flight.hedged = true
			c.counts.hedges++
			c.send(now, p, t.flight)
		}
	}
}

// ping sends empty messages over paths that were avoided, to find out whether their
// nodes answer again. While no node is known to answer and no message is in flight,
// it also sends an empty message to any node every pingEach.
func (c *core) ping(now time.Duration) {
	if !c.maySend(now) {
		return
	}
	for _, n := range c.nodes {
		for _, p := range n.paths {
			if p.misses > 0 && p.inFlight == 0 && p.waitUntil <= now && p.link.usable(now) {
				c.send(now, p, c.newFlight())
			}
		}
	}
	switch {
	case !c.lonely():
		c.nextPing = 0
	case now >= c.nextPing:
		c.nextPing = now + pingEach
		if len(c.tries) > 0 {
			return // the answers to these tries have the same effect as a ping's
		}
		p := c.pick(now, nil)
		if p == nil {
			p = c.longestAgo(now)
		}
		c.send(now, p, c.newFlight())
	}
}

// longestAgo returns the usable link's queue group that may be asked first. It is
// asked although it is too early, because every node refuses and an outage must end
// soon after its cause.
func (c *core) longestAgo(now time.Duration) *path {
	var first *path
	for _, l := range c.links {
		if p := &l.anyone; l.usable(now) && (first == nil || p.waitUntil < first.waitUntil) {
			first = p
		}
	}
	return first
}

// lonely reports whether no node is known to answer.
func (c *core) lonely() bool { return c.out || len(c.nodes) == 0 }

// find returns the try with the given id and its index.
func (c *core) find(id uint64) (int, *try) {
	for i, t := range c.tries {
		if t.id == id {
			return i, t
		}
	}
	return 0, nil
}

// land removes a try that was answered or missed.
func (c *core) land(t *try) {
	i, _ := c.find(t.id)
	c.tries = slices.Delete(c.tries, i, i+1)
	t.path.inFlight--
	if t.overdue {
		t.path.overdue--
	}
	if t.flight != nil {
		t.flight.open--
	}
}

// miss removes a try that will not be answered. If blame is set, the node or the
// link is at fault, and the path is avoided for a while.
func (c *core) miss(now time.Duration, t *try, blame bool) {
	c.counts.misses++
	p := t.path
	switch {
	case p.node == nil:
		p.waitUntil = now + waitNotFresh
	case blame:
		p.waitUntil = now + min(leaveAlone<<min(p.misses, 8), leaveAloneMost)
		p.misses++
	}
	if blame {
		p.failedIn = c.round
	}
	c.failed(now, t, p.node)
}

// failed removes a try that brought no results. The node may be nil.
func (c *core) failed(now time.Duration, t *try, n *node) {
	if n != nil && n.ready && t.sent >= n.readyAt {
		n.unanswered = true
	}
	c.noAnswer(now, t.sent)
	c.giveBack(t)
}

// giveBack removes a try that brought no results. If its flight has no other
// unanswered try, the flight's requests are queued again.
func (c *core) giveBack(t *try) {
	c.rearm = true
	c.land(t)
	f := t.flight
	c.freeTry(t)
	if f == nil || f.open > 0 {
		return
	}
	for _, r := range f.requests {
		if !r.done {
			c.waiting.retry(r)
		}
	}
	c.freeFlight(f)
}

// unsent records that a message could not be sent.
func (c *core) unsent(now time.Duration, id uint64) {
	if _, t := c.find(id); t != nil {
		t.path.link.pausedUntil = now + afterUnsent
		c.miss(now, t, false)
		c.dispatch(now)
	}
}

// lost records that a message had no subscriber.
func (c *core) lost(now time.Duration, id uint64) {
	if _, t := c.find(id); t != nil {
		c.miss(now, t, true)
		c.dispatch(now)
	}
}

// malformed records that the reply to a try could not be decoded or was invalid.
func (c *core) malformed(now time.Duration, id uint64) {
	if _, t := c.find(id); t != nil {
		c.counts.malformed++
		c.lost(now, id)
	}
}

// replied processes the reply to a try. A reply that does not match the try is
// malformed. A late reply, whose try was already removed, is ignored.
func (c *core) replied(now time.Duration, id uint64, r *decision.Reply) {
	_, t := c.find(id)
	wire := max(r.Wire, decision.Wire1)
	switch {
	case t == nil:
		return
	case wire < t.wire:
		// A node of an older version refuses a batch that it cannot read. It cannot read
		// the batch's id either.
		c.version(now, t, r)
	case wire > t.wire, r.ID != id, t.path.node != nil && r.Node != t.path.node.id, !answers(r, t):
		c.malformed(now, id)
		return
	case r.Status == decision.StatusOK:
		c.sawMark(now, r.At)
		if fresh, ok := c.fresh(now, t, r); ok {
			c.answered(now, t, r, fresh)
		} else {
			c.counts.unproven++
			c.refused(now, t, r, waitNotFresh)
		}
	case r.Status == decision.StatusBad:
		c.answered(now, t, r, decision.Freshness{})
	case r.Status == decision.StatusVersion:
		c.version(now, t, r)
	case r.Status == decision.StatusBusy:
		c.busy(now, t, r)
	case r.Status == decision.StatusBehind:
		c.counts.behind++
		c.refused(now, t, r, waitBehind)
	default:
		c.counts.notFresh++
		c.refused(now, t, r, waitNotFresh)
	}
	c.hedge(now) // hedges carry the oldest requests, so they are sent first
	c.dispatch(now)
}

// answers reports whether a reply matches the requests of the try.
func answers(r *decision.Reply, t *try) bool {
	if r.Status != decision.StatusOK {
		return true
	}
	if r.At.LogID == t.atLeast.LogID && r.At.Position < t.atLeast.Position {
		return false
	}
	if t.flight == nil {
		return true // another try was answered, so the results are not used
	}
	if len(r.Results) != len(t.flight.requests) {
		return false
	}
	for i, q := range t.flight.requests {
		if r.Results[i].Kind != q.kind {
			return false
		}
	}
	return true
}

// fresh returns the freshness of the results of a reply. ok is false if the node
// has proven its state for no instant of this run, or only for one that is longer
// ago than the lease.
func (c *core) fresh(now time.Duration, t *try, r *decision.Reply) (f decision.Freshness, ok bool) {
	// Only a node that stands alone answers a message of Wire1. The node is the log, so
	// its state is proven for every instant before it was asked.
	f, ok = decision.Freshness{AskedAt: t.sent, ProvenAt: t.sent}, true
	if t.wire >= decision.Wire2 {
		f.ProvenAt, ok = c.challenges.Instant(r.Proven, now)
	}
	// Even an answer of Wire1 is too old if the machine was suspended meanwhile.
	return f, ok && now-f.ProvenAt <= decision.Lease
}

// refused processes a node's reply that it cannot decide now. The node is healthy,
// but the requests go to another node.
func (c *core) refused(now time.Duration, t *try, r *decision.Reply, wait time.Duration) {
	c.alive(t, r, now+wait)
	n := c.node(r.Node)
	if n != nil {
		for _, p := range n.paths {
			p.failedIn = c.round
		}
	}
	c.failed(now, t, n)
}

// busy processes StatusBusy. The node answers, so this is no outage.
func (c *core) busy(now time.Duration, t *try, r *decision.Reply) {
	c.counts.busy++
	if n := c.node(r.Node); n != nil {
		n.busy(now)
	}
	c.alive(t, r, 0)
	c.giveBack(t)
}

// version processes a reply that the node cannot read the batch. If an older version
// is left, the node is asked in that one from now on.
func (c *core) version(now time.Duration, t *try, r *decision.Reply) {
	c.counts.version++
	if n := t.path.node; n != nil && n.lower(t.wire) {
		c.giveBack(t)
		return
	}
	c.refused(now, t, r, waitNotFresh)
}

// alive records that a node has answered. It is avoided until the given time.
func (c *core) alive(t *try, r *decision.Reply, until time.Duration) {
	if n := c.node(r.Node); n != nil {
		n.waitUntil = until
		if p := n.on(t.path.link); p != nil {
			p.misses, p.waitUntil = 0, 0
		}
	}
	if t.path.node == nil {
		t.path.waitUntil = until
	}
}

// answered processes a reply with StatusOK or StatusBad. Either ends an outage.
func (c *core) answered(now time.Duration, t *try, r *decision.Reply, fresh decision.Freshness) {
	c.out, c.lastOK, c.failing = false, now, 0
	c.round++
	c.alive(t, r, 0)
	if n := c.node(r.Node); n != nil {
		n.unanswered = false
	}
	for _, l := range c.links {
		l.anyone.waitUntil = 0
	}
	c.land(t)
	f, sent := t.flight, t.sent
	c.freeTry(t)
	if f == nil {
		return
	}
	if len(f.requests) > 0 {
		c.took = now - sent
	}
	for _, o := range c.tries {
		if o.flight == f {
			o.flight = nil
		}
	}
	if r.Status == decision.StatusBad {
		c.bad(f)
	} else {
		c.proofAge = now - fresh.ProvenAt
		for i, q := range f.requests {
			c.result(q, &r.Results[i], fresh)
		}
	}
	c.freeFlight(f)
}

// bad processes StatusBad: the node could not read or decide the batch. A single
// request may be the cause, so each request is sent again without the others. If
// the batch had only one request, its call fails.
func (c *core) bad(f *flight) {
	c.counts.bad++
	for _, r := range f.requests {
		switch {
		case r.done:
		case len(f.requests) == 1:
			c.end(r.call, ErrBadRequest)
		default:
			r.alone = true
			c.waiting.retry(r)
		}
	}
}

// result stores the result of a request in its call.
func (c *core) result(r *request, res *decision.Result, fresh decision.Freshness) {
	if r.done {
		return
	}
	r.done = true
	k := r.call
	switch r.kind {
	case decision.Ask:
		k.verdicts[r.index] = res.Verdict
		k.verdicts[r.index].Freshness = fresh
	case decision.Admit:
		k.admission = res.Admission
		k.admission.Freshness = fresh
	case decision.Open:
		k.opening = res.Opening
		k.opening.Freshness = fresh
	}
	if k.left--; k.left == 0 {
		c.end(k, nil)
	}
}

func (c *core) newTry() *try {
	if n := len(c.freeTries); n > 0 {
		t := c.freeTries[n-1]
		c.freeTries = c.freeTries[:n-1]
		return t
	}
	return new(try)
}

func (c *core) freeTry(t *try) {
	*t = try{}
	c.freeTries = append(c.freeTries, t)
}

func (c *core) newFlight() *flight {
	if n := len(c.freeFlights); n > 0 {
		f := c.freeFlights[n-1]
		c.freeFlights = c.freeFlights[:n-1]
		return f
	}
	return new(flight)
}

func (c *core) freeFlight(f *flight) {
	clear(f.requests)
	*f = flight{requests: f.requests[:0]}
	c.freeFlights = append(c.freeFlights, f)
}
