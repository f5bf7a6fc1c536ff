package limit

import (
	"math/rand/v2"
	"testing"
	"time"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestBucket(t *testing.T) {
	r := PerSecond(10, 20)
	var b Bucket
	for _, step := range []struct {
		at   time.Duration
		n    int
		wait time.Duration
	}{
		{0, 20, 0},
		{0, 1, 100 * time.Millisecond},
		{0, 9, time.Second},
		{time.Second, 0, 0},
		{time.Second, 1, 100 * time.Millisecond},
		{time.Hour, 20, 0}, // the bucket gains no more than a burst
		{time.Hour, 1, 100 * time.Millisecond},
	} {
		if got := b.Take(r, start.Add(step.at), step.n); got != step.wait {
			t.Errorf("at %s, %d more: %s, want %s", step.at, step.n, got, step.wait)
		}
	}
}

// A bucket never allows more units than one burst and the units gained since.
func TestBucketIsBounded(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	r := PerSecond(50, 500)
	var b Bucket
	now, taken := start, 0
	for range 10_000 {
		n := 1 + random.IntN(64)
		taken += n
		now = now.Add(b.Take(r, now, n))
		if most := 500 + int(now.Sub(start)/r.Each); taken > most {
			t.Fatalf("%d after %s, at most %d", taken, now.Sub(start), most)
		}
		if random.IntN(100) == 0 {
			now = now.Add(time.Duration(random.IntN(30)) * time.Second)
		}
	}
}

func TestBuckets(t *testing.T) {
	bs := NewBuckets[string](PerMinute(3), 10)
	now := start
	for i := range 3 {
		if bs.Spent("a", now) {
			t.Fatalf("spent after %d", i)
		}
		bs.Add("a", now)
	}
	if !bs.Spent("a", now) || bs.Spent("b", now) {
		t.Error("a should be spent after three of three units, and b not")
	}
	if now = now.Add(19 * time.Second); !bs.Spent("a", now) {
		t.Error("not spent before it has gained a unit")
	}
	if now = now.Add(time.Second); bs.Spent("a", now) {
		t.Error("spent after it has gained a unit")
	}
	for range 100 {
		bs.Add("b", now) // b then owes two bursts, which take two minutes
	}
	if now = now.Add(2*time.Minute + 19*time.Second); !bs.Spent("b", now) {
		t.Error("not spent before it has gained the units it owes and one more")
	}
	if now = now.Add(time.Second); bs.Spent("b", now) {
		t.Error("spent after it has gained the units it owes and one more")
	}
}

// Many callers may call Spent at the same time before any of them calls Add.
// In the long run they take no more units than callers that take turns.
func TestBucketsOfMany(t *testing.T) {
	bs := NewBuckets[string](PerMinute(10), 10)
	now, taken := start, 0
	for range 3600 {
		if !bs.Spent("a", now) {
			for range 16 {
				bs.Add("a", now)
				taken++
			}
		}
		now = now.Add(time.Second)
	}
	if most := 10*60 + 10 + 16; taken > most {
		t.Errorf("%d in an hour, at most %d", taken, most)
	}
}

// The memory is bounded for any number of keys. A key that is used often is not
// deleted to make room for keys that are used once.
func TestBucketsAreBounded(t *testing.T) {
	const most = 1000
	bs := NewBuckets[int](PerMinute(10), most)
	now := start
	for range 10 {
		bs.Add(-1, now)
	}
	for i := range 50 * most {
		bs.Add(i, now)
		if len(bs.by) > most {
			t.Fatalf("%d keys", len(bs.by))
		}
	}
	if !bs.Spent(-1, now) {
		t.Error("forgotten")
	}
	now = now.Add(time.Hour)
	bs.Add(0, now)
	if len(bs.by) > 2 {
		t.Errorf("%d keys after an hour", len(bs.by))
	}
}

func TestHeld(t *testing.T) {
	h := NewHeld[string]()
	for i, want := range []bool{true, true, false} {
		if h.Take("a", 2) != want {
			t.Errorf("%d of two: %t", i+1, !want)
		}
	}
	if !h.Take("b", 2) {
		t.Error("a key is limited by another key")
	}
	if h.Of("a") != 2 || h.Keys() != 2 {
		t.Error(h.Of("a"), h.Keys())
	}
	h.Give("a")
	if !h.Take("a", 2) {
		t.Error("refused after one was given back")
	}
	h.Give("a")
	h.Give("a")
	h.Give("b")
	if len(h.by) != 0 {
		t.Error("left", h.by)
	}
}
