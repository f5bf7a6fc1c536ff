package daemon

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// day is how often Upkeep looks after things without being told to.
const day = 24 * time.Hour

// Upkeep has a running daemon look after its files: when it is told to, and once
// a day.
type Upkeep struct {
	// Hangup is called at each SIGHUP: what was replaced on disk is opened or
	// read again.
	Hangup func()
	// Daily is called once a day, the first time a day after the start. It tells
	// of certificates that expire.
	Daily func()
}

// Run calls the two functions, never both at a time, until ctx is done. A second
// SIGHUP during a call of Hangup causes one more call, and further ones cause
// none.
func (u Upkeep) Run(ctx context.Context) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	daily := time.NewTicker(day)
	defer daily.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			u.Hangup()
		case <-daily.C:
			u.Daily()
		}
	}
}
