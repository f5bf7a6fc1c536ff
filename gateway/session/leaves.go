package session

import (
	"context"
	"sync"

	"github.com/postern-im/postern/internal/limit"
)

// Shares of the large buffers of one direction. A peer that reads slowly
// occupies a large buffer for as long as it likes. Therefore no account and no
// tenant may occupy all of them.
const (
	largePerAccount = 4
	largePerTenant  = maxLarge / 2
)

// leaves are the permits for large buffers of one direction, maxLarge in total.
type leaves struct {
	mu        sync.Mutex // guards the fields below
	taken     int
	byTenant  limit.Held[string]
	byAccount limit.Held[string] // an account belongs to one tenant, by its domain
	given     chan struct{}      // closed when a permit is returned; nil if nothing waits
}

func newLeaves() *leaves {
	return &leaves{byTenant: limit.NewHeld[string](), byAccount: limit.NewHeld[string]()}
}

// take waits for a permit until ctx is done.
func (l *leaves) take(ctx context.Context, tenant, account string) error {
	for {
		given := l.try(tenant, account)
		if given == nil {
			return nil
		}
		select {
		case <-given:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// try takes a permit and returns nil. If there is none, it returns a channel
// that is closed when trying again is worthwhile.
func (l *leaves) try(tenant, account string) (given <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.taken < maxLarge && l.byAccount.Of(account) < largePerAccount && l.byTenant.Take(tenant, largePerTenant) {
		l.byAccount.Take(account, largePerAccount)
		l.taken++
		return nil
	}
	if l.given == nil {
		l.given = make(chan struct{})
	}
	return l.given
}

// give returns a permit and wakes everything that waits for one.
func (l *leaves) give(tenant, account string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.taken--
	l.byTenant.Give(tenant)
	l.byAccount.Give(account)
	if l.given != nil {
		close(l.given)
		l.given = nil
	}
}
