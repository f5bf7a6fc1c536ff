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

	mu    sync.Mutex // guards the two below
	local failures   // by source
	wide  failures   // by IPv6 /48, whose holder has all the sources in it
}

// Failures are counted by account and network, and by network.
type failures struct {
	byAccount *shares.Counts[claim]
	bySource  *shares.Counts[source]
}

func newFailures(ofAccount, ofSource int) failures {
	return failures{
		byAccount: shares.NewCounts[claim](shares.PerMinute(ofAccount), maxFailures),
		bySource:  shares.NewCounts[source](shares.PerMinute(ofSource), maxFailures),
	}
}

// limit says which limit keeps an account from being tried from a network.
func (f *failures) limit(account string, from source, now time.Time) string {
	switch {
	case f.bySource.Spent(from, now):
		return "address"
	case account != "" && f.byAccount.Spent(claim{account, from}, now):
		return "account"
	}
	return ""
}

func (f *failures) add(account string, from source, now time.Time) {
	f.bySource.Add(from, now)
	if account != "" {
		f.byAccount.Add(claim{account, from}, now)
	}
}

// A claim is an account that somebody at a source says it is.
type claim struct {
	account string
	source  source
}

func newLogins(c *Config, m *metrics) *logins {
	return &logins{
		log: c.Log, metrics: m,
		local: newFailures(c.LoginFailures, c.LoginFailuresPerAddress),
		wide:  newFailures(siteShare*c.LoginFailures, siteShare*c.LoginFailuresPerAddress),
	}
}

// Limited implements negotiate.Logins.
func (l *logins) Limited(a negotiate.Login) string {
	from, now := sourceOf(a.Remote), time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	limit := l.local.limit(a.Account, from, now)
	if site, ok := siteOf(from); ok && limit == "" {
		limit = l.wide.limit(a.Account, site, now)
	}
	return limit
}

// Failed implements negotiate.Logins.
func (l *logins) Failed(a negotiate.Login) {
	if guessed(a.Condition) {
		from, now := sourceOf(a.Remote), time.Now()
		l.mu.Lock()
		l.local.add(a.Account, from, now)
		if site, ok := siteOf(from); ok {
			l.wide.add(a.Account, site, now)
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
