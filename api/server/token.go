package server

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/internal/limit"
	"github.com/postern-im/postern/projections"
)

// bearer returns the token of a request. The request must have exactly one
// Authorization header: "Bearer" in any case, one space, the token (RFC 6750 section
// 2.1). given reports whether there is such a header in any form.
func bearer(h http.Header) (token string, given bool) {
	values := h.Values("Authorization")
	if len(values) != 1 {
		return "", len(values) > 0
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", true
	}
	return token, true
}

// knownAs returns the caller that a token belongs to, according to a View. For a
// token that is not valid, it returns the zero caller.
func knownAs(v *projections.View, token string, now time.Time) caller {
	id, ok := api.ParseToken(token)
	if !ok {
		return caller{}
	}
	sum := sha256.Sum256([]byte(token))
	t := v.Installation().Token(id)
	if t == nil {
		t = &projections.Token{Revoked: 1} // always refused, in the same time as a known id
	}
	same := subtle.ConstantTimeCompare(sum[:], t.Hash[:]) == 1
	switch {
	case !same, !inForce(v, t, now):
		return caller{}
	}
	c := caller{actor: "token:" + t.ID, token: t.ID}
	switch t.Scope {
	case events.TokenOperator:
		c.operator = true
	case events.TokenWrite:
		c.tenant, c.write = t.Tenant, true
	case events.TokenRead:
		c.tenant = t.Tenant
	default:
		return caller{}
	}
	return c
}

// inForce reports whether a token is neither revoked nor expired, and its tenant
// exists.
func inForce(v *projections.View, t *projections.Token, now time.Time) bool {
	return t.Revoked == 0 && (t.Expires == 0 || uint64(max(now.Unix(), 0)) < t.Expires) &&
		(t.Scope == events.TokenOperator || v.Tenant([]byte(t.Tenant)) != nil)
}

// stillKnown reports whether the token of a request is still valid. It may have been
// revoked while the request sent its body or waited for the log.
func (s *Server) stillKnown(r *http.Request) bool {
	id := callerOf(r.Context()).token
	if id == "" {
		return true
	}
	v := s.runner.View()
	if v == nil {
		return false
	}
	t := v.Installation().Token(id)
	return t != nil && inForce(v, t, time.Now())
}

// errUnauthorized is the same answer to every request without a valid token. It does
// not reveal why the token is not valid.
func errUnauthorized() error {
	return &api.Error{Code: api.CodeUnauthorized, Text: "send a valid token: Authorization: Bearer postern_…"}
}

// authenticate returns the caller of a request over the network. It checks the token
// of every request. record reports whether to record a failure. Failures over
// the bounds are not recorded, because otherwise unauthenticated clients could fill
// the disk.
func (s *Server) authenticate(w http.ResponseWriter, r *http.Request) (who caller, record bool, err error) {
	who = callerOf(r.Context())
	if r.TLS == nil && !limit.IsLoopback(r.Host) {
		// This stops DNS rebinding: a web page whose host name resolves to this
		// machine sends that name as its host.
		return who, s.failures.allow(who.source, time.Now()), &api.Error{Code: api.CodeForbidden, Text: "without TLS, the host of the request must be a loopback address or localhost"}
	}
	v, err := s.view()
	if err != nil {
		return who, s.failures.allow(who.source, time.Now()), err
	}
	token, given := bearer(r.Header)
	known := knownAs(v, token, time.Now())
	if known.actor != "" {
		known.source, known.network = who.source, true
		return known, true, nil
	}
	challenge := `Bearer realm="postern"`
	if given {
		challenge += `, error="invalid_token"`
	}
	w.Header().Set("WWW-Authenticate", challenge)
	if !s.failures.allow(who.source, time.Now()) {
		return who, false, &api.Error{Code: api.CodeBusy, Text: "too many requests without a valid token from this address; wait a minute"}
	}
	return who, true, errUnauthorized()
}

func readTokens(_ *http.Request, v *projections.View) (any, error) {
	reply := api.TokenList{Position: uint64(v.Position()), Tokens: []api.Token{}}
	for _, t := range v.Installation().Tokens() {
		reply.Tokens = append(reply.Tokens, api.Token{
			ID: t.ID, Label: t.Name, Scope: t.Scope.String(), Tenant: t.Tenant, Expires: t.Expires,
			Created: uint64(t.Created), Revoked: uint64(t.Revoked),
		})
	}
	return reply, nil
}

func getSelf(_ http.ResponseWriter, r *http.Request) (any, error) {
	c := callerOf(r.Context())
	return api.Self{Actor: c.actor, Scope: c.scope(), Tenant: c.tenant}, nil
}
