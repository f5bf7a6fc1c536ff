// Package gateway accepts connections from clients, negotiates a session for
// each, and runs the sessions, within limits, until its context ends.
//
// It promises: no connection outlives Serve; a failure in one connection, even
// a panic, ends only that connection; before Serve returns, every client is
// told that its session ends. The package holds no rules and no list of
// domains. It neither parses stanzas nor decides whether they pass.
package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/gateway/negotiate"
	"github.com/postern-im/postern/gateway/session"
	"github.com/postern-im/postern/internal/boottime"
	"github.com/postern-im/postern/internal/floodlog"
	"github.com/postern-im/postern/internal/limit"
	"github.com/postern-im/postern/xmpp/stream"
)

// A Decider answers the gateway's questions about domains, new sessions and
// stanzas.
type Decider interface {
	negotiate.Admitter
	session.Decider
}

// Config configures a Gateway.
type Config struct {
	// STARTTLS and DirectTLS are the listeners for STARTTLS (RFC 6120) and for
	// direct TLS (XEP-0368). New takes ownership of them.
	STARTTLS, DirectTLS []net.Listener
	Decider             Decider
	Certificates        *Certificates
	// BackendTLS configures TLS to backends. If it is nil, the system's root
	// certificates are used.
	BackendTLS *tls.Config
	// Dial connects to a backend. If it is nil, it connects over TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// MaxConnections limits all connections. 0 means 10,000.
	MaxConnections int
	// MaxPerAddress limits the connections from one source, which is an IPv4
	// address or an IPv6 /64 network. An IPv6 /48 network may have eight times
	// as many. 0 means 64.
	MaxPerAddress int
	// MaxUnauthenticated limits the connections from one source that have no
	// session yet. 0 means 16. A value above MaxPerAddress has no effect.
	MaxUnauthenticated int
	// MaxSessionsPerAccount limits the sessions of one account at this gateway.
	// 0 means 20.
	MaxSessionsPerAccount int
	// Proxies are the networks of trusted proxies in front of the gateway. A
	// connection from a trusted proxy must begin with a PROXY header (version 1
	// or 2), before TLS, and the header gives the client's address. A header
	// from any other address is an error.
	Proxies []netip.Prefix
	// LoginFailures limits the failed log-ins per minute to one account from
	// one source. LoginFailuresPerAddress limits the failed log-ins per minute
	// to all accounts together from one source. 0 means 10 and 60. When a
	// limit is reached, the gateway tells clients to try again later and does
	// not ask the backend.
	LoginFailures, LoginFailuresPerAddress int
	// ByteRate limits the bytes per second that the gateway reads from a
	// session's client, and ByteBurst the bytes at once; StanzaRate and
	// StanzaBurst limit the stanzas. 0 means 32 KiB, 256 KiB, 50 and 500. When
	// a limit is reached, the gateway delays its next read.
	ByteRate, ByteBurst, StanzaRate, StanzaBurst int
	// DrainTime is the maximum time over which the gateway closes its sessions
	// when it stops. 0 means 30 s.
	DrainTime time.Duration
	// Clock measures the age of answers. It must be the clock by which the Decider
	// dates them. Nil means boottime.Now.
	Clock   boottime.Clock
	Logger  *slog.Logger
	Metrics prometheus.Registerer
}

const (
	defaultConnections        = 10_000
	defaultPerAddress         = 64
	defaultUnauthenticated    = 16
	defaultSessionsPerAccount = 20
	defaultDrain              = 30 * time.Second

	defaultLoginFailures           = 10
	defaultLoginFailuresPerAddress = 60

	defaultByteRate    = 32 << 10
	defaultByteBurst   = 256 << 10 // the maximum size of a stanza
	defaultStanzaRate  = 50
	defaultStanzaBurst = 500
)

// A Gateway serves clients. Its Serve may be called only once.
type Gateway struct {
	config      Config
	logger      *slog.Logger
	negotiator  *negotiate.Negotiator
	shared      *session.Shared
	limits      limits
	logins      *logins
	unbound     *unbound
	sessions    sessions
	revocations revocations
	metrics     *metrics
	often       *floodlog.Logger // log lines that clients can cause at any rate
	telling     chan struct{}    // a token per client that is being told of a limit
	work        sync.WaitGroup   // connections
}

// New returns a Gateway that serves no clients until Serve is called.
func New(c Config) (*Gateway, error) {
	if c.Decider == nil || c.Certificates == nil || c.Logger == nil || c.Metrics == nil {
		return nil, errors.New("gateway: decider, certificates, logger and metrics are needed")
	}
	if len(c.STARTTLS)+len(c.DirectTLS) == 0 {
		return nil, errors.New("gateway: no listener")
	}
	def(&c.MaxConnections, defaultConnections)
	def(&c.MaxPerAddress, defaultPerAddress)
	def(&c.MaxUnauthenticated, defaultUnauthenticated)
	def(&c.MaxSessionsPerAccount, defaultSessionsPerAccount)
	def(&c.DrainTime, defaultDrain)
	def(&c.LoginFailures, defaultLoginFailures)
	def(&c.LoginFailuresPerAddress, defaultLoginFailuresPerAddress)
	def(&c.ByteRate, defaultByteRate)
	def(&c.ByteBurst, defaultByteBurst)
	def(&c.StanzaRate, defaultStanzaRate)
	def(&c.StanzaBurst, defaultStanzaBurst)
	if c.Dial == nil {
		c.Dial = dial
	}
	shared, err := session.NewShared(c.Decider, c.Logger)
	if err != nil {
		return nil, err
	}
	shared.Clock = c.Clock.Or()
	shared.Rates = session.Rates{Bytes: limit.PerSecond(c.ByteRate, c.ByteBurst), Stanzas: limit.PerSecond(c.StanzaRate, c.StanzaBurst)}
	g := &Gateway{config: c, logger: c.Logger, shared: shared}
	if g.metrics, err = newMetrics(c.Metrics, shared); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	g.logins = newLogins(&c, g.metrics)
	g.unbound = newUnbound(c.Logger)
	if g.negotiator, err = negotiate.New(negotiate.Config{
		Admitter: c.Decider, Certificate: c.Certificates.For, BackendTLS: c.BackendTLS, Dial: c.Dial,
		Logins: g.logins, Places: places{g}, Clock: c.Clock,
		Withheld: (&downgrades{logger: c.Logger, told: make(map[string]time.Time)}).tell,
		Idle:     session.IdleTimeout,
	}); err != nil {
		return nil, err
	}
	if err := register(c.Metrics, dialMetrics(g.negotiator)); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	g.limits.total, g.limits.each, g.limits.early = c.MaxConnections, c.MaxPerAddress, min(c.MaxUnauthenticated, c.MaxPerAddress)
	g.limits.by, g.limits.unbound = limit.NewHeld[limit.Source](), limit.NewHeld[limit.Source]()
	g.limits.perAccount, g.limits.accounts, g.limits.tenants = c.MaxSessionsPerAccount, limit.NewHeld[account](), limit.NewHeld[string]()
	g.often = floodlog.New(floodlog.Config{Logger: c.Logger, Key: "limit"})
	g.telling = make(chan struct{}, maxTelling)
	g.sessions.by = make(map[account][]*session.Session)
	g.revocations.wake = make(chan struct{}, 1)
	return g, nil
}

func def[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// Serve serves clients until ctx is done or a listener fails. Then it accepts no
// more connections, ends every session with a stream error, and returns when all
// connections are closed.
func (g *Gateway) Serve(ctx context.Context) error {
	// Sessions must not all end at once with ctx: drain ends them one by one.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	accepting, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var loops sync.WaitGroup
	listen := func(l net.Listener, direct bool) {
		loops.Go(func() {
			if err := g.accept(accepting, running, l, direct); err != nil {
				fail(fmt.Errorf("accept on %s: %w", l.Addr(), err))
			}
		})
	}
	for _, l := range g.config.STARTTLS {
		listen(l, false)
	}
	for _, l := range g.config.DirectTLS {
		listen(l, true)
	}
	loops.Go(func() { g.recheckAll(accepting) })
	loops.Go(func() { g.often.Run(accepting) })
	loops.Go(func() { g.logins.Run(accepting) })
	loops.Go(func() { g.unbound.Run(accepting) })
	<-accepting.Done()
	g.closeListeners()
	loops.Wait()
	g.drain()
	stop()
	g.work.Wait()
	if err := context.Cause(accepting); ctx.Err() == nil {
		return err
	}
	return nil
}

func (g *Gateway) closeListeners() {
	for _, l := range append(g.config.STARTTLS[:len(g.config.STARTTLS):len(g.config.STARTTLS)], g.config.DirectTLS...) {
		_ = l.Close()
	}
}

// closed is the condition of a negotiation or session that ended because the
// client closed the connection.
const closed = "closed"

// Conditions of a negotiation that ended for a reason on the server's side.
const (
	// unreachable: no backend of the domain could be used.
	unreachable = "remote-connection-failed"
	// unable: the domain has no certificate, or no policy node answered.
	unable = "internal-server-error"
)

// notLoggedIn is the condition of a negotiation that ended because the client
// closed the connection after a failed log-in.
const notLoggedIn = "log-in-failed"

// serve negotiates one connection and runs its session. The session runs in a
// new goroutine, because the TLS handshake has enlarged the stack of the
// goroutine that calls serve.
func (g *Gateway) serve(accepting, running context.Context, conn *connection, direct bool, p *place) {
	began, heard := time.Now(), g.revocations.count()
	bound, err := g.negotiate(accepting, conn, direct)
	if err != nil {
		p.leave()
		condition := closed
		switch e, ok := errors.AsType[*negotiate.Error](err); {
		case !ok:
		case !e.Silent:
			condition = e.Condition
		case e.LogInFailed != "":
			condition = notLoggedIn
		}
		g.metrics.negotiations.WithLabelValues(condition).Inc()
		level := slog.LevelInfo
		switch {
		case condition == closed && conn.heard == 0:
			level = slog.LevelDebug // a load balancer's health check, every few seconds
		case condition == unreachable, condition == unable:
			level = slog.LevelWarn // for the operator to repair, not for the client
		}
		g.unbound.tell(level, conn.RemoteAddr(), condition, err)
		g.suspect(conn)
		return
	}
	p.bound()
	g.metrics.negotiations.WithLabelValues("bound").Inc()
	g.metrics.negotiating.Observe(time.Since(began).Seconds())
	g.work.Go(func() {
		defer p.leave()
		defer places{g}.Give(bound.Tenant, string(bound.JID.Bare()))
		g.run(running, bound, conn.RemoteAddr(), heard)
	})
}

// negotiate runs the negotiator and recovers from its panics, so that a
// programming error ends only this connection.
func (g *Gateway) negotiate(ctx context.Context, conn net.Conn, direct bool) (b *negotiate.Bound, err error) {
	defer func() {
		if r := recover(); r != nil {
			g.logger.Error("panic in a negotiation", "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			_ = conn.Close()
			b, err = nil, errors.New("panic")
		}
	}()
	return g.negotiator.Accept(ctx, conn, direct)
}

// run runs a bound session until it ends. Even an idle session keeps the
// goroutine that calls run, so the stack of that goroutine must stay small.
func (g *Gateway) run(ctx context.Context, b *negotiate.Bound, remote net.Addr, heard uint64) {
	s, r := g.begin(b, remote, heard)
	if s == nil {
		return
	}
	g.end(s, r, s.Run(ctx))
}

// running identifies a running session in the registry and in log lines.
type running struct {
	account
	id, resource string
	remote       net.Addr
}

func (r *running) attrs() []any {
	return []any{"session", r.id, "tenant", r.tenant, "jid", r.jid + "/" + r.resource, "remote", r.remote.String()}
}

// begin creates the session and registers it. heard is the number of
// revocations received before the connection was accepted.
func (g *Gateway) begin(b *negotiate.Bound, remote net.Addr, heard uint64) (*session.Session, *running) {
	r := &running{
		account: account{b.Tenant, string(b.JID.Bare())},
		id:      b.ID, resource: string(b.JID.Resource()), remote: remote,
	}
	s, err := session.New(session.Config{
		Shared: g.shared, Client: b.Client, Backend: b.Backend,
		ClientRest: b.ClientRest, BackendRest: b.BackendRest,
		Who: decision.Session{
			ID: []byte(b.ID), Tenant: []byte(b.Tenant), Account: b.JID.Bare(),
			Resource: b.JID.Resource(), Opened: b.Position, OpenedLog: []byte(b.LogID),
		},
		LogID: b.LogID,
		Live:  decision.LiveSession{Remote: remote.String(), TLS: tlsVersion(b.Client), Mechanism: b.Mechanism},
	})
	if err != nil { // impossible: the configuration is complete
		g.logger.Error("session not begun", "err", err)
		_ = b.Backend.Close()
		_ = b.Client.Close()
		return nil, nil
	}
	g.logger.Info("session bound", append(r.attrs(), "mechanism", b.Mechanism, "position", b.Position)...)
	g.metrics.sessions.Inc()
	g.sessions.add(r.account, s)
	if g.revocations.count() != heard {
		// A revocation has come during the negotiation, when the session was
		// not registered yet. The verdicts of the negotiation may be older
		// than the revocation.
		g.revocations.add(decision.Revocation{Tenant: r.tenant, Account: r.jid, Position: b.Position, LogID: b.LogID}, false)
	}
	return s, r
}

// end unregisters a session that has ended, and counts and logs the cause.
func (g *Gateway) end(s *session.Session, r *running, err error) {
	g.sessions.remove(r.account, s)
	g.metrics.sessions.Dec()
	condition := closed
	if told, ok := errors.AsType[*stream.Error](err); ok {
		condition = told.Condition
	}
	g.metrics.ended.WithLabelValues(condition).Inc()
	g.logger.Info("session ended", append(r.attrs(), "condition", condition, "err", err)...)
}
