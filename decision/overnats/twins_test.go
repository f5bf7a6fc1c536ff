package overnats

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/postern-im/postern/decision"
)

// A lockedBuffer is a log that a test reads while it is written.
type lockedBuffer struct {
	mu  sync.Mutex // guards the field below
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// TestGatewaysNoticeOneId checks that each of two gateways with one id notices the
// other, and no longer once one has stopped. A node's log names their addresses.
func TestGatewaysNoticeOneId(t *testing.T) {
	s := startNATS(t, -1)
	var log, nodeLog lockedBuffer
	d, err := NewSessionDirectory(connect(t, s), "n1", nil, slog.New(slog.NewTextHandler(&nodeLog, nil)))
	if err != nil {
		t.Fatal(err)
	}
	d.Addresses = func(gateway string) []string { return []string{gateway + " at 192.0.2.1:1"} }
	running(t, d.Run)
	reporter := func(id string) *SessionReporter {
		return &SessionReporter{
			Links: oneLink(connect(t, s)), Gateway: id, Logger: slog.New(slog.NewTextHandler(&log, nil)),
			Sessions: func(*decision.SessionQuery) decision.SessionReply { return decision.SessionReply{} },
		}
	}
	one, two, other := reporter("gw1"), reporter("gw1"), reporter("gw2")
	running(t, one.Serve)
	stop := running(t, two.Serve)
	running(t, other.Serve)
	eventually(t, func() bool { return one.Duplicate() && two.Duplicate() && d.Duplicate("gw1") })
	if other.Duplicate() {
		t.Error("gw2 has no other gateway with its id")
	}
	eventually(t, func() bool {
		return strings.Contains(log.String(), "another gateway uses the id of this one") && strings.Contains(nodeLog.String(), "gw1 at 192.0.2.1:1")
	})
	stop()
	eventually(t, func() bool { return !one.Duplicate() })
}
