// Package gateway accepts clients, negotiates their sessions and runs them,
// within limits, until it is told to stop.
//
// It promises that no connection outlives Serve, that one connection's
// failure, a panic included, ends that connection only, and that stopping
// tells every client. It holds no rules and no list of domains; what a stanza
// is and whether it passes is not decided here.
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
	"github.com/postern-im/postern/internal/floodlog"
	"github.com/postern-im/postern/internal/limit"
	"github.com/postern-im/postern/xmpp/stream"
)

// A Decider answers all that the gateway asks: about domains, about sessions that
// are to begin, and about stanzas.
type Decider interface {
	negotiate.Admitter
	session.Decider
}

// Config is what a Gateway needs.
type Config struct {
	// Listeners, with STARTTLS (RFC 6120) and direct TLS (XEP-0368). The
	// gateway owns them from New on.
	STARTTLS, DirectTLS []net.Listener
	Decider             Decider
	Certificates        *Certificates
	// BackendTLS is for backends reached with TLS; nil: the system's roots.
	BackendTLS *tls.Config
	// Dial connects to a backend; nil: TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// MaxConnections bounds all connections; 0: 10,000.
	MaxConnections int
	// MaxPerAddress bounds connections from one source, which is an IPv4 address
	// or an IPv6 /64; eight times as many may come from an IPv6 /48. 0: 64.
	MaxPerAddress int
	// MaxUnauthenticated bounds those of a source's connections that have no
	// session yet; 0: 16. It counts up to MaxPerAddress only.
	MaxUnauthenticated int
	// MaxSessionsPerAccount bounds the sessions of one account at this gateway;
	// 0: 20.
	MaxSessionsPerAccount int
	// Proxies are the networks of proxies in front of the gateway. A connection
	// from there must begin with a PROXY header (version 1 or 2), before TLS, and
	// its client is the one the header names; from elsewhere a header is an
	// error.
	Proxies []netip.Prefix
	// LoginFailures bounds failed log-ins a minute of one account from one
	// source, LoginFailuresPerAddress those of one source; 0: 10 and 60. Over
	// it, clients are told to try again later and the backend is not asked.
	LoginFailures, LoginFailuresPerAddress int
	// ByteRate bounds the bytes a second that are read of a session's client,
	// ByteBurst those at once; StanzaRate and StanzaBurst the stanzas. 0: 32 KiB,
	// 256 KiB, 50 and 500. Over it, reading waits.
	ByteRate, ByteBurst, StanzaRate, StanzaBurst int
	// DrainTime bounds how long the closing of sessions is spread when the
	// gateway stops; 0: 30 s.
	DrainTime time.Duration
	Logger    *slog.Logger
	Metrics   prometheus.Registerer
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
	defaultByteBurst   = 256 << 10 // as large as a stanza may be
	defaultStanzaRate  = 50
	defaultStanzaBurst = 500
)

// A Gateway serves clients.
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
	often       *floodlog.Logger // lines that clients can cause as often as they like
	telling     chan struct{}    // has room for refusals that are being told
	work        sync.WaitGroup   // connections
}

// New returns a Gateway that serves nobody yet.
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
	shared.Rates = session.Rates{Bytes: limit.PerSecond(c.ByteRate, c.ByteBurst), Stanzas: limit.PerSecond(c.StanzaRate, c.StanzaBurst)}
	g := &Gateway{config: c, logger: c.Logger, shared: shared}
	if g.metrics, err = newMetrics(c.Metrics, shared); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	g.logins = newLogins(&c, g.metrics)
	g.unbound = newUnbound(c.Logger)
	if g.negotiator, err = negotiate.New(negotiate.Config{
		Admitter: c.Decider, Certificate: c.Certificates.For, BackendTLS: c.BackendTLS, Dial: c.Dial,
		Logins: g.logins, Places: places{g},
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

// Serve serves until ctx is done, then stops accepting, tells every client,
// and returns when all connections are closed.
func (g *Gateway) Serve(ctx context.Context) error {
	// Sessions end when the drain says so, not all at once with ctx.
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

// The conditions of a negotiation that ended because no backend of the domain
// could be used, or because the domain has no certificate or no policy node
// answered.
const (
	unreachable = "remote-connection-failed"
	unable      = "internal-server-error"
)

// notLoggedIn is the condition of a negotiation that ended because the client
// closed the connection after a failed log-in.
const notLoggedIn = "log-in-failed"

// serve negotiates one connection and runs its session. The session runs in a
// goroutine of its own: the stack of the one that shook hands has grown.
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
			level = slog.LevelDebug // a load balancer's health check, each few seconds
		case condition == unreachable, condition == unable:
			level = slog.LevelWarn // the operator's to mend, not the client's
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

// negotiate guards the negotiator: a panic, which only a mistake of ours can
// be, costs this connection and no other.
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

// run runs a bound session to its end. Its stack is the session's while that
// is idle, so it is kept small.
func (g *Gateway) run(ctx context.Context, b *negotiate.Bound, remote net.Addr, heard uint64) {
	s, r := g.begin(b, remote, heard)
	if s == nil {
		return
	}
	g.end(s, r, s.Run(ctx))
}

// A running session is what the gateway knows of it.
type running struct {
	account
	id, resource string
	remote       net.Addr
}

func (r *running) attrs() []any {
	return []any{"session", r.id, "tenant", r.tenant, "jid", r.jid + "/" + r.resource, "remote", r.remote.String()}
}

// begin makes the session and registers it. heard is how many
// revocations had come when its connection came.
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
	if err != nil { // never: all it needs is there
		g.logger.Error("session not begun", "err", err)
		_ = b.Backend.Close()
		_ = b.Client.Close()
		return nil, nil
	}
	g.logger.Info("session bound", append(r.attrs(), "mechanism", b.Mechanism, "position", b.Position)...)
	g.metrics.sessions.Inc()
	g.sessions.add(r.account, s)
	if g.revocations.count() != heard {
		// What was asked of it so far may have been answered before the notice,
		// which did not find it here.
		g.revocations.add(decision.Revocation{Tenant: r.tenant, Account: r.jid, Position: b.Position, LogID: b.LogID}, false)
	}
	return s, r
}

// end takes note of how a session has ended.
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
