package overnats

import (
	"slices"
	"time"

	"github.com/postern-im/postern/decision"
)

// This file is the part of the core that is concerned with messages: to whom
// the next one goes, and what an answer to one means.

// dispatch sends what waits, as long as somebody may be sent something.
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

// backlog is the number of requests that wait, those of callers that have gone
// included.
func (c *core) backlog() int { return len(c.again) + len(c.queue) - c.head }

// waiting drops what is done from the front and tells whether anything waits.
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

// load fills a flight from the front of what waits: as much as a message
// holds, or one request that travels alone.
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

// pick chooses whom to send the next message to, other than not: the least
// busy of the nodes that are well; the queue group when none is. It is nil
// when those that are well have enough to do, or nobody may be bothered yet.
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
			// Each of the equal ones with the same chance.
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

// room tells whether a node is to get one more message now. A hedge does not
// wait for company.
func (c *core) room(now time.Time, n *node, hedge bool) bool {
	switch {
	case n.inFlight == 0:
		return true
	case n.inFlight >= inFlight:
		return false
	}
	return hedge || c.backlog() >= n.inFlight*worth || now.Sub(n.lastSent) >= patience
}

// loadStep is the difference in load that matters: announcements are up to a
// second old, and gateways that all flee from a few percent meet again.
const loadStep = decision.MaxLoad / 4

func (c *core) compare(n, best *node) int {
	if best == nil || n.inFlight < best.inFlight {
		return -1
	}
	if n.inFlight > best.inFlight {
		return 1
	}
	return int(n.load/loadStep) - int(best.load/loadStep)
}

// send puts one more try of a flight into the air.
func (c *core) send(now time.Time, n *node, f *flight) {
	c.nextTry++
	t := c.newTry()
	*t = try{id: c.nextTry, node: n, sent: now, atLeast: c.atLeast(now), flight: f}
	c.tries = append(c.tries, t)
	n.inFlight++
	n.lastSent = now
	f.open++
	c.rearm = true
	c.counts.messages++
	c.sends = append(c.sends, sending{try: t.id, node: n.id, atLeast: t.atLeast, flight: f})
}

// hedge asks another node what one has not answered for a while.
func (c *core) hedge(now time.Time) {
	if !c.maySend(now) {
		return
	}
	for i := range len(c.tries) { // what is sent here is not hedged
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

// ping asks nodes that were left alone whether they are well again, and, as
// long as nobody is known to answer, whether anybody does.
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
			return // their answers tell as much
		}
		n := c.pick(now, nil)
		if n == nil {
			n = &c.anyone
		}
		c.send(now, n, c.newFlight())
	}
}

// lonely tells whether nobody is known to answer.
func (c *core) lonely() bool { return c.out || len(c.nodes) == 0 }

// find returns the try of that id and its place.
func (c *core) find(id uint64) (int, *try) {
	for i, t := range c.tries {
		if t.id == id {
			return i, t
		}
	}
	return 0, nil
}

// land takes a try out of the air.
func (c *core) land(t *try) {
	i, _ := c.find(t.id)
	c.tries = slices.Delete(c.tries, i, i+1)
	t.node.inFlight--
	if t.flight != nil {
		t.flight.open--
	}
}

// miss takes a try out of the air that will not be answered. blame tells
// whether it is the node's fault.
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
	c.noAnswer(t.sent)
	c.giveBack(t)
}

// giveBack lands a try; when its flight has no other, its requests wait again.
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

// unsent tells that a message could not be sent.
func (c *core) unsent(now time.Time, id uint64) {
	if _, t := c.find(id); t != nil {
		c.pausedUntil = now.Add(afterUnsent)
		c.miss(now, t, false)
	}
}

// lost tells that nobody listens where a message went.
func (c *core) lost(now time.Time, id uint64) {
	if _, t := c.find(id); t != nil {
		c.miss(now, t, true)
		c.dispatch(now)
	}
}

// malformed tells that the reply to a try could not be read.
func (c *core) malformed(now time.Time, id uint64) {
	if _, t := c.find(id); t != nil {
		c.counts.malformed++
		c.lost(now, id)
	}
}

// replied takes the reply to a try. What is no answer to what was asked is
// malformed; what nobody waits for any more is passed over.
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
	c.hedge(now) // what has waited longest goes first
	c.dispatch(now)
}

// answers reports whether a reply is one to what the try asked.
func answers(r *decision.Reply, t *try) bool {
	if r.Status != decision.StatusOK {
		return true
	}
	if r.At.LogID == t.atLeast.LogID && r.At.Position < t.atLeast.Position {
		return false
	}
	if t.flight == nil {
		return true // another try has answered: nothing of it is used
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

// refused takes a node's word that it cannot answer now. It is well, but the
// requests go elsewhere.
func (c *core) refused(now time.Time, t *try, r *decision.Reply, wait time.Duration) {
	c.rearm = true
	for _, n := range [...]*node{t.node, c.node(r.Node)} {
		if n != nil {
			n.misses, n.waitUntil = 0, now.Add(wait)
		}
	}
	c.noAnswer(t.sent)
	c.giveBack(t)
}

// answered takes a node's answer: results, or that the batch was bad.
func (c *core) answered(now time.Time, t *try, r *decision.Reply) {
	c.out, c.lastOK = false, now
	c.anyone.waitUntil = time.Time{}
	if n := c.node(r.Node); n != nil {
		n.misses, n.waitUntil = 0, time.Time{}
	}
	c.land(t)
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
			c.result(q, &r.Results[i], sent)
		}
	}
	c.freeFlight(f)
}

// bad takes the verdict that a batch could not be read or decided: one of its
// requests is to blame, so each is asked alone, and one that was alone fails.
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

// result gives a request its result.
func (c *core) result(r *request, res *decision.Result, sent time.Time) {
	if r.done {
		return
	}
	r.done = true
	k := r.call
	switch r.kind {
	case decision.Ask:
		k.verdicts[r.index] = res.Verdict
		k.verdicts[r.index].AskedAt = sent
	case decision.Admit:
		k.admission = res.Admission
	case decision.Open:
		k.opening = res.Opening
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
