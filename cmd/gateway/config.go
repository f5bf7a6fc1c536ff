package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/internal/daemon"
)

// envPrefix begins the environment variables that override the file:
// POSTERN_GATEWAY_LISTEN_STARTTLS is starttls in [listen]. Lists are separated
// by commas.
const envPrefix = "POSTERN_GATEWAY_"

// config is the configuration file. What is left out is as in defaults.
type config struct {
	// ID names this gateway to the policy nodes: a-z and 0-9. It is the one
	// its NATS user was made for.
	ID     string `toml:"id"`
	Listen struct {
		STARTTLS  []string `toml:"starttls"`
		DirectTLS []string `toml:"direct_tls"`
		HTTP      string   `toml:"http"` // metrics and health, loopback; empty: none
	} `toml:"listen"`
	Certificates struct {
		Directory  string `toml:"directory"`
		SelfSigned bool   `toml:"self_signed"` // demonstrations only
	} `toml:"certificates"`
	Backend struct {
		Roots string `toml:"roots"` // PEM; empty: the system's
	} `toml:"backend"`
	NATS struct {
		URLs       []string `toml:"urls"`
		ServerName string   `toml:"server_name"`
		SeedFile   string   `toml:"seed_file"`
		CA         string   `toml:"ca"` // PEM; empty: no TLS, loopback only
	} `toml:"nats"`
	Limits struct {
		Connections int `toml:"connections"`
		PerAddress  int `toml:"per_address"`
		// Of an address's connections, those without a session yet.
		Unauthenticated    int             `toml:"unauthenticated"`
		SessionsPerAccount int             `toml:"sessions_per_account"`
		Drain              daemon.Duration `toml:"drain"`
		// Failed log-ins a minute, of one account from one address, and of all
		// accounts from one address.
		LoginFailures           int `toml:"login_failures"`
		LoginFailuresPerAddress int `toml:"login_failures_per_address"`
		// What is read of a session's client: bytes and stanzas a second, and so
		// many at once.
		Rate        int `toml:"rate"`
		Burst       int `toml:"burst"`
		Stanzas     int `toml:"stanzas"`
		StanzaBurst int `toml:"stanza_burst"`
	} `toml:"limits"`
	// Proxy names the networks, as 10.0.0.0/8, from which connections must begin
	// with a PROXY header.
	Proxy struct {
		Trusted []string `toml:"trusted"`
	} `toml:"proxy"`
	Log daemon.Log `toml:"log"`
}

func defaults() *config {
	c := new(config)
	c.ID = "gateway"
	c.Listen.STARTTLS = []string{":5222"}
	c.Listen.DirectTLS = []string{":5223"}
	c.Listen.HTTP = "127.0.0.1:9522"
	c.Certificates.Directory = "/etc/postern/certificates"
	c.NATS.URLs = []string{"nats://127.0.0.1:4222"}
	c.Limits.Connections = 10_000
	c.Limits.PerAddress = 64
	c.Limits.Unauthenticated = 16
	c.Limits.SessionsPerAccount = 20
	c.Limits.LoginFailures = 10
	c.Limits.LoginFailuresPerAddress = 60
	c.Limits.Rate = 32 << 10
	c.Limits.Burst = 256 << 10
	c.Limits.Stanzas = 50
	c.Limits.StanzaBurst = 500
	c.Limits.Drain = daemon.Duration(30 * time.Second)
	return c
}

// loadConfig reads the file, then the environment, and checks both; see
// daemon.Load.
func loadConfig(path string, environ []string) (*config, error) {
	return daemon.Load(defaults(), path, envPrefix, environ)
}

// A stanza of 256 KiB must arrive within a minute.
const (
	minRate  = 8 << 10
	minBurst = 8 << 10
)

// Check implements daemon.Config.
func (c *config) Check() error {
	var errs []error
	refuse := func(when bool, text string) {
		if when {
			errs = append(errs, errors.New(text))
		}
	}
	refuse(!decision.IsToken(c.ID), fmt.Sprintf("id %q: want one to 32 of a-z and 0-9", c.ID))
	refuse(len(c.Listen.STARTTLS)+len(c.Listen.DirectTLS) == 0, "listen: no address for clients")
	least := slices.Min([]int{c.Limits.Connections, c.Limits.PerAddress, c.Limits.Unauthenticated, c.Limits.SessionsPerAccount,
		c.Limits.LoginFailures, c.Limits.LoginFailuresPerAddress,
		c.Limits.Rate, c.Limits.Burst, c.Limits.Stanzas, c.Limits.StanzaBurst})
	refuse(least <= 0, "limits: must be positive")
	refuse(least > 0 && (c.Limits.Rate < minRate || c.Limits.Burst < minBurst),
		fmt.Sprintf("limits: rate must be at least %d bytes a second and burst %d bytes: else a stanza of the largest size does not arrive in time", minRate, minBurst))
	refuse(c.Certificates.Directory == "" && !c.Certificates.SelfSigned, "certificates: no directory")
	if _, err := c.Log.Logger(io.Discard); err != nil {
		errs = append(errs, err)
	}
	if _, err := c.proxies(); err != nil {
		errs = append(errs, err)
	}
	if c.Listen.HTTP != "" {
		if err := daemon.CheckLoopback(c.Listen.HTTP); err != nil {
			errs = append(errs, fmt.Errorf("listen: http: %w", err))
		}
	}
	return errors.Join(errs...)
}

// proxies are the networks of [proxy] trusted. All addresses there are would let
// any client name any address as its own.
func (c *config) proxies() (list []netip.Prefix, err error) {
	for _, text := range c.Proxy.Trusted {
		p, err := netip.ParsePrefix(text)
		if err != nil || p != p.Masked() || p.Addr().Is4In6() || p.Bits() == 0 {
			return nil, fmt.Errorf("proxy: trusted: %q is no network of proxies; write it as 10.0.0.0/8, 192.0.2.1/32 or 2001:db8::/32", text)
		}
		list = append(list, p)
	}
	return list, nil
}
