package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-im/postern/api/server"
	audit "github.com/postern-im/postern/audit/jsonl"
	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/decision/overnats"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/internal/daemon"
	"github.com/postern-im/postern/internal/natsserver"
	"github.com/postern-im/postern/node"
)

// A process holds the parts of a running policyd, in the order in which they are
// created. They are closed in reverse order.
type process struct {
	config   *config
	init     bool   // begin a new installation
	reserve  uint64 // recordReserve, or a test's
	logger   *slog.Logger
	registry *prometheus.Registry
	started  time.Time

	events    *eventlog.Log
	journal   *audit.Writer      // of decisions
	calls     *audit.Writer      // of the admin API
	server    *natsserver.Server // nil: external NATS servers
	refusals  *refusals          // nil if server is nil
	conn      *nats.Conn
	link      *overnats.Link
	cluster   *membership // nil: stand-alone
	node      *node.Node
	responder *overnats.Responder
	directory *overnats.SessionDirectory
	keys      *keyring
	worker    *worker
	admin     *server.Server
	socket    net.Listener
	network   *adminNetwork // nil: none
	health    net.Listener  // nil: none
	built     atomic.Bool   // all parts are made and started
	notifier  *daemon.Notifier
}

// run runs a policy node until ctx is done. With init, it begins a new installation
// even if the data folder holds files of an earlier one.
func run(ctx context.Context, c *config, init bool) error {
	p, err := newProcess(c, init)
	if err != nil {
		return err
	}
	return p.run(ctx)
}

func newProcess(c *config, init bool) (*process, error) {
	logger, err := c.Log.Logger(os.Stderr)
	if err != nil {
		return nil, err
	}
	p := &process{config: c, init: init, reserve: recordReserve, logger: logger, registry: daemon.NewRegistry(), link: new(overnats.Link), started: time.Now()}
	p.registry.MustRegister(certificateCollector{p})
	p.notifier, err = daemon.NewNotifier(os.Environ(), func() { _ = p.ready() })
	return p, err
}

// run builds the parts, runs them until ctx is done, and closes them.
func (p *process) run(ctx context.Context) error {
	err := p.build()
	if err == nil {
		err = p.serve(ctx)
	}
	return errors.Join(err, p.close())
}

// build creates the parts and opens the ports. It serves nothing yet. A node of a
// cluster gets its node and its admin API only once its log is bound to the cluster,
// because they need the id of the log: see serve.
func (p *process) build() error {
	steps := []func() error{p.openLog, p.connect, p.listenHealth}
	if p.config.clustered() {
		// A wrong folder of the socket must not come to light only after the join.
		steps = append(steps, func() error { return server.CheckSocket(p.config.Admin.Socket) }, p.makeMembership)
	} else {
		steps = append(steps, p.makeNode, p.listen)
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (p *process) openLog() (err error) {
	c := p.config
	if left := eventlog.Restoring(c.logDir()); exists(left) {
		return fmt.Errorf("open the log: a restore was interrupted and has left %s: run policyctl restore again, or remove that folder", left)
	}
	existing, err := c.checkInstallation(p.init)
	if err != nil {
		return err
	}
	for _, dir := range []string{c.Data, c.natsDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("data: %w", err)
		}
	}
	p.events, err = eventlog.Open(eventlog.Config{Dir: c.logDir(), Existing: existing, Clustered: c.clustered(), Logger: p.logger, Fatal: func(reason string) {
		// It is unknown which commits are durable. The next start finds out.
		p.logger.Error("the log's disk has failed", "reason", reason)
		os.Exit(1)
	}})
	if err != nil {
		return c.openError(err)
	}
	if p.events.Created() {
		p.logger.Info("a new installation begins, with an empty log", "data", c.Data, "log", p.events.LogID())
	}
	p.noticeRoom()
	if p.journal, err = audit.Open(audit.Config{Path: c.journal(), Reserve: p.reserve}); err != nil {
		return fmt.Errorf("decisions: %w", err)
	}
	if p.calls, err = audit.Open(audit.Config{Path: c.adminCalls()}); err != nil {
		return fmt.Errorf("admin calls: %w", err)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// connect creates the embedded NATS server, unless URLs are given, and the
// connection to NATS.
func (p *process) connect() (err error) {
	c := p.config
	to := overnats.ConnectConfig{Name: "policyd " + c.ID, Logger: p.logger, Link: p.link}
	p.keys = newKeyring(c.gateways(), c.gatewaySeed, p.logger)
	if len(c.NATS.URLs) > 0 {
		to.URLs, to.SeedFile, to.ServerName = c.NATS.URLs, c.NATS.SeedFile, ""
		if to.TLS, err = daemon.Roots(c.NATS.CA); err != nil {
			return fmt.Errorf("nats: ca: %w", err)
		}
	} else if err := p.embed(&to); err != nil {
		return err
	}
	if p.conn, err = overnats.Connect(to); err != nil {
		return err
	}
	// The keyring gives the directory the gateways, once the log has been read.
	if p.directory, err = overnats.NewSessionDirectory(p.conn, c.ID, nil, p.logger); err != nil {
		return err
	}
	if p.server != nil {
		p.directory.Addresses = p.addresses
	}
	p.keys.directory = p.directory
	return p.directory.Register(p.registry)
}

// embed creates the embedded NATS server. This node's key exists only in this
// process. The keyring adds the gateways' keys.
func (p *process) embed(to *overnats.ConnectConfig) error {
	c := p.config
	key, err := natsserver.NewKey()
	if err != nil {
		return fmt.Errorf("make this node's key: %w", err)
	}
	own, err := key.PublicKey()
	if err != nil {
		return fmt.Errorf("make this node's key: %w", err)
	}
	rights := overnats.NodeRights(c.ID)
	if p.refusals, err = newRefusals(p.logger, p.registry); err != nil {
		return err
	}
	user := natsserver.User{PublicKey: own, Publish: rights.Publish, Subscribe: rights.Subscribe, InProcess: true}
	p.refusals.remember(c.natsDir())
	p.server, err = natsserver.New(natsserver.Config{
		Listen: c.NATS.Listen, ServerName: c.NATS.ServerName, Users: []natsserver.User{user},
		CertFile: c.NATS.Cert, KeyFile: c.NATS.Key, StoreDir: c.natsDir(), Logger: p.logger,
		OnRefused: p.refusals.refused,
	})
	to.InProcess, to.Key = p.server, key
	p.keys.server, p.keys.own, p.keys.refusals = p.server, user, p.refusals
	return err
}

func (p *process) makeNode() (err error) {
	c := p.config
	config := node.Config{
		ID: c.ID, Log: p.events, LogID: p.events.LogID(), Snapshots: p.events, SnapshotEvery: c.Snapshots.Every, Recorder: p.journal,
		OnRevocation: p.notify, Logger: p.logger, Metrics: p.registry,
	}
	if p.cluster != nil {
		p.cluster.complete(&config, p.events)
	}
	if p.node, err = node.New(config); err != nil {
		return err
	}
	p.keys.node = p.node
	if p.cluster != nil {
		p.keys.copied = p.cluster.awaitCopy
	}
	responder := overnats.ResponderConfig{
		Conn: p.conn, Link: p.link, Node: c.ID, Decider: p.node, Level: events.Level, Duplicate: p.directory.Duplicate,
		Logger: p.logger, Metrics: p.registry,
	}
	admin := server.Config{
		Node:     c.ID,
		Gateways: gateways{p.directory},
		Runner:   adminRunner{p.node, p.keys}, Log: p.events, Explain: explainStanza, Audit: p.calls, LogID: p.events.LogID(),
		Version: version(), Started: p.started, Logger: p.logger,
	}
	if p.cluster != nil {
		responder.OnChallenge, responder.Oldest = p.cluster.replica.Heard, decision.Wire2
		admin.Fresh, admin.Cluster = p.cluster.fresh, p.cluster.report
		admin.RemoveNode, admin.DiffNode = p.removeNode, p.diffNode
	}
	if p.responder, err = overnats.NewResponder(responder); err != nil {
		return err
	}
	p.worker = newWorker(p.events, c.Data, p.logger)
	admin.Work = p.worker
	p.admin, err = server.New(admin)
	return err
}

// addresses returns the addresses from which a registered gateway is connected.
func (p *process) addresses(gateway string) []string {
	g := p.node.View().Installation().Gateway(gateway)
	if g == nil {
		return nil
	}
	return p.server.Addresses(g.PublicKey)
}

// notify publishes a revocation to gateways, so that idle sessions end sooner. No
// guarantee depends on it, because a gateway asks about each session's next stanza.
func (p *process) notify(e decision.Revocation) {
	if err := p.responder.Notify(e); err != nil {
		p.logger.Debug("gateways were not told of a revocation", "error", err)
	}
}

func (p *process) listen() (err error) {
	if p.socket, err = server.Listen(p.config.Admin.Socket); err != nil {
		return err
	}
	if p.config.Admin.Listen != "" {
		if p.network, err = listenAdmin(p.config); err != nil {
			return err
		}
	}
	return nil
}

// listenHealth opens the port of metrics and health.
func (p *process) listenHealth() (err error) {
	if p.config.Listen.HTTP == "" {
		return nil
	}
	if p.health, err = net.Listen("tcp", p.config.Listen.HTTP); err != nil {
		return fmt.Errorf("listen: http (metrics and health): %w", err)
	}
	return nil
}

// serve runs all parts until ctx is done or a part fails. It stops a part only
// after the parts that depend on it; see stages.
func (p *process) serve(ctx context.Context) error {
	s := newStages(ctx)
	p.start(s)
	err := s.stop()
	p.conn.Close()
	p.cluster.close()
	s.floor.end()
	if ctx.Err() != nil {
		p.logger.Info("policyd has stopped")
		return nil
	}
	return err
}

// start starts all parts. It returns when all are started, or when the front stage
// has ended.
func (p *process) start(s *stages) {
	if p.health != nil {
		health := &daemon.Health{Listener: p.health, Metrics: p.registry, Ready: p.ready}
		s.floor.start("http", func(ctx context.Context) error { return health.Serve(ctx, s.front.ctx) })
	}
	if p.server != nil {
		s.floor.start("nats", p.serveNATS)
		s.floor.start("refusals", func(ctx context.Context) error { p.refusals.logger.Run(ctx); return nil })
	}
	if p.config.clustered() {
		// A node that waits for its cluster runs: a service manager must not end it.
		s.front.start("notify", p.notifier.Run)
		if err := p.join(s); err != nil {
			s.fail(err)
			return
		}
		if s.front.ctx.Err() != nil {
			return // join may have made no node
		}
	}
	s.back.start("node", p.node.Run)
	s.back.start("work", p.worker.Run)
	s.front.start("gateways", p.keys.Run)
	if p.cluster != nil {
		s.back.start("cluster", p.tellDecides)
		s.back.start("cluster", p.stopWithReplica)
	}
	s.front.start("responder", p.responder.Serve)
	s.front.start("sessions", p.directory.Run)
	s.front.start("admin", func(ctx context.Context) error { return p.admin.Serve(ctx, p.socket) })
	if p.network != nil {
		s.front.start("admin network", func(ctx context.Context) error { return p.admin.Serve(ctx, p.network) })
	}
	p.built.Store(true)
	p.noticeCertificates()
	upkeep := daemon.Upkeep{Hangup: p.reopen, Daily: p.noticeCertificates}
	s.front.start("upkeep", func(ctx context.Context) error { upkeep.Run(ctx); return nil })
	if p.natsReady(s.front.ctx) {
		p.sayServes()
	}
	if !p.config.clustered() {
		s.front.start("notify", p.notifier.Run)
	}
}

// serveNATS runs the NATS server once it has its users. Before, it would turn every
// gateway away.
func (p *process) serveNATS(ctx context.Context) error {
	select {
	case <-p.keys.known:
	case <-ctx.Done():
		return nil
	}
	return p.server.Run(ctx)
}

// natsReady waits until the NATS server listens, and reports whether it does. It does
// not if its port cannot be opened, if policyd stops, or if the node stops deciding
// before it knows the gateways.
func (p *process) natsReady(ctx context.Context) bool {
	if p.server == nil {
		return true
	}
	select {
	case <-p.server.Ready():
		return true
	case <-p.keys.ended:
		return false
	case <-ctx.Done():
		return false
	}
}

// sayServes logs that all ports are open, and their addresses.
func (p *process) sayServes() {
	nats := p.config.NATS.URLs
	if p.server != nil {
		nats = []string{p.server.Addr().String()}
	}
	p.logger.Info("policyd serves", "node", p.config.ID, "log", p.events.LogID(), "admin", p.config.Admin.Socket, "nats", nats)
	if p.network != nil {
		p.logger.Info("the admin port is open", "listen", p.network.Addr().String(), "tls", p.network.cert != "")
	}
}

// reopen opens both files of records again, and reads the certificate of the admin
// port again. If one of these fails, the old file or certificate stays in use.
func (p *process) reopen() {
	before := p.certificates()
	if p.network != nil {
		if err := p.network.reload(); err != nil {
			p.logger.Error("the certificate of the admin port was not reloaded; the old one stays in use", "error", err)
		}
	}
	if p.server != nil {
		if err := p.server.Reload(); err != nil {
			p.logger.Error("the certificate of the gateways' server was not reloaded; the old one stays in use", "error", err)
		}
	}
	if p.cluster != nil && p.cluster.logServer != nil {
		if err := p.cluster.logServer.Reload(); err != nil {
			p.logger.Error("the certificate of the log server was not reloaded; the old one stays in use", "error", err)
		}
	}
	p.sayRenewed(before)
	p.noticeCertificates()
	for _, r := range []struct {
		file *audit.Writer
		path string
	}{{p.calls, p.config.adminCalls()}, {p.journal, p.config.journal()}} {
		if err := r.file.Reopen(); err != nil {
			p.logger.Error("the file of records was not reopened; the old one stays in use", "file", r.path, "error", err)
			continue
		}
		p.logger.Info("the file of records was reopened", "file", r.path)
	}
}

// close closes the parts that are still open.
func (p *process) close() error {
	var errs []error
	if p.network != nil {
		if err := p.network.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	for _, l := range []net.Listener{p.health, p.socket} {
		if l != nil {
			if err := l.Close(); !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	if p.conn != nil {
		p.conn.Close()
	}
	p.cluster.close()
	if p.calls != nil {
		errs = append(errs, p.calls.Close())
	}
	if p.journal != nil {
		errs = append(errs, p.journal.Close())
	}
	if p.events != nil {
		errs = append(errs, p.events.Close())
	}
	return errors.Join(errs...)
}

// ready returns nil if the node decides and is connected to NATS.
func (p *process) ready() error {
	if !p.built.Load() {
		return p.cluster.explain(errors.New("policyd is starting"))
	}
	if err := p.node.Ready(); err != nil {
		return p.cluster.explain(err)
	}
	if !p.conn.IsConnected() {
		return errors.New("not connected to NATS")
	}
	return p.responder.Ready()
}

// version returns the version of the sources from which the binary was built.
func version() string {
	info, _ := debug.ReadBuildInfo()
	return versionOf(info)
}

// versionOf returns the revision of the sources if the binary was built in a
// checkout, and the module's version if it was built from a published module.
func versionOf(info *debug.BuildInfo) string {
	if info == nil {
		return "unknown"
	}
	revision, changed := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = " with changes"
		}
	}
	switch {
	case revision != "":
		return revision + changed
	case info.Main.Version == "" || info.Main.Version == "(devel)":
		return "unknown (built without version control)"
	}
	return info.Main.Version
}
