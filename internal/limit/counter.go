package limit

import (
	"context"
	"slices"
	"sync"
)

// Held counts units in use, by key. It takes no lock. Create it with NewHeld.
type Held[K comparable] struct {
	by map[K]int
}

// NewHeld returns an empty Held.
func NewHeld[K comparable]() Held[K] { return Held[K]{by: make(map[K]int)} }

// Take counts one more unit of k. If k has most units already, it counts nothing
// and returns false.
func (h Held[K]) Take(k K, most int) bool {
	if h.by[k] >= most {
		return false
	}
	h.by[k]++
	return true
}

// Give subtracts one unit of k.
func (h Held[K]) Give(k K) {
	if h.by[k]--; h.by[k] <= 0 {
		delete(h.by, k)
	}
}

// Of returns the number of units of k in use.
func (h Held[K]) Of(k K) int { return h.by[k] }

// Keys returns the number of keys with units in use.
func (h Held[K]) Keys() int { return len(h.by) }

// A Counter admits a bounded number of holders at the same time. One bound
// applies to the holders of each key, and another to the holders of all keys
// together. Its methods may be called concurrently.
type Counter[K comparable] struct {
	each, all int

	mu     sync.Mutex // guards the four below
	held   Held[K]
	inside int // holders of all keys
	// waiting holds the waiting calls by key, the longest wait first. The channel
	// of a call is closed when the call is admitted.
	waiting map[K][]chan struct{}
	// line holds the keys that have waiting calls and whose own bound is not
	// reached. Their calls wait only because the bound on all is reached, so a
	// line that is not empty means that this bound is reached. A key whose own
	// bound is reached joins the end of the line when one of its holders
	// leaves.
	line []K
}

// NewCounter returns a Counter that admits up to each holders of one key, and up
// to all holders of all keys together. A bound below 1 admits none.
func NewCounter[K comparable](each, all int) *Counter[K] {
	return &Counter[K]{each: each, all: all, held: NewHeld[K](), waiting: make(map[K][]chan struct{})}
}

// Enter counts one more holder of k. If a bound is reached, it counts nothing and
// ok is false. The holder calls leave when it has finished; only the first call
// of leave has an effect.
func (c *Counter[K]) Enter(k K) (leave func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.enter(k) {
		return nil, false
	}
	return c.leaver(k), true
}

// Wait is like Enter, but while a bound is reached it waits. If ctx ends
// first, ok is false. Keys with waiting calls take turns: when a call is
// admitted, the next call of its key waits behind the other keys. The number
// of calls of one key therefore does not delay another key. The calls of one
// key are admitted in the order in which they came. The caller must bound the
// number of waiting calls.
func (c *Counter[K]) Wait(ctx context.Context, k K) (leave func(), ok bool) {
	c.mu.Lock()
	if c.enter(k) {
		c.mu.Unlock()
		return c.leaver(k), true
	}
	in := make(chan struct{})
	c.waiting[k] = append(c.waiting[k], in)
	c.lineUp(k)
	c.mu.Unlock()
	select {
	case <-in:
		return c.leaver(k), true
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.waiting[k], in)
	if i < 0 { // admitted at the moment when ctx ended
		return c.leaver(k), true
	}
	c.remove(k, i)
	if c.waiting[k] == nil {
		c.line = slices.DeleteFunc(c.line, func(other K) bool { return other == k })
	}
	return nil, false
}

// enter counts one more holder if the bounds allow it. The caller holds the lock.
func (c *Counter[K]) enter(k K) bool {
	if c.inside >= c.all || !c.held.Take(k, c.each) {
		return false
	}
	c.inside++
	return true
}

// leaver returns the leave function of a holder of k.
func (c *Counter[K]) leaver(k K) func() {
	return sync.OnceFunc(func() { c.leave(k) })
}

// leave subtracts one holder of k, and admits the waiting calls that the
// bounds now allow.
func (c *Counter[K]) leave(k K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held.Give(k)
	c.inside--
	c.lineUp(k)
	for len(c.line) > 0 && c.enter(c.line[0]) {
		next := c.line[0]
		c.line = slices.Delete(c.line, 0, 1)
		close(c.waiting[next][0])
		c.remove(next, 0)
		c.lineUp(next)
	}
}

// lineUp appends k to the line if it has waiting calls, its own bound is not
// reached, and it is not in the line. The caller holds the lock.
func (c *Counter[K]) lineUp(k K) {
	if c.waiting[k] != nil && c.held.Of(k) < c.each && !slices.Contains(c.line, k) {
		c.line = append(c.line, k)
	}
}

// remove removes the waiting call of k at index i. The caller holds the lock.
func (c *Counter[K]) remove(k K, i int) {
	c.waiting[k] = slices.Delete(c.waiting[k], i, i+1)
	if len(c.waiting[k]) == 0 {
		delete(c.waiting, k)
	}
}
