package daemon

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
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
		fmt.Fprintf(stderr, "%s: %v%s\n", name, err, remedy(err))
		return 1
	}
	return 0
}

// remedy returns the next step after an error, where the error names only the cause.
// It reads the text, because embedded servers return no more.
func remedy(err error) string {
	if strings.Contains(err.Error(), syscall.EADDRINUSE.Error()) {
		return "\nAnother program, perhaps another process of this one, has this port: \"ss -ltnp\" shows it. Stop it, or change the address in the configuration."
	}
	return ""
}
