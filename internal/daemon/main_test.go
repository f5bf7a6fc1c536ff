package daemon

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestMainStatus(t *testing.T) {
	var out bytes.Buffer
	if status := Main("policyd", &out, func(context.Context) error { return nil }); status != 0 || out.Len() != 0 {
		t.Errorf("status %d, %q", status, out.String())
	}
	if status := Main("policyd", &out, func(context.Context) error { return errors.New("no log") }); status != 1 || out.String() != "policyd: no log\n" {
		t.Errorf("status %d, %q", status, out.String())
	}
}

// TestMainNamesTheNextStep checks that a taken port comes with a way to find its owner,
// also if the error is only a text of an embedded server.
func TestMainNamesTheNextStep(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, taken := net.Listen("tcp", l.Addr().String())
	for _, err := range []error{taken, errors.New(taken.Error())} {
		var out bytes.Buffer
		if status := Main("policyd", &out, func(context.Context) error { return err }); status != 1 || !strings.Contains(out.String(), "ss -ltnp") {
			t.Errorf("status %d, %q", status, out.String())
		}
	}
}

// TestMainStops: SIGTERM and SIGINT end the context of run, and not the process.
func TestMainStops(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		var out bytes.Buffer
		status := Main("policyd", &out, func(ctx context.Context) error {
			if err := syscall.Kill(os.Getpid(), s); err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(20 * time.Second):
				return errors.New("the context has not ended")
			}
		})
		if status != 0 {
			t.Errorf("%v: status %d, %s", s, status, out.String())
		}
	}
}
