package floodlog

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// log returns a Logger and a function that returns the text written since its
// last call.
func log(cfg Config) (*Logger, func() string) {
	var mu sync.Mutex
	var out bytes.Buffer
	cfg.Key = "gateway"
	cfg.Logger = slog.New(slog.NewTextHandler(writer(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return out.Write(p)
	}), &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	return New(cfg), func() string {
		mu.Lock()
		defer mu.Unlock()
		defer out.Reset()
		return out.String()
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// TestFlood checks that the first line is written at once, further lines as one
// line a period, and the rest at the end. Sources do not affect each other.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, written := log(Config{})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { l.Run(ctx) })
		expect := func(want string) {
			t.Helper()
			synctest.Wait()
			if got := written(); got != want {
				t.Errorf("wrote\n%swant\n%s", got, want)
			}
		}
		for i := range 21000 {
			l.Say(slog.LevelWarn, "gw1", "bad", "error", i)
		}
		expect("level=WARN msg=bad gateway=gw1 error=0\n")
		l.Say(slog.LevelWarn, "gw2", "bad", "error", "x")
		l.Say(slog.LevelError, "gw1", "worse")
		expect("level=WARN msg=bad gateway=gw2 error=x\nlevel=ERROR msg=worse gateway=gw1\n")
		<-time.After(9 * time.Second)
		expect("")
		<-time.After(time.Second)
		expect("level=WARN msg=bad gateway=gw1 error=20999 count=20999 within=10s\n")
		<-time.After(10 * time.Second)
		expect("")
		l.Say(slog.LevelWarn, "gw1", "bad", "error", "again")
		expect("level=WARN msg=bad gateway=gw1 error=again\n")
		l.Say(slog.LevelWarn, "gw1", "bad", "error", "last")
		<-time.After(time.Second)
		cancel()
		wg.Wait()
		expect("level=WARN msg=bad gateway=gw1 error=last count=1 within=1s\n")
	})
}

// TestWithoutRun checks that counted lines are reported with the source's next
// line.
func TestWithoutRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, written := log(Config{Every: time.Minute})
		for range 5 {
			l.Say(slog.LevelWarn, "gw1", "bad")
		}
		<-time.After(time.Minute)
		l.Say(slog.LevelWarn, "gw1", "bad")
		if got, want := written(), "level=WARN msg=bad gateway=gw1\nlevel=WARN msg=bad gateway=gw1 count=5 within=1m0s\n"; got != want {
			t.Errorf("wrote\n%swant\n%s", got, want)
		}
	})
}

// TestManySources checks that memory and output do not grow with the number of
// sources.
func TestManySources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, written := log(Config{Most: 10})
		for i := range 1000 {
			l.Say(slog.LevelWarn, fmt.Sprint("gw", i), "bad")
		}
		if n := len(l.lines); n != 11 {
			t.Errorf("%d are remembered", n)
		}
		if n := strings.Count(written(), "\n"); n != 11 {
			t.Errorf("%d lines", n)
		}
		<-time.After(10 * time.Second)
		l.Say(slog.LevelWarn, "new", "bad")
		if got := written(); got != "level=WARN msg=bad gateway=new\n" {
			t.Errorf("wrote %s", got)
		}
		for _, told := range l.due(time.Now(), false) {
			if told.source != others || told.count != 989 {
				t.Errorf("told: %+v", told)
			}
		}
	})
}
