package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/projections"
)

// The bounds of looking at the past, which is folded while somebody waits.
const (
	// foldTime bounds one folding, the wait for its turn included.
	foldTime = 20 * time.Second
	// maxPast bounds the memory of the Views kept for the next request, in
	// bytes as pastSize guesses them.
	maxPast = 64 << 20
)

// A pastKey names one tenant at one position: what was so then never changes.
type pastKey struct {
	tenant string
	at     events.Position
}

type pastView struct {
	key  pastKey
	view *projections.View
	size int
}

// A history gives tenants as they were.
type history struct {
	log   Log
	turns *turns

	// mu guards kept, the Views used last, the newest at the end.
	mu   sync.Mutex
	kept []pastView
}

func newHistory(log Log) *history {
	return &history{log: log, turns: newTurns()}
}

// at gives the View of one tenant at a position of the log.
func (h *history) at(ctx context.Context, tenant string, at events.Position) (*projections.View, error) {
	key := pastKey{tenant, at}
	if v := h.find(key); v != nil {
		return v, nil
	}
	p := projections.NewPast(tenant)
	err := h.waited(ctx, tenant, func(ctx context.Context) error {
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
	h.keep(pastView{key, v, pastSize(v.Tenant([]byte(tenant)))})
	return v, nil
}

// fold gives fn a tenant's commits up to a position, within the bounds.
func (h *history) fold(ctx context.Context, tenant string, upTo events.Position, fn func(*events.Commit) error) error {
	return h.waited(ctx, tenant, func(ctx context.Context) error { return h.read(ctx, tenant, upTo, fn) })
}

// waited does what reads a tenant's history, when it is the caller's turn and
// within the bounds.
func (h *history) waited(ctx context.Context, tenant string, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, foldTime)
	defer cancel()
	end, err := h.turn(ctx)
	if err != nil {
		return err
	}
	defer end()
	err = do(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return &api.Error{Code: api.CodeUnavailable, Text: fmt.Sprintf("the history of tenant %q was not read within %s; try again", tenant, foldTime)}
	}
	return err
}

// read gives fn the commits of a tenant, or of the installation, up to a
// position.
func (h *history) read(ctx context.Context, tenant string, upTo events.Position, fn func(*events.Commit) error) error {
	err := enough(h.log.Tenant(ctx, tenant, 1, func(c *events.Commit) error {
		if c.Position > upTo {
			return errEnough
		}
		return fn(c)
	}))
	if err != nil {
		return fmt.Errorf("fold tenant %q up to %d: %w", tenant, upTo, err)
	}
	return nil
}

// turn waits for the caller's turn, and gives what ends it.
func (h *history) turn(ctx context.Context) (end func(), err error) {
	end, ok := h.turns.take(ctx, callerOf(ctx))
	if !ok {
		return nil, &api.Error{Code: api.CodeBusy, Text: "too many look at the past, or plan, at once; try again"}
	}
	return end, nil
}

func (h *history) find(key pastKey) *projections.View {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.IndexFunc(h.kept, func(p pastView) bool { return p.key == key })
	if i < 0 {
		return nil
	}
	p := h.kept[i]
	h.kept = append(slices.Delete(h.kept, i, i+1), p)
	return p.view
}

// keep remembers a View, and forgets those used longest ago for it.
func (h *history) keep(p pastView) {
	if p.size > maxPast {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kept = slices.DeleteFunc(h.kept, func(o pastView) bool { return o.key == p.key })
	h.kept = append(h.kept, p)
	sum := 0
	for i := len(h.kept) - 1; i >= 0; i-- {
		if sum += h.kept[i].size; sum > maxPast {
			h.kept = slices.Delete(h.kept, 0, i+1)
			return
		}
	}
}

// pastSize guesses the memory of a View that holds one tenant, rather too
// much than too little.
func pastSize(t *projections.Tenant) int {
	if t == nil {
		return 16 << 10
	}
	return 16<<10 + 256*t.MemberCount() + 2048*(t.DomainCount()+t.ServiceCount()+t.RoleCount())
}

func atParam() param {
	return param{name: "at", max: maxMoment, doc: "answer as of then: " + momentDoc + "; without it, now"}
}

// past makes a handler of what is read of one tenant, now or, with the query
// parameter at, as it was. What reads on does not see the difference.
func (s *Server) past(read func(*http.Request, *projections.View, *projections.Tenant) (any, error)) handler {
	return func(_ http.ResponseWriter, r *http.Request) (any, error) {
		v, t, as, err := s.tenantAt(r)
		if err != nil {
			return nil, err
		}
		reply, err := read(r, v, t)
		if err != nil {
			return nil, err
		}
		return dated(reply, as), nil
	}
}

// dated sets AsOf in a reply that has it.
func dated(reply any, as api.AsOf) any {
	if as.At == nil {
		return reply
	}
	v := reflect.New(reflect.TypeOf(reply)).Elem()
	v.Set(reflect.ValueOf(reply))
	v.FieldByName("AsOf").Set(reflect.ValueOf(as))
	return v.Interface()
}

// tenantAt is the tenant of the path at the moment of the query, and the View
// to ask about it.
func (s *Server) tenantAt(r *http.Request) (*projections.View, *projections.Tenant, api.AsOf, error) {
	v, err := s.view()
	if err != nil {
		return nil, nil, api.AsOf{}, err
	}
	asked := queryOf(r).text("at")
	if asked == "" {
		t, err := tenantOf(r, v)
		return v, t, api.AsOf{}, err
	}
	id := r.PathValue("tenant")
	at, as, err := s.moment(v, "at", asked)
	if err != nil {
		return nil, nil, api.AsOf{}, err
	}
	if !v.Used([]byte(id)) {
		return nil, nil, api.AsOf{}, notFound("no tenant %q", id)
	}
	then, err := s.history.at(r.Context(), id, at)
	if err != nil {
		return nil, nil, api.AsOf{}, err
	}
	t := then.Tenant([]byte(id))
	switch {
	case t != nil:
		if !callerOf(r.Context()).operator {
			// When others gave their commands is not the tenant's to know.
			as.At.Time = then.Time()
		}
		return then, t, as, nil
	case then.Used([]byte(id)):
		return nil, nil, api.AsOf{}, notFound("tenant %q had been removed at position %d; look at an earlier one", id, at)
	}
	return nil, nil, api.AsOf{}, notFound("tenant %q did not exist yet at position %d", id, at)
}

// moment finds a moment's position in the log.
func (s *Server) moment(v *projections.View, name, asked string) (events.Position, api.AsOf, error) {
	if s.log == nil {
		return 0, api.AsOf{}, &api.Error{Code: api.CodeUnavailable, Text: "this node shows no log, and so no past"}
	}
	m, err := parseMoment(name, asked, time.Now())
	if err != nil {
		return 0, api.AsOf{}, err
	}
	at := m.position
	if at == 0 {
		if at, err = s.log.PositionAt(m.time); err != nil {
			return 0, api.AsOf{}, err
		}
		at = min(at, v.Position()) // the View may be a moment behind the log
		if at == 0 {
			return 0, api.AsOf{}, notFound("%s: nothing had happened yet at %s", name, m.time.Format(time.RFC3339))
		}
	}
	if at > v.Position() {
		return 0, api.AsOf{}, notFound("%s: there is no position %d yet: the newest is %d", name, at, v.Position())
	}
	c, err := s.log.Commit(at)
	if err != nil {
		return 0, api.AsOf{}, err
	}
	return at, api.AsOf{At: &api.Moment{Position: uint64(at), Time: c.Time}}, nil
}
