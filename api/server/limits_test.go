package server

import (
	"fmt"
	"testing"
	"time"
)

// TestFailures checks the bound on failures of one source in a minute, and the bound
// on failures of all sources together.
func TestFailures(t *testing.T) {
	f := newFailures()
	now := time.Unix(600, 0)
	for i := range failuresAMinute + 5 {
		if got, want := f.allow("a", now), i < failuresAMinute; got != want {
			t.Errorf("failure %d: %v", i+1, got)
		}
	}
	if !f.allow("b", now) {
		t.Error("another source is refused")
	}
	allowed := 0
	for i := range 2 * failuresAMinute * maxFailing {
		if f.allow(fmt.Sprint(i), now) {
			allowed++
		}
	}
	if most := failuresAMinute*maxFailing - failuresAMinute - 1; allowed != most {
		t.Errorf("%d failures of as many sources are allowed, want %d", allowed, most)
	}
	if !f.allow("a", now.Add(time.Minute)) {
		t.Error("the next minute is refused")
	}
}

// TestLimitsAreGivenBack checks that a refused request holds no place in any counter,
// and that a request that ends gives back all its places.
func TestLimitsAreGivenBack(t *testing.T) {
	l := newLimits()
	tenant := caller{actor: "token:a", network: true, tenant: "a"}
	for range 3 {
		var leaves []func()
		for {
			leave, ok := l.enter(tenant)
			if !ok {
				break
			}
			leaves = append(leaves, leave)
		}
		if len(leaves) != maxShare {
			t.Errorf("a tenant has %d places, want %d", len(leaves), maxShare)
		}
		var local []func()
		for {
			leave, ok := l.enter(caller{actor: localActor, operator: true})
			if !ok {
				break
			}
			local = append(local, leave)
		}
		if want := maxRunning - maxShare; len(local) != want {
			t.Errorf("the socket has %d places beside it, want %d", len(local), want)
		}
		for _, leave := range append(leaves, local...) {
			leave()
		}
	}
}
