package overnats

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/postern-im/postern/internal/floodlog"
	"github.com/postern-im/postern/internal/limit"
	"github.com/postern-im/postern/internal/secretfile"
)

const (
	dialTimeout = 2 * time.Second
	// reconnectWait is the shortest time between two attempts to connect, and the
	// jitter is the longest time that is added to it. A TLS handshake costs the server
	// more, so gateways spread theirs further.
	reconnectWait      = 100 * time.Millisecond
	reconnectJitter    = 100 * time.Millisecond
	reconnectJitterTLS = 300 * time.Millisecond
	// maxInfo bounds the first line of a NATS server.
	maxInfo = 64 << 10
)

// ConnectConfig is the configuration of a connection to NATS.
type ConnectConfig struct {
	// URLs are the addresses of the servers, such as nats://127.0.0.1:4222.
	// Without TLS they must be on loopback.
	URLs []string
	// ServerName is the name that the server must have, or the part of its name
	// before a hyphen: "postern" matches "postern" and "postern-n1", so that one
	// setting fits the servers of several policy nodes. Nothing is sent to a server
	// with another name. Empty means any name.
	ServerName string
	// InProcess is a server in this process, used instead of URLs.
	InProcess nats.InProcessConnProvider
	// SeedFile is the file with this client's nkey seed. Other users must not be
	// able to read it; see secretfile.Read. Empty means that Key is used, or no nkey.
	SeedFile string
	// Key is this client's nkey in memory, used instead of SeedFile.
	Key nkeys.KeyPair
	// TLS verifies the servers. Nil means no TLS.
	TLS *tls.Config
	// Name is this client's name in the servers' logs.
	Name string
	// Logger reports lost and new connections. Nil means slog.Default().
	Logger *slog.Logger
	// Link records why there is no connection. It may be nil.
	Link *Link
}

// The errors of a dialer that reached a different server.
var (
	errNoServer    = errors.New("not a NATS server")
	errOtherServer = errors.New("another NATS server")
)

// errFirstDial is the error of a dialer's first attempt, which dials nothing. It
// makes the NATS client go on in the background.
var errFirstDial = errors.New("dialled in the background")

// Connect returns a connection for an Asker or a Responder. It dials in the
// background and reconnects forever, so it does not wait for a host that does not
// answer. While it is disconnected, publishing fails and nothing is buffered. A
// stalled connection is detected within seconds. Connect returns an error only if
// the configuration is invalid.
//
// While the NATS client dials or cannot write, the methods of the connection block
// for up to two seconds.
func Connect(cfg ConnectConfig) (*nats.Conn, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	opts := nats.GetDefaultOptions()
	opts.Servers = cfg.URLs
	opts.InProcessServer = cfg.InProcess
	opts.Name = cfg.Name
	opts.RetryOnFailedConnect = true
	opts.MaxReconnect = -1
	opts.ReconnectBufSize = -1
	opts.ReconnectOnFlusherError = true
	opts.IgnoreAuthErrorAbort = true // a corrected key must not need a restart
	opts.IgnoreDiscoveredServers = true
	opts.SkipHostLookup = true // the dialer looks the host up, within its timeout
	opts.PingInterval = 2 * time.Second
	opts.MaxPingsOut = 2
	opts.FlusherTimeout = 2 * time.Second
	opts.Timeout = dialTimeout
	d := &dialer{serverName: cfg.ServerName, jitter: reconnectJitter}
	if cfg.TLS != nil {
		d.jitter = reconnectJitterTLS
	}
	opts.CustomDialer, opts.CustomReconnectDelayCB = d, d.delay
	cfg.watch(&opts)
	if err := cfg.secure(&opts); err != nil {
		return nil, err
	}
	if err := cfg.authenticate(&opts); err != nil {
		return nil, err
	}
	conn, err := opts.Connect()
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	return conn, nil
}

// Check validates the configuration as Connect does, but reports all errors. It
// does not connect.
func (cfg ConnectConfig) Check() error {
	opts := nats.GetDefaultOptions()
	return errors.Join(cfg.secure(&opts), cfg.authenticate(&opts))
}

// watch sets the callbacks that report the connection's state to the log and the
// Link.
func (cfg *ConnectConfig) watch(opts *nats.Options) {
	log, link := cfg.Logger, cfg.Link
	often := floodlog.New(floodlog.Config{Logger: log, Key: "error", Every: complainEach})
	opts.DisconnectedErrCB = func(_ *nats.Conn, err error) {
		if err == nil {
			return // this side has closed it
		}
		link.failed(err)
		log.Warn("connection to NATS lost", "error", err)
	}
	opts.ReconnectedCB = func(c *nats.Conn) {
		link.made()
		log.Info("connected to NATS", "server", c.ConnectedServerName())
	}
	opts.ConnectedCB = opts.ReconnectedCB
	opts.ReconnectErrCB = func(_ *nats.Conn, err error) {
		if errors.Is(err, errFirstDial) || errors.Is(err, nats.ErrNoServers) {
			return
		}
		link.failed(err)
		log.Debug("connect to NATS", "error", err)
	}
	opts.AsyncErrorCB = func(_ *nats.Conn, s *nats.Subscription, err error) {
		if newerSubject(err) {
			log.Debug("policyd has an older version: it does not know this subject", "error", err)
			return
		}
		link.deny(err)
		subject := ""
		if s != nil {
			subject = s.Subject
		}
		// The text after " on connection " is a number that differs for each connection.
		source, _, _ := strings.Cut(err.Error(), " on connection ")
		often.Say(slog.LevelWarn, source, "NATS reports an error", "subject", subject)
	}
}

// newerSubject reports whether an error is the denial of a subject that policyd of
// an older version does not know. A gateway works without this subject.
func newerSubject(err error) bool {
	return errors.Is(err, nats.ErrPermissionViolation) &&
		(strings.Contains(err.Error(), `"`+nodePrefix) || strings.Contains(err.Error(), `"`+challengePrefix) ||
			strings.Contains(err.Error(), `Subscription to "`+gatewayPrefix))
}

// secure sets TLS, and refuses servers that must not be used without TLS.
func (cfg *ConnectConfig) secure(opts *nats.Options) error {
	if cfg.InProcess != nil {
		return nil
	}
	if len(cfg.URLs) == 0 {
		return errors.New("no NATS server is configured")
	}
	if cfg.TLS != nil {
		opts.Secure, opts.TLSConfig = true, cfg.TLS
	}
	var errs []error
	for _, s := range cfg.URLs {
		errs = append(errs, cfg.checkURL(s))
	}
	return errors.Join(errs...)
}

func (cfg *ConnectConfig) checkURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		// The URL and the error may contain a secret, so neither is shown.
		return errors.New("a NATS server's URL cannot be parsed: want nats://HOST:PORT")
	case u.User != nil:
		return errors.New("a NATS server's URL must hold no secret: use a seed file instead")
	case u.Hostname() == "":
		return fmt.Errorf("NATS server %q: want nats://HOST:PORT", s)
	case cfg.TLS == nil && !limit.IsLoopback(u.Hostname()):
		return fmt.Errorf("NATS server %s: without TLS it must be on loopback", s)
	}
	return nil
}

// authenticate sets the nkey with which the client authenticates.
func (cfg *ConnectConfig) authenticate(opts *nats.Options) error {
	if cfg.Key != nil {
		public, err := cfg.Key.PublicKey()
		if err != nil {
			return fmt.Errorf("nkey: %w", err)
		}
		return nats.Nkey(public, cfg.Key.Sign)(opts)
	}
	if cfg.SeedFile == "" {
		return nil
	}
	if _, err := secretfile.Read(cfg.SeedFile); err != nil {
		return fmt.Errorf("seed file: %w", err)
	}
	auth, err := nats.NkeyOptionFromSeed(cfg.SeedFile)
	if err != nil {
		return fmt.Errorf("seed file %s: %w", cfg.SeedFile, err)
	}
	return auth(opts)
}

// A dialer connects only to a server with the right name. It checks the name
// before anything is sent to the server. Its first attempt fails at once, because
// Connect waits for that attempt.
type dialer struct {
	serverName string
	jitter     time.Duration
	attempts   atomic.Int64
}

// delay returns how long the NATS client waits until it dials again.
func (d *dialer) delay(int) time.Duration {
	if d.attempts.Load() == 1 {
		return 0 // only the attempt in Connect was made, which has not dialled
	}
	return reconnectWait + rand.N(d.jitter)
}

// Dial implements nats.CustomDialer.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	if d.attempts.Add(1) == 1 {
		return nil, errFirstDial
	}
	conn, err := net.DialTimeout(network, address, dialTimeout)
	if err != nil || d.serverName == "" {
		return conn, err
	}
	line, err := readInfo(conn)
	if err == nil {
		err = d.check(line)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	return &infoConn{Conn: conn, line: line}, nil
}

// check compares the name in the server's first line, which is INFO, with the
// expected name.
func (d *dialer) check(line []byte) error {
	var info struct {
		Name string `json:"server_name"`
	}
	text, ok := bytes.CutPrefix(line, []byte("INFO "))
	if !ok || json.Unmarshal(text, &info) != nil {
		return errNoServer
	}
	if info.Name != d.serverName && !strings.HasPrefix(info.Name, d.serverName+"-") {
		return fmt.Errorf("%w: this is %q, not %q", errOtherServer, info.Name, d.serverName)
	}
	return nil
}

// readInfo reads the server's first line. A server sends nothing more before the
// client does. If it does send more, readInfo returns these bytes with the line.
func readInfo(conn net.Conn) ([]byte, error) {
	if err := conn.SetReadDeadline(time.Now().Add(dialTimeout)); err != nil {
		return nil, err
	}
	buf := make([]byte, 0, 4<<10)
	for !bytes.Contains(buf, []byte("\n")) {
		if len(buf) == maxInfo {
			return nil, fmt.Errorf("%w: its first line is over %d bytes long", errNoServer, maxInfo)
		}
		if len(buf) == cap(buf) {
			buf = append(make([]byte, 0, min(2*cap(buf), maxInfo)), buf...)
		}
		n, err := conn.Read(buf[len(buf):cap(buf)])
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil, fmt.Errorf("%w: it closed the connection before its first line", errNoServer)
			}
			return nil, fmt.Errorf("read the server's first line: %w", err)
		}
		buf = buf[:len(buf)+n]
	}
	return buf, conn.SetReadDeadline(time.Time{})
}

// An infoConn is a connection whose first line was already read. Read returns this
// line first.
type infoConn struct {
	net.Conn
	line []byte
}

func (c *infoConn) Read(p []byte) (int, error) {
	if len(c.line) > 0 {
		n := copy(p, c.line)
		c.line = c.line[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}
