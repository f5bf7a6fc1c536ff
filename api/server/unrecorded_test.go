package server

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fullDisk is an Auditor that can write nothing.
type fullDisk struct{}

func (fullDisk) Append([]byte, bool) error { return errors.New("no space left on device") }

// idle is a Runner that is never called.
type idle struct{ Runner }

// quietListener is a listener without connections.
type quietListener struct {
	once   sync.Once
	closed chan struct{}
}

func (l *quietListener) Accept() (net.Conn, error) { <-l.closed; return nil, net.ErrClosed }
func (l *quietListener) Close() error              { l.once.Do(func() { close(l.closed) }); return nil }
func (l *quietListener) Addr() net.Addr            { return &net.UnixAddr{Name: "quiet"} }

// lines collects the text of a log.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// take returns the text since the last call.
func (l *lines) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.buf.Reset()
	return l.buf.String()
}

// TestUnrecordedIsSummedUp checks that calls which cannot be recorded cause one log
// line at once and then one line a minute, with their number. The remaining ones are
// logged when Serve ends.
func TestUnrecordedIsSummedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lines
		s, err := New(Config{Runner: idle{}, Audit: fullDisk{}, Logger: slog.New(slog.NewTextHandler(&out, nil))})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := s.Serve(ctx, &quietListener{closed: make(chan struct{})}); err != nil {
				t.Error(err)
			}
		})
		flood := func(n int) {
			for i := range n {
				if s.record(&call{ID: "x"}, []string{phaseIntent, phaseCall}[i%2]) == nil {
					t.Error("an unrecorded call is not refused")
				}
			}
		}
		expect := func(when string, want ...string) {
			t.Helper()
			synctest.Wait()
			got := out.take()
			if n := strings.Count(got, "\n"); n != min(len(want), 1) {
				t.Errorf("%s: %d lines, the first %.300s", when, n, got)
			}
			for _, w := range want {
				if !strings.Contains(got, w) {
					t.Errorf("%s: no %q in %.300s", when, w, got)
				}
			}
		}
		flood(9601)
		expect("at once", "level=ERROR", "calls cannot be recorded", `error="no space left on device"`, "remedy=")
		<-time.After(unrecordedEach + unrecordedEach/10)
		expect("after a minute", "count=9600", "remedy=")
		<-time.After(unrecordedEach)
		expect("after a quiet minute")
		flood(3)
		expect("again", "level=ERROR")
		<-time.After(time.Second)
		cancel()
		wg.Wait()
		expect("at the end", "count=2")
	})
}
