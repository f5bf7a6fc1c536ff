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
	// maxNetwork bounds the requests in progress over the network. The other places
	// are for the local socket, where an operator can revoke a token that keeps the
	// node busy.
	maxNetwork = maxRunning * 3 / 4
	// maxShare bounds the requests of all tokens of one tenant, and the requests of
	// one operator's token.
	maxShare = maxRunning / 4
	// maxTenants bounds the requests of all tenants' tokens together. One share is
	// left for operators' tokens.
	maxTenants = maxNetwork - maxShare
	// maxFollowers bounds the requests that wait for the log. They also count
	// for maxRunning, so they must leave places for other requests.
	maxFollowers = maxRunning / 2
	// maxTenantFollowers bounds the waiting requests of all tenants. The other
	// places are for operators.
	maxTenantFollowers = maxFollowers * 3 / 4
)

// limits count the requests in progress. One lock guards all counts. Therefore a
// request that one bound refuses never counts for another bound, not even for a
// moment. Otherwise many refused requests could take the places of other callers.
type limits struct {
	mu   sync.Mutex // guards held
	held limit.Held[bound]
}

// A bound is a maximum number of requests in progress.
type bound struct {
	name string
	of   string // the tenant, or the operator's token; empty for a bound on all
	most int
}

func newLimits() *limits { return &limits{held: limit.NewHeld[bound]()} }

// enter counts a request of a caller. It returns false if a bound is reached. The
// caller of enter must call leave when the request ends.
func (l *limits) enter(c caller) (leave func(), ok bool) {
	bounds := []bound{{"running", "", maxRunning}}
	if c.network {
		bounds = append(bounds, bound{"network", "", maxNetwork}, bound{"share", cmp.Or(c.tenant, c.actor), maxShare})
		if !c.operator {
			bounds = append(bounds, bound{"tenants", "", maxTenants})
		}
	}
	return l.take(bounds)
}

// follow counts a request that waits for the log, as enter does.
func (l *limits) follow(c caller) (leave func(), ok bool) {
	bounds := []bound{{"followers", "", maxFollowers}}
	if !c.operator {
		bounds = append(bounds, bound{"tenant followers", "", maxTenantFollowers})
	}
	return l.take(bounds)
}

// take counts a request for all bounds or, if one is reached, for none.
func (l *limits) take(bounds []bound) (leave func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, b := range bounds {
		if !l.held.Take(b, b.most) {
			l.give(bounds[:i])
			return nil, false
		}
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.give(bounds)
	}, true
}

// give subtracts one request from the count of each bound. The caller holds the
// lock.
func (l *limits) give(bounds []bound) {
	for _, b := range bounds {
		l.held.Give(b)
	}
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
