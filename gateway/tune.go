package gateway

import (
	"context"
	"net"
	"time"
)

// These settings detect a peer that has disappeared without closing the
// connection. While nothing is sent, TCP keep-alive probes detect it; while sent
// data is unacknowledged, userTimeout does (RFC 5482). Both take about 90 s.
const (
	keepAliveIdle     = time.Minute
	keepAliveInterval = 10 * time.Second
	keepAliveCount    = 3
	userTimeout       = 90 * time.Second
)

// tune makes a TCP connection fail when its peer has disappeared.
func tune(conn net.Conn) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount})
	setUserTimeout(tcp)
}

// dial connects to a backend.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	tune(conn)
	return conn, nil
}
