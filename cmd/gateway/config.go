package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/decision/overnats"
	"github.com/postern-im/postern/internal/daemon"
)

// envPrefix begins the names of the environment variables that override the file.
// For example, POSTERN_GATEWAY_LISTEN_STARTTLS sets starttls in [listen]. Commas
// separate the elements of a list.
const envPrefix = "POSTERN_GATEWAY_"

// config is the configuration. A setting that is not given has the value of
// defaults.
type config struct {
	// ID identifies this gateway to the policy nodes: a-z and 0-9. The NATS key
	// of the gateway is valid for this id only.
	ID     string `toml:"id"`
	Listen struct {
		STARTTLS  []string `toml:"starttls"`
		DirectTLS []string `toml:"direct_tls"`
		HTTP      string   `toml:"http"` // metrics and health, on loopback; empty: none
	} `toml:"listen"`
	Certificates struct {
		Directory  string `toml:"directory"`
		SelfSigned bool   `toml:"self_signed"` // demonstrations only
	} `toml:"certificates"`
	Backend struct {
		Roots string `toml:"roots"` // PEM; empty: the system's roots
	} `toml:"backend"`
	NATS struct {
		// URLs are the NATS servers. The gateway connects to each of them, so a policy
		// node that hangs with its server delays nothing.
		URLs []string `toml:"urls"`
		// ServerName is the name of the servers, or the part of it before a hyphen.
		ServerName string `toml:"server_name"`
		SeedFile   string `toml:"seed_file"`
		CA         string `toml:"ca"` // PEM; empty: no TLS, on loopback only
	} `toml:"nats"`
	Limits struct {
		Connections int `toml:"connections"`
		PerAddress  int `toml:"per_address"`
		// Connections from one address that have no session yet.
		Unauthenticated    int             `toml:"unauthenticated"`
		SessionsPerAccount int             `toml:"sessions_per_account"`
		Drain              daemon.Duration `toml:"drain"`
		// Failed log-ins per minute: to one account from one address, and to all
		// accounts from one address.
		LoginFailures           int `toml:"login_failures"`
		LoginFailuresPerAddress int `toml:"login_failures_per_address"`
		// Reading from a session's client: bytes per second and at once, and
		// stanzas per second and at once.
		Rate        int `toml:"rate"`
		Burst       int `toml:"burst"`
		Stanzas     int `toml:"stanzas"`
		StanzaBurst int `toml:"stanza_burst"`
	} `toml:"limits"`
	// Proxy lists the networks of trusted proxies, such as 10.0.0.0/8. Connections
	// from them must begin with a PROXY header.
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

// loadConfig reads the file and the environment, and checks the result; see
// daemon.Load.
func loadConfig(path string, environ []string) (*config, error) {
	return daemon.Load(defaults(), path, envPrefix, environ)
}

// minRate and minBurst are the lowest values of rate and burst. At minRate, a
// stanza of 256 KiB arrives within a minute.
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
	refuse(!decision.IsToken(c.ID), fmt.Sprintf("id %q: want 1 to 32 characters of a-z and 0-9", c.ID))
	refuse(len(c.Listen.STARTTLS)+len(c.Listen.DirectTLS) == 0, "listen: no address for clients")
	least := slices.Min([]int{c.Limits.Connections, c.Limits.PerAddress, c.Limits.Unauthenticated, c.Limits.SessionsPerAccount,
		c.Limits.LoginFailures, c.Limits.LoginFailuresPerAddress,
		c.Limits.Rate, c.Limits.Burst, c.Limits.Stanzas, c.Limits.StanzaBurst})
	refuse(least <= 0, "limits: every limit must be positive")
	refuse(least > 0 && (c.Limits.Rate < minRate || c.Limits.Burst < minBurst),
		fmt.Sprintf("limits: rate must be at least %d bytes a second and burst at least %d bytes: otherwise a stanza of the maximum size does not arrive in time", minRate, minBurst))
	refuse(c.Certificates.Directory == "" && !c.Certificates.SelfSigned, "certificates: no directory")
	refuse(len(c.NATS.URLs) > overnats.MaxLinks, fmt.Sprintf("nats: urls: at most %d, because the gateway connects to each of them", overnats.MaxLinks))
	for i, url := range c.NATS.URLs {
		refuse(slices.Contains(c.NATS.URLs[:i], url), fmt.Sprintf("nats: urls: entry %d repeats an earlier one", i+1))
	}
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

// proxies returns the networks in [proxy] trusted. It refuses a network of all
// addresses, because any client could then claim any address as its own.
func (c *config) proxies() (list []netip.Prefix, err error) {
	for _, text := range c.Proxy.Trusted {
		p, err := netip.ParsePrefix(text)
		if err != nil || p != p.Masked() || p.Addr().Is4In6() || p.Bits() == 0 {
			return nil, fmt.Errorf("proxy: trusted: %q is not a network of proxies; write it as 10.0.0.0/8, 192.0.2.1/32 or 2001:db8::/32", text)
		}
		list = append(list, p)
	}
	return list, nil
}
