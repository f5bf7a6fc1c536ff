package daemon

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestUpkeepHangup: SIGHUP calls Hangup, and does not end the process.
func TestUpkeepHangup(t *testing.T) {
	heard := make(chan os.Signal, 1)
	signal.Notify(heard, syscall.SIGHUP) // keeps a signal before Run from ending the process
	defer signal.Stop(heard)
	called := make(chan struct{})
	u := Upkeep{Hangup: func() { called <- struct{}{} }, Daily: func() { t.Error("a day has passed") }}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); u.Run(ctx) }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(20 * time.Second)
	for n := 0; n < 2; {
		select {
		case <-called:
			n++
		case <-tick.C:
			if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
		case <-late:
			t.Fatal("SIGHUP does not call Hangup")
		}
	}
	cancel()
	for {
		select {
		case <-called: // signals that were sent before cancel
		case <-done:
			return
		case <-late:
			t.Fatal("Run does not end")
		}
	}
}

func TestUpkeepDaily(t *testing.T) {
	heard := make(chan os.Signal, 1)
	signal.Notify(heard, syscall.SIGHUP) // starts os/signal's own goroutine outside the bubble
	defer signal.Stop(heard)
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		u := Upkeep{Hangup: func() { t.Error("Hangup was called without SIGHUP") }, Daily: func() { calls++ }}
		ctx, cancel := context.WithTimeout(t.Context(), 3*day+time.Hour)
		defer cancel()
		u.Run(ctx)
		if calls != 3 {
			t.Errorf("%d calls in three days", calls)
		}
	})
}
