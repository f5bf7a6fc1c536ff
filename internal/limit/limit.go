// Package limit shares the resources of a program among its clients: it counts
// how much each client uses, and decides when a client waits or is refused.
//
// It promises that its memory is bounded for any number of clients and calls. It
// reads no clock: the time is an argument. Bucket, Buckets and Held take no lock.
// Their caller holds one, often one lock for several of them. A Counter and a
// listener may be used by many goroutines at once.
package limit

import "time"

// A Rate is the rate at which a bucket fills, and its size.
type Rate struct {
	// Each is the time in which the bucket gains one unit. It is at most an hour.
	Each time.Duration
	// Burst is the size of the bucket in units.
	Burst int
}

// PerMinute allows n units a minute, and n at once.
func PerMinute(n int) Rate { return Rate{Each: time.Minute / time.Duration(n), Burst: n} }

// PerSecond allows n units a second, and burst units at once.
func PerSecond(n, burst int) Rate { return Rate{Each: time.Second / time.Duration(n), Burst: burst} }

// full returns the time in which an empty bucket fills.
func (r Rate) full() time.Duration { return r.Each * time.Duration(r.Burst) }

// A Bucket is a token bucket. The zero Bucket is full. Its whole state is the time
// at which it will be full again.
type Bucket struct{ full time.Time }

// Take takes n units. If the bucket holds fewer than n, it owes the missing
// units, and Take returns the time until it has gained them.
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

// Buckets holds a bounded number of buckets by key. A key without a bucket counts
// as a key with a full bucket. Create it with NewBuckets.
type Buckets[K comparable] struct {
	rate  Rate
	most  int
	by    map[K]Bucket
	swept time.Time // the last time makeRoom looked for full buckets
}

// NewBuckets returns Buckets that hold at most most keys.
func NewBuckets[K comparable](r Rate, most int) *Buckets[K] {
	return &Buckets[K]{rate: r, most: most, by: make(map[K]Bucket)}
}

// Spent reports whether the bucket of k holds less than one unit.
func (bs *Buckets[K]) Spent(k K, now time.Time) bool {
	b := bs.by[k]
	return b.Empty(bs.rate, now)
}

// maxOwed bounds the units that a bucket owes, as a multiple of its burst.
const maxOwed = 2

// Add takes one unit from the bucket of k. If the bucket is empty, it owes the
// unit, up to maxOwed bursts in all. A bucket can owe units because several
// callers may see that a unit is left before any of them calls Add. Spent
// returns false again only after the bucket has gained the units it owes.
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

// sample is the number of keys compared to find one to delete.
const sample = 16

// makeRoom makes room for one key. First it deletes the keys with full buckets,
// which loses nothing. The search for them visits all keys, so it runs at most
// once in the time in which an empty bucket fills. If there is still no room,
// makeRoom deletes the key with the fullest bucket among a few. Keys that are used
// often have emptier buckets, so they stay.
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
