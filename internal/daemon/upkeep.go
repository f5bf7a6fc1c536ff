package daemon

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// day is the time between two calls of Daily.
const day = 24 * time.Hour

// Upkeep calls functions of a running daemon that look after its files, on SIGHUP
// and once a day.
type Upkeep struct {
	// Hangup is called on SIGHUP. It reopens or rereads the files that may
	// have been replaced.
	Hangup func()
	// Daily is called once a day, for the first time a day after the start. It
	// reports certificates that expire soon.
	Daily func()
}

// Run calls the two functions until ctx is done. It never calls both at the
// same time. If one or more SIGHUPs come during a call, Hangup is called once
// after that call.
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
