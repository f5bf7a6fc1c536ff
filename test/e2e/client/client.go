// Package client is a small XMPP client for the end-to-end tests. They need to
// send any bytes at any moment and to see exactly what comes back.
//
// It keeps every element that it has read, in order, until the test asks for
// it. It sends only what the test tells it to: it answers no request and sends
// no presence. It starts no goroutine. It reads with encoding/xml, deliberately
// not with the gateway's framer, so that an independent parser judges the
// gateway's output. It is not a client for the open Internet.
//
// One goroutine may read while another writes. After a read has run into its
// deadline, only Close may be called.
package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

// Namespaces of RFC 6120.
const (
	NSClient  = "jabber:client"
	NSStreams = "http://etherx.jabber.org/streams"
	NSStream  = "urn:ietf:params:xml:ns:xmpp-streams"
	NSStanza  = "urn:ietf:params:xml:ns:xmpp-stanzas"
	NSTLS     = "urn:ietf:params:xml:ns:xmpp-tls"
	NSSASL    = "urn:ietf:params:xml:ns:xmpp-sasl"
	NSBind    = "urn:ietf:params:xml:ns:xmpp-bind"
)

// defaultTimeout bounds a wait whose context has no deadline. A loaded machine
// with two cores answers within seconds.
const defaultTimeout = 30 * time.Second

// maxHeld bounds the elements kept for later: more in one test is a mistake.
const maxHeld = 100_000

// Security says how the connection is protected.
type Security string

// The ways to connect.
const (
	Plain     Security = "plain"    // no TLS
	StartTLS  Security = "starttls" // RFC 6120 section 5
	DirectTLS Security = "direct"   // XEP-0368
)

// Config says where to connect and as which account. Address and JID are
// required.
type Config struct {
	Address  string   // host:port
	Security Security // zero: StartTLS
	Roots    *x509.CertPool
	// ServerName is the name that TLS asks for and verifies. Zero: the JID's
	// domain.
	ServerName string

	JID       string // bare
	Password  string
	Mechanism string // zero: SCRAM-SHA-1
	// CouldBind makes SCRAM say that the client supports channel binding but
	// the server, as the client sees it, does not: gs2-cbind-flag "y" (RFC 5802
	// section 6).
	CouldBind bool
	Resource  string // zero: the server generates one
	Language  string // xml:lang of the stream; zero: none

	// Header is sent before anything else, TLS included: a proxy's PROXY
	// header.
	Header string

	// From is the local IP address to connect from. Zero: any.
	From string
}

func (c Config) domain() string {
	return c.JID[strings.LastIndexByte(c.JID, '@')+1:]
}

func (c Config) local() string {
	local, _, _ := strings.Cut(c.JID, "@")
	return local
}

// A Client is one connection.
type Client struct {
	config Config
	conn   net.Conn
	in     *reader
	held   []Element
	ids    int

	// Features are the features announced most recently.
	Features Element
	// Header is the server's most recent stream header.
	Header xml.StartElement
	// JID is the full JID that the server bound.
	JID string
	// Ended is the stream error that the server sent, nil if none.
	Ended *Element
}

// Login connects, authenticates and binds. It sends no presence.
func Login(ctx context.Context, config Config) (*Client, error) {
	c, err := Dial(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := c.Authenticate(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if err := c.Bind(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Dial connects, secures the connection as configured, and opens a stream. The
// next step is authentication.
func Dial(ctx context.Context, config Config) (*Client, error) {
	c, err := Connect(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := c.Open(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if c.config.Security == StartTLS {
		if err := c.StartTLS(ctx); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

// Connect makes the TCP connection, and the TLS connection for direct TLS. It
// sends no stream header.
func Connect(ctx context.Context, config Config) (*Client, error) {
	if config.Security == "" {
		config.Security = StartTLS
	}
	if config.Mechanism == "" {
		config.Mechanism = "SCRAM-SHA-1"
	}
	if config.ServerName == "" {
		config.ServerName = config.domain()
	}
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	dialer := new(net.Dialer)
	if config.From != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(config.From)}
	}
	conn, err := dialer.DialContext(ctx, "tcp", config.Address)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	if _, err := io.WriteString(conn, config.Header); err != nil {
		return nil, errors.Join(fmt.Errorf("connect: %w", err), conn.Close())
	}
	c := &Client{config: config}
	c.use(conn)
	if config.Security == DirectTLS {
		if err := c.handshake(ctx, "xmpp-client"); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	return c, nil
}

// use makes conn the connection. Nothing has been read from it yet.
func (c *Client) use(conn net.Conn) {
	c.conn = conn
	c.in = newReader(conn)
}

func (c *Client) handshake(ctx context.Context, protocols ...string) error {
	conn := tls.Client(c.conn, &tls.Config{
		RootCAs:    c.config.Roots,
		ServerName: c.config.ServerName,
		NextProtos: protocols,
	})
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	c.use(conn)
	return nil
}

// TLS returns the state of the TLS connection, the zero value without TLS.
func (c *Client) TLS() tls.ConnectionState {
	if conn, ok := c.conn.(*tls.Conn); ok {
		return conn.ConnectionState()
	}
	return tls.ConnectionState{}
}

// Open sends a stream header and reads the server's header and features. It
// begins a new XML document, as required after connecting, TLS, and
// authentication.
func (c *Client) Open(ctx context.Context) error {
	c.in = newReader(c.conn)
	header := "<?xml version='1.0'?><stream:stream xmlns='" + NSClient + "' xmlns:stream='" +
		NSStreams + "' version='1.0' to='" + Escape(c.config.domain()) + "'"
	if c.config.Language != "" {
		header += " xml:lang='" + Escape(c.config.Language) + "'"
	}
	header += ">"
	if err := c.Send(ctx, header); err != nil {
		return err
	}
	features, err := c.Next(ctx)
	if err != nil {
		return fmt.Errorf("open stream: %w", err)
	}
	if !features.Is(NSStreams, "features") {
		return fmt.Errorf("open stream: got %s", features.Raw)
	}
	c.Features = features
	return nil
}

// StartTLS upgrades the connection to TLS and opens a stream on it.
func (c *Client) StartTLS(ctx context.Context) error {
	if err := c.Send(ctx, "<starttls xmlns='"+NSTLS+"'/>"); err != nil {
		return err
	}
	answer, err := c.Next(ctx)
	if err != nil {
		return fmt.Errorf("STARTTLS: %w", err)
	}
	if !answer.Is(NSTLS, "proceed") {
		return fmt.Errorf("STARTTLS: got %s", answer.Raw)
	}
	if err := c.handshake(ctx); err != nil {
		return err
	}
	return c.Open(ctx)
}

// Bind binds the configured resource.
func (c *Client) Bind(ctx context.Context) error {
	resource := ""
	if c.config.Resource != "" {
		resource = "<resource>" + Escape(c.config.Resource) + "</resource>"
	}
	answer, err := c.Query(ctx, "set", "", "<bind xmlns='"+NSBind+"'>"+resource+"</bind>")
	if err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	jid := answer.Child(NSBind, "bind").Child(NSBind, "jid").Text
	if answer.Attr("type") != "result" || jid == "" {
		return fmt.Errorf("bind: got %s", answer.Raw)
	}
	c.JID = jid
	return nil
}

// Bare returns the bare form of the bound JID, or the configured JID before
// binding.
func (c *Client) Bare() string {
	if c.JID == "" {
		return c.config.JID
	}
	bare, _, _ := strings.Cut(c.JID, "/")
	return bare
}

// Send writes bytes unchanged.
func (c *Client) Send(ctx context.Context, raw string) error {
	done := c.limit(ctx, c.conn.SetWriteDeadline)
	defer done()
	if _, err := c.conn.Write([]byte(raw)); err != nil {
		return fmt.Errorf("send: %w", cause(ctx, err))
	}
	return nil
}

// Next returns the oldest element that has not been returned: one held back by
// an earlier wait, or the next from the connection. At the end of the stream
// the error matches [ErrFooter] or io.EOF; if the connection breaks, it is the
// cause.
func (c *Client) Next(ctx context.Context) (Element, error) {
	if len(c.held) > 0 {
		e := c.held[0]
		c.held = c.held[1:]
		return e, nil
	}
	return c.read(ctx)
}

// read returns the next element from the connection.
func (c *Client) read(ctx context.Context) (Element, error) {
	done := c.limit(ctx, c.conn.SetReadDeadline)
	defer done()
	e, err := c.in.next()
	if c.in.header != nil {
		c.Header = *c.in.header
	}
	if err != nil {
		err = cause(ctx, err)
		if c.Ended != nil {
			return Element{}, fmt.Errorf("receive after %s: %w", c.Ended.Raw, err)
		}
		return Element{}, fmt.Errorf("receive: %w", err)
	}
	if e.Is(NSStreams, "error") {
		c.Ended = &e
	}
	return e, nil
}

// Expect returns the oldest element that matches. It holds back all others for
// later.
func (c *Client) Expect(ctx context.Context, match func(Element) bool) (Element, error) {
	for i, e := range c.held {
		if match(e) {
			c.held = append(c.held[:i:i], c.held[i+1:]...)
			return e, nil
		}
	}
	for {
		e, err := c.read(ctx)
		if err != nil {
			return Element{}, err
		}
		if match(e) {
			return e, nil
		}
		if c.held = append(c.held, e); len(c.held) > maxHeld {
			return Element{}, errors.New("too many elements held back")
		}
	}
}

// NewID returns a stanza id that this connection has not used yet.
func (c *Client) NewID() string {
	c.ids++
	return fmt.Sprintf("query-%d", c.ids)
}

// Query sends an iq with a new id and waits for its answer: a result or an
// error.
func (c *Client) Query(ctx context.Context, kind, to, payload string) (Element, error) {
	id := c.NewID()
	address := ""
	if to != "" {
		address = " to='" + Escape(to) + "'"
	}
	if err := c.Send(ctx, "<iq type='"+kind+"' id='"+id+"'"+address+">"+payload+"</iq>"); err != nil {
		return Element{}, err
	}
	return c.Answer(ctx, id)
}

// Answer waits for the answer to the iq with this id.
func (c *Client) Answer(ctx context.Context, id string) (Element, error) {
	answer, err := c.Expect(ctx, IsAnswer(id))
	if err != nil {
		return Element{}, fmt.Errorf("wait for the answer to iq %s: %w", id, err)
	}
	return answer, nil
}

// Fence pings the own server and returns everything that arrived before the
// answer, held elements first. By then everything that the server had sent this
// session until it read the ping has arrived, and the server has routed the
// session's earlier stanzas, as far as it handles them in order. Rooms and
// pubsub may be behind; use [Client.FenceAt] for them.
func (c *Client) Fence(ctx context.Context) ([]Element, error) {
	return c.FenceAt(ctx, c.config.domain())
}

// FenceAt is Fence with a ping to another entity, such as a room or a service.
// Any answer counts, an error too.
func (c *Client) FenceAt(ctx context.Context, to string) ([]Element, error) {
	// Query holds back everything else, in addition to elements held before.
	if _, err := c.Query(ctx, "get", to, "<ping xmlns='urn:xmpp:ping'/>"); err != nil {
		return nil, fmt.Errorf("fence: %w", err)
	}
	before := c.held
	c.held = nil
	return before, nil
}

// Vanish ends the connection like a client that loses its network: with a TCP
// reset, without closing TLS or the stream.
func (c *Client) Vanish() {
	conn := c.conn
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // otherwise it only ends in order
	}
	_ = conn.Close()
}

// Close closes the connection without closing the stream.
func (c *Client) Close() error {
	return c.conn.Close()
}

// Logout closes the stream, and waits until the server closes it too.
func (c *Client) Logout(ctx context.Context) error {
	if err := c.Send(ctx, "</stream:stream>"); err != nil {
		return errors.Join(err, c.Close())
	}
	for {
		_, err := c.read(ctx)
		if errors.Is(err, ErrFooter) {
			return c.Close()
		}
		if err != nil {
			return errors.Join(fmt.Errorf("log out: %w", err), c.Close())
		}
	}
}

// limit sets the deadline of the next read or write. It expires early if ctx
// ends.
func (c *Client) limit(ctx context.Context, set func(time.Time) error) (done func()) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(defaultTimeout)
	}
	// On a closed connection, the read or write that follows returns the error.
	_ = set(deadline)
	stop := context.AfterFunc(ctx, func() { _ = set(time.Unix(1, 0)) })
	return func() { stop() }
}

// cause returns the context's own error in place of the time-out that it
// caused.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return context.Cause(ctx)
	}
	return err
}
