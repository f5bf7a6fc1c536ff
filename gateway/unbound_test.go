package gateway

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Connections of one source that bind no session cannot fill the disk, and they
// suppress no log line about another source.
func TestUnboundAreSummedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		u := newUnbound(slog.New(slog.NewTextHandler(&out, nil)))
		come := func(from string, level slog.Level) {
			u.tell(level, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from)), "not-well-formed", errors.New("why"))
		}
		lines := func() []string {
			defer out.Reset()
			return strings.Split(strings.TrimSpace(out.String()), "\n")
		}
		for range 10_000 {
			come("192.0.2.1:1", slog.LevelDebug) // not logged, and not counted
		}
		for range 10_000 {
			come("192.0.2.1:1", slog.LevelInfo)
		}
		if got := lines(); len(got) != unboundLines+1 {
			t.Errorf("%d lines, want %d and that there are more", len(got), unboundLines)
		}
		come("192.0.2.2:1", slog.LevelWarn)
		if got := lines(); len(got) != 1 || !strings.Contains(got[0], `level=WARN msg="connection not bound" remote=192.0.2.2:1 condition=not-well-formed err=why`) {
			t.Errorf("another source: %q", got)
		}
		<-time.After(unboundEvery) // the bubble's clock
		for range unboundLines {
			come("192.0.2.1:2", slog.LevelInfo)
		}
		got := lines()
		if last := got[len(got)-1]; !strings.Contains(last, "source=192.0.2.1 remote=192.0.2.1:2 ") || !strings.Contains(last, " count=99") {
			t.Errorf("ten seconds later: %q", got)
		}
	})
}
