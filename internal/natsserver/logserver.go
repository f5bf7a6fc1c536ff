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
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
)

const (
	// minLogPeers is the smallest number of log servers that survives the loss of
	// one.
	minLogPeers = 3
	// logConnections bounds the connections of this process and of the local
	// programs that try to connect although they may not.
	logConnections = 64
	// logPending bounds the bytes buffered for this process. It is the size of
	// about sixty of the largest entries.
	logPending = 64 << 20
	// logStore is the limit of the JetStream store. It is larger than any disk,
	// because the log ends when the disk is full and not before.
	logStore = 1 << 60
	// logMemory bounds JetStream streams in memory. The log has none.
	logMemory = 16 << 20
	// routeTLSWithin is the time for the TLS handshake of a route. It is longer
	// than for clients, because nodes may be at different sites.
	routeTLSWithin = 5 * time.Second
	// routePingEach is the time between pings on a route. A hung log server is
	// disconnected after two of them.
	routePingEach = 2 * time.Second
	// systemAccount is the account whose users may manage the log servers.
	systemAccount = "$SYS"
)

// A LogPeer is a node whose log server takes part in ordering the log.
type LogPeer struct {
	Node    string // the node's id
	Address string // host:port of its log server
}

// LogConfig configures a LogServer.
type LogConfig struct {
	// Node is this node's id. Required.
	Node string
	// Cluster is the cluster's name. A log server of another cluster is refused.
	// Required.
	Cluster string
	// Listen is IP:port, the address at which the other log servers connect.
	// Required.
	Listen string
	// Peers are all nodes of the cluster, this one too. At least three.
	Peers []LogPeer
	// CAFile holds the certificates that sign those of all log servers. CertFile
	// and KeyFile are this node's: for the host of its address in Peers, and for
	// both ends of a connection. Reload reads the files again. Required.
	CAFile, CertFile, KeyFile string
	// Dir is a folder for this server only. Required.
	Dir string
	// Room returns an error while the disk of Dir has too little room for the server's
	// store. The server stops then, and starts again when there is room. It is called
	// ten times a second. Nil means that there is always room.
	Room func() error
	// Publish and Subscribe are the subjects that this process may use, except for
	// the management of servers.
	Publish, Subscribe []string
	// Logger receives the server's log. The default is slog.Default().
	Logger *slog.Logger
}

// A LogServer is an embedded NATS server with JetStream. Together with those of
// the other nodes it orders and stores the log of a cluster. The servers connect
// to each other only over TLS 1.3, and each verifies the other's certificate.
// Only this process is their client: InProcessConn connects it.
//
// Everything that JetStream acknowledges is synced to disk first.
//
// A log server without a store is new. It gets a vote only once no former log server
// of its node has one: see mayVote. Until then a server without JetStream runs in its
// place, which the others do not count, and Waiting returns the reason.
type LogServer struct {
	cfg     LogConfig
	name    string
	ready   chan struct{} // closed when the server listens
	inner   atomic.Pointer[Server]
	client  nkeys.KeyPair // of this process
	system  nkeys.KeyPair // of this process, to manage servers
	refused atomic.Uint64 // log servers refused
	leaf    atomic.Pointer[x509.Certificate]

	votes atomic.Pointer[[]LogMember] // see Votes
	// waiting is the reason why this server has no vote yet; nil: it has one.
	waiting atomic.Pointer[error]

	reloading sync.Mutex  // held for the time of a Reload; guards the fields below
	voting    bool        // the server has JetStream, and with it a vote
	routeTLS  *tls.Config // as it was read last
}

// NewLogServer validates the configuration and returns a log server that is not
// running yet. It creates Dir and the server's name if there are none.
func NewLogServer(cfg LogConfig) (*LogServer, error) {
	s, err := newLogServer(cfg)
	if err != nil {
		return nil, fmt.Errorf("log server: %w", err)
	}
	return s, nil
}

func newLogServer(cfg LogConfig) (*LogServer, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	s := &LogServer{cfg: cfg, ready: make(chan struct{})}
	var err error
	if s.client, err = NewKey(); err != nil {
		return nil, err
	}
	if s.system, err = NewKey(); err != nil {
		return nil, err
	}
	if s.name, s.voting, err = ensureLogName(cfg.Dir, cfg.Node); err != nil {
		return nil, err
	}
	if !s.voting {
		reason := errors.New("the other log servers were not asked yet")
		s.waiting.Store(&reason)
	}
	inner, err := s.newInner()
	if err != nil {
		return nil, err
	}
	s.inner.Store(inner)
	return s, nil
}

// newInner returns a server that does not run yet. It reads the certificates again. If
// they have become unusable, the former ones stay in use, as with Reload.
func (s *LogServer) newInner() (*Server, error) {
	routeTLS, err := s.cfg.routeTLS()
	if err != nil && s.routeTLS != nil {
		s.log().Error("the certificate of the log server cannot be used; the old one stays in use", "error", err)
		routeTLS, err = s.routeTLS, nil
	}
	if err != nil {
		return nil, err
	}
	opts, err := s.newOptions(routeTLS)
	if err != nil {
		return nil, err
	}
	s.use(routeTLS)
	made, err := server.NewServer(opts)
	if err != nil {
		return nil, err
	}
	bridge := newBridge(s.log(), "log server", nil)
	bridge.route = s.route
	made.SetLoggerV2(bridge, false, false, false)
	return &Server{server: made, bridge: bridge, listen: s.cfg.Listen, ready: make(chan struct{})}, nil
}

// use keeps the certificates that are in use.
func (s *LogServer) use(routeTLS *tls.Config) {
	s.routeTLS = routeTLS
	s.leaf.Store(routeTLS.Certificates[0].Leaf)
}

func (s *LogServer) log() *slog.Logger { return cmp.Or(s.cfg.Logger, slog.Default()) }

// Check validates the configuration as NewLogServer does, without creating
// anything.
func (cfg LogConfig) Check() error {
	err := cfg.check()
	if err == nil {
		_, err = cfg.routeTLS()
	}
	if err != nil {
		return fmt.Errorf("log server: %w", err)
	}
	return nil
}

func (cfg *LogConfig) check() error {
	switch {
	case cfg.Node == "":
		return errors.New("no node id")
	case cfg.Cluster == "":
		return errors.New("no cluster name")
	case cfg.Dir == "":
		return errors.New("no directory")
	case len(cfg.Peers) < minLogPeers:
		return fmt.Errorf("%d nodes: want at least %d, or the loss of one would stop the log", len(cfg.Peers), minLogPeers)
	}
	if _, _, err := cfg.listen(); err != nil {
		return err
	}
	own := false
	for _, p := range cfg.Peers {
		if _, _, err := net.SplitHostPort(p.Address); err != nil {
			return fmt.Errorf("address of node %q: %w", p.Node, err)
		}
		own = own || p.Node == cfg.Node
	}
	if !own {
		return fmt.Errorf("this node, %q, is not in the list of nodes", cfg.Node)
	}
	return nil
}

func (cfg *LogConfig) listen() (host string, port int, err error) {
	host, port, err = (&Config{Listen: cfg.Listen}).address()
	if err == nil && port <= 0 {
		err = fmt.Errorf("listen on %s: the other nodes must know the port", cfg.Listen)
	}
	return host, port, err
}

// newOptions returns the server's options with certificates.
func (s *LogServer) newOptions(routeTLS *tls.Config) (*server.Options, error) {
	cfg := &s.cfg
	host, port, err := cfg.listen()
	if err != nil {
		return nil, err
	}
	client, err := s.client.PublicKey()
	if err != nil {
		return nil, err
	}
	system, err := s.system.PublicKey()
	if err != nil {
		return nil, err
	}
	clientUser := (&User{PublicKey: client, Publish: cfg.Publish, Subscribe: cfg.Subscribe, InProcess: true}).nkey()
	systemUser := (&User{PublicKey: system, Publish: []string{">"}, Subscribe: []string{">"}, InProcess: true}).nkey()
	account := server.NewAccount(systemAccount)
	systemUser.Account = account
	opts := &server.Options{}
	// Without this block, the server lets clients without a key into the account of
	// the log if the system account is the only other one.
	if err := opts.ProcessConfigString("authorization {}"); err != nil {
		return nil, err
	}
	s.setOptions(opts)
	opts.Accounts, opts.SystemAccount = []*server.Account{account}, systemAccount
	opts.Nkeys = []*server.NkeyUser{clientUser, systemUser}
	opts.Cluster.Host, opts.Cluster.Port, opts.Cluster.TLSConfig = host, port, routeTLS
	for _, p := range cfg.Peers {
		if p.Address == cfg.Listen {
			continue // the server would connect to itself, and refuse the connection
		}
		opts.Routes = append(opts.Routes, &url.URL{Scheme: "nats-route", Host: p.Address})
	}
	return opts, nil
}

// setOptions sets the options that need no file and no key.
func (s *LogServer) setOptions(opts *server.Options) {
	opts.ServerName = s.name
	opts.NoSigs = true // the embedding program handles signals
	// DontListen would be right here, but the server starts its routes only after
	// its client listener. Therefore it gets a listener that only this machine
	// reaches and that refuses each handshake.
	opts.Host, opts.Port = "127.0.0.1", server.RANDOM_PORT
	opts.TLS, opts.TLSConfig = true, refuseAll()
	opts.TLSTimeout, opts.AuthTimeout = authWithin.Seconds(), authWithin.Seconds()
	opts.MaxConn, opts.MaxSubs = logConnections, maxSubscriptions
	opts.MaxPayload, opts.MaxPending = defaultMaxPayload, logPending
	opts.WriteDeadline = writeDeadline
	opts.PingInterval, opts.MaxPingsOut = pingEach, 2
	opts.JetStream, opts.StoreDir, opts.SyncAlways = s.voting, s.cfg.Dir, true
	opts.JetStreamMaxStore, opts.JetStreamMaxMemory = logStore, logMemory
	opts.Cluster.Name = s.cfg.Cluster
	opts.Cluster.NoAdvertise = true
	opts.Cluster.TLSTimeout = routeTLSWithin.Seconds()
	opts.Cluster.PingInterval, opts.Cluster.MaxPingsOut = routePingEach, 2
}

// errNoClients ends the handshake of each client that connects by TCP.
var errNoClients = errors.New("a log server has no clients but its own process")

func refuseAll() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errNoClients },
	}
}

// routeTLS reads the certificates. Either end of a route presents its own
// certificate and verifies the other's with the same CA. The end that connects
// also verifies the host.
func (cfg *LogConfig) routeTLS() (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	text, err := os.ReadFile(cfg.CAFile)
	if err != nil {
		return nil, fmt.Errorf("CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("CA: %s holds no certificate", cfg.CAFile)
	}
	for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if _, err := cert.Leaf.Verify(verifyOptions(pool, cert, use)); err != nil {
			return nil, fmt.Errorf("certificate %s: the other log servers would refuse it: %w", cfg.CertFile, err)
		}
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		RootCAs:      pool,
		ClientCAs:    pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
	}, nil
}

// verifyOptions verify a node's own certificate as another node does, except for
// its time: an expired certificate must not keep a node from starting.
func verifyOptions(pool *x509.CertPool, cert tls.Certificate, use x509.ExtKeyUsage) x509.VerifyOptions {
	between := x509.NewCertPool()
	for _, der := range cert.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(c)
		}
	}
	return x509.VerifyOptions{
		Roots: pool, Intermediates: between, CurrentTime: cert.Leaf.NotBefore, KeyUsages: []x509.ExtKeyUsage{use},
	}
}

// Run runs the server until ctx ends. While the disk has no room for its store, the
// server does not run. Run returns an error if the server cannot run, for example
// because its port is taken.
func (s *LogServer) Run(ctx context.Context) error {
	inner, votes := s.inner.Load(), s.Waiting() == nil
	for {
		lacking, err := s.run(ctx, inner, votes)
		switch {
		case err != nil || ctx.Err() != nil:
		case lacking:
			inner, err = s.again(ctx)
		default:
			// The server without a vote has ended, because a server with a vote takes its
			// place.
			votes = true
			inner, err = s.vote()
		}
		if err != nil {
			return fmt.Errorf("log server: %w", err)
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// run runs one server until ctx ends, until it is admitted if it has no vote, or until
// its disk has too little room if it has one. lacking reports the last.
func (s *LogServer) run(ctx context.Context, inner *Server, votes bool) (lacking bool, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var around sync.WaitGroup
	around.Go(func() { s.watch(ctx, inner) })
	around.Go(func() {
		select {
		case <-inner.Ready():
		case <-ctx.Done():
			return
		}
		if votes {
			s.waiting.Store(nil)
		}
		s.listens()
		if votes {
			lacking = s.awaitLack(ctx, inner)
		}
		if lacking || !votes && s.admit(ctx, inner) {
			stop()
		}
	})
	err = inner.Run(ctx)
	stop()
	around.Wait()
	return lacking, err
}

// listens closes ready, once.
func (s *LogServer) listens() {
	select {
	case <-s.ready:
	default:
		close(s.ready)
	}
}

// vote makes the server with a vote.
func (s *LogServer) vote() (*Server, error) {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	s.voting = true
	inner, err := s.newInner()
	if err != nil {
		return nil, err
	}
	s.inner.Store(inner)
	return inner, nil
}

// Reload reads the certificates again, for the next connection to or from each
// log server. On an error the former ones stay in use.
func (s *LogServer) Reload() error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	if err := s.reload(); err != nil {
		return fmt.Errorf("log server: reload: %w", err)
	}
	return nil
}

func (s *LogServer) reload() error {
	routeTLS, err := s.cfg.routeTLS()
	if err != nil {
		return err
	}
	opts, err := s.newOptions(routeTLS)
	if err != nil {
		return err
	}
	if err := s.inner.Load().server.ReloadOptions(opts); err != nil {
		return err
	}
	s.use(routeTLS)
	return nil
}

// Certificate returns this node's certificate, as it was read last.
func (s *LogServer) Certificate() *x509.Certificate { return s.leaf.Load() }

// Ready is closed when the server listens. It may have no peers and no vote then.
func (s *LogServer) Ready() <-chan struct{} { return s.ready }

// Waiting returns the reason why this server has no vote yet, or nil. It is a
// *FormerError if an operator must take away the vote of another server.
func (s *LogServer) Waiting() error {
	if reason := s.waiting.Load(); reason != nil {
		return *reason
	}
	return nil
}

// Name returns the server's name: the node's id, a hyphen and eight hexadecimal
// digits that were drawn when the server's folder was made.
func (s *LogServer) Name() string { return s.name }

// Key returns this process's key for InProcessConn. It is in memory only.
func (s *LogServer) Key() nkeys.KeyPair { return s.client }

// InProcessConn opens a connection inside this process
// (nats.InProcessConnProvider).
func (s *LogServer) InProcessConn() (net.Conn, error) { return s.inner.Load().InProcessConn() }

// Refused returns the number of connections of log servers that were refused.
func (s *LogServer) Refused() uint64 { return s.refused.Load() }

// SyncAlways reports whether the running server syncs each write. It does while it
// stores nothing, because it has no vote yet, or no room.
func (s *LogServer) SyncAlways() bool {
	cfg := s.inner.Load().server.JetStreamConfig()
	return cfg == nil || cfg.SyncAlways
}

// nodeOf returns the id of the node whose log server has the given name.
func nodeOf(name string) string {
	node, _, _ := strings.Cut(name, "-")
	return node
}
