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
	// unboundLines is for how many of a source's connections a minute there is a
	// line each when they come to no session; further ones are summed up.
	unboundLines = 60
	// unboundEvery is how often one source's are summed up.
	unboundEvery = 10 * time.Second
)

// unbound tells of connections that have come to no session. Anybody can make
// thousands of them a second, without TLS and a password.
type unbound struct {
	logger *slog.Logger
	more   *floodlog.Logger

	mu    sync.Mutex // guards lines
	lines *limit.Counts[limit.Source]
}

func newUnbound(logger *slog.Logger) *unbound {
	return &unbound{
		logger: logger,
		more:   floodlog.New(floodlog.Config{Logger: logger, Key: "source", Every: unboundEvery}),
		lines:  limit.NewCounts[limit.Source](limit.PerMinute(unboundLines), maxFailures),
	}
}

// tell tells of a connection, and why it has no session.
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

// each reports whether a source's next one is told by itself.
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

// Run sums up, until ctx is done.
func (u *unbound) Run(ctx context.Context) { u.more.Run(ctx) }
