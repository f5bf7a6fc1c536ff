package natsserver

import (
	"fmt"
	"log/slog"
)

// A bridge gives what the server logs to slog. What it calls a notice is for
// whoever debugs it: the embedding program tells its operator itself.
type bridge struct {
	log   *slog.Logger
	fatal chan string // the first fatal message, for Run to return
}

func newBridge(log *slog.Logger) *bridge {
	return &bridge{log: log.With("part", "nats"), fatal: make(chan string, 1)}
}

func (b *bridge) Fatalf(format string, v ...any) {
	select {
	case b.fatal <- fmt.Sprintf(format, v...):
	default: // one is enough to stop
	}
}

func (b *bridge) Errorf(format string, v ...any)  { b.log.Error(fmt.Sprintf(format, v...)) }
func (b *bridge) Warnf(format string, v ...any)   { b.log.Warn(fmt.Sprintf(format, v...)) }
func (b *bridge) Noticef(format string, v ...any) { b.log.Debug(fmt.Sprintf(format, v...)) }
func (b *bridge) Debugf(format string, v ...any)  { b.log.Debug(fmt.Sprintf(format, v...)) }
func (b *bridge) Tracef(format string, v ...any)  { b.log.Debug(fmt.Sprintf(format, v...)) }
