package natsserver

import (
	"log/slog"
	"strings"
	"testing"
)

// TestClientHandshakes checks that a failed handshake of a client comes with the next
// step, which differs by the side that ended it.
func TestClientHandshakes(t *testing.T) {
	for event, want := range map[string]string{
		"remote error: tls: bad certificate": "ca in its [nats] must be the CA",
		"EOF":                                "its log has the reason",
	} {
		var log strings.Builder
		b := newBridge(slog.New(slog.NewTextHandler(&log, nil)), "nats", nil)
		b.Errorf("10.0.0.9:35646 - cid:56 - TLS handshake error: %s", event)
		for _, w := range []string{"level=WARN", "from=10.0.0.9", event, want} {
			if !strings.Contains(log.String(), w) {
				t.Errorf("%s: no %q in %s", event, w, &log)
			}
		}
	}
}
