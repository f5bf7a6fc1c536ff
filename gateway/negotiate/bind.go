package negotiate

import (
	"context"
	"crypto/rand"
	"errors"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/xmpp/jid"
	"github.com/postern-im/postern/xmpp/stanza"
	"github.com/postern-im/postern/xmpp/stream"
)

// bindID is the id of the gateway's bind request to the backend.
const bindID = "bind"

// maxID bounds the id of a client's bind request, like the ids in a
// description.
const maxID = stanza.MaxText

// reopen begins the new streams after SASL with both peers (RFC 6120 section
// 6.4.6).
func (x *negotiation) reopen(ctx context.Context) error {
	x.phase(BindTimeout)
	x.client.restart()
	x.backend.restart()
	// The client's header is read first, since it contains the language for the
	// backend.
	if err := x.readOpen(ctx); err != nil {
		return err
	}
	if err := x.unclocked(x.openBackend); err != nil {
		return backendFailure(err)
	}
	if !x.offered.bind {
		return backendFailure(errors.New("the backend does not offer resource binding"))
	}
	if err := x.writeOpen(); err != nil {
		return err
	}
	if err := x.client.write(x.offered.appendBind(nil, x.limitsAfter())); err != nil {
		return readFailure(err)
	}
	return nil
}

// bind reads the client's bind request, binds the resource at the backend, asks
// a policy node to open the session, and sends the client its address.
func (x *negotiation) bind(ctx context.Context) error {
	for range maxBinds {
		id, resource, err := x.bindRequest()
		if err != nil {
			return err
		}
		typ, condition, text := "modify", "bad-request", x.place()
		if text != "" {
			typ, condition = "wait", "resource-constraint" // RFC 6120 section 7.6.2.1
		} else if resource == "" || jidOK(x.user, x.domain, resource) {
			if typ, condition, err = x.bindBackend(resource); err != nil {
				return err
			}
		}
		if condition == "" {
			if err := x.unclocked(func() error { return x.openSession(ctx) }); err != nil {
				return err
			}
			if err := x.client.write(appendBound(nil, id, x.full)); err != nil {
				return readFailure(err)
			}
			return nil
		}
		if err := x.client.write(appendBindError(nil, id, typ, condition, text)); err != nil {
			return readFailure(err)
		}
	}
	return fail("policy-violation", "too many bind requests", nil)
}

func jidOK(user jid.Addr, domain, resource string) bool {
	_, err := jid.Join(string(user.Local()), domain, resource)
	return err == nil
}

// bindRequest reads a bind iq (RFC 6120 sections 7.6 and 7.7). Any other
// element ends the stream.
func (x *negotiation) bindRequest() (id []byte, resource string, err error) {
	el, err := x.clientElement()
	if err != nil {
		return nil, "", err
	}
	refused := fail("not-authorized", "resource binding is required first", nil)
	typ, _ := el.Attr("type")
	id, hasID := el.Attr("id")
	request := el.FirstChild()
	switch {
	case !el.Is(stream.NSClient, "iq"), string(typ) != "set", !hasID, len(id) > maxID,
		el.NumChildren() != 1, !request.Is(nsBind, "bind"), request.NumChildren() > 1:
		return nil, "", refused
	}
	if from, ok := el.Attr("from"); ok {
		if a, err := jid.Parse(from); err != nil || !a.Equal(x.user) {
			return nil, "", fail("invalid-from", "", nil)
		}
	}
	if to, ok := el.Attr("to"); ok {
		if a, err := jid.Parse(to); err != nil || string(a.Bytes()) != x.domain && !a.Equal(x.user) {
			return nil, "", refused
		}
	}
	if r := request.FirstChild(); r.Valid() {
		if !r.Is(nsBind, "resource") || r.NumChildren() > 0 {
			return nil, "", refused
		}
		resource = string(r.Text(nil))
	}
	return append([]byte(nil), id...), resource, nil
}

// bindBackend asks the backend to bind the resource. If the backend refuses,
// bindBackend returns the type and condition of the stanza error for the
// client. If the bound address does not belong to the authenticated user, it
// returns an error, which ends the negotiation.
func (x *negotiation) bindBackend(resource string) (typ, condition string, err error) {
	el, err := x.ask(appendBindRequest(nil, resource))
	if err != nil {
		return "", "", backendFailure(err)
	}
	t, _ := el.Attr("type")
	id, _ := el.Attr("id")
	if !el.Is(stream.NSClient, "iq") || string(id) != bindID {
		return "", "", backendFailure(errors.New("bind result expected"))
	}
	switch string(t) {
	case "error":
		typ, condition = bindRefusal(el)
		return typ, condition, nil
	case "result":
	default:
		return "", "", backendFailure(errors.New("bind result expected"))
	}
	var bound []byte
	if b := el.FirstChild(); b.Is(nsBind, "bind") {
		if j := b.FirstChild(); j.Is(nsBind, "jid") {
			bound = j.Text(nil)
		}
	}
	full, err := jid.Parse(bound)
	if err != nil {
		return "", "", backendFailure(errors.New("bind result without an address"))
	}
	if !full.HasResource() || !full.WithoutResource().Equal(x.user) {
		return "", "", fail("internal-server-error", "", errors.New("the backend bound an address that does not belong to the user authenticated by SASL"))
	}
	x.full = full.Clone()
	return "", "", nil
}

// bindRefusal returns the type and condition with which to relay a bind error
// (RFC 6120 sections 7.6.2 and 7.7.2).
func bindRefusal(el stream.Element) (typ, condition string) {
	const nsStanzas = "urn:ietf:params:xml:ns:xmpp-stanzas"
	for c := el.FirstChild(); c.Valid(); c = c.NextSibling() {
		if c.Is(stream.NSClient, "error") {
			condition = conditionOf(c, nsStanzas)
		}
	}
	switch condition {
	case "bad-request", "jid-malformed":
		return "modify", condition
	case "resource-constraint":
		return "wait", condition
	case "conflict", "not-allowed":
		return "cancel", condition
	}
	return "cancel", "internal-server-error"
}

// openSession asks a policy node to open the session.
func (x *negotiation) openSession(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, HoldTimeout)
	defer cancel()
	x.session = decision.Session{
		ID:       []byte(rand.Text()),
		Tenant:   []byte(x.admission.Tenant),
		Account:  x.user.Bytes(),
		Resource: x.full.Resource(),
		Opened:   x.admission.Position,
	}
	var opening decision.Opening
	err := x.fresh(func() (f decision.Freshness, err error) {
		opening, err = x.admitter.Open(ctx, x.session)
		return opening.Freshness, err
	})
	switch {
	case err != nil:
		return fail("internal-server-error", "access control is temporarily unavailable", err)
	case !opening.Allowed:
		return fail("not-authorized", "this account may not begin a session", nil)
	case opening.LogID != x.admission.LogID:
		// Positions of two logs cannot be compared.
		return fail("reset", decision.RolesChanged.Answer().Text, errors.New("admitted by one log, opened by another"))
	}
	return nil
}

func appendBindRequest(dst []byte, resource string) []byte {
	dst = append(dst, "<iq type='set' id='"+bindID+"'><bind xmlns='"+nsBind+"'"...)
	if resource == "" {
		return append(dst, "/></iq>"...)
	}
	dst = append(dst, "><resource>"...)
	dst = stream.AppendEscaped(dst, resource)
	return append(dst, "</resource></bind></iq>"...)
}

func appendBound(dst, id []byte, full jid.Addr) []byte {
	dst = append(dst, "<iq type='result'"...)
	dst = stream.AppendAttr(dst, "id", id)
	dst = append(dst, "><bind xmlns='"+nsBind+"'><jid>"...)
	dst = stream.AppendEscaped(dst, full.Bytes())
	return append(dst, "</jid></bind></iq>"...)
}

func appendBindError(dst, id []byte, typ, condition, text string) []byte {
	dst = append(dst, "<iq type='error'"...)
	dst = stream.AppendAttr(dst, "id", id)
	dst = append(dst, "><error type='"...)
	dst = append(dst, typ...)
	dst = append(dst, "'><"...)
	dst = append(dst, condition...)
	dst = append(dst, " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"...)
	if text != "" {
		dst = append(dst, "<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>"...)
		dst = stream.AppendEscaped(dst, text)
		dst = append(dst, "</text>"...)
	}
	return append(dst, "</error></iq>"...)
}
