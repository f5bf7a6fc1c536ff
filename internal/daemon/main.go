package daemon

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Main runs a daemon, and returns the exit status of its process: 1 if run ends
// with an error, which is written to stderr after the daemon's name. The first
// SIGTERM or SIGINT ends the context of run, which then stops gracefully; a second
// one ends the process at once.
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
