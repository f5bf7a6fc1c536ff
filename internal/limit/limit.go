// Package limit divides what a program has among those that want it: it counts
// what each has taken, and says when one has to wait or is refused.
//
// It promises that its memory is bounded whatever is asked of it. It reads no
// clock: the time is an argument. A Bucket, Buckets and Held take no lock: they
// belong to their caller, which often counts one thing in several of them under
// one lock. A Counter and a listener may be used by many goroutines at once.
package limit

import "time"

// A Rate is so many units in a time, and how many may come at once.
type Rate struct {
	// Each is the time in which one unit is earned; at most an hour.
	Each time.Duration
	// Burst is how many units are kept at most.
	Burst int
}

// PerMinute allows n units a minute, all of them at once if need be.
func PerMinute(n int) Rate { return Rate{Each: time.Minute / time.Duration(n), Burst: n} }

// PerSecond allows n units a second, and burst at once.
func PerSecond(n, burst int) Rate { return Rate{Each: time.Second / time.Duration(n), Burst: burst} }

// full is how long it takes to earn a whole burst.
func (r Rate) full() time.Duration { return r.Each * time.Duration(r.Burst) }

// A Bucket is a token bucket. The zero Bucket is full. All that is kept of it is
// the moment when it is full again.
type Bucket struct{ full time.Time }

// Take takes n units, even if fewer are left: then the bucket owes them. It
// returns how long it takes to earn what the bucket owes.
func (b *Bucket) Take(r Rate, now time.Time, n int) (wait time.Duration) {
	if b.full.Before(now) {
		b.full = now
	}
	b.full = b.full.Add(r.Each * time.Duration(n))
	return max(0, b.full.Sub(now)-r.full())
}

// Empty reports whether less than one unit is left.
func (b *Bucket) Empty(r Rate, now time.Time) bool {
	return b.full.Sub(now) > r.full()-r.Each
}

// Buckets are buckets by key, of which there are so many at most. The zero Buckets
// is not ready: see NewBuckets.
type Buckets[K comparable] struct {
	rate  Rate
	most  int
	by    map[K]Bucket
	swept time.Time
}

// NewBuckets returns Buckets of at most so many keys.
func NewBuckets[K comparable](r Rate, most int) *Buckets[K] {
	return &Buckets[K]{rate: r, most: most, by: make(map[K]Bucket)}
}

// Spent reports whether k has nothing left.
func (bs *Buckets[K]) Spent(k K, now time.Time) bool {
	b := bs.by[k]
	return b.Empty(bs.rate, now)
}

// maxOwed is how many bursts a key may come to owe.
const maxOwed = 2

// Add takes a unit from k, which may come to owe some, but no more than maxOwed
// bursts. Those that ask at the same time are all told that something is left: what
// they take beyond it is made up for before anything is left again.
func (bs *Buckets[K]) Add(k K, now time.Time) {
	b, known := bs.by[k]
	if !known && len(bs.by) >= bs.most {
		bs.makeRoom(now)
	}
	b.Take(bs.rate, now, 1)
	if latest := now.Add((1 + maxOwed) * bs.rate.full()); b.full.After(latest) {
		b.full = latest
	}
	bs.by[k] = b
}

// sample is how many keys are compared to find one to forget.
const sample = 16

// makeRoom makes room for one key. It forgets the keys whose buckets are full:
// a key without a bucket counts as full, so nothing is lost. To look for them
// takes long, so that is done no more often than an empty bucket takes to fill.
// Where it leaves no room, the key that has most left among a few is forgotten:
// the keys that keep asking stay.
func (bs *Buckets[K]) makeRoom(now time.Time) {
	if now.Sub(bs.swept) >= bs.rate.full() {
		bs.swept = now
		for k, b := range bs.by {
			if !b.full.After(now) {
				delete(bs.by, k)
			}
		}
	}
	if len(bs.by) < bs.most {
		return
	}
	var oldest K
	var least time.Time
	seen := 0
	for k, b := range bs.by {
		if seen == 0 || b.full.Before(least) {
			oldest, least = k, b.full
		}
		if seen++; seen == sample {
			break
		}
	}
	delete(bs.by, oldest)
}
