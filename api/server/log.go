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

// A Log is the part of the event log that the API uses. The API also folds the past
// state of a tenant from it.
type Log interface {
	Commits
	Places
}

// Commits reads the commits of the log, or of one tenant. Read and Tenant go forward
// from a position. Newest and NewestOf go backward from the newest commit before a
// position; if before is zero, they begin with the newest commit of all.
type Commits interface {
	Read(ctx context.Context, from events.Position, fn func(*events.Commit) error) error
	Tenant(ctx context.Context, tenant string, from events.Position, fn func(*events.Commit) error) error
	Newest(ctx context.Context, before events.Position, limit int, fn func(*events.Commit) error) error
	NewestOf(ctx context.Context, tenant string, before events.Position, limit int, fn func(*events.Commit) error) error
}

// Places finds positions in the log.
type Places interface {
	Head() (events.Position, [32]byte)
	Commit(p events.Position) (events.Commit, error)
	// PositionAt returns the position of the last commit that is not after a time. It
	// returns zero if there is no such commit.
	PositionAt(t time.Time) (events.Position, error)
	// Wait returns the head when the log has a commit after a position.
	Wait(ctx context.Context, after events.Position) (events.Position, error)
	// Settle returns when a crash cannot lose what Head has shown.
	Settle(ctx context.Context) error
}

// The bounds of showing the log.
const (
	// defaultEntries and maxEntries are the default and the maximum size of a page of
	// the log. They are small because a commit may have almost a megabyte.
	defaultEntries = 50
	maxEntries     = 1000
	// maxScan bounds the commits that one request for an actor's commits reads. At
	// this bound the reply has the position where the next request continues.
	maxScan = 50_000
	// maxWait bounds the seconds that a request waits for a commit. It leaves time to
	// answer within api.RequestTime.
	maxWait = 25
	// pageBytes is the approximate size in bytes at which a page ends early. It
	// bounds the answer if commits are large.
	pageBytes = 8 << 20
)

// errEnough stops reading the log without an error, because the page is complete.
var errEnough = errors.New("enough")

// enough returns nil for errEnough, and other errors unchanged.
func enough(err error) error {
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// logDoc describes the routes of the log.
const logDoc = "Without after, the answer has the newest entries, or the newest entries before a position. With after, it " +
	"has the first entries after that position; with wait, the node waits until there is such an entry. Entries are always " +
	"ordered from oldest to newest. To follow the log, send the reply's next_after as after. To read older entries, send its " +
	"next_before as before."

// logParams returns the parameters of the routes of the log.
func logParams() []param {
	return []param{
		{name: "after", kind: number, max: math.MaxInt64, doc: "a position: return the first entries after it"},
		{name: "before", kind: number, min: 1, max: math.MaxInt64, doc: "a position: return the newest entries before it"},
		{name: "since", max: maxMoment, doc: "only entries at or after this moment: " + momentDoc},
		{name: "until", max: maxMoment, doc: "only entries at or before this moment: " + momentDoc},
		{name: "actor", max: maxText, doc: "only entries of this actor, such as operator:root"},
		{name: "wait", kind: number, min: 1, max: maxWait, doc: "with after: how many seconds to wait for an entry"},
		limitParam(defaultEntries, maxEntries),
	}
}

// A logReading is one request for a page of the log.
type logReading struct {
	log    Log
	past   *history.History
	tenant string          // empty: all
	after  events.Position // forward: the position to read after
	before events.Position // backward: the position to read before; zero: the head
	from   events.Position // the first wanted position
	to     events.Position // the last wanted position
	actor  string
	limit  int

	reply   api.LogTail
	scanned int // commits that were read
	bytes   int // approximate size of the entries
}

func (s *Server) readLog(r *http.Request, v *projections.View) (any, error) {
	return s.logPage(r, v, "")
}

// readTenantLog answers with the log of a tenant. The tenant may have been removed.
func (s *Server) readTenantLog(r *http.Request, v *projections.View) (any, error) {
	id := r.PathValue("tenant")
	if !v.Used([]byte(id)) {
		return nil, notFound("no tenant %q", id)
	}
	return s.logPage(r, v, id)
}

// logPage answers with a page of the log, or of a tenant's part of it.
func (s *Server) logPage(r *http.Request, v *projections.View, tenant string) (any, error) {
	if s.log == nil {
		return nil, &api.Error{Code: api.CodeUnavailable, Text: "this node has no log to show"}
	}
	q := queryOf(r)
	after, forwards := q.number("after")
	before, backwards := q.number("before")
	wait, waits := q.number("wait")
	if forwards && backwards || waits && !forwards {
		return nil, &api.Error{Code: api.CodeBadRequest, Text: "give either after or before; wait needs after"}
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

// between sets from and to according to since and until. Both moments are included.
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

// add adds a commit to the page and returns errEnough when the page is complete. A
// commit of another tenant is an error: it is never shown, even if an index of the
// log is wrong.
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

// turn waits for a turn in history if the page selects an actor. The server may
// have to read many commits for such a page. This is as much work as folding them.
func (l *logReading) turn(ctx context.Context) (end func(), err error) {
	if l.actor == "" {
		return func() {}, nil
	}
	return l.past.Turn(ctx, callerOf(ctx).inHistory())
}

// back reads a page backward and then reverses it. A follower begins with the newest
// page and continues after it, so the page ends with a commit that this node cannot lose
// in a crash.
func (l *logReading) back(ctx context.Context) error {
	head, _ := l.log.Head()
	if err := l.log.Settle(ctx); err != nil {
		return err
	}
	end, err := l.turn(ctx)
	if err != nil {
		return err
	}
	defer end()
	reply := &l.reply
	before := l.before
	if end := min(l.to, head) + 1; before == 0 || end < before {
		before = end
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

// follow reads a page forward. If there is no commit yet, it waits for one.
func (s *Server) follow(ctx context.Context, l *logReading, wait time.Duration) error {
	if wait > 0 {
		leave, ok := s.limits.follow(callerOf(ctx))
		if !ok {
			return &api.Error{Code: api.CodeBusy, Text: "too many requests wait for the log; try again"}
		}
		defer leave()
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	defer context.AfterFunc(stoppingOf(ctx), cancel)()
	for {
		head, _ := s.log.Head()
		if l.after > head {
			return &api.Error{Code: api.CodeConflict, Text: fmt.Sprintf("there is no position %d: the log ends at %d; it is not the log that after was read from", l.after, head)}
		}
		if err := l.ahead(ctx); err != nil {
			return err
		}
		if len(l.reply.Entries) > 0 || l.scanned > 0 || wait == 0 || l.after >= l.to {
			return nil
		}
		if _, err := s.log.Wait(waiting, head); err != nil {
			if waiting.Err() != nil && ctx.Err() == nil {
				return nil // there was no commit in time
			}
			return err
		}
	}
}

// ahead reads the commits after l.after that exist already. A caller continues after the
// last of them, so it gets none that this node could lose in a crash.
func (l *logReading) ahead(ctx context.Context) error {
	l.reply.NextAfter = uint64(l.after)
	from := max(l.after+1, l.from)
	if from > l.to {
		return nil
	}
	head, _ := l.log.Head()
	if from > head {
		return nil
	}
	if err := l.log.Settle(ctx); err != nil {
		return err
	}
	end, err := l.turn(ctx)
	if err != nil {
		return err
	}
	defer end()
	visit := func(c *events.Commit) error {
		if c.Position > min(l.to, head) {
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

// withStopping adds a context that ends when the server stops. Requests that wait for
// the log then return at once.
func withStopping(ctx, stopping context.Context) context.Context {
	return context.WithValue(ctx, stoppingKey{}, stopping)
}

// stoppingOf returns the context of withStopping. Without one, it returns ctx.
func stoppingOf(ctx context.Context) context.Context {
	if stopping, ok := ctx.Value(stoppingKey{}).(context.Context); ok {
		return stopping
	}
	return ctx
}

// entryFrom converts a commit to its form on the wire.
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
