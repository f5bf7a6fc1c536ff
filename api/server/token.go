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

// bearer gives the token of a request: exactly one header, "Bearer", one
// space, the token (RFC 6750 section 2.1; the scheme's case does not count).
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

// knownAs is the caller who bears a token, by a View; the zero caller for any
// that is not in force.
func knownAs(v *projections.View, token string, now time.Time) caller {
	id, ok := api.ParseToken(token)
	if !ok {
		return caller{}
	}
	sum := sha256.Sum256([]byte(token))
	t := v.Installation().Token(id)
	if t == nil {
		t = &projections.Token{Revoked: 1} // compared all the same, and refused
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

// inForce reports whether a token is neither revoked nor expired, and its
// tenant is there.
func inForce(v *projections.View, t *projections.Token, now time.Time) bool {
	return t.Revoked == 0 && (t.Expires == 0 || uint64(max(now.Unix(), 0)) < t.Expires) &&
		(t.Scope == events.TokenOperator || v.Tenant([]byte(t.Tenant)) != nil)
}

// stillKnown reports whether the token of a request that took its time, as
// for its body or to follow the log, is still in force.
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

// errUnauthorized is the one answer to whoever is not known, for whatever
// reason.
func errUnauthorized() error {
	return &api.Error{Code: api.CodeUnauthorized, Text: "give a token that is in force: Authorization: Bearer postern_…"}
}

// authenticate finds out who makes a request that came over the network, anew
// for each request. What fails too often is neither answered in full nor
// recorded: or else whoever knocks could fill the disk.
func (s *Server) authenticate(w http.ResponseWriter, r *http.Request) (who caller, record bool, err error) {
	who = callerOf(r.Context())
	if r.TLS == nil && !limit.IsLoopback(r.Host) {
		// A page that got its name to point here would ask by that name.
		return who, s.failures.allow(who.source, time.Now()), &api.Error{Code: api.CodeForbidden, Text: "ask for this node by its loopback address"}
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
