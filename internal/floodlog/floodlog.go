// Package floodlog writes log lines that a remote source can cause at any rate.
// It prevents such a source from filling the disk.
//
// The first line of a source is written at once. Further lines with the same
// source and message are counted; once a period, one line reports their number.
// After a whole period without a line, the source is forgotten, and its next
// line is written at once again. Memory is bounded for any number of sources:
// sources beyond the bound share one counter for each message.
package floodlog

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	defaultEvery = 10 * time.Second
	defaultMost  = 1024
	// others names the source of lines for which no separate counter was left.
	others = "others"
)

// Config configures a Logger.
type Config struct {
	// Logger receives the lines. The default is slog.Default().
	Logger *slog.Logger
	// Key is the name of the attribute for the source, such as "gateway".
	// Required.
	Key string
	// Every is the period. The default is ten seconds.
	Every time.Duration
	// Most bounds the remembered pairs of source and message. The default is
	// 1024.
	Most int
}

// A Logger logs lines by their source. Its methods are safe for concurrent use.
// If Run is not running, counted lines are reported with the next line of their
// source.
type Logger struct {
	cfg Config

	mu    sync.Mutex // guards the fields below
	lines map[line]*counted
}

// A line identifies the lines that are counted together.
type line struct{ source, message string }

// counted is the state of one line.
type counted struct {
	since time.Time // when a line was last written
	level slog.Level
	more  uint64 // not written since then
	args  []any  // of the newest line
}

// New returns a Logger.
func New(cfg Config) *Logger {
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	cfg.Every = cmp.Or(cfg.Every, defaultEvery)
	cfg.Most = cmp.Or(cfg.Most, defaultMost)
	return &Logger{cfg: cfg, lines: make(map[line]*counted)}
}

// Say logs a message of a source or counts it. args are passed to
// slog.Logger.Log. They may be kept until they are written, so they must not
// change.
func (l *Logger) Say(level slog.Level, source, message string, args ...any) {
	now := time.Now()
	l.mu.Lock()
	key := line{source, message}
	c := l.lines[key]
	if c == nil && len(l.lines) >= l.cfg.Most {
		l.forget(now)
	}
	if c == nil && len(l.lines) >= l.cfg.Most {
		key = line{others, message}
		c = l.lines[key]
	}
	if c == nil {
		c = &counted{}
		l.lines[key] = c
	}
	c.level, c.args = level, args
	c.more++
	due := c.since.IsZero() || now.Sub(c.since) >= l.cfg.Every
	var t told
	if due {
		t = c.take(key, now)
	}
	l.mu.Unlock()
	if due {
		l.write(t)
	}
}

// told is a line to be written.
type told struct {
	line
	level slog.Level
	args  []any
	count uint64
	// within is the time in which the lines came; zero for a first line.
	within time.Duration
}

// take returns the line to write and restarts the count.
func (c *counted) take(key line, now time.Time) told {
	t := told{line: key, level: c.level, args: c.args, count: c.more}
	if !c.since.IsZero() {
		t.within = now.Sub(c.since)
	}
	c.since, c.more, c.args = now, 0, nil
	return t
}

func (l *Logger) write(t told) {
	args := append([]any{l.cfg.Key, t.source}, t.args...)
	if t.within > 0 {
		args = append(args, "count", t.count, "within", t.within.Round(time.Millisecond))
	}
	l.cfg.Logger.Log(context.Background(), t.level, t.message, args...)
}

// forget removes the lines that were quiet for a period. The caller holds mu.
func (l *Logger) forget(now time.Time) {
	for key, c := range l.lines {
		if c.more == 0 && now.Sub(c.since) >= l.cfg.Every {
			delete(l.lines, key)
		}
	}
}

// due takes the lines that have waited for a period or, if end is true, all
// waiting lines.
func (l *Logger) due(now time.Time, end bool) (all []told) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(now)
	for key, c := range l.lines {
		if c.more > 0 && (end || now.Sub(c.since) >= l.cfg.Every) {
			all = append(all, c.take(key, now))
		}
	}
	return all
}

// Run writes counted lines, each at most once a period, until ctx ends. Then it
// writes the remaining ones.
func (l *Logger) Run(ctx context.Context) {
	// With a tenth of the period, a line is late by at most that much.
	tick := time.NewTicker(max(l.cfg.Every/10, time.Millisecond))
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			for _, t := range l.due(time.Now(), false) {
				l.write(t)
			}
		}
	}
	for _, t := range l.due(time.Now(), true) {
		l.write(t)
	}
}
