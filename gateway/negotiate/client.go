package negotiate

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/xmpp/jid"
	"github.com/postern-im/postern/xmpp/stream"
)

const (
	alpn  = "xmpp-client" // XEP-0368
	nsTLS = "urn:ietf:params:xml:ns:xmpp-tls"
)

// domainKey is the context key for the domain of a handshake.
type domainKey struct{}

// certificate returns the certificate for the domain of the stream. With
// direct TLS no stream is open yet, so SNI names the domain. Some clients send
// no SNI if they are configured with an address. Such a client gets the
// default certificate and decides whether to accept it.
func (n *Negotiator) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	domain, ok := hello.Context().Value(domainKey{}).(string)
	if !ok && hello.ServerName != "" {
		var err error
		if domain, err = jid.Domain(hello.ServerName); err != nil {
			return nil, fmt.Errorf("server name: %w", err)
		}
	}
	if cert := n.cert(domain); cert != nil {
		return cert, nil
	}
	return nil, errors.New("no certificate for this name")
}

// handshake starts TLS with the client.
func (x *negotiation) handshake(ctx context.Context) error {
	if x.domain != "" {
		ctx = context.WithValue(ctx, domainKey{}, x.domain)
	}
	if until := time.Now().Add(TLSTimeout); until.Before(x.until) {
		x.client.setDeadline(until)
	}
	err := x.client.secure(ctx, tls.Server(x.client.conn, x.clientTLS))
	x.client.setDeadline(x.until)
	if err != nil {
		return &Error{Condition: "undefined-condition", Silent: true, Err: err}
	}
	return nil
}

// openClient reads the client's opening tag as readOpen does, and sends the
// gateway's opening tag.
func (x *negotiation) openClient(ctx context.Context) error {
	if err := x.readOpen(ctx); err != nil {
		return err
	}
	return x.writeOpen()
}

// readOpen reads the client's opening tag. For the first stream of a
// connection, it asks a policy node to admit the stream's domain. Later
// streams must have the same domain.
func (x *negotiation) readOpen(ctx context.Context) error {
	_, el, err := x.client.next(true)
	if err != nil {
		return readFailure(err)
	}
	tag, err := stream.ParseOpen(el)
	if err != nil {
		return readFailure(err)
	}
	domain, err := jid.Domain(tag.To)
	if err != nil {
		return fail("improper-addressing", "the stream must be to a domain", nil)
	}
	if x.domain == "" {
		if err := x.unclocked(func() error { return x.admit(ctx, domain) }); err != nil {
			return err
		}
		x.domain = domain
	}
	if domain != x.domain || !x.certified() {
		return fail("host-unknown", "the stream is to another domain than before", nil)
	}
	x.clientLang = language(tag.Lang)
	return nil
}

// writeOpen sends the gateway's opening tag to the client. Once the backend has
// opened a stream, the tag has the backend's language.
func (x *negotiation) writeOpen() error {
	own := stream.OpenTag{From: x.domain, ID: rand.Text(), Version: "1.0", Lang: cmp.Or(x.backendLang, ownLanguage)}
	if err := x.client.open(own); err != nil {
		return readFailure(err)
	}
	return nil
}

// certified reports whether the certificate that the client has seen is valid
// for the stream's domain. It returns true before TLS, when the client has
// seen no certificate.
func (x *negotiation) certified() bool {
	conn, ok := x.client.conn.(*tls.Conn)
	if !ok {
		return true
	}
	cert := x.cert(x.domain)
	if cert == nil {
		return false
	}
	sni, err := jid.Domain(conn.ConnectionState().ServerName)
	return err != nil || sni == x.domain || x.cert(sni) == cert
}

func (x *negotiation) admit(ctx context.Context, domain string) error {
	ctx, cancel := context.WithTimeout(ctx, HoldTimeout)
	defer cancel()
	var a decision.Admission
	err := x.fresh(func() (f decision.Freshness, err error) {
		a, err = x.admitter.Admit(ctx, domain)
		return a.Freshness, err
	})
	switch {
	case err != nil:
		return fail("internal-server-error", "access control is temporarily unavailable", err)
	case !a.Known:
		return fail("host-unknown", "this domain is not served here", nil)
	case x.cert(domain) == nil:
		return fail("internal-server-error", "this domain has no certificate here", errors.New("no certificate for "+domain))
	}
	x.admission = a
	return nil
}

// errStale means that no answer of a policy node was fresh when it came.
var errStale = errors.New("the answers of policy nodes come too late")

// fresh calls ask, which asks a policy node, until the answer is fresh or there is
// none.
func (x *negotiation) fresh(ask func() (decision.Freshness, error)) error {
	for range maxAnswers {
		f, err := ask()
		if err != nil || f.Fresh(x.clock()) {
			return err
		}
	}
	return errStale
}

// clientElement reads the client's next element.
func (x *negotiation) clientElement() (stream.Element, error) {
	kind, el, err := x.client.next(false)
	if err != nil {
		return el, readFailure(err)
	}
	if kind == stream.Close {
		return el, &Error{Condition: "undefined-condition", Silent: true, Err: errors.New("client closed the stream")}
	}
	return el, nil
}
