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
	// acceptPause is how long accepting rests when there are no descriptors.
	acceptPause = 50 * time.Millisecond
	// lingerTime and lingerBytes bound what is still read from a client after
	// our last word, so that the word arrives before the reset that unread
	// bytes would cause.
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

// rest waits for d, or until ctx is done, and then is false.
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

// received takes in a connection, which it owns, unless a limit is reached. Those
// of trusted proxies are counted against their clients' limits once the proxy has
// said whose they are; until then the limit on all connections bounds them.
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

// A connection is a client's. It may have come by a proxy that says whose it is.
type connection struct {
	net.Conn
	remote, local net.Addr // as the proxy says; nil: the connection's own
	first         [5]byte  // the first bytes the client has sent
	heard         int      // so many of them
}

// RemoteAddr implements net.Conn: it is the client's address.
func (c *connection) RemoteAddr() net.Addr {
	if c.remote != nil {
		return c.remote
	}
	return c.Conn.RemoteAddr()
}

// LocalAddr implements net.Conn: it is the address the client has connected to.
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

// Close implements net.Conn. It reads what the client still sends first, for a
// while.
func (c *connection) Close() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_ = c.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes)
	}
	return c.Conn.Close()
}
