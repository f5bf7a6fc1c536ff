package limit

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
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

// TestWait: keys take turns. A key whose own bound is reached joins the line when
// its holder leaves, behind the keys that wait already.
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
		come("b", 2)
		come("c", 1)
		for _, key := range []string{"b", "a", "c", "a", "b"} {
			mu.Lock()
			l := leave[key]
			mu.Unlock()
			l()
			synctest.Wait()
		}
		waiting.Wait()
		if got, want := strings.Join(order, " "), "a1 b1 c1 b2 a2"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		checkEmpty(t, c)
	})
}

// TestWaitTakesTurns: a key with one call waits for one call of each other key, for
// any number of calls of these keys.
func TestWaitTakesTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, each := range []int{1, 2, 3} {
			c := NewCounter[string](each, each)
			var leaves []func()
			for range each {
				leave, _ := c.Enter("a")
				leaves = append(leaves, leave)
			}
			in := make(chan string, 1) // the key of each admitted call; it waits for the test
			var waiting sync.WaitGroup
			for _, key := range []string{"a", "a", "a", "b", "b", "b", "c"} {
				waiting.Go(func() {
					leave, ok := c.Wait(t.Context(), key)
					if !ok {
						t.Errorf("%s was not admitted", key)
						return
					}
					in <- key
					leave()
				})
				synctest.Wait()
			}
			var order []string
			leaves[0]()
			for range 7 {
				order = append(order, <-in)
				synctest.Wait()
			}
			waiting.Wait()
			for _, leave := range leaves[1:] {
				leave()
			}
			if got, want := strings.Join(order, " "), "b c a b a b a"; got != want {
				t.Errorf("%d of each key: %s, want %s", each, got, want)
			}
			checkEmpty(t, c)
		}
	})
}

// TestWaitEnds: a wait ends with its context at any place in the line, and
// does not delay other calls after that.
func TestWaitEnds(t *testing.T) {
	calls := []string{"a", "b", "a", "b", "c"}
	for ended, want := range [][]int{{1, 4, 2, 3}, {3, 4, 0, 2}, {1, 4, 0, 3}, {1, 4, 0, 2}, {1, 0, 3, 2}} {
		synctest.Test(t, func(t *testing.T) {
			c := NewCounter[string](1, 1)
			leave, _ := c.Enter("a")
			in := make(chan int, 1)
			var waiting sync.WaitGroup
			var cancels []func()
			for i, key := range calls {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				cancels = append(cancels, cancel)
				waiting.Go(func() {
					leave, ok := c.Wait(ctx, key)
					if ok == (i == ended) {
						t.Errorf("call %d: %v", i, ok)
					}
					if ok {
						in <- i
						leave()
					}
				})
				synctest.Wait()
			}
			cancels[ended]()
			synctest.Wait()
			if _, ok := c.Enter("d"); ok {
				t.Error("the ended wait made room")
			}
			leave()
			var got []int
			for range len(calls) - 1 {
				got = append(got, <-in)
				synctest.Wait()
			}
			waiting.Wait()
			if !slices.Equal(got, want) {
				t.Errorf("without call %d: %v, want %v", ended, got, want)
			}
			checkEmpty(t, c)
		})
	}
}

// checkEmpty reports an error if a Counter without holders and waiting calls
// still holds state.
func checkEmpty[K comparable](t *testing.T, c *Counter[K]) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inside != 0 || c.held.Keys() != 0 || len(c.waiting) != 0 || len(c.line) != 0 {
		t.Errorf("left: %d inside, held %v, waiting %v, line %v", c.inside, c.held, c.waiting, c.line)
	}
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
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(random.IntN(200))*time.Microsecond)
					leave, ok = c.Wait(ctx, key)
					cancel()
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
	checkEmpty(t, c)
}
