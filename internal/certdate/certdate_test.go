package certdate

import (
	"crypto/x509"
	"log/slog"
	"testing"
	"time"
)

func TestLook(t *testing.T) {
	const day = 24 * time.Hour
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		life, at time.Duration
		level    slog.Level
		message  string
	}{
		{365 * day, -time.Second, slog.LevelError, Early},
		{365 * day, 0, 0, ""},
		{365 * day, 335*day - time.Second, 0, ""},
		{365 * day, 335 * day, slog.LevelWarn, Expires},
		{365 * day, 358*day - time.Second, slog.LevelWarn, Expires},
		{365 * day, 358 * day, slog.LevelError, Expires},
		{365 * day, 365 * day, slog.LevelError, Expired},
		{365 * day, 400 * day, slog.LevelError, Expired},
		{90 * day, 59 * day, 0, ""},
		{90 * day, 60 * day, slog.LevelWarn, Expires},
		{90 * day, 83 * day, slog.LevelError, Expires},
		{6 * day, 3 * day, 0, ""}, // short-lived, and renewed near expiry
		{6 * day, 4 * day, slog.LevelWarn, Expires},
		{6 * day, 132 * time.Hour, slog.LevelError, Expires},
	} {
		leaf := &x509.Certificate{NotBefore: begin, NotAfter: begin.Add(c.life)}
		if level, message := Look(leaf, begin.Add(c.at)); level != c.level || message != c.message {
			t.Errorf("of %v after %v: %v %q, want %v %q", c.life, c.at, level, message, c.level, c.message)
		}
	}
}
