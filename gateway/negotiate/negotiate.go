// Package negotiate leads a connection from its first byte to a bound session
// on both legs: TLS, SASL and resource binding with the client (RFC 6120
// sections 4 to 7), and the same with the backend of the client's domain.
//
// It promises that nothing but TLS is offered before TLS, that every element
// it hands on is one it has written itself, that the identity of the session
// is the backend's bind result and equals the SASL user on the stream's
// domain, and that policy has admitted the domain and opened the session. It
// never forwards a stanza, never repeats a client's stream attributes, and
// never offers a feature that is not on its own list.
package negotiate

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/xmpp/jid"
	"github.com/postern-im/postern/xmpp/stream"
)

// Bounds of a connection that has no session yet.
const (
	// NegotiationTimeout is for everything from the first byte to the bound
	// session. It is absolute.
	NegotiationTimeout = 90 * time.Second
	// AuthTimeout is for what the client does from its first byte to SASL
	// success. No traffic extends it. The time in which the client waits for a
	// policy node or the backend does not count: each of these waits has a
	// limit of its own below.
	AuthTimeout = 15 * time.Second
	// BindTimeout is for what the client does between SASL success and the
	// bind result, counted in the same way.
	BindTimeout = 15 * time.Second
	// TLSTimeout is for the handshake with the client.
	TLSTimeout = 10 * time.Second
	// HoldTimeout is how long a connection waits for a policy node.
	HoldTimeout = 5 * time.Second
	// TurnTimeout is how long a connection waits for its turn to connect to a
	// backend address when many clients come at once.
	TurnTimeout = 30 * time.Second
	// ConnectTimeout is for the TCP connection to one backend address: time
	// for the kernel to send what was lost twice more, after 1 s and 3 s.
	ConnectTimeout = 5 * time.Second
	// BackendTLSTimeout is for TLS with a backend, STARTTLS included.
	BackendTLSTimeout = 10 * time.Second
	// FeaturesTimeout is for a backend's stream header and features.
	FeaturesTimeout = 10 * time.Second
	// AnswerTimeout is for a backend's answer to a SASL element or to bind. A
	// loaded server checks one password after the other.
	AnswerTimeout = 30 * time.Second
	// maxTokens bounds the top-level elements and white space of one client
	// before its session begins: three SASL attempts and a few binds are under
	// twenty.
	maxTokens = 32
	// maxAttempts of SASL on one connection (RFC 6120 section 6.4.5: two to
	// five retries).
	maxAttempts = 3
	// maxBinds of one connection: a client may try another resource.
	maxBinds = 3
	// partingTimeout is for telling a peer why its stream ends.
	partingTimeout = 2 * time.Second
)

// An Admitter says which domains are served and which sessions may begin. An error
// means that no policy node has answered.
type Admitter interface {
	Admit(ctx context.Context, domain string) (decision.Admission, error)
	Open(ctx context.Context, s decision.Session) (decision.Opening, error)
}

// Config is what a Negotiator needs.
type Config struct {
	Admitter Admitter
	// Certificate returns the certificate for a prepared domain, nil if there
	// is none.
	Certificate func(domain string) *tls.Certificate
	// BackendTLS is for backends reached with TLS; nil means verification
	// against the system's roots. Its ServerName is ignored.
	BackendTLS *tls.Config
	// Dial connects to a backend; nil means TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Logins hears of log-ins; nil means that none is limited.
	Logins Logins
	// Places has room for sessions; nil means that it has for all.
	Places Places
	// Withheld hears that a backend has clients check its list of mechanisms
	// (XEP-0474), and that this one has not been shown those of them; nil:
	// nobody does.
	Withheld func(domain string, mechanisms []string)
	// Idle is after how long without a byte from the client a session ends,
	// which clients are told; 0: they are told nothing of it.
	Idle time.Duration
}

// A Negotiator negotiates connections. Of them it keeps only who waits to
// connect to a backend.
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
	lanes      lanes
}

// New returns a Negotiator.
func New(c Config) (*Negotiator, error) {
	if c.Admitter == nil || c.Certificate == nil {
		return nil, errors.New("negotiate: admitter and certificates are needed")
	}
	n := &Negotiator{
		admitter: c.Admitter, cert: c.Certificate, dial: c.Dial, idle: c.Idle,
		logins: c.Logins, places: c.Places, withheld: c.Withheld,
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

// Dials returns how many connections wait for their turn to connect to a
// backend, and how many are connecting.
func (n *Negotiator) Dials() (waiting, underWay int) { return n.lanes.counts() }

// A Bound session is ready for its first stanza. The connections are the
// caller's, and so is the place that was taken for it.
type Bound struct {
	Client, Backend net.Conn
	// ClientRest and BackendRest are bytes that came behind the negotiation.
	ClientRest, BackendRest []byte
	Tenant                  string
	JID                     jid.Addr // full
	// ID names the session in the audit log.
	ID string
	// Position and LogID are those at which the stream's domain was admitted,
	// before SASL: a revocation after that, while the session was negotiated,
	// concerns it as well.
	Position  uint64
	LogID     string
	Mechanism string
}

// Accept negotiates conn, whose first bytes are TLS if direct. It owns conn
// until it returns a Bound session; otherwise it has told the client why, and
// closed conn, and the error is an *Error.
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
	defer x.vacate() // whatever happens
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
	x.placed = false // it is the caller's now
	return x.bound(), nil
}

// A negotiation is one connection on its way to a session.
type negotiation struct {
	*Negotiator
	until   time.Time // deadline of what the client does in this phase
	last    time.Time // deadline of the whole negotiation
	client  *openingLeg
	backend *openingLeg
	unhook  func() // releases backend from its context

	remote    net.Addr // the client's address
	local     net.Addr // the address it has connected to
	domain    string   // prepared, what the stream is to
	admission decision.Admission
	offered   features // by the backend, before and after SASL
	// The languages of the two streams, as their latest headers name them;
	// empty: not named, or no language tag.
	clientLang, backendLang string

	mechanism string
	user      jid.Addr // bare, whom SASL has authenticated
	full      jid.Addr
	session   decision.Session

	placed bool   // a place for the session has been taken
	login  Login  // the attempt under way
	failed string // the last attempt's condition; empty: there is none, or it has succeeded
}

// run takes the steps, in order.
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

// within returns the deadline of a step that may take so long.
func (x *negotiation) within(d time.Duration) time.Time {
	t := time.Now().Add(d)
	if x.last.Before(t) {
		return x.last
	}
	return t
}

// phase begins a phase in which the client may take so long.
func (x *negotiation) phase(d time.Duration) {
	x.until = x.within(d)
	x.client.setDeadline(x.until)
}

// unclocked does what the client has to wait for. The time it takes is not the
// client's.
func (x *negotiation) unclocked(wait func() error) error {
	left := time.Until(x.until)
	err := wait()
	x.phase(left)
	return err
}

// bound is the result of a negotiation that has succeeded.
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

// close tells both peers that the negotiation has failed, the client also why, and
// closes their connections.
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
