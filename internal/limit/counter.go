package limit

import (
	"context"
	"slices"
	"sync"
)

// Held counts what is held by key. It takes no lock. The zero Held is not ready:
// see NewHeld.
type Held[K comparable] struct {
	by map[K]int
}

// NewHeld returns an empty Held.
func NewHeld[K comparable]() Held[K] { return Held[K]{by: make(map[K]int)} }

// Take counts one more of k's, unless it holds most already.
func (h Held[K]) Take(k K, most int) bool {
	if h.by[k] >= most {
		return false
	}
	h.by[k]++
	return true
}

// Give counts one less.
func (h Held[K]) Give(k K) {
	if h.by[k]--; h.by[k] <= 0 {
		delete(h.by, k)
	}
}

// Of returns how many k holds.
func (h Held[K]) Of(k K) int { return h.by[k] }

// Keys returns how many keys hold any.
func (h Held[K]) Keys() int { return len(h.by) }

// A Counter lets a bounded number of holders in at the same time: a number for
// each key, and a number for all keys together. Its methods may be called at the
// same time.
type Counter[K comparable] struct {
	each, all int

	mu      sync.Mutex // guards the three below
	held    Held[K]
	inside  int          // holders of all keys
	waiting []*waiter[K] // in the order in which they came; none of them can be let in
}

// A waiter is a call of Wait that waits.
type waiter[K comparable] struct {
	key K
	in  chan struct{} // closed when it is let in
}

// NewCounter returns a Counter that lets in up to each holders of one key, and up
// to all holders of any keys. A bound below 1 lets nobody in.
func NewCounter[K comparable](each, all int) *Counter[K] {
	return &Counter[K]{each: each, all: all, held: NewHeld[K]()}
}

// Enter counts one more holder of k. If a bound is reached, it counts nothing and
// ok is false. The holder calls leave when it has finished; calls after the first
// one do nothing.
func (c *Counter[K]) Enter(k K) (leave func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.enter(k) {
		return nil, false
	}
	return c.leaver(k), true
}

// Wait does as Enter does, but waits while a bound is reached. It returns false
// if ctx ends before that. Whoever waited longest is let in first, except for
// holders of a key whose own bound is reached. The number of waiting calls is the
// caller's to bound.
func (c *Counter[K]) Wait(ctx context.Context, k K) (leave func(), ok bool) {
	c.mu.Lock()
	if c.enter(k) {
		c.mu.Unlock()
		return c.leaver(k), true
	}
	w := &waiter[K]{key: k, in: make(chan struct{})}
	c.waiting = append(c.waiting, w)
	c.mu.Unlock()
	select {
	case <-w.in:
		return c.leaver(k), true
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.waiting, w)
	if i < 0 { // it was let in as ctx ended
		return c.leaver(k), true
	}
	c.waiting = slices.Delete(c.waiting, i, i+1)
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

// leaver returns the function by which a holder of k leaves.
func (c *Counter[K]) leaver(k K) func() {
	return sync.OnceFunc(func() { c.leave(k) })
}

// leave counts one holder less, and lets in those that waited for it.
func (c *Counter[K]) leave(k K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held.Give(k)
	c.inside--
	c.waiting = slices.DeleteFunc(c.waiting, func(w *waiter[K]) bool {
		if !c.enter(w.key) {
			return false
		}
		close(w.in)
		return true
	})
}
