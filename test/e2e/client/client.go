// Package client is a small XMPP client for the end-to-end tests, which need to
// send any bytes at any moment and to see exactly what comes back.
//
// It promises to keep every element it read until somebody asks for it, in
// order, and never to send a byte that it was not told to: it answers no
// requests and sends no presence. It starts no goroutine. It reads with
// encoding/xml, on purpose not with the gateway's own framer: what a gateway
// sends is judged by a parser that is not its own. It is no client for the
// open Internet.
//
// One goroutine reads and one writes at a time. A read that ran into its
// deadline leaves the client unusable but for Close.
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
	Plain     Security = "plain"    // not at all
	StartTLS  Security = "starttls" // RFC 6120 section 5
	DirectTLS Security = "direct"   // XEP-0368
)

// Config says where and as whom to connect. Address and JID are required.
type Config struct {
	Address  string   // host:port
	Security Security // zero: StartTLS
	Roots    *x509.CertPool
	// ServerName is the name asked for and verified in TLS. Zero: the JID's domain.
	ServerName string

	JID       string // bare
	Password  string
	Mechanism string // zero: SCRAM-SHA-1
	// CouldBind has SCRAM say that the client supports channel binding and sees
	// that the server does not: gs2-cbind-flag "y" (RFC 5802 section 6).
	CouldBind bool
	Resource  string // zero: the server makes one
	Language  string // xml:lang of the stream; zero: none

	// Header is sent first of all, before TLS: what a proxy says of the client.
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

	// Features are the ones most recently announced.
	Features Element
	// Header is the server's most recent stream header.
	Header xml.StartElement
	// JID is the full one that the server bound.
	JID string
	// Ended holds the stream error that was read, if any.
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

// Dial connects, secures the connection as configured, and opens a stream: what
// comes next is authentication.
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

// Connect makes the TCP connection, and the TLS one if that is how it begins. No
// stream header is sent.
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

// use makes conn the connection, with nothing read from it yet.
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

// TLS is the state of the TLS connection, the zero one when there is none.
func (c *Client) TLS() tls.ConnectionState {
	if conn, ok := c.conn.(*tls.Conn); ok {
		return conn.ConnectionState()
	}
	return tls.ConnectionState{}
}

// Open sends a stream header and reads the server's header and features. It
// begins a new document: as after connecting, TLS, and authentication.
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

// StartTLS upgrades the connection and opens a stream over it.
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

// Bare is the bare form of the bound JID, or before that the configured one.
func (c *Client) Bare() string {
	if c.JID == "" {
		return c.config.JID
	}
	bare, _, _ := strings.Cut(c.JID, "/")
	return bare
}

// Send writes bytes as they are.
func (c *Client) Send(ctx context.Context, raw string) error {
	done := c.limit(ctx, c.conn.SetWriteDeadline)
	defer done()
	if _, err := c.conn.Write([]byte(raw)); err != nil {
		return fmt.Errorf("send: %w", cause(ctx, err))
	}
	return nil
}

// Next returns the oldest element not yet returned: one held back by an earlier
// wait, or the next from the connection. At the end of the stream the error
// matches [ErrFooter] or io.EOF; at a broken connection whatever broke it.
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

// Expect returns the oldest element that matches, and holds all others back for
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

// NewID returns an id for a stanza that this connection has not used yet.
func (c *Client) NewID() string {
	c.ids++
	return fmt.Sprintf("query-%d", c.ids)
}

// Query sends an iq with a new id and waits for its answer, a result or an error.
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
// answer, held elements first. What the server had sent this session until it
// read the ping is among it, so what is not will not come. Of what this session
// sent, the server has by then routed all that it handles in order; rooms and
// pubsub may be behind: for those use [Client.FenceAt].
func (c *Client) Fence(ctx context.Context) ([]Element, error) {
	return c.FenceAt(ctx, c.config.domain())
}

// FenceAt is Fence by way of another entity: a room, a service. Any answer will
// do, an error too.
func (c *Client) FenceAt(ctx context.Context, to string) ([]Element, error) {
	// The query holds everything else back: also what was held before it.
	if _, err := c.Query(ctx, "get", to, "<ping xmlns='urn:xmpp:ping'/>"); err != nil {
		return nil, fmt.Errorf("fence: %w", err)
	}
	before := c.held
	c.held = nil
	return before, nil
}

// Vanish ends the connection as a client does that loses its network: with a
// reset, and without a word even in TLS.
func (c *Client) Vanish() {
	conn := c.conn
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // at worst it ends in order
	}
	_ = conn.Close()
}

// Close ends the connection without a word.
func (c *Client) Close() error {
	return c.conn.Close()
}

// Logout ends the stream, and waits for the server to end its own.
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

// limit sets a deadline for what follows, and makes it pass when ctx ends.
func (c *Client) limit(ctx context.Context, set func(time.Time) error) (done func()) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(defaultTimeout)
	}
	// A connection that is closed says so at the read or write that follows.
	_ = set(deadline)
	stop := context.AfterFunc(ctx, func() { _ = set(time.Unix(1, 0)) })
	return func() { stop() }
}

// cause prefers the context's own error to the time-out it made.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return context.Cause(ctx)
	}
	return err
}
