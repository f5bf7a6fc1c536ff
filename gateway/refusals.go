package gateway

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"time"

	"github.com/postern-im/postern/xmpp/stream"
)

const (
	// maxTelling bounds the clients that are being told of a limit at the same
	// time, so that a flood of connections does not cause a flood of answers.
	// Further connections are closed without an answer.
	maxTelling = 64
	// tellTimeout bounds the writing of one answer.
	tellTimeout = time.Second
)

// refuse closes a connection that exceeds a limit. It takes ownership of the
// connection. A client whose connection begins without TLS is told the reason.
func (g *Gateway) refuse(conn *connection, direct bool, limit string) {
	g.metrics.refused.Inc()
	g.over(limit, "remote", conn.RemoteAddr().String())
	if direct { // an answer would need a TLS handshake, which costs too much
		_ = conn.Conn.Close()
		return
	}
	select {
	case g.telling <- struct{}{}:
	default:
		_ = conn.Conn.Close()
		return
	}
	g.work.Go(func() {
		defer func() { <-g.telling }()
		condition, text := g.limits.told(limit)
		_ = conn.SetDeadline(time.Now().Add(tellTimeout))
		out := stream.AppendOpen(nil, stream.OpenTag{ID: rand.Text(), Version: "1.0"})
		out = (&stream.Error{Condition: condition, Text: text}).AppendTo(out)
		_, _ = conn.Write(stream.AppendClose(out))
		_ = conn.Close()
	})
}

// over counts and logs that a limit has been reached.
func (g *Gateway) over(limit string, attrs ...any) {
	g.metrics.overShare.WithLabelValues(limit).Inc()
	g.often.Say(slog.LevelWarn, limit, "limit reached", attrs...)
}

// places counts sessions towards the limits of accounts and tenants.
type places struct{ g *Gateway }

// Take implements negotiate.Places.
func (p places) Take(tenant, jid string, most uint64) (refusal string) {
	limit := p.g.limits.take(account{tenant, jid}, most)
	if limit == "" {
		return ""
	}
	p.g.over(limit, "tenant", tenant, "account", jid)
	if limit == bySessions {
		return fmt.Sprintf("too many sessions of this tenant: %d may be open", most)
	}
	_, refusal = p.g.limits.told(limit)
	return refusal
}

// Give implements negotiate.Places.
func (p places) Give(tenant, jid string) { p.g.limits.give(account{tenant, jid}) }
