package overnats

import (
	"slices"
	"time"

	"github.com/postern-im/postern/decision"
)

// This file is the part of the core that handles messages. It chooses the node for
// each message and processes the answers.

// dispatch sends waiting requests as long as a node may receive a message.
func (c *core) dispatch(now time.Time) {
	for c.maySend(now) && c.waiting() {
		n := c.pick(now, nil)
		if n == nil {
			c.rearm = true
			return
		}
		f := c.newFlight()
		c.load(f)
		if len(f.requests) == 0 {
			c.freeFlight(f)
			return
		}
		c.send(now, n, f)
	}
}

// backlog returns the number of waiting requests, including those of ended calls.
func (c *core) backlog() int { return len(c.again) + len(c.queue) - c.head }

// waiting removes the requests that are done from the front of both queues. It
// reports whether any request is waiting.
func (c *core) waiting() bool {
	for len(c.again) > 0 && c.again[0].done {
		c.again = c.again[1:]
	}
	for c.head < len(c.queue) && c.queue[c.head].done {
		c.queue[c.head] = nil
		c.head++
	}
	switch {
	case c.head == len(c.queue):
		c.queue, c.head = c.queue[:0], 0
	case c.head > pruneOver && 2*c.head > len(c.queue):
		c.queue, c.head = slices.Delete(c.queue, 0, c.head), 0
	}
	return len(c.again) > 0 || c.head < len(c.queue)
}

// load moves waiting requests into a flight: as many as fit into a message, or a
// single request that must be alone.
func (c *core) load(f *flight) {
	size := 0
	for c.waiting() && len(f.requests) < decision.MaxBatch {
		var r *request
		if len(c.again) > 0 {
			r = c.again[0]
		} else {
			r = c.queue[c.head]
		}
		if len(f.requests) > 0 && (r.alone || size+len(r.body) > maxBatchBytes) {
			return
		}
		if len(c.again) > 0 {
			c.again = c.again[1:]
		} else {
			c.queue[c.head] = nil
			c.head++
		}
		size += len(r.body)
		f.requests = append(f.requests, r)
		if r.alone {
			return
		}
	}
}

// pick chooses the node for the next message. It returns the least busy healthy
// node, or the queue group if no node is healthy. For a hedge, not is the node that
// has not answered, and pick returns only another healthy node. pick returns nil if
// the healthy nodes have enough messages in flight, or if it is too early to ask
// the queue group again.
func (c *core) pick(now time.Time, not *node) *node {
	var best *node
	well, seen := false, 0
	for _, n := range c.nodes {
		if !n.ready || n.misses > 0 || n.waitUntil.After(now) {
			continue
		}
		well = true
		if n == not || !c.room(now, n, not != nil) {
			continue
		}
		switch d := c.compare(n, best); {
		case d < 0:
			best, seen = n, 1
		case d == 0:
			// Choose among equal nodes with the same probability.
			if seen++; c.random.IntN(seen) == 0 {
				best = n
			}
		}
	}
	if well || not != nil {
		return best
	}
	if c.anyone.waitUntil.After(now) || !c.room(now, &c.anyone, false) {
		return nil
	}
	return &c.anyone
}

// room reports whether a node may receive one more message now. A hedge does not
// wait for further requests.
func (c *core) room(now time.Time, n *node, hedge bool) bool {
	switch {
	case n.inFlight == 0:
		return true
	case n.inFlight >= inFlight:
		return false
	}
	return hedge || c.backlog() >= n.inFlight*worth || now.Sub(n.lastSent) >= patience
}

// loadStep is the smallest difference in load that pick considers. Announcements
// are up to a second old. If all gateways moved away from a node for a few
// percent, they would overload the next node together.
const loadStep = decision.MaxLoad / 4

// compare returns a negative number if n is less busy than best, and a positive
// number if it is busier.
func (c *core) compare(n, best *node) int {
	if best == nil || n.inFlight < best.inFlight {
		return -1
	}
	if n.inFlight > best.inFlight {
		return 1
	}
	return int(n.load/loadStep) - int(best.load/loadStep)
}

// send sends a flight to a node, as a new try.
func (c *core) send(now time.Time, n *node, f *flight) {
	c.nextTry++
	t := c.newTry()
	*t = try{id: c.nextTry, node: n, sent: now, asked: c.boot(), atLeast: c.atLeast(now), flight: f}
	c.tries = append(c.tries, t)
	n.inFlight++
	n.lastSent = now
	f.open++
	c.rearm = true
	c.counts.messages++
	c.sends = append(c.sends, sending{try: t.id, node: n.id, atLeast: t.atLeast, flight: f})
}

// hedge sends flights that have been unanswered for hedgeAfter to a second node.
func (c *core) hedge(now time.Time) {
	if !c.maySend(now) {
		return
	}
	for i := range len(c.tries) { // the tries added in this loop are not hedged
		t := c.tries[i]
		if t.flight == nil || t.flight.hedged || len(t.flight.requests) == 0 || now.Sub(t.sent) < hedgeAfter {
			continue
		}
		if n := c.pick(now, t.node); n != nil {
			t.flight.hedged = true
			c.counts.hedges++
			c.send(now, n, t.flight)
		}
	}
}

// ping sends empty messages to nodes that were avoided, to find out whether they
// answer again. While no node is known to answer and no message is in flight, it
// also sends an empty message to any node every pingEach.
func (c *core) ping(now time.Time) {
	if !c.maySend(now) {
		return
	}
	for _, n := range c.nodes {
		if n.misses > 0 && n.inFlight == 0 && !n.waitUntil.After(now) {
			c.send(now, n, c.newFlight())
		}
	}
	switch {
	case !c.lonely():
		c.nextPing = time.Time{}
	case !now.Before(c.nextPing):
		c.nextPing = now.Add(pingEach)
		if len(c.tries) > 0 {
			return // the answers to these tries have the same effect as a ping's
		}
		n := c.pick(now, nil)
		if n == nil {
			n = &c.anyone
		}
		c.send(now, n, c.newFlight())
	}
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
	t.node.inFlight--
	if t.flight != nil {
		t.flight.open--
	}
}

// miss removes a try that will not be answered. If blame is set, the node is at
// fault and is avoided for a while.
func (c *core) miss(now time.Time, t *try, blame bool) {
	c.counts.misses++
	c.rearm = true
	n := t.node
	if blame {
		n.waitUntil = now.Add(min(leaveAlone<<min(n.misses, 8), leaveAloneMost))
		n.misses++
	}
	if n.anyone() {
		n.misses, n.waitUntil = 0, now.Add(waitNotFresh)
	}
	n.failed(t)
	c.noAnswer(t.sent)
	c.giveBack(t)
}

// failed records that the node gave no results for a try.
func (n *node) failed(t *try) {
	if n.ready && !t.sent.Before(n.readyAt) {
		n.unanswered = true
	}
}

// giveBack removes a try that brought no results. If its flight has no other
// unanswered try, the flight's requests are queued again.
func (c *core) giveBack(t *try) {
	c.land(t)
	f := t.flight
	c.freeTry(t)
	if f == nil || f.open > 0 {
		return
	}
	for _, r := range f.requests {
		if !r.done {
			c.again = append(c.again, r)
		}
	}
	c.freeFlight(f)
}

// unsent records that a message could not be sent.
func (c *core) unsent(now time.Time, id uint64) {
	if _, t := c.find(id); t != nil {
		c.pausedUntil = now.Add(afterUnsent)
		c.miss(now, t, false)
	}
}

// lost records that a message had no subscriber.
func (c *core) lost(now time.Time, id uint64) {
	if _, t := c.find(id); t != nil {
		c.miss(now, t, true)
		c.dispatch(now)
	}
}

// malformed records that the reply to a try could not be decoded or was invalid.
func (c *core) malformed(now time.Time, id uint64) {
	if _, t := c.find(id); t != nil {
		c.counts.malformed++
		c.lost(now, id)
	}
}

// replied processes the reply to a try. A reply that does not match the try is
// malformed. A late reply, whose try was already removed, is ignored.
func (c *core) replied(now time.Time, id uint64, r *decision.Reply) {
	_, t := c.find(id)
	switch {
	case t == nil:
		return
	case r.ID != id, !t.node.anyone() && r.Node != t.node.id, !answers(r, t):
		c.malformed(now, id)
		return
	}
	switch r.Status {
	case decision.StatusOK:
		c.sawMark(now, r.At)
		c.answered(now, t, r)
	case decision.StatusBad:
		c.answered(now, t, r)
	case decision.StatusBehind:
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

// refused processes a node's reply that it cannot decide now. The node is healthy,
// but the requests go to another node.
func (c *core) refused(now time.Time, t *try, r *decision.Reply, wait time.Duration) {
	c.rearm = true
	for _, n := range [...]*node{t.node, c.node(r.Node)} {
		if n != nil {
			n.misses, n.waitUntil = 0, now.Add(wait)
		}
	}
	t.node.failed(t)
	c.noAnswer(t.sent)
	c.giveBack(t)
}

// answered processes a reply with StatusOK or StatusBad. Either ends an outage.
func (c *core) answered(now time.Time, t *try, r *decision.Reply) {
	c.out, c.lastOK = false, now
	c.anyone.waitUntil = time.Time{}
	if n := c.node(r.Node); n != nil {
		n.misses, n.waitUntil, n.unanswered = 0, time.Time{}, false
	}
	c.land(t)
	// A reply of Wire1 comes from a node that stands alone. The node is the log, so
	// its state is proven for every instant before it was asked.
	fresh := decision.Freshness{AskedAt: t.asked, ProvenAt: t.asked}
	f, sent := t.flight, t.sent
	c.freeTry(t)
	if f == nil {
		return
	}
	if len(f.requests) > 0 {
		c.took = now.Sub(sent)
	}
	for _, o := range c.tries {
		if o.flight == f {
			o.flight = nil
		}
	}
	if r.Status == decision.StatusBad {
		c.bad(f)
	} else {
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
			c.again = append(c.again, r)
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
