// Package natsserver embeds a NATS server: its listener, its TLS, its users
// and what each of them may say and hear.
//
// Users are nkeys only, so the server holds no secret of theirs and none
// crosses the network. Off loopback there is TLS or no server. It promises to
// be the only one at its address or not to run. It does not know what its
// users talk about.
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
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
)

const (
	defaultListen = "127.0.0.1:4222"
	// defaultMaxPayload holds the longest batch with room to spare.
	defaultMaxPayload = 1 << 20
	// defaultMaxConnections is far more than gateways and nodes need, and
	// bounds what connections cost.
	defaultMaxConnections = 1024
	// maxSubscriptions bounds those of one connection; a gateway has three.
	maxSubscriptions = 64
	// maxPending bounds what is kept for a client that does not read, which
	// is cut off then or after writeDeadline.
	maxPending    = 16 << 20
	writeDeadline = 2 * time.Second
	// authWithin is how long a connection may take to say who it is.
	authWithin = 2 * time.Second
	pingEach   = 10 * time.Second
	readyPoll  = 10 * time.Millisecond
)

// A User is one nkey and its rights. A subject that is not named is refused.
type User struct {
	PublicKey string // U…
	Publish   []string
	Subscribe []string
	// InProcess: the key is good for connections inside this process only.
	InProcess bool
}

// Config says what the server is.
type Config struct {
	// Listen is host:port; empty is 127.0.0.1:4222. The host is an address:
	// one of loopback, or there must be TLS. Port 0 takes a free one.
	Listen string
	// ServerName is what clients check before they speak. Required.
	ServerName string
	// Users are those who may connect. Required.
	Users []User
	// CertFile and KeyFile are the server's certificate; empty is no TLS.
	CertFile, KeyFile string
	// StoreDir is the server's own directory. Required, though nothing is
	// stored as long as there is no JetStream: its default would be a shared
	// temporary one.
	StoreDir string
	// MaxPayload bounds a message; 0 is 1 MiB.
	MaxPayload int
	// MaxConnections bounds the clients; 0 is 1024.
	MaxConnections int
	// OnRefused hears of clients that are not let in, and of what those that
	// are have no right to; nil: the Logger hears of it. It must not block.
	OnRefused func(Refusal)
	// Logger hears what the server says; nil is slog.Default().
	Logger *slog.Logger
}

// A Server is an embedded NATS server.
type Server struct {
	server *server.Server
	bridge *bridge
	listen string
	leaf   *x509.Certificate // nil: no TLS
	ready  chan struct{}     // closed when it listens
}

// Check looks at the configuration as New does, and makes nothing.
func (cfg Config) Check() error {
	cfg.Listen = cmp.Or(cfg.Listen, defaultListen)
	if _, err := cfg.options(); err != nil {
		return fmt.Errorf("NATS server: %w", err)
	}
	return nil
}

// New checks the configuration and returns a server that does not run yet.
func New(cfg Config) (*Server, error) {
	cfg.Listen = cmp.Or(cfg.Listen, defaultListen)
	opts, err := cfg.options()
	if err != nil {
		return nil, fmt.Errorf("NATS server: %w", err)
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("NATS server: %w", err)
	}
	bridge := newBridge(cmp.Or(cfg.Logger, slog.Default()), cfg.OnRefused)
	s.SetLoggerV2(bridge, false, false, false)
	made := &Server{server: s, bridge: bridge, listen: cfg.Listen, ready: make(chan struct{})}
	if opts.TLSConfig != nil {
		made.leaf = opts.TLSConfig.Certificates[0].Leaf
	}
	return made, nil
}

func (cfg *Config) options() (*server.Options, error) {
	host, port, err := cfg.address()
	if err != nil {
		return nil, err
	}
	switch {
	case cfg.ServerName == "":
		return nil, errors.New("no server name")
	case cfg.StoreDir == "":
		return nil, errors.New("no store directory")
	case len(cfg.Users) == 0:
		return nil, errors.New("no users: nobody could connect")
	}
	opts := &server.Options{
		ServerName:      cfg.ServerName,
		Host:            host,
		Port:            port,
		StoreDir:        cfg.StoreDir,
		NoSigs:          true, // signals are the embedding program's
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
	for _, u := range cfg.Users {
		if !nkeys.IsValidPublicUserKey(u.PublicKey) {
			return nil, fmt.Errorf("%q is no public user key", u.PublicKey)
		}
		opts.Nkeys = append(opts.Nkeys, u.nkey())
	}
	return opts, cfg.secure(opts, host)
}

// address splits Listen, and maps port 0 to what the server calls random.
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

func (cfg *Config) secure(opts *server.Options, host string) error {
	if cfg.CertFile == "" && cfg.KeyFile == "" {
		if !net.ParseIP(host).IsLoopback() {
			return fmt.Errorf("listen on %s: off loopback a certificate and its key are required", host)
		}
		return nil
	}
	cert, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile)
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	opts.TLS = true
	opts.TLSTimeout = authWithin.Seconds()
	opts.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}}
	return nil
}

func (u *User) nkey() *server.NkeyUser {
	n := &server.NkeyUser{Nkey: u.PublicKey, Permissions: &server.Permissions{
		Publish:   allow(u.Publish),
		Subscribe: allow(u.Subscribe),
	}}
	if u.InProcess {
		n.AllowedConnectionTypes = map[string]struct{}{jwt.ConnectionTypeInProcess: {}}
	}
	return n
}

// allow grants subjects, and nothing when there are none: the server reads an
// empty list as "everything".
func allow(subjects []string) *server.SubjectPermission {
	if len(subjects) == 0 {
		return &server.SubjectPermission{Deny: []string{">"}}
	}
	return &server.SubjectPermission{Allow: subjects}
}

// Run runs the server until ctx ends, and then ends all connections. It
// returns an error when the server cannot run, as when its port is taken.
func (s *Server) Run(ctx context.Context) error {
	var wg, logging sync.WaitGroup
	telling, stopTelling := context.WithCancel(context.WithoutCancel(ctx))
	defer logging.Wait()
	defer stopTelling()
	logging.Go(func() { s.bridge.often.Run(telling) })
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

// awaitReady returns when the server listens, cannot, or ctx ends.
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

// Addr is where the server listens; it is known once Ready is closed.
func (s *Server) Addr() net.Addr { return s.server.Addr() }

// Certificate is the one the server shows; nil when there is no TLS.
func (s *Server) Certificate() *x509.Certificate { return s.leaf }

// InProcessConn connects inside this process (nats.InProcessConnProvider).
func (s *Server) InProcessConn() (net.Conn, error) { return s.server.InProcessConn() }
