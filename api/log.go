package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/projections"
)

// A Log is what the API shows of the log: commits in order from a position,
// all of them or a tenant's.
type Log interface {
	Read(ctx context.Context, from events.Position, fn func(*events.Commit) error) error
	Tenant(ctx context.Context, tenant string, from events.Position, fn func(*events.Commit) error) error
}

// What a page of the log holds when nobody says, and at most: a commit may be
// almost a megabyte.
const (
	defaultEntries = 50
	maxEntries     = 1000
)

// errEnough ends a reading that has what it came for.
var errEnough = errors.New("enough")

func (s *Server) readLog(r *http.Request, v *projections.View) (any, error) {
	if s.log == nil {
		return nil, &Error{Code: CodeUnavailable, Text: "this node shows no log"}
	}
	return tail(r, v, s.log.Read)
}

func (s *Server) readTenantLog(r *http.Request, v *projections.View, t *projections.Tenant) (any, error) {
	if s.log == nil {
		return nil, &Error{Code: CodeUnavailable, Text: "this node shows no log"}
	}
	return tail(r, v, func(ctx context.Context, from events.Position, fn func(*events.Commit) error) error {
		return s.log.Tenant(ctx, t.ID(), from, func(c *events.Commit) error {
			if c.Tenant != t.ID() {
				return fmt.Errorf("commit %d of tenant %q read as one of %q", c.Position, c.Tenant, t.ID())
			}
			return fn(c)
		})
	})
}

// tail answers with the newest commits, or with the first after a position.
func tail(r *http.Request, v *projections.View, read func(context.Context, events.Position, func(*events.Commit) error) error) (any, error) {
	after, limit := logQuery(r)
	reply := LogTail{Position: uint64(v.Position()), Entries: []LogEntry{}}
	if after != nil {
		if *after >= v.Position() {
			return reply, nil
		}
		err := read(r.Context(), *after+1, func(c *events.Commit) error {
			if c.Position > v.Position() || len(reply.Entries) == limit {
				return errEnough
			}
			reply.Entries = append(reply.Entries, entryFrom(c))
			return nil
		})
		return reply, enough(err)
	}
	// The newest ones stand at the end, which is found by looking further and
	// further back: at worst twice what had to be read.
	for window := events.Position(limit); ; window *= 4 {
		from := events.Position(1)
		if v.Position() > window {
			from = v.Position() - window + 1
		}
		reply.Entries = reply.Entries[:0]
		err := read(r.Context(), from, func(c *events.Commit) error {
			if c.Position > v.Position() {
				return errEnough
			}
			if len(reply.Entries) == 2*limit {
				reply.Entries = append(reply.Entries[:0], reply.Entries[limit:]...)
			}
			reply.Entries = append(reply.Entries, entryFrom(c))
			return nil
		})
		if n := len(reply.Entries); n >= limit {
			reply.Entries = reply.Entries[n-limit:]
			return reply, enough(err)
		}
		if err := enough(err); err != nil || from == 1 {
			return reply, err
		}
	}
}

func enough(err error) error {
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// logQuery reads after, nil when it is not given, and limit.
func logQuery(r *http.Request) (after *events.Position, limit int) {
	q := queryOf(r)
	if n, given := q.number("after"); given {
		p := events.Position(n)
		after = &p
	}
	n, _ := q.number("limit")
	return after, int(n)
}

func entryFrom(c *events.Commit) LogEntry {
	e := LogEntry{
		Position: uint64(c.Position), Tenant: c.Tenant, TenantVersion: c.TenantVersion, Time: c.Time,
		Actor: c.Actor, CommandID: c.CommandID, Reason: c.Reason, Events: make([]LogEvent, 0, len(c.Events)),
	}
	for _, event := range c.Events {
		e.Events = append(e.Events, LogEvent{What: events.Describe(event)})
	}
	return e
}
