// Package floodlog writes log lines that one source can cause as often as it
// likes, without letting it fill the disk.
//
// The first line of a source goes out at once. Further ones of the same source
// with the same message are counted, and one line a period says how many there
// were. A source that is quiet for a whole period is forgotten: its next line
// is a first one again. The memory is bounded whatever sources there are: those
// beyond the bound share one place.
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
	// others is the source that is named where there is no room for another.
	others = "others"
)

// Config says how a Logger counts.
type Config struct {
	// Logger takes the lines; nil is slog.Default().
	Logger *slog.Logger
	// Key is the attribute that names the source, such as "gateway". Required.
	Key string
	// Every is the period; 0 is ten seconds.
	Every time.Duration
	// Most bounds the pairs of source and message remembered; 0 is 1024.
	Most int
}

// A Logger logs what sources cause. Its methods may be called at the same
// time. Without Run, what was counted is told with the source's next line.
type Logger struct {
	cfg Config

	mu    sync.Mutex // guards what follows
	lines map[line]*counted
}

// A line is what is counted together.
type line struct{ source, message string }

// counted is what is known of a line.
type counted struct {
	since time.Time // when a line was last written
	level slog.Level
	more  uint64 // not written since
	args  []any  // of the newest of them
}

// New returns a Logger.
func New(cfg Config) *Logger {
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	cfg.Every = cmp.Or(cfg.Every, defaultEvery)
	cfg.Most = cmp.Or(cfg.Most, defaultMost)
	return &Logger{cfg: cfg, lines: make(map[line]*counted)}
}

// Say logs a message of a source, or counts it. The args are those of
// slog.Logger.Log, and are kept until they are written: they must not change.
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

// told is a line on its way out.
type told struct {
	line
	level slog.Level
	args  []any
	count uint64
	// within is how long it took them to come; zero for a first line.
	within time.Duration
}

// take gives what is to be written of c, which counts from now on.
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

// forget drops the lines that were quiet for a period. The caller holds mu.
func (l *Logger) forget(now time.Time) {
	for key, c := range l.lines {
		if c.more == 0 && now.Sub(c.since) >= l.cfg.Every {
			delete(l.lines, key)
		}
	}
}

// due takes what has waited for a period; all that waits when the end has come.
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

// Run writes what was counted, a line each period, until ctx ends; and at last
// what is left.
func (l *Logger) Run(ctx context.Context) {
	// A tenth, so that a line is late by no more than that.
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
