package session

import (
	"context"
	"sync"

	"github.com/postern-im/postern/internal/limit"
)

// The shares of the large buffers of one direction. A peer that takes what is in
// such a buffer slowly holds it for as long as it likes, so no account, and no
// tenant, may hold them all.
const (
	largePerAccount = 4
	largePerTenant  = maxLarge / 2
)

// leaves are the leave to have large buffers, maxLarge at once in one direction.
type leaves struct {
	mu        sync.Mutex // guards all below
	taken     int
	byTenant  limit.Held[string]
	byAccount limit.Held[string] // accounts are told apart by their domains, which have one tenant
	given     chan struct{}      // closed when one is given back; nil: nobody waits
}

func newLeaves() *leaves {
	return &leaves{byTenant: limit.NewHeld[string](), byAccount: limit.NewHeld[string]()}
}

// take waits for a leave until ctx is done.
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

// try takes a leave, and returns nil, or else what is closed when it is worth
// trying again.
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

// give gives a leave back, and has all that wait try again.
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
