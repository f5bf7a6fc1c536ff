// Package backend runs private XMPP servers for the end-to-end tests: Debian's
// Prosody and ejabberd. Each server has its own folder, configuration,
// certificates and loopback ports, and every feature that a client asks for at
// log-in.
//
// Once Start has returned a server, it answers on all its ports. Stop and Kill
// leave no process behind; if the program that called Start dies, the kernel
// ends the server too. The package never touches the system's own servers,
// their configuration or their data. Its servers listen and connect on the
// loopback interface only.
package backend

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Kind names a server implementation.
type Kind string

// The servers that can be run.
const (
	Prosody  Kind = "prosody"
	Ejabberd Kind = "ejabberd"
)

// readyTimeout bounds the wait until a started server answers on all its ports.
// ejabberd takes 2 s on an idle machine, but the tests of many packages may run
// at once on two cores.
const readyTimeout = 60 * time.Second

// stopTimeout is how long a server may take to stop before it is killed.
const stopTimeout = 10 * time.Second

// Config says which server to run. Kind, Dir and Domains are required.
type Config struct {
	Kind Kind

	// Dir holds configuration, data and logs. It must exist and be empty; it is
	// not removed.
	Dir string

	// Domains are the hosts that have accounts. Each also gets the components
	// muc.DOMAIN, pubsub.DOMAIN and upload.DOMAIN.
	Domains []string

	// Unnamed are further hosts that the server's certificate does not name.
	Unnamed []string

	// Admins are bare JIDs that the server treats as administrators.
	Admins []string

	// BanAfter is after how many wrong passwords ejabberd's mod_fail2ban bans
	// an address. Zero: the module is not loaded.
	BanAfter int
}

// hosts are all hosts that the server is configured for.
func (c Config) hosts() []string { return slices.Concat(c.Domains, c.Unnamed) }

// A Server is a private server, running or stopped. Its methods may be called
// from several goroutines.
type Server struct {
	config Config
	ports  ports
	flavor flavor

	mu      sync.Mutex // guards process; held while the process is started or ended
	process *process   // nil when stopped
}

// ports are a server's ports on its own loopback address. They survive
// restarts.
type ports struct {
	host                             string
	plain, startTLS, directTLS, http int
	proxied                          int
}

// flavor holds the differences between the two implementations.
type flavor interface {
	// configure writes the files that the server reads at its start, once.
	configure() error
	// command is the command that runs the server in the foreground.
	command() command
	addUser(ctx context.Context, local, domain, password string) error
	hasUser(ctx context.Context, local, domain string) (bool, error)
	// addressesOf returns the client addresses of an account's sessions, as the
	// server has seen them.
	addressesOf(ctx context.Context, local, domain string) ([]string, error)
}

// Start runs a server and waits until it answers on all its ports for the last
// of its domains.
func Start(ctx context.Context, config Config) (*Server, error) {
	if len(config.Domains) == 0 {
		return nil, errors.New("start backend: no domains")
	}
	dir, err := filepath.Abs(config.Dir)
	if err != nil {
		return nil, fmt.Errorf("start backend: %w", err)
	}
	config.Dir = dir
	for _, name := range []string{"data", "logs", "certs", "uploads"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			return nil, fmt.Errorf("start backend: %w", err)
		}
	}
	s := &Server{config: config}
	if s.ports, err = freePorts(); err != nil {
		return nil, fmt.Errorf("start backend: %w", err)
	}
	if err := writeCertificates(filepath.Join(dir, "certs"), config); err != nil {
		return nil, fmt.Errorf("start backend: %w", err)
	}
	switch config.Kind {
	case Prosody:
		s.flavor = prosody{config: config, ports: s.ports}
	case Ejabberd:
		s.flavor = ejabberd{config: config, ports: s.ports}
	default:
		return nil, fmt.Errorf("start backend: unknown kind %q", config.Kind)
	}
	if err := s.flavor.configure(); err != nil {
		return nil, fmt.Errorf("configure %s: %w", config.Kind, err)
	}
	if err := s.Restart(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Kind returns the server's implementation.
func (s *Server) Kind() Kind { return s.config.Kind }

// Addr is the client port for gateways: it requires no encryption and offers
// PLAIN.
func (s *Server) Addr() string { return address(s.ports.host, s.ports.plain) }

// StartTLSAddr is the client port that offers STARTTLS. Prosody offers the same
// on Addr.
func (s *Server) StartTLSAddr() string { return address(s.ports.host, s.ports.startTLS) }

// DirectTLSAddr is the client port for direct TLS.
func (s *Server) DirectTLSAddr() string { return address(s.ports.host, s.ports.directTLS) }

// ProxyAddr is like Addr, but a connection must begin with a PROXY header.
func (s *Server) ProxyAddr() string { return address(s.ports.host, s.ports.proxied) }

// CAFile is the PEM file of the certificate authority that signed the server's
// certificates.
func (s *Server) CAFile() string { return filepath.Join(s.config.Dir, "certs", caName) }

// Hosts are all hosts of the server; those that its certificate does not name
// come last.
func (s *Server) Hosts() []string { return s.config.hosts() }

// FrontCertificate returns the files of a certificate and its key that name all
// hosts of the server. It is for a gateway in front of the server.
func (s *Server) FrontCertificate() (certificate, key string) {
	certs := filepath.Join(s.config.Dir, "certs")
	return filepath.Join(certs, frontName), filepath.Join(certs, frontKey)
}

// Logs is the folder of the server's logs and output.
func (s *Server) Logs() string { return filepath.Join(s.config.Dir, "logs") }

// AddUser creates an account. The JID must be bare, lower case ASCII, and in
// one of the server's domains.
func (s *Server) AddUser(ctx context.Context, jid, password string) error {
	local, domain, err := s.split(jid)
	if err != nil {
		return err
	}
	if err := s.flavor.addUser(ctx, local, domain, password); err != nil {
		return fmt.Errorf("add %s: %w", jid, err)
	}
	return nil
}

// HasUser reports whether an account exists.
func (s *Server) HasUser(ctx context.Context, jid string) (bool, error) {
	local, domain, err := s.split(jid)
	if err != nil {
		return false, err
	}
	exists, err := s.flavor.hasUser(ctx, local, domain)
	if err != nil {
		return false, fmt.Errorf("look up %s: %w", jid, err)
	}
	return exists, nil
}

// AddressesOf returns the client addresses of an account's sessions, as the
// server has seen them. Prosody includes sessions that have ended.
func (s *Server) AddressesOf(ctx context.Context, jid string) ([]string, error) {
	local, domain, err := s.split(jid)
	if err != nil {
		return nil, err
	}
	addresses, err := s.flavor.addressesOf(ctx, local, domain)
	if err != nil {
		return nil, fmt.Errorf("addresses of %s: %w", jid, err)
	}
	return addresses, nil
}

// Stop asks the server to end, and kills it if it has not ended in time. Before
// it ends, Prosody closes all streams with system-shutdown, ejabberd most of
// them. A stopped server may be restarted; its accounts and ports stay.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end(stopTimeout)
}

// Kill ends the server at once, like a crash: the connections of its sessions
// are reset or closed without a stream error.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end(0)
}

// Restart starts the server. If it runs, Restart stops it first.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.end(stopTimeout); err != nil {
		return err
	}
	p, err := startProcess(s.flavor.command(), filepath.Join(s.Logs(), "output.log"))
	if err != nil {
		return fmt.Errorf("start %s: %w", s.config.Kind, err)
	}
	s.process = p
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := s.ready(ctx); err != nil {
		err = errors.Join(fmt.Errorf("start %s: %w; logs in %s", s.config.Kind, err, s.Logs()), s.end(0))
		return err
	}
	return nil
}

// end stops the process, if there is one. The caller holds mu.
func (s *Server) end(grace time.Duration) error {
	if s.process == nil {
		return nil
	}
	err := s.process.end(grace)
	s.process = nil
	if err != nil {
		return fmt.Errorf("stop %s: %w", s.config.Kind, err)
	}
	return nil
}

// ready returns when every client port has answered a stream header with
// features. It gives up when the process or ctx has ended.
func (s *Server) ready(ctx context.Context) error {
	last := s.config.Domains[len(s.config.Domains)-1]
	ca := s.CAFile()
	probes := []func(context.Context) error{
		func(ctx context.Context) error { return probe(ctx, s.Addr(), last, "") },
		func(ctx context.Context) error { return probe(ctx, s.StartTLSAddr(), last, "") },
		func(ctx context.Context) error { return probe(ctx, s.DirectTLSAddr(), last, ca) },
		func(ctx context.Context) error { return dialOnly(ctx, address(s.ports.host, s.ports.http)) },
		func(ctx context.Context) error { return dialOnly(ctx, s.ProxyAddr()) },
	}
	for _, probe := range probes {
		if err := poll(ctx, s.process.ended, probe); err != nil {
			return err
		}
	}
	return nil
}

// split checks that an account's address can be used unchanged in a file name
// and a request.
func (s *Server) split(jid string) (local, domain string, err error) {
	local, domain, ok := strings.Cut(jid, "@")
	if !ok || local == "" || strings.Trim(local, "abcdefghijklmnopqrstuvwxyz0123456789-._") != "" {
		return "", "", fmt.Errorf("account %q: want a bare JID in lower case ASCII", jid)
	}
	for _, d := range s.config.Domains {
		if d == domain {
			return local, domain, nil
		}
	}
	return "", "", fmt.Errorf("account %q: no domain of this server", jid)
}
