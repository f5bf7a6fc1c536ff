package gateway

import (
	"crypto/tls"
	"net"
	"slices"
	"strings"

	"github.com/postern-im/postern/decision"
)

// Sessions answers a policy node's query about the bound sessions of this
// gateway. If q.End is set, it ends the sessions that match: the gateway then
// stops reading from their clients and backends. Sessions does not wait for
// the network, and holds a lock only while it copies the list of sessions.
func (g *Gateway) Sessions(q *decision.SessionQuery) (r decision.SessionReply) {
	for _, s := range g.sessions.of(account{tenant: q.Tenant, jid: ""}) {
		l := s.Live()
		if !q.Wants(&l) {
			continue
		}
		if q.End {
			s.End("reset", "Ended by an administrator")
			g.logger.Info("session ended by an administrator", "session", l.ID, "tenant", l.Tenant, "jid", l.Account+"/"+l.Resource)
		}
		r.Sessions = append(r.Sessions, l)
	}
	slices.SortFunc(r.Sessions, func(a, b decision.LiveSession) int { return strings.Compare(a.Key(), b.Key()) })
	if limit := min(q.Limit, decision.MaxSessions); len(r.Sessions) > limit {
		r.Sessions, r.More = r.Sessions[:limit], true
	}
	return r
}

// tlsVersion returns the name of a connection's TLS version, or "" without TLS.
func tlsVersion(c net.Conn) string {
	if c, ok := c.(*tls.Conn); ok {
		return tls.VersionName(c.ConnectionState().Version)
	}
	return ""
}
