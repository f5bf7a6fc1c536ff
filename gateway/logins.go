package gateway

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/postern-im/postern/gateway/negotiate"
	"github.com/postern-im/postern/gateway/shares"
)

// maxFailures bounds the accounts with sources, and the sources, whose failures
// are counted: 64 Ki of each are a few MiB.
const maxFailures = 64 << 10

// loginFailed is the message of the line that is logged for each failed log-in.
// packaging/fail2ban matches it and the attributes that follow: none may be
// renamed or moved behind one that a client has a say in.
const loginFailed = "log-in failed"

// logins limit log-ins by what has failed, and log each failure. There is no
// limit by account alone, because anybody could lock anybody out by it.
type logins struct {
	log     *slog.Logger
	metrics *metrics

	mu        sync.Mutex // guards the two below
	byAccount *shares.Counts[claim]
	bySource  *shares.Counts[source]
}

// A claim is an account that somebody at a source says it is.
type claim struct {
	account string
	source  source
}

func newLogins(c *Config, m *metrics) *logins {
	return &logins{
		log: c.Log, metrics: m,
		byAccount: shares.NewCounts[claim](shares.PerMinute(c.LoginFailures), maxFailures),
		bySource:  shares.NewCounts[source](shares.PerMinute(c.LoginFailuresPerAddress), maxFailures),
	}
}

// Limited implements negotiate.Logins.
func (l *logins) Limited(a negotiate.Login) string {
	from, now := sourceOf(a.Remote), time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.bySource.Spent(from, now):
		return "address"
	case a.Account != "" && l.byAccount.Spent(claim{a.Account, from}, now):
		return "account"
	}
	return ""
}

// Failed implements negotiate.Logins.
func (l *logins) Failed(a negotiate.Login) {
	if guessed(a.Condition) {
		from, now := sourceOf(a.Remote), time.Now()
		l.mu.Lock()
		l.bySource.Add(from, now)
		if a.Account != "" {
			l.byAccount.Add(claim{a.Account, from}, now)
		}
		l.mu.Unlock()
	}
	l.metrics.loginFailures.WithLabelValues(a.Condition).Inc()
	attrs := []any{"source", addressOf(a.Remote), "condition", a.Condition}
	if a.Limit != "" {
		l.metrics.loginsLimited.WithLabelValues(a.Limit).Inc()
		attrs = append(attrs, "limit", a.Limit)
	}
	l.log.Warn(loginFailed, append(attrs, "domain", a.Domain, "tenant", a.Tenant, "mechanism", a.Mechanism, "account", a.Account)...)
}

// guessed reports whether a SASL condition is what a wrong guess is answered
// with. The others are of clients that cannot or do not want to go on, and of
// servers that cannot.
func guessed(condition string) bool {
	switch condition {
	case "not-authorized", "account-disabled", "credentials-expired":
		return true
	}
	return false
}

// addressOf is the IP address of a peer, without port and zone.
func addressOf(a net.Addr) string {
	if ip, ok := ipOf(a); ok {
		return ip.String()
	}
	return a.String()
}

func ipOf(a net.Addr) (ip netip.Addr, ok bool) {
	ap, err := netip.ParseAddrPort(a.String())
	return ap.Addr().Unmap().WithZone(""), err == nil
}
