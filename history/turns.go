package history

import (
	"context"
	"sync"
)

// The bounds of foldings under way, and of readings and tenants' plans, which
// are as long, so that the past leaves the node's cores to the present. Operators
// have a place that no tenant can take, and a tenant has one at a time, so that
// none can take the others'.
const (
	operatorFolds = 1
	tenantFolds   = 2
)

// turns say whose turn it is to fold the past. Who waits for one waits in line.
type turns struct {
	operators chan struct{} // holds a token for each folding of an operator
	tenants   chan struct{} // the same of all tenants

	// mu guards own: for each tenant that folds or waits, its own line.
	mu  sync.Mutex
	own map[string]*line
}

// A line holds a token while its tenant has its turn, or is next but for
// others'.
type line struct {
	turn  chan struct{}
	users int // who stands in it, the first included
}

func newTurns() *turns {
	return &turns{
		operators: make(chan struct{}, operatorFolds),
		tenants:   make(chan struct{}, tenantFolds),
		own:       map[string]*line{},
	}
}

// take waits for a caller's turn, and gives what ends it; false when the
// context has ended before.
func (t *turns) take(ctx context.Context, who Caller) (end func(), ok bool) {
	if who.Operator {
		return take(ctx, t.operators)
	}
	own := t.enter(who.Tenant)
	endOwn, ok := take(ctx, own.turn)
	if !ok {
		t.leave(who.Tenant, own)
		return nil, false
	}
	endAll, ok := take(ctx, t.tenants)
	if !ok {
		endOwn()
		t.leave(who.Tenant, own)
		return nil, false
	}
	return func() {
		endAll()
		endOwn()
		t.leave(who.Tenant, own)
	}, true
}

func take(ctx context.Context, places chan struct{}) (end func(), ok bool) {
	select {
	case places <- struct{}{}:
		return func() { <-places }, true
	case <-ctx.Done():
		return nil, false
	}
}

func (t *turns) enter(tenant string) *line {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.own[tenant]
	if l == nil {
		l = &line{turn: make(chan struct{}, 1)}
		t.own[tenant] = l
	}
	l.users++
	return l
}

func (t *turns) leave(tenant string, l *line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l.users--; l.users == 0 {
		delete(t.own, tenant)
	}
}
