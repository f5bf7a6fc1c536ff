package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/postern-im/postern/api/server"
	"github.com/postern-im/postern/decision/overnats"
	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/internal/certdate"
	"github.com/postern-im/postern/internal/daemon"
	"github.com/postern-im/postern/internal/natsserver"
)

// checkAll loads the configuration and checks the files and addresses that policyd
// opens when it starts. It changes nothing. It does not read the log; policyctl
// verify does that.
func checkAll(path string, environ []string, init bool) *daemon.Findings {
	f := new(daemon.Findings)
	c, err := loadConfig(path, environ)
	f.Error("", err)
	if c == nil {
		return f // the settings are unknown
	}
	if c.Data != "" {
		c.examineData(f, init)
	}
	c.examineAdmin(f, time.Now())
	c.examineNATS(f, time.Now())
	if c.clustered() {
		c.examineCluster(f, time.Now())
	}
	if c.Listen.HTTP != "" {
		f.Error("listen: http", daemon.CheckListen(c.Listen.HTTP))
	}
	return f
}

// examineData checks the data folder.
func (c *config) examineData(f *daemon.Findings, init bool) {
	for _, dir := range []string{c.Data, c.logDir(), c.natsDir()} {
		if err := daemon.CheckFolder(dir); err != nil {
			f.Error("data", err)
			return // checks of the files in it would only repeat the error
		}
	}
	f.Warn("data", daemon.CheckPrivate(c.Data))
	// A nearly full disk is no error here: policyd must start, even behind a check
	// in its unit, so that policyctl works while an operator makes room.
	prevents, limits := c.room()
	f.Warn("data", prevents)
	f.Warn("data", limits)
	if left := eventlog.Restoring(c.logDir()); exists(left) {
		f.Error("data", fmt.Errorf("a restore was interrupted and has left %s: run policyctl restore again, or remove that folder", left))
	}
	_, err := c.checkInstallation(init)
	f.Error("", err)
	for _, file := range []string{c.adminCalls(), c.journal()} {
		f.Error("data", daemon.CheckAppend(file))
		f.Warn("data", daemon.CheckPrivate(file))
	}
	if len(c.NATS.URLs) > 0 {
		return // the external NATS servers hold the gateways' keys
	}
	for _, id := range c.gateways() {
		if _, err := natsserver.ReadSeed(c.gatewaySeed(id)); !errors.Is(err, fs.ErrNotExist) {
			f.Error("nats: key of gateway "+id, err)
		}
	}
}

// examineAdmin checks the admin socket and the admin port.
func (c *config) examineAdmin(f *daemon.Findings, now time.Time) {
	if c.Admin.Socket != "" {
		f.Error("", server.CheckSocket(c.Admin.Socket))
		f.Error("admin: socket", daemon.CheckFolder(filepath.Dir(c.Admin.Socket)))
	}
	if c.Admin.Listen != "" {
		f.Error("admin: listen", daemon.CheckListen(c.Admin.Listen))
	}
	if c.Admin.Cert != "" && c.Admin.Key != "" {
		examineCertificate(f, "admin", c.Admin.Cert, c.Admin.Key, now)
	}
}

// examineNATS checks the embedded NATS server, or the connection to external ones.
func (c *config) examineNATS(f *daemon.Findings, now time.Time) {
	if len(c.NATS.URLs) > 0 {
		ca, err := daemon.Roots(c.NATS.CA)
		f.Error("nats: ca", err)
		if err == nil {
			f.Error("nats", overnats.ConnectConfig{URLs: c.NATS.URLs, SeedFile: c.NATS.SeedFile, TLS: ca}.Check())
		}
		return
	}
	f.Error("nats: listen", daemon.CheckListen(c.NATS.Listen))
	certificate := c.NATS.Cert != "" || c.NATS.Key != ""
	if certificate {
		examineCertificate(f, "nats", c.NATS.Cert, c.NATS.Key, now)
		if _, err := tls.LoadX509KeyPair(c.NATS.Cert, c.NATS.Key); err != nil {
			return // the error is reported, and the server would report the same
		}
	}
	key, err := natsserver.NewKey()
	if err != nil {
		f.Error("nats", err)
		return
	}
	public, err := key.PublicKey()
	f.Error("nats", err)
	f.Error("", natsserver.Config{
		Listen: c.NATS.Listen, ServerName: c.NATS.ServerName, Users: []natsserver.User{{PublicKey: public}},
		CertFile: c.NATS.Cert, KeyFile: c.NATS.Key, StoreDir: c.natsDir(),
	}.Check())
}

// examineCertificate checks a certificate and its private key. An expired certificate
// is a warning: policyd starts with it and serves what does not need it. An error would
// prevent the start, because the unit of systemd runs the check first.
func examineCertificate(f *daemon.Findings, setting, cert, key string, now time.Time) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		f.Error(setting+": certificate", err)
		return
	}
	f.Warn(setting+": key", daemon.CheckPrivate(key))
	if _, message := certdate.Look(pair.Leaf, now); message != "" {
		f.Warn(setting, fmt.Errorf("%s: %s (until %s)", cert, message, pair.Leaf.NotAfter.UTC().Format(time.DateOnly)))
	}
}

// examineCluster checks this node's log server, or the connection to the operator's
// NATS servers.
func (c *config) examineCluster(f *daemon.Findings, now time.Time) {
	n := &c.Cluster
	if len(n.URLs) > 0 {
		ca, err := daemon.Roots(n.URLsCA)
		f.Error("cluster: nats_ca", err)
		if err == nil {
			f.Error("cluster", overnats.ConnectConfig{URLs: n.URLs, SeedFile: n.SeedFile, TLS: ca}.Check())
		}
		return
	}
	f.Error("cluster: data", daemon.CheckFolder(c.logServerDir()))
	if n.Listen != "" {
		f.Error("cluster: listen", daemon.CheckListen(n.Listen))
	}
	if n.Cert == "" || n.Key == "" {
		return // the error is reported
	}
	examineCertificate(f, "cluster", n.Cert, n.Key, now)
	for _, doubt := range c.doubts() {
		f.Warn("cluster", doubt)
	}
	config, err := c.logServer()
	if err == nil {
		f.Error("cluster", config.Check())
	}
}
