package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/postern-im/postern/internal/limit"
)

const (
	// acceptPause is the pause after an accept error, such as too many open
	// file descriptors.
	acceptPause = 50 * time.Millisecond
	// lingerTime and lingerBytes bound the reading from a client after the
	// gateway's last output. Unread bytes at close would make TCP send a reset,
	// which can overtake that output.
	lingerTime  = time.Second
	lingerBytes = 1 << 20
)

// accept accepts connections until the listener is closed.
func (g *Gateway) accept(accepting, running context.Context, l net.Listener, direct bool) error {
	for {
		conn, err := l.Accept()
		switch {
		case accepting.Err() != nil:
			if err == nil {
				_ = conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			g.logger.Warn("accept", "err", err)
			if !rest(accepting, acceptPause) {
				return nil
			}
			continue
		}
		g.received(accepting, running, conn, direct)
	}
}

// rest waits for d and returns true. If ctx is done earlier, it returns false.
func rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// received serves a connection, or refuses it if a limit is reached. It takes
// ownership of the connection. A connection from a trusted proxy counts towards
// the limit on all connections; it counts towards its client's limits only once
// the PROXY header has given the client's address.
func (g *Gateway) received(accepting, running context.Context, raw net.Conn, direct bool) {
	tune(raw)
	conn := &connection{Conn: raw}
	p := &place{limits: &g.limits}
	proxied := g.trusts(raw.RemoteAddr())
	reached := p.enter()
	if reached == "" && !proxied {
		reached = p.take(limit.SourceOf(raw.RemoteAddr()))
	}
	if reached != "" {
		p.leave()
		g.refuse(conn, direct, reached)
		return
	}
	g.work.Go(func() {
		if proxied && !g.introduced(accepting, conn, direct, p) {
			return
		}
		g.metrics.accepted.Inc()
		g.serve(accepting, running, conn, direct, p)
	})
}

// A connection is the TCP connection of a client. It comes from the client
// directly or through a trusted proxy.
type connection struct {
	net.Conn
	remote, local net.Addr // from the PROXY header; nil: those of Conn
	first         [5]byte  // the first bytes from the client
	heard         int      // the number of bytes in first
}

// RemoteAddr implements net.Conn. It returns the client's address.
func (c *connection) RemoteAddr() net.Addr {
	if c.remote != nil {
		return c.remote
	}
	return c.Conn.RemoteAddr()
}

// LocalAddr implements net.Conn. It returns the address to which the client has
// connected.
func (c *connection) LocalAddr() net.Addr {
	if c.local != nil {
		return c.local
	}
	return c.Conn.LocalAddr()
}

// Read implements net.Conn.
func (c *connection) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.heard < len(c.first) {
		c.heard += copy(c.first[c.heard:], b[:n])
	}
	return n, err
}

// Close implements net.Conn. Before it closes the connection it reads and
// discards input from the client, within lingerTime and lingerBytes.
func (c *connection) Close() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_ = c.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes)
	}
	return c.Conn.Close()
}
