// Package history returns the state of a tenant at a past position of the log. It
// folds the tenant's commits up to this position.
//
// It bounds this work, so that questions about the past do not slow down current
// decisions. Each caller waits for a turn before it folds. Few turns exist at the
// same time, and a fold takes a bounded time. An operator never waits for a tenant,
// and a tenant has at most one turn at a time. A tenant's state at a position never
// changes, so the package caches the most recently used Views, within a bound on
// their memory.
//
// It does not check whether a caller may see a tenant, and it writes nothing.
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

// A Log is the part of the log that this package reads.
type Log interface {
	// Tenant calls fn with the commits of one tenant, or of the installation if
	// tenant is empty. It begins at position from, keeps the log's order, and stops
	// when fn returns an error.
	Tenant(ctx context.Context, tenant string, from events.Position, fn func(*events.Commit) error) error
}

// A Caller identifies the user whose turns are counted. All operators together are
// one Caller. All tokens of a tenant together are one Caller.
type Caller struct {
	Operator bool
	Tenant   string // empty for an operator
}

const (
	// foldTime bounds one fold, including the wait for its turn, because a client is
	// waiting for the answer.
	foldTime = 20 * time.Second
	// maxKept bounds the memory of the cached Views, in bytes as estimated by
	// sizeOf.
	maxKept = 64 << 20
	// operatorFolds and tenantFolds bound the number of concurrent turns, so that most
	// of the node's cores are free for current decisions. Operators have a turn of
	// their own that no tenant can take. Each tenant has one turn at a time, so that
	// a tenant cannot take all turns.
	operatorFolds = 1
	tenantFolds   = 2
)

// ErrBusy is returned when the caller's turn did not come in time.
var ErrBusy = errors.New("too many requests for past states, plans or log searches at the same time")

// A SlowError is returned when a tenant's history was not read in time.
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

// A kept is a cached View.
type kept struct {
	key  key
	view *projections.View
	size int
}

// A History returns past states of tenants from a log. Its methods are safe for
// concurrent use.
type History struct {
	log Log
	// operators and tenants count the turns in use. tenants counts by tenant id.
	operators *limit.Counter[struct{}]
	tenants   *limit.Counter[string]

	mu   sync.Mutex // guards kept
	kept []kept     // the View that was used last is at the end
}

// New returns the History of a log.
func New(log Log) *History {
	return &History{
		log:       log,
		operators: limit.NewCounter[struct{}](operatorFolds, operatorFolds),
		tenants:   limit.NewCounter[string](1, tenantFolds),
	}
}

// At returns the View of one tenant at a position of the log. The position must be
// in the log. The error is ErrBusy, a *SlowError, or an error from reading or folding
// the commits.
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

// Fold calls fn with a tenant's commits up to a position, in order. It returns the
// same errors as At, and errors of fn.
func (h *History) Fold(ctx context.Context, who Caller, tenant string, upTo events.Position, fn func(*events.Commit) error) error {
	return h.inTurn(ctx, who, tenant, func(ctx context.Context) error { return h.read(ctx, tenant, upTo, fn) })
}

// Turn waits for the caller's turn to do other work that takes as long as a fold,
// such as a plan or a log search. The caller must call end after the work. The
// error is ErrBusy.
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

// inTurn waits for the caller's turn and then calls do, which reads a tenant's
// history.
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

// errEnough stops reading at the first commit after the wanted position.
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

// keep caches a View. It removes the least recently used Views to make room for it.
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

// sizeOf estimates the memory of a View with one tenant. The estimate is
// meant to be too high rather than too low.
func sizeOf(t *projections.Tenant) int {
	if t == nil {
		return 16 << 10
	}
	return 16<<10 + 256*t.MemberCount() + 2048*(t.DomainCount()+t.ServiceCount()+t.RoleCount())
}
