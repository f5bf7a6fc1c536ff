package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/postern-im/postern/decision/overnats"
	"github.com/postern-im/postern/gateway"
	"github.com/postern-im/postern/internal/daemon"
)

// checkAll loads the configuration and checks the files and addresses that the
// gateway opens when it starts. It changes nothing.
func checkAll(path string, environ []string) *daemon.Findings {
	f := new(daemon.Findings)
	c, err := loadConfig(path, environ)
	f.Error("", err)
	if c == nil {
		return f // the settings are unknown
	}
	c.examine(f, time.Now())
	return f
}

// examine checks the files and addresses that the gateway opens when it starts.
func (c *config) examine(f *daemon.Findings, now time.Time) {
	for _, a := range c.Listen.STARTTLS {
		f.Error("listen: starttls", daemon.CheckListen(a))
	}
	for _, a := range c.Listen.DirectTLS {
		f.Error("listen: direct_tls", daemon.CheckListen(a))
	}
	if c.Listen.HTTP != "" {
		f.Error("listen: http", daemon.CheckListen(c.Listen.HTTP))
	}
	c.examineCertificates(f, now)
	_, err := daemon.Roots(c.Backend.Roots)
	f.Error("backend: roots", err)
	natsTLS, err := daemon.Roots(c.NATS.CA)
	f.Error("nats: ca", err)
	if err == nil {
		f.Error("nats", overnats.ConnectConfig{URLs: c.NATS.URLs, ServerName: c.NATS.ServerName, SeedFile: c.NATS.SeedFile, TLS: natsTLS}.Check())
	}
	if c.NATS.SeedFile == "" {
		f.Warn("nats", errors.New("no seed_file: policyd's own NATS server accepts no client without a key"))
	}
}

func (c *config) examineCertificates(f *daemon.Findings, now time.Time) {
	if c.Certificates.Directory == "" {
		return // config.Check reports a missing directory if it is an error
	}
	certs := gateway.NewCertificates(c.Certificates.Directory, c.Certificates.SelfSigned)
	if _, err := certs.Load(); err != nil && c.Certificates.SelfSigned {
		f.Warn("certificates", err)
	} else {
		f.Error("", err) // err begins with the name of the setting
	}
	if keys, err := certs.KeyFiles(); err == nil { // if it fails, Load has reported the error
		for _, key := range keys {
			f.Warn("certificates: key", daemon.CheckPrivate(key))
		}
	}
	// An expired certificate is a warning: the gateway starts with it and serves the
	// other domains. An error would prevent the start, because the unit of systemd runs
	// the check first.
	for _, n := range certs.Notices(now) {
		f.Warn("certificates", fmt.Errorf("%s: %s (until %s, for %q)", n.Domain, n.Message, n.Expires.UTC().Format(time.DateOnly), n.Names))
	}
}
