package limit

import (
	"net"

	"golang.org/x/net/netutil"
)

// Listener returns a listener that bounds its open connections. The bound on
// all connections is all; further connections wait to be accepted. The bound
// on the connections of one Source is each, so that no source can take all
// connections; further connections of that Source are closed at once.
func Listener(l net.Listener, each, all int) net.Listener {
	return netutil.LimitListener(&sharing{Listener: l, open: NewCounter[Source](each, all)}, all)
}

// A sharing listener closes connections beyond the share of their source.
type sharing struct {
	net.Listener
	open *Counter[Source]
}

// Accept returns the next connection that is within its source's share.
func (l *sharing) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if leave, ok := l.open.Enter(SourceOf(c.RemoteAddr())); ok {
			return &counted{Conn: c, leave: leave}, nil
		}
		_ = c.Close() // nothing was read or written, so an error loses nothing
	}
}

// A counted connection is counted until it is closed.
type counted struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *counted) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
