// Package negotiate takes a connection from its first byte to a bound session:
// TLS, SASL and resource binding with the client (RFC 6120 sections 4 to 7),
// and the same steps with the backend of the client's domain.
//
// It promises: before TLS, it offers nothing but STARTTLS; it writes every
// element that it sends to a peer itself; the JID of the session is the
// backend's bind result, and its bare JID is the SASL user at the stream's
// domain; a policy node has admitted the domain and opened the session. It
// never forwards a stanza, never copies a client's stream attributes except a
// valid xml:lang, and never offers a feature that is not on its own list.
package negotiate

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/internal/boottime"
	"github.com/postern-im/postern/xmpp/jid"
	"github.com/postern-im/postern/xmpp/stream"
)

// Bounds of a connection that has no session yet.
const (
	// NegotiationTimeout bounds the time from the call of Accept to the bound
	// session. Nothing extends it.
	NegotiationTimeout = 90 * time.Second
	// AuthTimeout bounds the client's own time from the call of Accept to SASL
	// success. No traffic extends it. The time in which the client waits for a
	// policy node or the backend does not count; each of these waits has its
	// own limit below.
	AuthTimeout = 15 * time.Second
	// BindTimeout bounds the client's own time between SASL success and the
	// bind result, counted in the same way.
	BindTimeout = 15 * time.Second
	// TLSTimeout bounds the TLS handshake with the client.
	TLSTimeout = 10 * time.Second
	// HoldTimeout bounds the wait for a policy node.
	HoldTimeout = 5 * time.Second
	// TurnTimeout bounds the wait for a turn to connect to a backend address
	// when many clients come at once.
	TurnTimeout = 30 * time.Second
	// ConnectTimeout bounds the TCP connection to one backend address. The
	// kernel can retransmit a lost packet twice in that time, after 1 s and 3
	// s.
	ConnectTimeout = 5 * time.Second
	// BackendTLSTimeout bounds TLS with a backend, including STARTTLS.
	BackendTLSTimeout = 10 * time.Second
	// FeaturesTimeout bounds the wait for a backend's stream header and
	// features.
	FeaturesTimeout = 10 * time.Second
	// AnswerTimeout bounds the wait for a backend's answer to a SASL element or
	// to bind. A loaded server checks passwords one after the other.
	AnswerTimeout = 30 * time.Second
	// maxTokens bounds the top-level elements and white space from a client
	// before its session begins. Three SASL attempts and a few binds need fewer
	// than twenty.
	maxTokens = 32
	// maxAttempts bounds the SASL attempts on one connection (RFC 6120 section
	// 6.4.5: two to five retries).
	maxAttempts = 3
	// maxAnswers bounds the answers of policy nodes that come too late for one
	// question, so that it is asked again. That takes a suspended machine.
	maxAnswers = 3
	// maxBinds bounds the bind requests on one connection. A client may try
	// another resource.
	maxBinds = 3
	// partingTimeout is the time to tell a peer why its stream ends.
	partingTimeout = 2 * time.Second
)

// An Admitter decides which domains are served and which sessions may begin. An
// error means that no policy node has answered. The Negotiator asks again if an
// answer is not fresh.
type Admitter interface {
	Admit(ctx context.Context, domain string) (decision.Admission, error)
	Open(ctx context.Context, s decision.Session) (decision.Opening, error)
}

// Config configures a Negotiator.
type Config struct {
	Admitter Admitter
	// Certificate returns the certificate for a prepared domain, or nil if
	// there is none.
	Certificate func(domain string) *tls.Certificate
	// BackendTLS is the configuration for backends with TLS. By default,
	// certificates are verified against the system's roots. The ServerName in
	// BackendTLS is ignored.
	BackendTLS *tls.Config
	// Dial connects to a backend. The default is TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Logins limits log-ins. By default, none is limited.
	Logins Logins
	// Places limits the number of sessions. By default, there is no limit.
	Places Places
	// Withheld, if not nil, is called when a backend lets clients verify its
	// list of mechanisms (XEP-0474) but the gateway has withheld the given
	// mechanisms from the client.
	Withheld func(domain string, mechanisms []string)
	// Idle is announced to clients unless it is 0: a session ends when its
	// client has sent no byte for this time.
	Idle time.Duration
	// Clock measures the age of the Admitter's answers. Nil means boottime.Now.
	Clock boottime.Clock
}

// A Negotiator negotiates connections. It keeps no state of them, except the
// queues of connections to backends.
type Negotiator struct {
	admitter   Admitter
	cert       func(domain string) *tls.Certificate
	clientTLS  *tls.Config
	backendTLS *tls.Config
	dial       func(ctx context.Context, network, address string) (net.Conn, error)
	logins     Logins
	places     Places
	withheld   func(domain string, mechanisms []string)
	idle       time.Duration
	clock      boottime.Clock
	lanes      lanes
}

// New returns a Negotiator.
func New(c Config) (*Negotiator, error) {
	if c.Admitter == nil || c.Certificate == nil {
		return nil, errors.New("negotiate: admitter and certificates are needed")
	}
	n := &Negotiator{
		admitter: c.Admitter, cert: c.Certificate, dial: c.Dial, idle: c.Idle,
		logins: c.Logins, places: c.Places, withheld: c.Withheld, clock: c.Clock.Or(),
	}
	n.lanes.by = make(map[string]*lane)
	if n.places == nil {
		n.places = noPlaces{}
	}
	if n.logins == nil {
		n.logins = noLogins{}
	}
	n.clientTLS = &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{alpn},
		GetCertificate: n.certificate,
	}
	n.backendTLS = c.BackendTLS.Clone()
	if n.backendTLS == nil {
		n.backendTLS = &tls.Config{}
	}
	n.backendTLS.MinVersion = max(n.backendTLS.MinVersion, tls.VersionTLS12)
	if n.dial == nil {
		n.dial = (&net.Dialer{}).DialContext
	}
	return n, nil
}

// Dials returns the number of connections that wait for a turn to connect to a
// backend, and the number that are connecting.
func (n *Negotiator) Dials() (waiting, underWay int) { return n.lanes.counts() }

// A Bound session is ready for its first stanza. The caller owns the
// connections and the place that was taken for the session.
type Bound struct {
	Client, Backend net.Conn
	// ClientRest and BackendRest are bytes received after the negotiation.
	ClientRest, BackendRest []byte
	Tenant                  string
	JID                     jid.Addr // full
	// ID identifies the session in the audit log.
	ID string
	// Position and LogID identify the state by which the stream's domain was
	// admitted, before SASL. A revocation after that position therefore ends
	// this session, even if it came during the negotiation.
	Position  uint64
	LogID     string
	Mechanism string
}

// Accept negotiates conn. If direct is true, the connection begins with TLS.
// Accept owns conn until it returns a Bound session. If Accept fails, it has
// told the client the reason, unless Error.Silent is set, and has closed conn.
// The error is an *Error.
func (n *Negotiator) Accept(ctx context.Context, conn net.Conn, direct bool) (*Bound, error) {
	now := time.Now()
	x := &negotiation{
		Negotiator: n,
		until:      now.Add(AuthTimeout),
		last:       now.Add(NegotiationTimeout),
		client:     newLeg(conn, stream.Config{Limits: stream.PreAuthLimits()}),
	}
	x.remote, x.local = conn.RemoteAddr(), conn.LocalAddr()
	x.client.maxTokens = maxTokens
	defer x.client.release(ctx)()
	x.client.setDeadline(x.until)
	defer x.vacate() // has no effect after success, which clears x.placed
	err := x.run(ctx, direct)
	if x.backend != nil && x.unhook != nil {
		x.unhook()
	}
	if err != nil {
		if ctx.Err() != nil {
			err = fail("system-shutdown", "", err)
		}
		if e, ok := errors.AsType[*Error](err); ok {
			e.LogInFailed = x.failed
		}
		x.close(err)
		return nil, err
	}
	x.placed = false // the caller owns the place now
	return x.bound(), nil
}

// A negotiation is the state of one connection until its session begins.
type negotiation struct {
	*Negotiator
	until   time.Time // deadline of the client's steps in this phase
	last    time.Time // deadline of the whole negotiation
	client  *openingLeg
	backend *openingLeg
	unhook  func() // detaches backend from the context

	remote    net.Addr // the client's address
	local     net.Addr // the address that the client connected to
	domain    string   // the domain of the stream, prepared
	admission decision.Admission
	offered   features // features of the backend, before and after SASL
	// The languages of the two streams, from their latest headers. Each is
	// empty if the header has no valid language tag.
	clientLang, backendLang string

	mechanism string
	user      jid.Addr // bare JID that SASL has authenticated
	full      jid.Addr
	session   decision.Session

	placed bool   // a place for the session was taken
	login  Login  // the current attempt
	failed string // condition of the last attempt; empty if there was none or it succeeded
}

// run takes the steps of the negotiation, in order.
func (x *negotiation) run(ctx context.Context, direct bool) error {
	if direct {
		if err := x.handshake(ctx); err != nil {
			return err
		}
	}
	if err := x.openClient(ctx); err != nil {
		return err
	}
	if !direct {
		if err := x.startTLS(ctx); err != nil {
			return err
		}
		if err := x.openClient(ctx); err != nil {
			return err
		}
	}
	if err := x.unclocked(func() error { return x.connect(ctx) }); err != nil {
		return err
	}
	if err := x.authenticate(); err != nil {
		return err
	}
	if err := x.reopen(ctx); err != nil {
		return err
	}
	return x.bind(ctx)
}

// within returns the deadline of a step that may take d. It is never later than
// the deadline of the whole negotiation.
func (x *negotiation) within(d time.Duration) time.Time {
	t := time.Now().Add(d)
	if x.last.Before(t) {
		return x.last
	}
	return t
}

// phase begins a phase in which the client may take d.
func (x *negotiation) phase(d time.Duration) {
	x.until = x.within(d)
	x.client.setDeadline(x.until)
}

// unclocked calls wait, a step for which the client must wait. The duration of
// that step does not count as the client's time.
func (x *negotiation) unclocked(wait func() error) error {
	left := time.Until(x.until)
	err := wait()
	x.phase(left)
	return err
}

// bound returns the result of a negotiation that succeeded.
func (x *negotiation) bound() *Bound {
	_ = x.client.conn.SetDeadline(time.Time{})
	_ = x.backend.conn.SetDeadline(time.Time{})
	return &Bound{
		Client: x.client.conn, Backend: x.backend.conn,
		ClientRest: x.client.rest(), BackendRest: x.backend.rest(),
		Tenant: x.admission.Tenant, JID: x.full, ID: string(x.session.ID),
		Position: x.admission.Position, LogID: x.admission.LogID,
		Mechanism: x.mechanism,
	}
}

// close tells both peers that the negotiation failed, and the client the
// reason. Then it closes their connections.
func (x *negotiation) close(err error) {
	if x.backend != nil {
		x.backend.close(nil)
	}
	var e *Error
	if !errors.As(err, &e) {
		e = fail("internal-server-error", "", err)
	}
	x.client.close(e)
}
