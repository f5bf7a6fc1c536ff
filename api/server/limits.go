package server

import (
	"cmp"
	"sync"
	"time"

	"github.com/postern-im/postern/internal/limit"
)

// The bounds of the requests in progress, and of the requests that wait for the
// log.
const (
	// maxRunning bounds the requests in progress. A further request is refused, so
	// that no requests pile up behind a slow log.
	maxRunning = 64
	// maxNetwork bounds the requests in progress over the network. The rest is left
	// for the local socket, where an operator can revoke a token that keeps the node
	// busy.
	maxNetwork = maxRunning * 3 / 4
	// maxShare bounds the requests of all tokens of one tenant, and the requests of
	// one operator's token.
	maxShare = maxRunning / 4
	// maxTenants bounds the requests of all tenants' tokens together. One share is
	// left for operators' tokens.
	maxTenants = maxNetwork - maxShare
	// maxFollowers bounds the requests that wait for the log. They are part of
	// maxRunning and must leave room for others.
	maxFollowers = maxRunning / 2
	// maxTenantFollowers bounds the waiting requests of all tenants. The rest is left
	// for operators.
	maxTenantFollowers = maxFollowers * 3 / 4
)

// limits count the requests in progress.
type limits struct {
	running *limit.Counter[struct{}]
	network *limit.Counter[string] // by tenant, or by an operator's token
	tenants *limit.Counter[struct{}]
	// followers are all requests that wait for the log; tenantFollowers are the
	// tenants' requests among them.
	followers, tenantFollowers *limit.Counter[struct{}]
}

func newLimits() limits {
	all := func(most int) *limit.Counter[struct{}] { return limit.NewCounter[struct{}](most, most) }
	return limits{
		running: all(maxRunning), network: limit.NewCounter[string](maxShare, maxNetwork), tenants: all(maxTenants),
		followers: all(maxFollowers), tenantFollowers: all(maxTenantFollowers),
	}
}

// enter counts a request of a caller. It returns false if a bound is reached. The
// caller of enter must call leave when the request ends.
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

// A place counts a request in one Counter.
type place func() (leave func(), ok bool)

// at is the place for a key in a Counter.
func at[K comparable](c *limit.Counter[K], k K) place {
	return func() (func(), bool) { return c.Enter(k) }
}

// enterAll counts a request in all places or, if one is full, in none.
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

// The bounds of failed authentications that are recorded. They do not affect
// requests with a valid token.
const (
	failuresAMinute = 20   // from one source
	maxFailing      = 4096 // sources remembered
)

// allFailures bounds the failures of all sources together. Otherwise many sources
// could fill the disk with records.
var allFailures = limit.PerMinute(failuresAMinute * maxFailing)

// failures counts failed authentications, by source and in total.
type failures struct {
	mu       sync.Mutex // guards the counts
	bySource *limit.Buckets[string]
	all      limit.Bucket
}

func newFailures() *failures {
	return &failures{bySource: limit.NewBuckets[string](limit.PerMinute(failuresAMinute), maxFailing)}
}

// allow reports whether a failure is within the bounds, and counts it if it is.
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
