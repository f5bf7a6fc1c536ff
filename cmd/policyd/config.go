package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/internal/daemon"
	"github.com/postern-im/postern/node/datafolder"
)

// envPrefix begins the names of the environment variables that override the file.
// For example, POSTERN_POLICYD_NATS_LISTEN sets listen in [nats]. Commas separate
// the elements of a list.
const envPrefix = "POSTERN_POLICYD_"

// config is the configuration. A setting that is not given has the value of
// defaults.
type config struct {
	// ID identifies this node to gateways and in records: a-z and 0-9.
	ID string `toml:"id"`
	// Data is the folder that holds the log, the records and the keys.
	Data  string `toml:"data"`
	Admin struct {
		Socket string `toml:"socket"`
		// Listen is the address of the admin port, for clients with tokens. Empty:
		// no admin port. Off loopback, Cert and Key are required. policyd reads
		// them again on SIGHUP.
		Listen string `toml:"listen"`
		Cert   string `toml:"cert"`
		Key    string `toml:"key"`
	} `toml:"admin"`
	NATS struct {
		Listen     string `toml:"listen"`
		ServerName string `toml:"server_name"`
		// Gateways are the ids of the first gateways; nil means defaultGateway. With
		// the embedded server, each id that the log has never known is registered
		// when policyd starts, with the key in Data/nats/ID.nkey, which policyd makes
		// if it is missing. From then on, only the log says which gateways may
		// connect. With external servers, the node expects these gateways besides the
		// registered ones: it asks them about live sessions, and reports those that
		// do not answer as missing.
		Gateways []string `toml:"gateways"`
		Cert     string   `toml:"cert"` // PEM; required off loopback
		Key      string   `toml:"key"`
		// URLs, if given, are the addresses of external NATS servers, and the
		// embedded server is not started. SeedFile and CA are then for this node's
		// connection to them.
		URLs     []string `toml:"urls"`
		SeedFile string   `toml:"seed_file"`
		CA       string   `toml:"ca"` // PEM; empty: no TLS, on loopback only
	} `toml:"nats"`
	Listen struct {
		HTTP string `toml:"http"` // metrics and health, on loopback; empty: none
	} `toml:"listen"`
	Cluster   clusterConfig `toml:"cluster"`
	Snapshots struct {
		// Every is the number of commits between two snapshots. A start applies
		// at most about as many.
		Every int `toml:"every"`
	} `toml:"snapshots"`
	Log daemon.Log `toml:"log"`
}

// defaultGateway is the id of the first gateway if the configuration names none. It is
// also the gateway program's default.
const defaultGateway = "gateway"

func defaults() *config {
	c := new(config)
	c.ID = "node"
	c.Data = "/var/lib/postern"
	c.Admin.Socket = api.DefaultSocket
	c.NATS.Listen = "127.0.0.1:4222"
	c.NATS.ServerName = "postern"
	c.Listen.HTTP = "127.0.0.1:9523"
	c.Snapshots.Every = 100_000
	return c
}

// loadConfig reads the file and the environment, and checks the result; see
// daemon.Load.
func loadConfig(path string, environ []string) (*config, error) {
	return daemon.Load(defaults(), path, envPrefix, environ)
}

// Check implements daemon.Config.
func (c *config) Check() error {
	var errs []error
	refuse := func(when bool, text string) {
		if when {
			errs = append(errs, errors.New(text))
		}
	}
	own := len(c.NATS.URLs) == 0 // the embedded server
	refuse(!decision.IsToken(c.ID), fmt.Sprintf("id %q: want 1 to 32 characters of a-z and 0-9", c.ID))
	refuse(c.Data == "", "data: no folder")
	refuse(c.Snapshots.Every < 1, "snapshots: every: want a positive number of commits")
	refuse(c.Admin.Socket == "", "admin: no socket")
	refuse(own && c.NATS.ServerName == "", "nats: no server_name; gateways check it")
	refuse(!own && c.NATS.SeedFile == "", "nats: urls requires a seed_file")
	if _, err := c.Log.Logger(io.Discard); err != nil {
		errs = append(errs, err)
	}
	if err := c.checkAdmin(); err != nil {
		errs = append(errs, fmt.Errorf("admin: listen: %w", err))
	}
	if c.clustered() {
		errs = append(errs, c.checkCluster())
	}
	errs = append(errs, c.checkGateways())
	if c.Listen.HTTP != "" {
		if err := daemon.CheckLoopback(c.Listen.HTTP); err != nil {
			errs = append(errs, fmt.Errorf("listen: http: %w", err))
		}
	}
	return errors.Join(errs...)
}

// gateways returns the ids of the first gateways. A cluster has none: its gateways are
// added to its log.
func (c *config) gateways() []string {
	if c.NATS.Gateways == nil && !c.clustered() {
		return []string{defaultGateway}
	}
	return c.NATS.Gateways
}

// checkGateways refuses ids of gateways that cannot be part of a NATS subject.
func (c *config) checkGateways() error {
	var errs []error
	seen := make(map[string]bool)
	for _, id := range c.NATS.Gateways {
		if !decision.IsToken(id) || seen[id] {
			errs = append(errs, fmt.Errorf("nats: gateways: %q: want distinct ids of 1 to 32 characters of a-z and 0-9", id))
		}
		seen[id] = true
	}
	return errors.Join(errs...)
}

// checkAdmin refuses settings with which tokens would cross a network unencrypted.
func (c *config) checkAdmin() error {
	a := &c.Admin
	if (a.Cert == "") != (a.Key == "") {
		return errors.New("give both cert and key, or neither")
	}
	if a.Listen == "" || a.Cert != "" {
		return nil
	}
	if daemon.CheckLoopback(a.Listen) != nil {
		return fmt.Errorf("%s is not on loopback, so tokens would cross the network in clear: give cert and key, or listen on 127.0.0.1", a.Listen)
	}
	return nil
}

// The folders and files in Data.

func (c *config) logDir() string               { return datafolder.Log(c.Data) }
func (c *config) natsDir() string              { return datafolder.Keys(c.Data) }
func (c *config) gatewaySeed(id string) string { return filepath.Join(c.natsDir(), id+".nkey") }
func (c *config) adminCalls() string           { return filepath.Join(c.Data, "admin.jsonl") }
func (c *config) journal() string              { return filepath.Join(c.Data, "decisions.jsonl") }
