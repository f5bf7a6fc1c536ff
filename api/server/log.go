package server

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/history"
	"github.com/postern-im/postern/projections"
)

// A Log is what the API shows of the log, and the past is folded from.
type Log interface {
	Commits
	Places
}

// Commits are the log's, in order from a position or from the newest back
// (before zero: from the head), all of them or a tenant's.
type Commits interface {
	Read(ctx context.Context, from events.Position, fn func(*events.Commit) error) error
	Tenant(ctx context.Context, tenant string, from events.Position, fn func(*events.Commit) error) error
	Newest(ctx context.Context, before events.Position, limit int, fn func(*events.Commit) error) error
	NewestOf(ctx context.Context, tenant string, before events.Position, limit int, fn func(*events.Commit) error) error
}

// Places find their way in the log.
type Places interface {
	Head() (events.Position, [32]byte)
	Commit(p events.Position) (events.Commit, error)
	// PositionAt gives the last position not after a time; zero is before
	// everything.
	PositionAt(t time.Time) (events.Position, error)
	// Wait returns when the log reaches past a position.
	Wait(ctx context.Context, after events.Position) (events.Position, error)
}

// The bounds of showing the log.
const (
	// What a page of the log holds when nobody says, and at most: a commit
	// may be almost a megabyte.
	defaultEntries = 50
	maxEntries     = 1000
	// maxScan bounds the commits one request looks through for an actor's; the
	// reply then says from where to go on.
	maxScan = 50_000
	// maxWait bounds the seconds a request waits for something to happen; it
	// leaves time to answer within RequestTime.
	maxWait = 25
	// pageBytes ends a page early, roughly: it bounds the answer whatever the
	// size of commits.
	pageBytes = 8 << 20
)

// errEnough ends a reading that has what it came for.
var errEnough = errors.New("enough")

func enough(err error) error {
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

const logDoc = "Without after: the newest entries, or those before a position. With it: the first ones behind that " +
	"position, and with wait, if there are none yet, as soon as there are. Oldest first either way. To follow the log, " +
	"go on with the reply's next_after; to go back, with its next_before."

func logParams() []param {
	return []param{
		{name: "after", kind: number, max: math.MaxInt64, doc: "a position: answer with the first entries behind it"},
		{name: "before", kind: number, min: 1, max: math.MaxInt64, doc: "a position: answer with the newest entries before it"},
		{name: "since", max: maxMoment, doc: "only entries from then on: " + momentDoc},
		{name: "until", max: maxMoment, doc: "only entries until then: " + momentDoc},
		{name: "actor", max: maxText, doc: "only this actor's entries, such as operator:root"},
		{name: "wait", kind: number, min: 1, max: maxWait, doc: "with after: how many seconds to wait for an entry"},
		limitParam(defaultEntries, maxEntries),
	}
}

// A logReading is one request for a page of the log.
type logReading struct {
	log    Log
	past   *history.History
	tenant string          // empty: all
	after  events.Position // forwards: read behind it
	before events.Position // backwards: read before it; zero: from the head
	from   events.Position // the first that is wanted
	to     events.Position // the last that is wanted
	actor  string
	limit  int

	reply   api.LogTail
	scanned int
	bytes   int
}

func (s *Server) readLog(r *http.Request, v *projections.View) (any, error) {
	return s.logPage(r, v, "")
}

// readTenantLog shows the log of tenants that were removed too.
func (s *Server) readTenantLog(r *http.Request, v *projections.View) (any, error) {
	id := r.PathValue("tenant")
	if !v.Used([]byte(id)) {
		return nil, notFound("no tenant %q", id)
	}
	return s.logPage(r, v, id)
}

func (s *Server) logPage(r *http.Request, v *projections.View, tenant string) (any, error) {
	if s.log == nil {
		return nil, &api.Error{Code: api.CodeUnavailable, Text: "this node shows no log"}
	}
	q := queryOf(r)
	after, forwards := q.number("after")
	before, backwards := q.number("before")
	wait, waits := q.number("wait")
	if forwards && backwards || waits && !forwards {
		return nil, &api.Error{Code: api.CodeBadRequest, Text: "give after, perhaps with wait, or before"}
	}
	limit, _ := q.number("limit")
	l := &logReading{
		log: s.log, past: s.history, tenant: tenant, after: events.Position(after), before: events.Position(before),
		actor: q.text("actor"), limit: int(limit), from: 1, to: math.MaxInt64,
		reply: api.LogTail{Position: uint64(v.Position()), LogID: s.logID, Entries: []api.LogEntry{}},
	}
	if err := l.between(q.text("since"), q.text("until")); err != nil {
		return nil, err
	}
	var err error
	if forwards {
		err = s.follow(r.Context(), l, time.Duration(wait)*time.Second) // zero when not given
	} else {
		err = l.back(r.Context())
	}
	return l.reply, err
}

// between reads since and until. Times are both included.
func (l *logReading) between(since, until string) error {
	now := time.Now()
	if since != "" {
		m, err := parseMoment("since", since, now)
		if err != nil {
			return err
		}
		if l.from = m.position; l.from == 0 {
			if l.from, err = l.log.PositionAt(m.time.Add(-time.Microsecond)); err != nil {
				return err
			}
			l.from++
		}
	}
	if until != "" {
		m, err := parseMoment("until", until, now)
		if err != nil {
			return err
		}
		if l.to = m.position; l.to == 0 {
			if l.to, err = l.log.PositionAt(m.time); err != nil {
				return err
			}
		}
	}
	return nil
}

// add takes a commit; errEnough when the page is full with it. What belongs
// to another tenant is never shown, whatever an index says.
func (l *logReading) add(c *events.Commit) error {
	if l.tenant != "" && c.Tenant != l.tenant {
		return fmt.Errorf("commit %d of tenant %q read as one of %q", c.Position, c.Tenant, l.tenant)
	}
	l.scanned++
	if l.actor == "" || c.Actor == l.actor {
		e := entryFrom(c)
		l.reply.Entries = append(l.reply.Entries, e)
		l.bytes += len(e.Reason) + 64
		for i := range e.Events {
			l.bytes += 2*len(e.Events[i].What) + 64
		}
	}
	if len(l.reply.Entries) >= l.limit || l.scanned >= maxScan || l.bytes >= pageBytes {
		return errEnough
	}
	return nil
}

// turn waits for a turn where many commits may be looked through for a few
// entries: that is as much work as a folding.
func (l *logReading) turn(ctx context.Context) (end func(), err error) {
	if l.actor == "" {
		return func() {}, nil
	}
	return l.past.Turn(ctx, callerOf(ctx).inHistory())
}

// back reads the newest first and turns them round.
func (l *logReading) back(ctx context.Context) error {
	end, err := l.turn(ctx)
	if err != nil {
		return err
	}
	defer end()
	reply := &l.reply
	before := l.before
	if l.to < math.MaxInt64 && (before == 0 || l.to+1 < before) {
		before = l.to + 1
	}
	visit := func(c *events.Commit) error {
		if c.Position < l.from {
			return errEnough
		}
		err := l.add(c)
		if errors.Is(err, errEnough) && c.Position > l.from {
			reply.NextBefore = uint64(c.Position)
		}
		return err
	}
	if l.tenant == "" {
		err = l.log.Newest(ctx, before, math.MaxInt, visit)
	} else {
		err = l.log.NewestOf(ctx, l.tenant, before, math.MaxInt, visit)
	}
	slices.Reverse(reply.Entries)
	for _, e := range reply.Entries {
		reply.Position = max(reply.Position, e.Position)
	}
	return enough(err)
}

// follow reads what stands behind a position, and waits for it if need be.
func (s *Server) follow(ctx context.Context, l *logReading, wait time.Duration) error {
	if wait > 0 {
		leave, ok := s.limits.follow(callerOf(ctx))
		if !ok {
			return &api.Error{Code: api.CodeBusy, Text: "too many follow the log at once; try again"}
		}
		defer leave()
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	defer context.AfterFunc(stoppingOf(ctx), cancel)()
	for {
		head, _ := s.log.Head()
		if l.after > head {
			return &api.Error{Code: api.CodeConflict, Text: fmt.Sprintf("there is no position %d: the log ends at %d; it is not the log that was followed", l.after, head)}
		}
		if err := l.ahead(ctx); err != nil {
			return err
		}
		if len(l.reply.Entries) > 0 || l.scanned > 0 || wait == 0 || l.after >= l.to {
			return nil
		}
		if _, err := s.log.Wait(waiting, head); err != nil {
			if waiting.Err() != nil && ctx.Err() == nil {
				return nil // nothing happened in time
			}
			return err
		}
	}
}

// ahead reads the first ones behind after.
func (l *logReading) ahead(ctx context.Context) error {
	l.reply.NextAfter = uint64(l.after)
	from := max(l.after+1, l.from)
	if from > l.to {
		return nil
	}
	if head, _ := l.log.Head(); from > head {
		return nil
	}
	end, err := l.turn(ctx)
	if err != nil {
		return err
	}
	defer end()
	visit := func(c *events.Commit) error {
		if c.Position > l.to {
			return errEnough
		}
		err := l.add(c)
		l.reply.NextAfter = uint64(c.Position)
		l.reply.Position = max(l.reply.Position, uint64(c.Position))
		return err
	}
	if l.tenant == "" {
		return enough(l.log.Read(ctx, from, visit))
	}
	return enough(l.log.Tenant(ctx, l.tenant, from, visit))
}

type stoppingKey struct{}

// withStopping tells requests of a server that is about to stop: those that
// wait need not.
func withStopping(ctx, stopping context.Context) context.Context {
	return context.WithValue(ctx, stoppingKey{}, stopping)
}

func stoppingOf(ctx context.Context) context.Context {
	if stopping, ok := ctx.Value(stoppingKey{}).(context.Context); ok {
		return stopping
	}
	return ctx
}

func entryFrom(c *events.Commit) api.LogEntry {
	e := api.LogEntry{
		Position: uint64(c.Position), Tenant: c.Tenant, TenantVersion: c.TenantVersion, Time: c.Time,
		Actor: c.Actor, CommandID: c.CommandID, Reason: c.Reason, Events: make([]api.LogEvent, 0, len(c.Events)),
	}
	for _, event := range c.Events {
		e.Events = append(e.Events, eventFrom(event))
	}
	return e
}
