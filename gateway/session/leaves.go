package session

import (
	"context"
	"sync"

	"github.com/postern-im/postern/internal/limit"
)

// Limits on the large buffers of one account and of one tenant, in each
// direction. A slow peer can occupy a large buffer for a long time. Therefore no
// account and no tenant may occupy all of them.
const (
	largePerAccount = 4
	largePerTenant  = maxLarge / 2
)

// leaves are the permits for large buffers of one direction, maxLarge in total.
type leaves struct {
	mu        sync.Mutex // guards the fields below
	taken     int
	byTenant  limit.Held[string]
	byAccount limit.Held[string] // an account's domain belongs to one tenant
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
// that is closed when a permit is returned.
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

// give returns a permit and wakes all pumps that wait for one.
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
