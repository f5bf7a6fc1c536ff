package decision

import (
	"encoding/binary"
	"strings"
	"time"
)

// MaxSessions bounds the sessions of one SessionReply. Even with the longest
// addresses, the reply is then well below the maximum payload of NATS.
const MaxSessions = 200

// maxSessionKey bounds a LiveSession's Key.
const maxSessionKey = maxTenant + maxAddress + maxName + 2

// A SessionQuery asks a gateway for its sessions, or makes it end a session.
type SessionQuery struct {
	ID uint64 // chosen by the node
	// End: the gateway ends the session named in Session, which must not be
	// empty.
	End bool
	// Tenant, Domain, Account and Session select sessions. An empty field excludes
	// none.
	Tenant, Domain, Account, Session string
	// After selects only the sessions whose Key is greater.
	After string
	Limit int // 1 to MaxSessions
}

// Wants reports whether the query selects s.
func (q *SessionQuery) Wants(s *LiveSession) bool {
	_, domain, _ := strings.Cut(s.Account, "@")
	return (q.Tenant == "" || q.Tenant == s.Tenant) && (q.Domain == "" || q.Domain == domain) &&
		(q.Account == "" || q.Account == s.Account) && (q.Session == "" || q.Session == s.ID) && s.Key() > q.After
}

// A LiveSession is one bound session of a gateway.
type LiveSession struct {
	Gateway                              string // set by the node, never on the wire
	ID, Tenant, Account, Resource, Grant string
	Remote, TLS, Mechanism               string // the client's address, TLS version and SASL mechanism
	Opened                               uint64
	LogID                                string
	Since, Active                        time.Time // in seconds; Active: the last stanza in either direction
	PassedOut, RefusedOut                uint64    // stanzas from the client
	PassedIn, RefusedIn                  uint64    // stanzas to the client
}

// Key returns the sort key of a session: tenant, account, resource, id. It never
// changes.
func (s *LiveSession) Key() string {
	return s.Tenant + "\x00" + s.Account + "/" + s.Resource + "\x00" + s.ID
}

// A SessionReply is a gateway's answer to a SessionQuery. Its sessions are in the
// order of Key.
type SessionReply struct {
	ID       uint64
	Gateway  string
	More     bool // more sessions follow the last one
	Sessions []LiveSession
}

// AppendSessionQuery appends a query, which is a whole message.
func AppendSessionQuery(dst []byte, q *SessionQuery) []byte {
	dst = append(dst, byte(tagSessionQuery), boolByte(q.End))
	dst = binary.AppendUvarint(dst, q.ID)
	for _, t := range []string{q.Tenant, q.Domain, q.Account, q.Session, q.After} {
		dst = appendText(dst, t)
	}
	return binary.AppendUvarint(dst, uint64(q.Limit))
}

// DecodeSessionQuery decodes a message that is exactly one query.
func DecodeSessionQuery(msg []byte, q *SessionQuery) error {
	r := reader{b: msg}
	r.tag(tagSessionQuery, "session query")
	*q = SessionQuery{End: r.bool("end"), ID: r.number("query id")}
	q.Tenant = string(r.text(maxTenant, "tenant"))
	q.Domain = string(r.text(maxDomain, "domain"))
	q.Account = string(r.text(maxAddress, "account"))
	q.Session = string(r.text(maxName, "session"))
	q.After = string(r.text(maxSessionKey, "after"))
	n := r.number("limit")
	switch {
	case n < 1 || n > MaxSessions:
		r.fail("limit")
	case q.End && q.Session == "":
		r.fail("session")
	}
	q.Limit = int(n)
	return r.end()
}

// AppendSessionReply appends a reply, which is a whole message.
func AppendSessionReply(dst []byte, p *SessionReply) []byte {
	dst = append(dst, byte(tagSessionReply), boolByte(p.More))
	dst = binary.AppendUvarint(dst, p.ID)
	dst = appendText(dst, p.Gateway)
	dst = binary.AppendUvarint(dst, uint64(len(p.Sessions)))
	for i := range p.Sessions {
		s := &p.Sessions[i]
		for _, t := range []string{s.ID, s.Tenant, s.Account, s.Resource, s.Grant, s.Remote, s.TLS, s.Mechanism, s.LogID} {
			dst = appendText(dst, t)
		}
		for _, n := range []uint64{
			s.Opened, uint64(s.Since.Unix()), uint64(s.Active.Unix()),
			s.PassedOut, s.RefusedOut, s.PassedIn, s.RefusedIn,
		} {
			dst = binary.AppendUvarint(dst, n)
		}
	}
	return dst
}

// DecodeSessionReply decodes a message that is exactly one reply.
func DecodeSessionReply(msg []byte, p *SessionReply) error {
	r := reader{b: msg}
	r.tag(tagSessionReply, "session reply")
	*p = SessionReply{More: r.bool("more"), ID: r.number("query id"), Gateway: string(r.token("gateway"))}
	for range r.count(MaxSessions, "sessions") {
		s := LiveSession{ID: string(r.text(maxName, "session id")), Tenant: string(r.tenant())}
		s.Account = string(r.text(maxAddress, "account"))
		s.Resource = string(r.text(maxAddress, "resource"))
		s.Grant = string(r.text(maxName, "grant"))
		s.Remote = string(r.text(maxName, "remote"))
		s.TLS = string(r.text(maxToken, "tls"))
		s.Mechanism = string(r.text(maxToken, "mechanism"))
		s.LogID = string(r.text(maxLogID, "log id"))
		s.Opened = r.number("opened")
		s.Since, s.Active = r.time("since"), r.time("active")
		s.PassedOut, s.RefusedOut = r.number("passed"), r.number("refused")
		s.PassedIn, s.RefusedIn = r.number("passed"), r.number("refused")
		if r.wrong != "" {
			break
		}
		p.Sessions = append(p.Sessions, s)
	}
	return r.end()
}

// time reads seconds since 1970, at most until the year 9999.
func (r *reader) time(field string) time.Time {
	const last = 253402300799
	n := r.number(field)
	if n > last {
		r.fail(field)
		return time.Time{}
	}
	return time.Unix(int64(n), 0)
}
