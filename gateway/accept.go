package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
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
			g.log.Warn("accept", "err", err)
			if !rest(accepting, acceptPause) {
				return nil
			}
			continue
		}
		from := sourceOf(conn.RemoteAddr())
		if !g.limits.take(from) {
			g.metrics.refused.Inc()
			_ = conn.Close()
			continue
		}
		g.metrics.accepted.Inc()
		release := func() { g.limits.give(from) }
		g.work.Go(func() { g.serve(accepting, running, &lingering{Conn: conn}, direct, release) })
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

// A lingering connection reads what the client still sends before it is
// closed, for a while.
type lingering struct {
	net.Conn
}

// Close implements net.Conn.
func (c *lingering) Close() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_ = c.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes)
	}
	return c.Conn.Close()
}

// A source is what connections are counted by: an IPv4 address or an IPv6 /64.
type source netip.Prefix

func sourceOf(a net.Addr) source {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return source{}
	}
	ip := ap.Addr().Unmap().WithZone("")
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return source{}
	}
	return source(p)
}

// limits count connections.
type limits struct {
	total, each int

	mu  sync.Mutex // guards the two below
	all int
	by  map[source]int
}

// take counts one more connection, unless that is one too many.
func (l *limits) take(s source) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= l.total || l.by[s] >= l.each {
		return false
	}
	l.all++
	l.by[s]++
	return true
}

func (l *limits) give(s source) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.by[s]--; l.by[s] == 0 {
		delete(l.by, s)
	}
}
