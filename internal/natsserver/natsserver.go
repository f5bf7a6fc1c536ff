// Package natsserver embeds a NATS server: its listener, its TLS, its users,
// and the subjects that each user may publish and subscribe to.
//
// Users authenticate with nkeys only. The server therefore holds no secrets of
// users, and none crosses the network. Without TLS it listens on loopback
// addresses only. If its address is in use, Run returns an error. The package
// does not know the contents of messages.
package natsserver

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/postern-im/postern/internal/limit"
)

const (
	defaultListen = "127.0.0.1:4222"
	// defaultMaxPayload is larger than the longest batch.
	defaultMaxPayload = 1 << 20
	// defaultMaxConnections is twice the largest number of gateways, which have one
	// connection each: a gateway may connect again before its old connection has
	// been found to be dead.
	defaultMaxConnections = 2048
	// maxSubscriptions bounds the subscriptions of one connection. A gateway
	// has six.
	maxSubscriptions = 64
	// maxPending bounds the bytes buffered for a client that does not read. The
	// server closes the connection when the buffer is full or a write takes
	// longer than writeDeadline.
	maxPending    = 16 << 20
	writeDeadline = 2 * time.Second
	// authWithin is the time a connection has to authenticate.
	authWithin = 2 * time.Second
	pingEach   = 10 * time.Second
	readyPoll  = 10 * time.Millisecond
	// maxAddresses bounds the addresses in one log line.
	maxAddresses = 8
)

// Config configures a Server.
type Config struct {
	// Listen is host:port; the default is 127.0.0.1:4222. The host is an IP
	// address. If it is not a loopback address, TLS is required. Port 0 selects
	// a free port.
	Listen string
	// ServerName is the name that clients verify. Required.
	ServerName string
	// Users are the users that may connect, until SetUsers. Required.
	Users []User
	// CertFile and KeyFile are the server's certificate and key. Without them,
	// there is no TLS.
	CertFile, KeyFile string
	// StoreDir is a directory for this server only. It is required although
	// nothing is stored without JetStream, because the default is a temporary
	// directory shared with other servers.
	StoreDir string
	// MaxPayload bounds a message. The default is 1 MiB.
	MaxPayload int
	// MaxConnections bounds the number of clients. The default is 2048.
	MaxConnections int
	// OnRefused is called for clients that cannot authenticate and for subjects
	// that a client has no permission for. If nil, the Logger reports them. It
	// must not block.
	OnRefused func(Refusal)
	// Logger receives the server's log. The default is slog.Default().
	Logger *slog.Logger
}

// A Server is an embedded NATS server.
type Server struct {
	server *server.Server
	// base are the options of New, without users. SetUsers copies them.
	base   *server.Options
	bridge *bridge
	listen string
	cert   *keyPair      // nil without TLS
	ready  chan struct{} // closed when the server listens
}

// Check validates the configuration as New does, without creating a server.
func (cfg Config) Check() error {
	cfg.Listen = cmp.Or(cfg.Listen, defaultListen)
	if _, _, err := cfg.options(); err != nil {
		return fmt.Errorf("NATS server: %w", err)
	}
	return nil
}

// New validates the configuration and returns a server that is not running yet.
func New(cfg Config) (*Server, error) {
	cfg.Listen = cmp.Or(cfg.Listen, defaultListen)
	opts, cert, err := cfg.options()
	if err != nil {
		return nil, fmt.Errorf("NATS server: %w", err)
	}
	base := *opts // NewServer changes the options that it gets
	base.Nkeys = nil
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("NATS server: %w", err)
	}
	bridge := newBridge(cmp.Or(cfg.Logger, slog.Default()), "nats", cfg.OnRefused)
	s.SetLoggerV2(bridge, false, false, false)
	made := &Server{server: s, base: &base, bridge: bridge, listen: cfg.Listen, cert: cert, ready: make(chan struct{})}
	return made, nil
}

// options returns the server's options, and the certificate that they name; nil
// without TLS.
func (cfg *Config) options() (*server.Options, *keyPair, error) {
	host, port, err := cfg.address()
	if err != nil {
		return nil, nil, err
	}
	switch {
	case cfg.ServerName == "":
		return nil, nil, errors.New("no server name")
	case cfg.StoreDir == "":
		return nil, nil, errors.New("no store directory")
	}
	opts := &server.Options{
		ServerName:      cfg.ServerName,
		Host:            host,
		Port:            port,
		StoreDir:        cfg.StoreDir,
		NoSigs:          true, // the embedding program handles signals
		NoSystemAccount: true,
		MaxPayload:      int32(cmp.Or(cfg.MaxPayload, defaultMaxPayload)),
		MaxConn:         cmp.Or(cfg.MaxConnections, defaultMaxConnections),
		MaxSubs:         maxSubscriptions,
		MaxPending:      maxPending,
		WriteDeadline:   writeDeadline,
		PingInterval:    pingEach,
		MaxPingsOut:     2,
		AuthTimeout:     authWithin.Seconds(),
	}
	if opts.Nkeys, err = nkeyUsers(cfg.Users); err != nil {
		return nil, nil, err
	}
	cert, err := cfg.secure(opts, host)
	return opts, cert, err
}

// address splits Listen. It maps port 0 to the server's constant for a free
// port.
func (cfg *Config) address() (host string, port int, err error) {
	host, text, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return "", 0, err
	}
	if net.ParseIP(host) == nil {
		return "", 0, fmt.Errorf("listen on %q: want an IP address", host)
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("listen on port %q: %w", text, err)
	}
	if n == 0 {
		return host, server.RANDOM_PORT, nil
	}
	return host, int(n), nil
}

func (cfg *Config) secure(opts *server.Options, host string) (*keyPair, error) {
	if cfg.CertFile == "" && cfg.KeyFile == "" {
		if !limit.IsLoopback(host) {
			return nil, fmt.Errorf("listen on %s: off loopback a certificate and its key are required", host)
		}
		return nil, nil
	}
	cert := &keyPair{certFile: cfg.CertFile, keyFile: cfg.KeyFile}
	if err := cert.reload(); err != nil {
		return nil, err
	}
	opts.TLS = true
	opts.TLSTimeout = authWithin.Seconds()
	opts.TLSConfig = &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert.current.Load(), nil },
	}
	return cert, nil
}

// A keyPair is the server's certificate and key in two files, as it was read last.
type keyPair struct {
	certFile, keyFile string
	current           atomic.Pointer[tls.Certificate]
}

// reload reads the files again. On an error the former certificate stays in use.
func (c *keyPair) reload() error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	c.current.Store(&pair)
	return nil
}

// Run runs the server until ctx ends, and then closes all connections. It
// returns an error if the server cannot run, for example because its port is
// taken.
func (s *Server) Run(ctx context.Context) error {
	var wg, logging sync.WaitGroup
	telling, stopTelling := context.WithCancel(context.WithoutCancel(ctx))
	defer logging.Wait()
	defer stopTelling()
	logging.Go(func() { s.bridge.run(telling) })
	wg.Go(s.server.Start)
	err := s.awaitReady(ctx)
	if err == nil && ctx.Err() == nil {
		close(s.ready)
		select {
		case <-ctx.Done():
		case text := <-s.bridge.fatal:
			err = errors.New(text)
		}
	}
	s.server.Shutdown()
	s.server.WaitForShutdown()
	wg.Wait()
	if err != nil {
		return fmt.Errorf("NATS server on %s: %w", s.listen, err)
	}
	return nil
}

// awaitReady returns when the server listens or has failed, or when ctx ends.
func (s *Server) awaitReady(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case text := <-s.bridge.fatal:
			return errors.New(text)
		default:
		}
		if s.server.ReadyForConnections(readyPoll) {
			return nil
		}
	}
}

// Ready is closed when the server listens.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Addr returns the address of the listener. It is known once Ready is closed.
func (s *Server) Addr() net.Addr { return s.server.Addr() }

// Reload reads the certificate again, for new connections. On an error the former
// one stays in use. Without TLS it does nothing.
func (s *Server) Reload() error {
	if s.cert == nil {
		return nil
	}
	if err := s.cert.reload(); err != nil {
		return fmt.Errorf("NATS server: reload: %w", err)
	}
	return nil
}

// Certificate returns the server's certificate as it was read last, or nil without
// TLS.
func (s *Server) Certificate() *x509.Certificate {
	if s.cert == nil {
		return nil
	}
	return s.cert.current.Load().Leaf
}

// InProcessConn opens a connection inside this process
// (nats.InProcessConnProvider).
func (s *Server) InProcessConn() (net.Conn, error) { return s.server.InProcessConn() }

// Addresses returns the addresses, with ports, of the clients that are connected with
// a public key.
func (s *Server) Addresses(key string) []string {
	list, err := s.server.Connz(&server.ConnzOptions{Username: true, User: key, Limit: maxAddresses})
	if err != nil {
		return nil // only an unknown option is an error
	}
	var addresses []string
	for _, c := range list.Conns {
		addresses = append(addresses, net.JoinHostPort(c.IP, strconv.Itoa(c.Port)))
	}
	return addresses
}
