package main

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// TestNotify: policyd tells the service manager when it serves, that it is alive,
// and when it stops.
func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "100000")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 1)
	c := testConfig(t)
	go func() { done <- run(ctx, c, false) }()
	next := func() string {
		buf := make([]byte, 64)
		if err := manager.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := manager.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	for _, want := range []string{"READY=1", "WATCHDOG=1"} {
		if got := next(); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	stop()
	for next() != "STOPPING=1" {
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
