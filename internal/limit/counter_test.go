package limit

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

func TestCounter(t *testing.T) {
	c := NewCounter[string](2, 3)
	leave := map[string][]func(){}
	for i, step := range []struct {
		key  string
		want bool
	}{{"a", true}, {"a", true}, {"a", false}, {"b", true}, {"b", false}, {"c", false}} {
		l, ok := c.Enter(step.key)
		if ok != step.want {
			t.Fatalf("step %d: %s: %v", i, step.key, ok)
		}
		if ok {
			leave[step.key] = append(leave[step.key], l)
		}
	}
	leave["a"][0]()
	leave["a"][0]() // twice counts once
	if _, ok := c.Enter("c"); !ok {
		t.Error("refused after a holder has left")
	}
	if _, ok := c.Enter("b"); ok {
		t.Error("the second call of leave made room as well")
	}
	if _, ok := NewCounter[string](0, 1).Enter("a"); ok {
		t.Error("a bound of 0 per key admitted a holder")
	}
	if _, ok := NewCounter[string](1, 0).Enter("a"); ok {
		t.Error("a bound of 0 for all keys admitted a holder")
	}
}

// A key without holders takes no memory.
func TestCounterForgets(t *testing.T) {
	c := NewCounter[int](1, 8)
	for i := range 1000 {
		leave, ok := c.Enter(i)
		if !ok {
			t.Fatal(i)
		}
		leave()
	}
	if n := c.held.Keys(); n != 0 || c.inside != 0 {
		t.Errorf("%d keys, %d inside", n, c.inside)
	}
}

// TestWait: waiting calls are admitted in the order in which they came, except
// that calls for a key whose own bound is reached are passed over.
func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCounter[string](1, 2)
		var mu sync.Mutex // guards the two below
		var order []string
		leave := map[string]func(){}
		var waiting sync.WaitGroup
		come := func(key string, i int) {
			waiting.Go(func() {
				l, ok := c.Wait(t.Context(), key)
				if !ok {
					t.Errorf("%s%d was not admitted", key, i)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				order = append(order, fmt.Sprint(key, i))
				leave[key] = l
			})
			synctest.Wait()
		}
		come("a", 1)
		come("a", 2)
		come("b", 1) // overtakes a2, because the bound of key a is reached
		come("c", 1)
		come("b", 2)
		for _, key := range []string{"b", "a", "c", "a", "b"} {
			mu.Lock()
			l := leave[key]
			mu.Unlock()
			l()
			synctest.Wait()
		}
		waiting.Wait()
		if got, want := strings.Join(order, " "), "a1 b1 c1 a2 b2"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if c.inside != 0 || len(c.waiting) != 0 {
			t.Errorf("%d inside, %d waiting", c.inside, len(c.waiting))
		}
	})
}

// TestWaitEnds: a wait ends with its context, and then keeps no other call out.
func TestWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCounter[string](1, 1)
		leave, _ := c.Enter("a")
		ctx, cancel := context.WithCancel(t.Context())
		var waiting sync.WaitGroup
		waiting.Go(func() {
			if _, ok := c.Wait(ctx, "b"); ok {
				t.Error("admitted beyond the bound")
			}
		})
		synctest.Wait()
		cancel()
		waiting.Wait()
		leave()
		if _, ok := c.Enter("c"); !ok {
			t.Error("the ended wait was admitted")
		}
	})
}

// The bounds hold with any number of concurrent calls, and no holder is counted
// after all have left.
func TestCounterBoundsHold(t *testing.T) {
	const each, all = 2, 5
	c := NewCounter[int](each, all)
	var mu sync.Mutex // guards the two below
	inside, total := map[int]int{}, 0
	var work sync.WaitGroup
	for n := range 16 {
		random := rand.New(rand.NewPCG(1, uint64(n)))
		work.Go(func() {
			for range 500 {
				key := random.IntN(4)
				leave, ok := c.Enter(key)
				if random.IntN(2) == 0 && !ok {
					leave, ok = c.Wait(t.Context(), key)
				}
				if !ok {
					continue
				}
				mu.Lock()
				inside[key]++
				total++
				if inside[key] > each || total > all {
					t.Errorf("%d of key %d, %d in all", inside[key], key, total)
				}
				mu.Unlock()
				mu.Lock()
				inside[key]--
				total--
				mu.Unlock()
				leave()
			}
		})
	}
	work.Wait()
	if c.inside != 0 || c.held.Keys() != 0 || len(c.waiting) != 0 {
		t.Errorf("left: %d, %v, %d", c.inside, c.held, len(c.waiting))
	}
}
