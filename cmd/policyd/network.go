package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.org/x/net/netutil"
)

// maxAdminConns bounds the connections of the network's administrators; one
// more waits to be accepted. Requests are few, and bounded by api.
const maxAdminConns = 256

// maxAdminConnsOf bounds those from one address, so that none holds them all.
const maxAdminConnsOf = maxAdminConns / 4

// An adminNetwork is where the network administers.
type adminNetwork struct {
	net.Listener
	cert, key string                          // files; empty: plain, on loopback
	current   atomic.Pointer[tls.Certificate] // nil: plain
}

// listenAdmin opens the port. Nothing is served yet.
func listenAdmin(c *config) (*adminNetwork, error) {
	n := &adminNetwork{cert: c.Admin.Cert, key: c.Admin.Key}
	if err := n.reload(); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", c.Admin.Listen)
	if err != nil {
		return nil, fmt.Errorf("admin: listen: %w", err)
	}
	n.Listener = netutil.LimitListener(&sharedListener{Listener: l}, maxAdminConns)
	if n.cert != "" {
		n.Listener = tls.NewListener(n.Listener, &tls.Config{
			MinVersion:     tls.VersionTLS12,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return n.current.Load(), nil },
		})
	}
	return n, nil
}

// reload reads the certificate anew. On error the old one stays in use.
func (n *adminNetwork) reload() error {
	if n.cert == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(n.cert, n.key)
	if err != nil {
		return fmt.Errorf("admin: certificate: %w", err)
	}
	n.current.Store(&pair)
	return nil
}

// A sharedListener closes what goes beyond an address's share of connections.
type sharedListener struct {
	net.Listener

	// mu guards the counts, of which none is zero.
	mu     sync.Mutex
	counts map[string]int
}

// Accept gives the next connection that is within its address's share.
func (l *sharedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := addressOf(c.RemoteAddr())
		if l.enter(from) {
			return &sharedConn{Conn: c, leave: sync.OnceFunc(func() { l.leave(from) })}, nil
		}
		_ = c.Close() // it was nobody's yet
	}
}

func (l *sharedListener) enter(from string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.counts[from] >= maxAdminConnsOf {
		return false
	}
	if l.counts == nil {
		l.counts = map[string]int{}
	}
	l.counts[from]++
	return true
}

func (l *sharedListener) leave(from string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.counts[from]--; l.counts[from] == 0 {
		delete(l.counts, from)
	}
}

// A sharedConn gives its place back when it is closed.
type sharedConn struct {
	net.Conn
	leave func()
}

func (c *sharedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// addressOf is the address a connection comes from; of IPv6 the network, whose
// addresses are one owner's.
func addressOf(a net.Addr) string {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return a.String()
	}
	addr := ap.Addr().Unmap().WithZone("")
	if addr.Is6() && !addr.IsLoopback() {
		if p, err := addr.Prefix(64); err == nil {
			return p.String()
		}
	}
	return addr.String()
}
