package gateway

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/postern-im/postern/gateway/negotiate"
	"github.com/postern-im/postern/internal/floodlog"
	"github.com/postern-im/postern/internal/limit"
)

// maxFailures bounds the keys of each set of failure counters. 64 Ki keys take a
// few MiB.
const maxFailures = 64 << 10

// limitedEvery is the time between two log lines about one source's log-ins
// that a limit has refused.
const limitedEvery = 10 * time.Second

// loginFailed is the message of the log line for each failed log-in. The filter
// in packaging/fail2ban matches it and the attributes that follow. Do not rename
// an attribute, and do not move it behind one whose value a client can choose.
const loginFailed = "log-in failed"

// logins limits log-ins by the number of failures, and logs each failure. There
// is no limit by account alone, because anyone could use it to lock an account.
type logins struct {
	logger  *slog.Logger
	metrics *metrics

	// limited logs log-ins that a limit has refused. A client can try these at
	// any rate, because the gateway refuses them without asking a server.
	limited *floodlog.Logger

	mu    sync.Mutex // guards the two below
	local failures   // by source
	wide  failures   // by IPv6 /48 network: one customer may hold all sources in it
}

// failures counts failed log-ins to each account from each network, and to all
// accounts from each network.
type failures struct {
	byAccount *limit.Buckets[claim]
	bySource  *limit.Buckets[limit.Source]
}

func newFailures(ofAccount, ofSource int) failures {
	return failures{
		byAccount: limit.NewBuckets[claim](limit.PerMinute(ofAccount), maxFailures),
		bySource:  limit.NewBuckets[limit.Source](limit.PerMinute(ofSource), maxFailures),
	}
}

// limit returns the limit that refuses log-ins to an account from a network:
// "address", "account", or "" if neither is reached.
func (f *failures) limit(account string, from limit.Source, now time.Time) string {
	switch {
	case f.bySource.Spent(from, now):
		return "address"
	case account != "" && f.byAccount.Spent(claim{account, from}, now):
		return "account"
	}
	return ""
}

func (f *failures) add(account string, from limit.Source, now time.Time) {
	f.bySource.Add(from, now)
	if account != "" {
		f.byAccount.Add(claim{account, from}, now)
	}
}

// A claim is an account and the source of an attempt to log in to it.
type claim struct {
	account string
	source  limit.Source
}

func newLogins(c *Config, m *metrics) *logins {
	return &logins{
		logger: c.Logger, metrics: m,
		limited: floodlog.New(floodlog.Config{Logger: c.Logger, Key: "source", Every: limitedEvery}),
		local:   newFailures(c.LoginFailures, c.LoginFailuresPerAddress),
		wide:    newFailures(siteShare*c.LoginFailures, siteShare*c.LoginFailuresPerAddress),
	}
}

// Run logs the log-ins that a limit has refused, until ctx is done.
func (l *logins) Run(ctx context.Context) { l.limited.Run(ctx) }

// Limited implements negotiate.Logins.
func (l *logins) Limited(a negotiate.Login) string {
	from, now := limit.SourceOf(a.Remote), time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	reached := l.local.limit(a.Account, from, now)
	if site, ok := from.Site(); ok && reached == "" {
		reached = l.wide.limit(a.Account, site, now)
	}
	return reached
}

// Failed implements negotiate.Logins.
func (l *logins) Failed(a negotiate.Login) {
	if guessed(a.Condition) {
		from, now := limit.SourceOf(a.Remote), time.Now()
		l.mu.Lock()
		l.local.add(a.Account, from, now)
		if site, ok := from.Site(); ok {
			l.wide.add(a.Account, site, now)
		}
		l.mu.Unlock()
	}
	l.metrics.loginFailures.WithLabelValues(a.Condition).Inc()
	who := []any{"domain", a.Domain, "tenant", a.Tenant, "mechanism", a.Mechanism, "account", a.Account}
	if a.Limit == "" {
		l.logger.Warn(loginFailed, append([]any{"source", addressOf(a.Remote), "condition", a.Condition}, who...)...)
		return
	}
	l.metrics.loginsLimited.WithLabelValues(a.Limit).Inc()
	l.limited.Say(slog.LevelWarn, addressOf(a.Remote), loginFailed, append([]any{"condition", a.Condition, "limit", a.Limit}, who...)...)
}

// guessed reports whether a SASL condition is the answer to a wrong guess. The
// other conditions mean that the client gives up or makes a mistake, or that the
// server has a fault.
func guessed(condition string) bool {
	switch condition {
	case "not-authorized", "account-disabled", "credentials-expired":
		return true
	}
	return false
}

// addressOf returns the IP address of a peer, without port and zone.
func addressOf(a net.Addr) string {
	if ip, ok := limit.IP(a); ok {
		return ip.String()
	}
	return a.String()
}
