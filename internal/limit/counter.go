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

// Give counts one unit of k less.
func (h Held[K]) Give(k K) {
	if h.by[k]--; h.by[k] <= 0 {
		delete(h.by, k)
	}
}

// Of returns the number of units of k in use.
func (h Held[K]) Of(k K) int { return h.by[k] }

// Keys returns the number of keys with units in use.
func (h Held[K]) Keys() int { return len(h.by) }

// A Counter admits a bounded number of holders at the same time: a number for
// each key, and a number for all keys together. Its methods may be called
// concurrently.
type Counter[K comparable] struct {
	each, all int

	mu      sync.Mutex // guards the three below
	held    Held[K]
	inside  int          // holders of all keys
	waiting []*waiter[K] // the longest wait first; the bounds admit none of them
}

// A waiter is a waiting call of Wait.
type waiter[K comparable] struct {
	key K
	in  chan struct{} // closed when the waiter is admitted
}

// NewCounter returns a Counter that admits up to each holders of one key, and up
// to all holders of all keys together. A bound below 1 admits none.
func NewCounter[K comparable](each, all int) *Counter[K] {
	return &Counter[K]{each: each, all: all, held: NewHeld[K]()}
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

// Wait is like Enter, but while a bound is reached it waits. If ctx ends first, ok
// is false. The call that has waited longest is admitted first; calls for a key
// whose own bound is reached are passed over. The caller must bound the number of
// waiting calls.
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
	if i < 0 { // admitted at the moment when ctx ended
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

// leaver returns the leave function of a holder of k.
func (c *Counter[K]) leaver(k K) func() {
	return sync.OnceFunc(func() { c.leave(k) })
}

// leave counts one holder of k less, and admits the waiters that the bounds now
// allow.
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
