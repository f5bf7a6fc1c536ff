package server

import (
	"cmp"
	"sync"
	"time"

	"github.com/postern-im/postern/internal/limit"
)

// The bounds of the requests that the server works on at a time, and of those
// that follow the log.
const (
	// maxRunning bounds the requests being worked on; one more is told to
	// come back, so that nothing piles up behind a slow log.
	maxRunning = 64
	// maxNetwork bounds those of them that came over the network: the local
	// socket is where one revokes a token that keeps the node busy.
	maxNetwork = maxRunning * 3 / 4
	// maxShare bounds those of one tenant's tokens, or one operator's token.
	maxShare = maxRunning / 4
	// maxTenants bounds those of all tenants' tokens together: a share is left
	// that only operators' can take.
	maxTenants = maxNetwork - maxShare
	// maxFollowers bounds the requests that wait for the log, so that they leave
	// room for others among maxRunning.
	maxFollowers = maxRunning / 2
	// maxTenantFollowers bounds those of all tenants, so that operators can
	// follow as well.
	maxTenantFollowers = maxFollowers * 3 / 4
)

// limits count the requests that the server works on.
type limits struct {
	running *limit.Counter[struct{}]
	network *limit.Counter[string] // by tenant, or by an operator's token
	tenants *limit.Counter[struct{}]
	// followers, and those of them that are tenants'.
	followers, tenantFollowers *limit.Counter[struct{}]
}

func newLimits() limits {
	all := func(most int) *limit.Counter[struct{}] { return limit.NewCounter[struct{}](most, most) }
	return limits{
		running: all(maxRunning), network: limit.NewCounter[string](maxShare, maxNetwork), tenants: all(maxTenants),
		followers: all(maxFollowers), tenantFollowers: all(maxTenantFollowers),
	}
}

// enter counts a request of a caller. If that would be over a bound, ok is
// false.
func (l *limits) enter(c caller) (leave func(), ok bool) {
	places := []place{at(l.running, struct{}{})}
	if c.network {
		places = append(places, at(l.network, cmp.Or(c.tenant, c.actor)))
		if !c.operator {
			places = append(places, at(l.tenants, struct{}{}))
		}
	}
	return enterAll(places)
}

// follow counts a request that waits for the log, as enter does.
func (l *limits) follow(c caller) (leave func(), ok bool) {
	places := []place{at(l.followers, struct{}{})}
	if !c.operator {
		places = append(places, at(l.tenantFollowers, struct{}{}))
	}
	return enterAll(places)
}

// A place counts something in one Counter.
type place func() (leave func(), ok bool)

func at[K comparable](c *limit.Counter[K], k K) place {
	return func() (func(), bool) { return c.Enter(k) }
}

// enterAll takes all places, or none.
func enterAll(places []place) (leave func(), ok bool) {
	var taken []func()
	leave = func() {
		for _, leave := range taken {
			leave()
		}
	}
	for _, p := range places {
		l, ok := p()
		if !ok {
			leave()
			return nil, false
		}
		taken = append(taken, l)
	}
	return leave, true
}

// The bounds of failed authentications that are answered and recorded one by
// one. They cost nobody anything who has a valid token.
const (
	failuresAMinute = 20   // of one source
	maxFailing      = 4096 // sources remembered
)

// allFailures bounds the failures of all sources, however many there are, or
// else they could fill the disk with records.
var allFailures = limit.PerMinute(failuresAMinute * maxFailing)

// failures counts failed authentications by source.
type failures struct {
	mu       sync.Mutex // guards the counts
	bySource *limit.Buckets[string]
	all      limit.Bucket
}

func newFailures() *failures {
	return &failures{bySource: limit.NewBuckets[string](limit.PerMinute(failuresAMinute), maxFailing)}
}

// allow counts a failure, and reports whether it is within the bounds.
func (f *failures) allow(source string, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bySource.Spent(source, now) || f.all.Empty(allFailures, now) {
		return false
	}
	f.bySource.Add(source, now)
	f.all.Take(allFailures, now, 1)
	return true
}
