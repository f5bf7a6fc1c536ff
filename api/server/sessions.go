package server

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/tenants"
	"github.com/postern-im/postern/xmpp/jid"
)

// The bounds of pages of sessions.
const (
	defaultSessions = 100
	// maxSessions is the maximum size of a page. It is also the most sessions that a
	// gateway returns in one answer.
	maxSessions = 200
	// maxCursor bounds the key of the next page in base64. The key has a tenant, a
	// full JID and a session's id.
	maxCursor = 8 << 10
	// maxSessionID bounds a session's id.
	maxSessionID = 64
)

// Gateways asks the gateways about their sessions, and knows which are there.
type Gateways interface {
	// Sessions asks all gateways, or the gateway of the query, for the sessions that
	// match, or tells them to end one session. The error is an *api.Error and means
	// that no gateway was asked.
	Sessions(ctx context.Context, q SessionQuery) (SessionsFound, error)
	// Presence lists the gateways that the node expects or hears. It asks none of them.
	Presence() []Presence
}

// A SessionQuery selects sessions. An empty field selects all.
type SessionQuery struct {
	Gateway, Tenant, Domain, Account, Session string
	// End makes the gateway end the session, which Session must name.
	End bool
	// After is the key after which the page begins.
	After string
	Limit int
}

// SessionsFound is the combined answer of the gateways.
type SessionsFound struct {
	Sessions []api.Session
	// Next is the key after which the next page begins; empty on the last page.
	Next string
	// Missing are the gateways without a credible answer.
	Missing []string
}

var errNoGateways = &api.Error{Code: api.CodeUnavailable, Text: "this node cannot ask gateways for sessions"}

// sessionParams returns the parameters of the lists of sessions.
func sessionParams() []param {
	return []param{
		{name: "account", max: maxText, doc: "an address: only sessions of this account"},
		{name: "domain", max: maxText, doc: "only sessions of this domain"},
		{name: "gateway", max: 32, doc: "only sessions at this gateway"},
		{name: "after", max: maxCursor, doc: "the value of next in the page before"},
		limitParam(defaultSessions, maxSessions),
	}
}

// sessionRoutes returns the routes of live sessions, of one tenant and of all.
func (s *Server) sessionRoutes() []route {
	const doc = "The node asks the gateways, which have two seconds to answer. "
	var list []route
	for _, of := range []struct {
		path, names, name string
		read, write       scope
		words             string
	}{
		{"/v1/sessions", "listAllSessions", "anySession", operator, operator, ""},
		{"/v1/tenants/{tenant}/sessions", "listSessions", "session", tenantRead, tenantWrite, " of a tenant"},
	} {
		list = append(list,
			route{
				method: http.MethodGet, path: of.path, name: of.names, scope: of.read,
				summary: "The live sessions" + of.words,
				doc:     doc + "Gateways that do not answer are listed in missing.",
				query:   sessionParams(),
				reply:   api.SessionList{}, errors: []api.Code{api.CodeNotFound, api.CodeInvalid}, handle: s.listSessions,
			},
			route{
				method: http.MethodGet, path: of.path + "/{session}", name: of.name, scope: of.read,
				summary: "A live session" + of.words,
				doc:     doc + "If the session is not found and a gateway did not answer, the error is unavailable.",
				reply:   api.SessionReply{}, errors: []api.Code{api.CodeNotFound}, handle: s.getSession,
			},
			route{
				method: http.MethodPost, path: of.path + "/{session}/end", name: "end" + strings.ToUpper(of.name[:1]) + of.name[1:], scope: of.write,
				summary: "End a live session" + of.words,
				doc:     doc + "The session's client may log in again. If the session is not found and a gateway did not answer, the error is unknown.",
				request: api.SessionEnd{}, reply: api.SessionEnded{}, errors: []api.Code{api.CodeNotFound, api.CodeInvalid, api.CodeUnknown},
				handle: s.endSession, intends: true,
			},
		)
	}
	return list
}

// sessionsOf returns the query for the sessions below a request's path. The query's
// tenant is the tenant of the path, which must exist. If the path has no tenant, the
// query selects the sessions of all tenants.
func (s *Server) sessionsOf(r *http.Request) (SessionQuery, error) {
	if s.gateways == nil {
		return SessionQuery{}, errNoGateways
	}
	v, err := s.view()
	if err != nil {
		return SessionQuery{}, err
	}
	q := SessionQuery{Tenant: r.PathValue("tenant"), Limit: maxSessions}
	if q.Tenant != "" {
		_, err = tenantOf(r, v)
	}
	return q, err
}

// asked asks the gateways. It drops a session whose account does not belong to the
// session's tenant according to the View. The gateway that reported this session is
// then listed as missing.
func (s *Server) asked(ctx context.Context, q SessionQuery) (*projections.View, SessionsFound, error) {
	found, err := s.gateways.Sessions(ctx, q)
	if err != nil {
		return nil, SessionsFound{}, err
	}
	v, err := s.view() // read after the answers, so that it is not older than the sessions
	if err != nil {
		return nil, SessionsFound{}, err
	}
	credible := []api.Session{}
	missing := list(found.Missing)
	for _, l := range found.Sessions {
		if (q.Tenant == "" || l.Tenant == q.Tenant) && belongs(v, l) {
			credible = append(credible, l)
			continue
		}
		s.logger.Warn("a gateway reported a session whose account does not belong to its tenant", "gateway", l.Gateway, "session", l.ID, "tenant", l.Tenant, "account", l.Account)
		missing = append(missing, l.Gateway)
	}
	slices.Sort(missing)
	found.Sessions, found.Missing = credible, slices.Compact(missing)
	return v, found, nil
}

// belongs reports whether a session's account belongs to the session's tenant.
func belongs(v *projections.View, l api.Session) bool {
	if bare, err := jid.Bare(l.Account); err != nil || bare != l.Account {
		return false
	}
	t, kind := v.Owner(domainOf(l.Account))
	return t != nil && kind == projections.Domain && t.ID() == l.Tenant
}

func (s *Server) listSessions(_ http.ResponseWriter, r *http.Request) (any, error) {
	q, err := s.sessionsOf(r)
	if err != nil {
		return nil, err
	}
	if err := s.filter(r, &q); err != nil {
		return nil, err
	}
	v, found, err := s.asked(r.Context(), q)
	if err != nil {
		return nil, err
	}
	reply := api.SessionList{Position: uint64(v.Position()), Sessions: found.Sessions, Missing: found.Missing}
	if found.Next != "" {
		reply.Next = base64.RawURLEncoding.EncodeToString([]byte(found.Next))
	}
	return reply, nil
}

// filter adds the request's query parameters to a query.
func (s *Server) filter(r *http.Request, q *SessionQuery) error {
	asked := queryOf(r)
	limit, _ := asked.number("limit")
	q.Limit, q.Gateway = int(limit), asked.text("gateway")
	if after := asked.text("after"); after != "" {
		key, err := base64.RawURLEncoding.DecodeString(after)
		if err != nil || !utf8.Valid(key) {
			return &api.Error{Code: api.CodeBadRequest, Text: "after is not a value of next from a page"}
		}
		q.After = string(key)
	}
	var err error
	if account := asked.text("account"); account != "" {
		if q.Account, err = bareJID(account); err != nil {
			return err
		}
		if err := s.within(r, string(domainOf(q.Account))); err != nil {
			return err
		}
	}
	if name := asked.text("domain"); name != "" {
		if q.Domain, err = jid.Domain(name); err != nil {
			return &api.Error{Code: api.CodeInvalid, Text: fmt.Sprintf("%q is not a domain: %s", name, reasonOf(err))}
		}
		return s.within(r, q.Domain)
	}
	return nil
}

// within refuses a domain that does not belong to the tenant of the path. If the
// path has no tenant, within refuses a domain that belongs to no tenant.
func (s *Server) within(r *http.Request, domain string) error {
	v, err := s.view()
	if err != nil {
		return err
	}
	t, kind := v.Owner([]byte(domain))
	switch id := r.PathValue("tenant"); {
	case t != nil && kind == projections.Domain && (id == "" || t.ID() == id):
		return nil
	case id == "":
		return notFound("no tenant has a domain %q", domain)
	default:
		return notFound("tenant %q has no domain %q", id, domain)
	}
}

// noSession is the same answer for a session that does not exist, for a session of
// another tenant, and for an id that no session can have.
func noSession(r *http.Request) error {
	if tenant := r.PathValue("tenant"); tenant != "" {
		return notFound("tenant %q has no live session %q", tenant, r.PathValue("session"))
	}
	return notFound("there is no live session %q", r.PathValue("session"))
}

// isSessionID reports whether a text could name a session.
func isSessionID(id string) bool {
	return id != "" && len(id) <= maxSessionID && !strings.ContainsFunc(id, func(c rune) bool { return c <= ' ' || c > '~' })
}

func (s *Server) getSession(_ http.ResponseWriter, r *http.Request) (any, error) {
	q, err := s.sessionsOf(r)
	if err != nil {
		return nil, err
	}
	if q.Session = r.PathValue("session"); !isSessionID(q.Session) {
		return nil, noSession(r)
	}
	v, found, err := s.asked(r.Context(), q)
	switch {
	case err != nil:
		return nil, err
	case len(found.Sessions) > 0:
		return api.SessionReply{Position: uint64(v.Position()), Session: found.Sessions[0]}, nil
	case len(found.Missing) > 0:
		return nil, &api.Error{Code: api.CodeUnavailable, Text: "no gateway that answered has this session; these gateways did not answer: " + strings.Join(found.Missing, ", ")}
	}
	return nil, noSession(r)
}

// endSession ends a session. Its intent is on disk before any gateway is asked.
func (s *Server) endSession(w http.ResponseWriter, r *http.Request) (any, error) {
	var body api.SessionEnd
	if err := decodeBody(w, r, &body); err != nil {
		return nil, err
	}
	if err := checkReason(body.Reason); err != nil {
		return nil, err
	}
	q, err := s.sessionsOf(r)
	if err != nil {
		return nil, err
	}
	if q.Session, q.End = r.PathValue("session"), true; !isSessionID(q.Session) {
		return nil, noSession(r)
	}
	c := callOf(r)
	c.Tenant, c.Session, c.Reason = q.Tenant, q.Session, body.Reason
	if err := s.intend(r, ""); err != nil {
		return nil, err
	}
	_, found, err := s.asked(r.Context(), q)
	switch {
	case err != nil:
		return nil, err
	case len(found.Sessions) > 0:
		c.Tenant = found.Sessions[0].Tenant
		return api.SessionEnded{Session: found.Sessions[0]}, nil
	case len(found.Missing) > 0:
		return nil, &api.Error{Code: api.CodeUnknown, Text: "it is not known whether the session was ended: no gateway that answered has it, and these gateways did not answer: " + strings.Join(found.Missing, ", ")}
	}
	return nil, noSession(r)
}

// checkReason checks a reason against the bounds of a command's reason.
func checkReason(reason string) error {
	if utf8.RuneCountInString(reason) > tenants.MaxReason || strings.ContainsFunc(reason, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return &api.Error{Code: api.CodeInvalid, Text: fmt.Sprintf("reason: want at most %d printable characters", tenants.MaxReason)}
	}
	return nil
}
