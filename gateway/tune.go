package gateway

import (
	"context"
	"net"
	"time"
)

// A peer that is gone without a word is noticed by keep-alive probes while
// nothing is sent, and by userTimeout while something is (RFC 5482): both take
// about 90 s.
const (
	keepAliveIdle     = time.Minute
	keepAliveInterval = 10 * time.Second
	keepAliveCount    = 3
	userTimeout       = 90 * time.Second
)

// tune makes a TCP connection notice that its peer is gone.
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
