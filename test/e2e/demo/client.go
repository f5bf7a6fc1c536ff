package main

import (
	"context"
	"crypto/tls"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"mellium.im/sasl"
	"mellium.im/xmlstream"
	"mellium.im/xmpp"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
	xmppstream "mellium.im/xmpp/stream"
)

// answerTimeout bounds each wait of a client.
const answerTimeout = 15 * time.Second

// A client is a user's XMPP client, made with mellium.im/xmpp. It knows nothing
// about Postern except the error's text and the <denied/> condition in it.
type client struct {
	jid      jid.JID
	session  *xmpp.Session
	messages chan message
	// ended is closed when the stream has ended; endedBy is the cause.
	ended   chan struct{}
	endedBy error
}

// A message holds the parts of an incoming message that the tour uses.
type message struct {
	stanza.Message
	Body  string   `xml:"jabber:client body"`
	Error *refusal `xml:"jabber:client error"`
}

// A refusal is a stanza error with Postern's application condition.
type refusal struct {
	Type   string `xml:"type,attr"`
	Text   string `xml:"urn:ietf:params:xml:ns:xmpp-stanzas text"`
	Denied struct {
		Permission string `xml:"permission,attr"`
		Position   string `xml:"position,attr"`
	} `xml:"urn:postern:denied:0 denied"`
}

func (r *refusal) Error() string { return r.Text }

// login logs in over STARTTLS with SCRAM-SHA-1 and sends initial presence.
func login(ctx context.Context, addr string, roots *tls.Config, account, password string) (*client, error) {
	me, err := jid.Parse(account)
	if err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("dial the gateway: %w", err)
	}
	config := roots.Clone()
	config.ServerName = me.Domainpart()
	session, err := xmpp.NewClientSession(ctx, me, conn,
		xmpp.StartTLS(config),
		xmpp.SASL("", password, sasl.ScramSha1),
		xmpp.BindResource())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("log in as %s: %w", account, err), conn.Close())
	}
	c := &client{jid: session.LocalAddr(), session: session, messages: make(chan message, 16), ended: make(chan struct{})}
	go c.serve()
	return c, session.Send(ctx, stanza.Presence{Type: stanza.AvailablePresence}.Wrap(nil))
}

// serve handles incoming stanzas until the stream ends.
func (c *client) serve() {
	defer close(c.ended)
	c.endedBy = c.session.Serve(xmpp.HandlerFunc(func(t xmlstream.TokenReadEncoder, start *xml.StartElement) error {
		if start.Name.Local != "message" {
			return nil
		}
		var m message
		if err := xml.NewTokenDecoder(xmlstream.MultiReader(xmlstream.Token(*start), t)).Decode(&m); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		select {
		case c.messages <- m:
		default: // the tour is not waiting for this message
		}
		return nil
	}))
}

// close closes the stream.
func (c *client) close() error {
	err := c.session.Close()
	return errors.Join(err, c.session.Conn().Close())
}

// send sends a chat message.
func (c *client) send(ctx context.Context, to, body string) error {
	addr, err := jid.Parse(to)
	if err != nil {
		return err
	}
	return c.session.Send(ctx, stanza.Message{ID: "m-" + body[:min(4, len(body))], To: addr, Type: stanza.ChatMessage}.Wrap(
		xmlstream.Wrap(xmlstream.Token(xml.CharData(body)), xml.StartElement{Name: xml.Name{Local: "body"}})))
}

// next waits for a message.
func (c *client) next(ctx context.Context) (message, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	select {
	case m := <-c.messages:
		return m, nil
	case <-c.ended:
		return message{}, fmt.Errorf("%s: the stream ended: %w", c.jid, c.endedBy)
	case <-ctx.Done():
		return message{}, fmt.Errorf("%s: no message came: %w", c.jid, ctx.Err())
	}
}

// roster asks for the contact list. It returns nil, or the refusal.
func (c *client) roster(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var answer struct {
		stanza.IQ
		Error *refusal `xml:"jabber:client error"`
	}
	query := xmlstream.Wrap(nil, xml.StartElement{Name: xml.Name{Space: "jabber:iq:roster", Local: "query"}})
	tokens, err := c.session.SendIQElement(ctx, query, stanza.IQ{Type: stanza.GetIQ})
	if err != nil {
		return err
	}
	if err := errors.Join(xml.NewTokenDecoder(tokens).Decode(&answer), tokens.Close()); err != nil {
		return err
	}
	if answer.Error != nil {
		return answer.Error
	}
	return nil
}

// waitEnd waits until the stream has ended and returns the condition.
func (c *client) waitEnd(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	select {
	case <-c.ended:
	case <-ctx.Done():
		return "", fmt.Errorf("%s: the session does not end: %w", c.jid, ctx.Err())
	}
	var streamError xmppstream.Error
	if errors.As(c.endedBy, &streamError) {
		return streamError.Err, nil
	}
	return "", fmt.Errorf("%s: the stream ended without an error: %w", c.jid, c.endedBy)
}
