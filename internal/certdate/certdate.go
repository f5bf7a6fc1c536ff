// Package certdate checks the validity period of a certificate, so that an
// operator is warned before clients fail. It reads no clock.
package certdate

import (
	"crypto/x509"
	"log/slog"
	"time"
)

const (
	// soon and late are the times before expiry at which a certificate is
	// reported, as a warning and as an error. For a short-lived certificate,
	// such as one of six days, the times are at most a third and a twelfth of
	// its life, because it is renewed later.
	soon = 30 * 24 * time.Hour
	late = 7 * 24 * time.Hour
)

// The messages that Look returns.
const (
	Early   = "a certificate is not valid yet"
	Expired = "a certificate has expired"
	Expires = "a certificate expires soon"
)

// Look returns the message to log about a certificate at the given time, and
// its level. The message is empty if there is nothing to report.
func Look(leaf *x509.Certificate, now time.Time) (slog.Level, string) {
	life, left := leaf.NotAfter.Sub(leaf.NotBefore), leaf.NotAfter.Sub(now)
	switch {
	case now.Before(leaf.NotBefore):
		return slog.LevelError, Early
	case left <= 0:
		return slog.LevelError, Expired
	case left <= min(late, life/12):
		return slog.LevelError, Expires
	case left <= min(soon, life/3):
		return slog.LevelWarn, Expires
	}
	return 0, ""
}
