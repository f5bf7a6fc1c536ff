package gateway

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/postern-im/postern/internal/floodlog"
	"github.com/postern-im/postern/internal/limit"
)

const (
	// unboundLines is the number of connections per minute from one source
	// that get a log line each. Further connections are combined into summary
	// lines.
	unboundLines = 60
	// unboundEvery is the time between two summary lines for one source.
	unboundEvery = 10 * time.Second
)

// unbound logs connections that ended before a session was bound. It limits
// the lines, because a client can make thousands of such connections a second
// and needs neither TLS nor a password for them.
type unbound struct {
	logger *slog.Logger
	more   *floodlog.Logger // sums up connections that get no separate line

	mu    sync.Mutex // guards lines
	lines *limit.Buckets[limit.Source]
}

func newUnbound(logger *slog.Logger) *unbound {
	return &unbound{
		logger: logger,
		more:   floodlog.New(floodlog.Config{Logger: logger, Key: "source", Every: unboundEvery}),
		lines:  limit.NewBuckets[limit.Source](limit.PerMinute(unboundLines), maxFailures),
	}
}

// tell logs a connection, and the reason why it has no session.
func (u *unbound) tell(level slog.Level, remote net.Addr, condition string, err error) {
	if !u.logger.Enabled(context.Background(), level) {
		return
	}
	const message = "connection not bound"
	attrs := []any{"remote", remote.String(), "condition", condition, "err", err}
	if u.each(limit.SourceOf(remote)) {
		u.logger.Log(context.Background(), level, message, attrs...)
		return
	}
	u.more.Say(level, addressOf(remote), message, attrs...)
}

// each reports whether the source's next connection gets a separate log line.
func (u *unbound) each(from limit.Source) bool {
	now := time.Now()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.lines.Spent(from, now) {
		return false
	}
	u.lines.Add(from, now)
	return true
}

// Run logs the lines that sum up connections, until ctx is done.
func (u *unbound) Run(ctx context.Context) { u.more.Run(ctx) }
