package gateway

import (
	"crypto/tls"
	"net"
	"slices"
	"strings"

	"github.com/postern-im/postern/decision"
)

// Sessions answers what a node asks about the bound sessions of this gateway,
// and ends the one it is to end: from then on nothing of it is read any more.
// It waits for no peer, and holds no lock but while it copies pointers.
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

// tlsVersion names the version of TLS a connection has; empty: it has none.
func tlsVersion(c net.Conn) string {
	if c, ok := c.(*tls.Conn); ok {
		return tls.VersionName(c.ConnectionState().Version)
	}
	return ""
}
