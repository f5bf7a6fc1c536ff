// Package history answers what a tenant was at a position of the log, by folding
// the tenant's commits up to there.
//
// It promises that folding the past leaves the node's cores to the present: few
// callers fold at a time, each for a bounded time, and the others wait. An
// operator waits for no tenant, and a tenant takes one place at most. It keeps
// the Views that were asked for last, within a bound on their memory: a tenant
// at a position never changes.
//
// It does not check whether a caller may see a tenant, and writes nothing.
package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/internal/limit"
	"github.com/postern-im/postern/projections"
)

// A Log gives the commits of one tenant, or of the installation (an empty
// tenant), from a position on and in order, until fn returns an error.
type Log interface {
	Tenant(ctx context.Context, tenant string, from events.Position, fn func(*events.Commit) error) error
}

// A Caller is who waits for a turn: an operator, or somebody of a tenant. All
// operators are one Caller, as are all tokens of a tenant.
type Caller struct {
	Operator bool
	Tenant   string // of a caller that is no operator
}

const (
	// foldTime bounds one folding, the wait for its turn included: somebody
	// waits for the answer.
	foldTime = 20 * time.Second
	// maxKept bounds the memory of the Views that are kept, in bytes as sizeOf
	// estimates them.
	maxKept = 64 << 20
	// operatorFolds and tenantFolds bound the foldings at a time, so that the past
	// leaves the node's cores to the present. Operators have a place that no tenant
	// can take. A tenant has one at a time, so that none takes the others'.
	operatorFolds = 1
	tenantFolds   = 2
)

// ErrBusy says that the caller's turn did not come in time.
var ErrBusy = errors.New("too many look at the past, or plan, at once")

// A SlowError says that a history was not read in time.
type SlowError struct{ Tenant string }

// Error implements error.
func (e *SlowError) Error() string {
	return fmt.Sprintf("the history of tenant %q was not read within %s", e.Tenant, foldTime)
}

// A key names one tenant at one position.
type key struct {
	tenant string
	at     events.Position
}

// A kept View is one for the next caller that asks for the same.
type kept struct {
	key  key
	view *projections.View
	size int
}

// A History answers from a log. Its methods may be called at the same time.
type History struct {
	log Log
	// operators and tenants count who folds; tenants by id.
	operators *limit.Counter[struct{}]
	tenants   *limit.Counter[string]

	// mu guards kept: the Views, the one used last at the end.
	mu   sync.Mutex
	kept []kept
}

// New returns the History of a log.
func New(log Log) *History {
	return &History{
		log:       log,
		operators: limit.NewCounter[struct{}](operatorFolds, operatorFolds),
		tenants:   limit.NewCounter[string](1, tenantFolds),
	}
}

// At returns the View of one tenant at a position of the log. The position must
// be in the log. The error is ErrBusy, a *SlowError, or one of the log.
func (h *History) At(ctx context.Context, who Caller, tenant string, at events.Position) (*projections.View, error) {
	k := key{tenant, at}
	if v := h.find(k); v != nil {
		return v, nil
	}
	p := projections.NewPast(tenant)
	err := h.inTurn(ctx, who, tenant, func(ctx context.Context) error {
		if err := h.read(ctx, tenant, at, p.Apply); err != nil {
			return err
		}
		return h.read(ctx, "", at, p.Installation)
	})
	if err != nil {
		return nil, err
	}
	v, err := p.View(at)
	if err != nil {
		return nil, fmt.Errorf("tenant %q at %d: %w", tenant, at, err)
	}
	h.keep(kept{k, v, sizeOf(v.Tenant([]byte(tenant)))})
	return v, nil
}

// Fold calls fn with a tenant's commits up to a position, in order. Its errors
// are those of At, and what fn returns.
func (h *History) Fold(ctx context.Context, who Caller, tenant string, upTo events.Position, fn func(*events.Commit) error) error {
	return h.inTurn(ctx, who, tenant, func(ctx context.Context) error { return h.read(ctx, tenant, upTo, fn) })
}

// Turn waits for the caller's turn to do something that takes as long as a
// folding, and is not one. The caller ends the turn by end. The error is ErrBusy.
func (h *History) Turn(ctx context.Context, who Caller) (end func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, foldTime)
	defer cancel()
	return h.turn(ctx, who)
}

func (h *History) turn(ctx context.Context, who Caller) (end func(), err error) {
	var ok bool
	if who.Operator {
		end, ok = h.operators.Wait(ctx, struct{}{})
	} else {
		end, ok = h.tenants.Wait(ctx, who.Tenant)
	}
	if !ok {
		return nil, ErrBusy
	}
	return end, nil
}

// inTurn calls do, which reads a tenant's history, in the caller's turn.
func (h *History) inTurn(ctx context.Context, who Caller, tenant string, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, foldTime)
	defer cancel()
	end, err := h.turn(ctx, who)
	if err != nil {
		return err
	}
	defer end()
	err = do(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return &SlowError{tenant}
	}
	return err
}

// errEnough ends a reading at its last position.
var errEnough = errors.New("enough")

// read calls fn with the commits of a tenant, or of the installation, up to a
// position.
func (h *History) read(ctx context.Context, tenant string, upTo events.Position, fn func(*events.Commit) error) error {
	err := h.log.Tenant(ctx, tenant, 1, func(c *events.Commit) error {
		if c.Position > upTo {
			return errEnough
		}
		return fn(c)
	})
	if err != nil && !errors.Is(err, errEnough) {
		return fmt.Errorf("fold tenant %q up to %d: %w", tenant, upTo, err)
	}
	return nil
}

func (h *History) find(k key) *projections.View {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.IndexFunc(h.kept, func(v kept) bool { return v.key == k })
	if i < 0 {
		return nil
	}
	v := h.kept[i]
	h.kept = append(slices.Delete(h.kept, i, i+1), v)
	return v.view
}

// keep remembers a View, and forgets those used longest ago to make room for it.
func (h *History) keep(v kept) {
	if v.size > maxKept {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kept = slices.DeleteFunc(h.kept, func(o kept) bool { return o.key == v.key })
	h.kept = append(h.kept, v)
	sum := 0
	for i := len(h.kept) - 1; i >= 0; i-- {
		if sum += h.kept[i].size; sum > maxKept {
			h.kept = slices.Delete(h.kept, 0, i+1)
			return
		}
	}
}

// sizeOf estimates the memory of a View that holds one tenant: rather too much
// than too little.
func sizeOf(t *projections.Tenant) int {
	if t == nil {
		return 16 << 10
	}
	return 16<<10 + 256*t.MemberCount() + 2048*(t.DomainCount()+t.ServiceCount()+t.RoleCount())
}
