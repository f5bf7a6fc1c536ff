package daemon

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Main runs a daemon and returns the exit status of its process. If run returns an
// error, Main writes it to stderr after the daemon's name and returns 1. The first
// SIGTERM or SIGINT ends the context of run, which then stops gracefully. A second
// signal ends the process at once.
func Main(name string, stderr io.Writer, run func(ctx context.Context) error) (status int) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, stop)
	if err := run(ctx); err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return 1
	}
	return 0
}
