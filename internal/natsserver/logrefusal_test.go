package natsserver

import (
	"log/slog"
	"strings"
	"testing"
)

// TestRouteEvents reads lines that NATS servers have written about routes, and checks
// that the log then names the node, the reason and the next step.
func TestRouteEvents(t *testing.T) {
	for line, want := range map[string]string{
		`10.0.0.3:6223 - rid:7 - TLS route handshake error: tls: failed to verify certificate: x509: certificate signed by unknown authority (CN=n3 SHA-256: b4b5)`: `WARN a log server was refused node=n3 ` +
			`come from another policyctl cluster init`,
		`10.0.0.3:6223 - rid:7 - TLS route handshake error: tls: failed to verify certificate: x509: certificate is valid for 10.0.0.2, not 10.0.0.3 (CN=n2 SHA-256: b285)`: `WARN a log server was refused node=n3 ` +
			`the other node has the certificate of another host`,
		`10.0.0.2:41016 - rid:7 - TLS route handshake error: remote error: tls: bad certificate`: `WARN a log server was refused node=n2 ` +
			`the other node does not accept this node's certificate`,
		`10.0.0.2:41016 - rid:7 - TLS route handshake error: remote error: tls: expired certificate`: `WARN a log server was refused node=n2 ` +
			`the other node does not accept this node's certificate`,
		`10.0.0.2:6223 - rid:7 - TLS route handshake error: tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2026`: `WARN a log server was refused node=n2 ` +
			`renew the other node's certificate`,
		`10.0.0.2:6223 - rid:7 - Rejecting connection, cluster name "acne" does not match "acme"`: `WARN a log server was refused node=n2 ` +
			`[cluster] name must be the same`,
		`10.0.0.2:6223 - rid:7 - Route Error 'Rejecting connection, cluster name "acme" does not match "acne"'`: `WARN a log server was refused node=n2 ` +
			`reason="the other log server refuses this one: Rejecting connection, cluster name \"acme\" does not match \"acne\""`,
		`10.0.0.9:6223 - rid:7 - TLS route handshake error: tls: first record does not look like a TLS handshake`: `WARN a log server was refused ` +
			`gateways use the port of [nats]`,
		`Error trying to connect to route (attempt 12): dial tcp 10.0.0.3:6223: connect: connection refused`: `WARN the log server of another node cannot be reached node=n3 ` +
			`start policyd on that node`,
		`Error trying to connect to route (attempt 1): lookup db.example on 10.0.0.53:53: no such host`: `WARN the log server of another node cannot be reached node=n4 ` +
			`start policyd on that node`,
		`10.0.0.3:6223 - rid:7 - TLS route handshake error: read tcp 10.0.0.1:43922->10.0.0.3:6223: i/o timeout`: `WARN the log server of another node cannot be reached node=n3 ` +
			`another program uses the port`,
		`10.0.0.3:41016 - rid:7 - TLS route handshake error: EOF`:                    `WARN the log server of another node cannot be reached node=n3 policyd hangs`,
		`10.0.0.3:6223 - rid:25 - TLS handshake timeout`:                             "",
		`Waiting for routing to be established...`:                                   "",
		`JetStream has not established contact with a meta leader`:                   "",
		`10.0.0.2:34748 - rid:135 - cluster name from remote server conflicts`:       "",
		`10.0.0.2:34748 - rid:135 - Slow Consumer Detected: WriteDeadline of 2s`:     "ERROR the NATS server reports an error",
		`JetStream out of File resources, will be DISABLED`:                          "ERROR the NATS server reports an error",
		`10.0.0.2:34748 - rid:135 - Route Error 'Some new refusal of a later NATS'`:  "WARN a log server was refused node=n2 Some new refusal compare [cluster]",
		`10.0.0.2:34748 - rid:135 - attempted to connect to route port`:              "WARN a log server was refused node=n2 only log servers may use this port",
		`10.0.0.2:34748 - rid:135 - Remote server has a duplicate name: "n2-0a1b2c"`: "WARN a log server was refused node=n2 stop the copy",
	} {
		var log strings.Builder
		logger := slog.New(slog.NewTextHandler(&log, nil))
		s := &LogServer{cfg: LogConfig{Peers: []LogPeer{
			{Node: "n2", Address: "10.0.0.2:6223"}, {Node: "n3", Address: "10.0.0.3:6223"}, {Node: "n4", Address: "db.example:6223"},
		}}}
		s.inner.Store(&Server{bridge: newBridge(logger, "log server", nil)})
		s.inner.Load().bridge.route = s.route
		s.inner.Load().bridge.Errorf("%s", line)
		if want == "" {
			if log.Len() > 0 {
				t.Errorf("%s: it is logged: %s", line, &log)
			}
			continue
		}
		level, rest, _ := strings.Cut(want, " ")
		for _, w := range append(strings.Fields(rest), "level="+level) {
			if !strings.Contains(log.String(), w) {
				t.Errorf("%s: no %q in %s", line, w, &log)
			}
		}
		if refused := s.Refused() == 1; refused != strings.Contains(want, "was refused") {
			t.Errorf("%s: refused %v", line, refused)
		}
	}
}
