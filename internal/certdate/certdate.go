// Package certdate says how a certificate stands with time, so that an operator
// hears of its end before clients do. It reads no clock.
package certdate

import (
	"crypto/x509"
	"log/slog"
	"time"
)

const (
	// soon and late are how long before its end a certificate is spoken of, as
	// a warning and as an error. One that lives shorter than usual, as those
	// of six days do, is renewed later: they are no more than a third and a
	// twelfth of its life.
	soon = 30 * 24 * time.Hour
	late = 7 * 24 * time.Hour
)

// The messages of Look.
const (
	Early   = "a certificate is not valid yet"
	Expired = "a certificate has expired"
	Expires = "a certificate expires soon"
)

// Look says what is to be told of a certificate at a time, and how loudly; an
// empty message is nothing.
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
