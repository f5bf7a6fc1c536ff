package server

import (
	"fmt"
	"sync"
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

// TestRefusedRequestsTakeNoPlace checks that requests that one bound refuses do not
// take, even for a moment, the places that another caller may have. Many of them
// are refused at the same time as the other caller comes and goes.
func TestRefusedRequestsTakeNoPlace(t *testing.T) {
	of := func(tenant string) caller { return caller{actor: "token:" + tenant, network: true, tenant: tenant} }
	token := func(name string) caller { return caller{actor: "token:" + name, network: true, operator: true} }
	local := caller{actor: localActor, operator: true}
	enter, follow := (*limits).enter, (*limits).follow
	for name, c := range map[string]struct {
		enter            func(*limits, caller) (func(), bool)
		inside           map[caller]int
		refused, mayCome caller
	}{
		"local socket, and a token over its share": {
			enter, map[caller]int{token("x"): maxShare, token("y"): maxShare, token("z"): maxShare, local: maxRunning - maxNetwork - 1},
			token("x"), local,
		},
		"operator's token, and a tenant over the bound of tenants": {
			enter, map[caller]int{of("a"): maxShare, of("b"): maxShare, token("x"): maxShare - 1}, of("c"), token("x"),
		},
		"tenant, and a tenant over its share": {
			enter, map[caller]int{of("a"): maxShare, of("b"): maxShare - 1}, of("a"), of("b"),
		},
		"following operator, and a tenant": {
			follow, map[caller]int{of("a"): maxTenantFollowers, token("x"): maxFollowers - maxTenantFollowers - 1}, of("a"), token("x"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLimits()
			for who, n := range c.inside {
				for range n {
					if _, ok := c.enter(l, who); !ok {
						t.Fatalf("%s is refused at once", who.actor)
					}
				}
			}
			stop := make(chan struct{})
			var flood sync.WaitGroup
			for range 4 {
				flood.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						if _, ok := c.enter(l, c.refused); ok {
							t.Error("a request over a bound is let in")
							return
						}
					}
				})
			}
			const comes = 4_000
			refused := 0
			for range comes {
				if leave, ok := c.enter(l, c.mayCome); ok {
					leave()
				} else {
					refused++
				}
			}
			close(stop)
			flood.Wait()
			if refused > 0 {
				t.Errorf("%d of %d requests within all bounds are refused", refused, comes)
			}
		})
	}
}
