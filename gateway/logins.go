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

// maxFailures bounds the accounts with sources, and the sources, whose failures
// are counted: 64 Ki of each are a few MiB.
const maxFailures = 64 << 10

// limitedEvery is how often one source's log-ins that were limited are told of.
const limitedEvery = 10 * time.Second

// loginFailed is the message of the line that is logged for each failed log-in.
// packaging/fail2ban matches it and the attributes that follow: none may be
// renamed or moved behind one that a client has a say in.
const loginFailed = "log-in failed"

// logins limit log-ins by what has failed, and log each failure. There is no
// limit by account alone, because anybody could lock anybody out by it.
type logins struct {
	logger  *slog.Logger
	metrics *metrics

	// limited tells of log-ins that were limited: a client that does not care may
	// try as fast as it can, since no server is asked.
	limited *floodlog.Logger

	mu    sync.Mutex // guards the two below
	local failures   // by source
	wide  failures   // by IPv6 /48, whose holder has all the sources in it
}

// Failures are counted by account and network, and by network.
type failures struct {
	byAccount *limit.Counts[claim]
	bySource  *limit.Counts[limit.Source]
}

func newFailures(ofAccount, ofSource int) failures {
	return failures{
		byAccount: limit.NewCounts[claim](limit.PerMinute(ofAccount), maxFailures),
		bySource:  limit.NewCounts[limit.Source](limit.PerMinute(ofSource), maxFailures),
	}
}

// limit says which limit keeps an account from being tried from a network.
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

// A claim is an account that somebody at a source says it is.
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

// Run tells of log-ins that were limited, until ctx is done.
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
	if ip, ok := limit.IP(a); ok {
		return ip.String()
	}
	return a.String()
}
