// The mellium command logs in with mellium.im/xmpp and does what clients do at
// log-in. It is a test client for servers on loopback.
//
// It prints one JSON line for each step, {"step", "ok", "error"?, "note"?}, and
// exits with status 0 only if every step succeeded. ../README.md describes the
// steps and options.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"mellium.im/sasl"
	"mellium.im/xmlstream"
	"mellium.im/xmpp"
	"mellium.im/xmpp/history"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/muc"
	"mellium.im/xmpp/mux"
	"mellium.im/xmpp/stanza"
)

// stepTimeout bounds a step. A loaded machine answers within a few seconds.
const stepTimeout = 20 * time.Second

type options struct {
	jid, password, host, port, mode, mech, ca, room string
}

func main() {
	var o options
	for name, value := range map[string]*string{
		"jid": &o.jid, "password": &o.password, "host": &o.host, "port": &o.port,
		"mode": &o.mode, "mech": &o.mech, "ca": &o.ca, "room": &o.room,
	} {
		flag.StringVar(value, name, "", "see README.md")
	}
	flag.Parse()
	c := &client{options: o, bodies: make(chan string, 16), presences: make(chan jid.JID, 16)}
	ctx := context.Background()
	c.step(ctx, "login", c.login)
	if !c.failed {
		c.run(ctx)
	}
	if c.failed {
		os.Exit(1)
	}
}

// report holds the result of the steps.
type report struct {
	failed bool
}

type line struct {
	Step  string `json:"step"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
	Note  string `json:"note,omitempty"`
}

// step runs one action and prints its result. If the server answers that it
// does not have the thing asked for, the step counts as successful.
func (r *report) step(ctx context.Context, name string, action func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	l := line{Step: name, OK: true}
	if err := action(ctx); err != nil {
		refusal, ok := errors.AsType[stanza.Error](err)
		if ok && absent(refusal) {
			l.Note = "server answers " + string(refusal.Condition)
		} else {
			l.OK, l.Error = false, err.Error()
			if ok {
				l.Error = fmt.Sprintf("%s/%s %s", refusal.Type, refusal.Condition, err)
			}
			r.failed = true
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(l); err != nil {
		r.failed = true
	}
}

func absent(e stanza.Error) bool {
	switch e.Condition {
	case stanza.ItemNotFound, stanza.FeatureNotImplemented, stanza.ServiceUnavailable:
		return e.Type != stanza.Auth
	}
	return false
}

type client struct {
	report
	options options
	session *xmpp.Session
	rooms   muc.Client
	archive *history.Handler
	served  sync.WaitGroup

	bodies    chan string  // of incoming messages
	presences chan jid.JID // senders of available presence
}

func (c *client) login(ctx context.Context) error {
	account, err := jid.Parse(c.options.jid)
	if err != nil {
		return err
	}
	config, err := c.tlsConfig(account)
	if err != nil {
		return err
	}
	mechanism, ok := map[string]sasl.Mechanism{"PLAIN": sasl.Plain, "SCRAM-SHA-1": sasl.ScramSha1}[c.options.mech]
	if !ok {
		return fmt.Errorf("no mechanism %q", c.options.mech)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(c.options.host, c.options.port))
	if err != nil {
		return err
	}
	features := []xmpp.StreamFeature{xmpp.SASL("", c.options.password, mechanism), xmpp.BindResource()}
	switch c.options.mode {
	case "direct":
		config.NextProtos = []string{"xmpp-client"}
		conn = tls.Client(conn, config)
	case "starttls":
		features = append(features, xmpp.StartTLS(config))
	default:
		return fmt.Errorf("no mode %q", c.options.mode)
	}
	if c.session, err = xmpp.NewClientSession(ctx, account, conn, features...); err != nil {
		return errors.Join(err, conn.Close())
	}
	if c.session.State()&xmpp.Secure == 0 {
		return errors.New("logged in without TLS")
	}
	c.serve()
	return nil
}

func (c *client) tlsConfig(account jid.JID) (*tls.Config, error) {
	pem, err := os.ReadFile(c.options.ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in %s", c.options.ca)
	}
	return &tls.Config{RootCAs: roots, ServerName: account.Domainpart()}, nil
}

// serve handles what the server sends until the session ends.
func (c *client) serve() {
	body := xml.Name{Space: stanza.NSClient, Local: "body"}
	onMessage := mux.MessageHandlerFunc(func(_ stanza.Message, r xmlstream.TokenReadEncoder) error {
		var m struct {
			stanza.Message
			Body string `xml:"body"`
		}
		if err := xml.NewTokenDecoder(r).Decode(&m); err != nil {
			return err
		}
		offer(c.bodies, m.Body)
		return nil
	})
	c.archive = history.NewHandler(onMessage)
	handler := mux.New(stanza.NSClient,
		muc.HandleClient(&c.rooms),
		history.Handle(c.archive),
		mux.Message(stanza.ChatMessage, body, onMessage),
		mux.Message(stanza.GroupChatMessage, body, onMessage),
		mux.PresenceFunc(stanza.AvailablePresence, xml.Name{}, func(p stanza.Presence, _ xmlstream.TokenReadEncoder) error {
			offer(c.presences, p.From)
			return nil
		}),
	)
	c.served.Go(func() {
		if err := c.session.Serve(handler); err != nil {
			fmt.Fprintln(os.Stderr, "session:", err)
		}
	})
}

// offer drops a value that no step waits for or that does not fit, because the
// handler must not block the session.
func offer[T any](queue chan T, value T) {
	select {
	case queue <- value:
	default:
	}
}

// await receives values until the wanted one comes.
func await[T any](ctx context.Context, queue chan T, wanted func(T) bool) error {
	for {
		select {
		case value := <-queue:
			if wanted(value) {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

var avatar = base64.StdEncoding.EncodeToString([]byte("\x89PNG\r\n\x1a\n a picture of mellium's, nearly"))
