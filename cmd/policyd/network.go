package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"sync/atomic"

	"github.com/postern-im/postern/internal/limit"
)

// maxAdminConns bounds the connections to the admin port. Further connections wait
// to be accepted. Few requests are expected, and api/server bounds them.
const maxAdminConns = 256

// maxAdminConnsOf bounds the connections from one source, so that no source can
// take all of them.
const maxAdminConnsOf = maxAdminConns / 4

// An adminNetwork is the listener of the admin port.
type adminNetwork struct {
	net.Listener
	cert, key string                          // files; empty: no TLS, on loopback
	current   atomic.Pointer[tls.Certificate] // nil: no TLS
}

// listenAdmin opens the port. It serves nothing yet.
func listenAdmin(c *config) (*adminNetwork, error) {
	n := &adminNetwork{cert: c.Admin.Cert, key: c.Admin.Key}
	if err := n.reload(); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", c.Admin.Listen)
	if err != nil {
		return nil, fmt.Errorf("admin: listen: %w", err)
	}
	n.Listener = limit.Listener(l, maxAdminConnsOf, maxAdminConns)
	if n.cert != "" {
		n.Listener = tls.NewListener(n.Listener, &tls.Config{
			MinVersion:     tls.VersionTLS12,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return n.current.Load(), nil },
		})
	}
	return n, nil
}

// reload reads the certificate again. On error, the old one stays in use.
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
