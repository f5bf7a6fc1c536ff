package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/decision/overnats"
	"github.com/postern-im/postern/gateway"
	"github.com/postern-im/postern/internal/daemon"
)

// A process holds the parts of a running gateway.
type process struct {
	id       string
	logger   *slog.Logger
	certs    *gateway.Certificates
	gateway  *gateway.Gateway
	asker    *overnats.Asker
	reporter *overnats.SessionReporter
	links    []overnats.LinkConfig // to NATS, one for each URL
	registry *prometheus.Registry
	health   net.Listener
	notifier *daemon.Notifier
}

// run runs the gateway until ctx is done.
func run(ctx context.Context, c *config) error {
	p, err := build(c)
	if err != nil {
		return err
	}
	defer p.disconnect()
	return p.serve(ctx)
}

// build creates the parts and opens the ports. It serves nothing yet.
func build(c *config) (*process, error) {
	logger, err := c.Log.Logger(os.Stderr)
	if err != nil {
		return nil, err
	}
	p := &process{id: c.ID, logger: logger, registry: daemon.NewRegistry()}
	p.notifier, err = daemon.NewNotifier(os.Environ(), func() { _, _ = p.asker.Available() })
	if err != nil {
		return nil, err
	}
	p.certs = gateway.NewCertificates(c.Certificates.Directory, c.Certificates.SelfSigned)
	if err := p.reload(); err != nil && !c.Certificates.SelfSigned {
		return nil, err
	}
	p.registry.MustRegister(p.certs)
	backendTLS, err := daemon.Roots(c.Backend.Roots)
	if err != nil {
		return nil, fmt.Errorf("backend roots: %w", err)
	}
	ports, err := open(c)
	if err != nil {
		return nil, err
	}
	p.health = ports.health
	proxies, err := c.proxies()
	if err != nil {
		ports.close()
		return nil, err
	}
	if err := p.connect(c); err != nil {
		ports.close()
		return nil, err
	}
	p.gateway, err = gateway.New(gateway.Config{
		STARTTLS: ports.starttls, DirectTLS: ports.direct, Decider: p.asker, Certificates: p.certs,
		BackendTLS: backendTLS, MaxConnections: c.Limits.Connections, MaxPerAddress: c.Limits.PerAddress,
		MaxUnauthenticated: c.Limits.Unauthenticated, MaxSessionsPerAccount: c.Limits.SessionsPerAccount, Proxies: proxies,
		LoginFailures: c.Limits.LoginFailures, LoginFailuresPerAddress: c.Limits.LoginFailuresPerAddress,
		ByteRate: c.Limits.Rate, ByteBurst: c.Limits.Burst, StanzaRate: c.Limits.Stanzas, StanzaBurst: c.Limits.StanzaBurst,
		DrainTime: time.Duration(c.Limits.Drain), Logger: p.logger, Metrics: p.registry,
	})
	if err != nil {
		ports.close()
		p.disconnect()
		return nil, err
	}
	p.reporter = &overnats.SessionReporter{Links: p.links, Gateway: c.ID, Sessions: p.gateway.Sessions, Logger: p.logger}
	return p, nil
}

// connect creates the asker and its connections to NATS, one for each URL. They dial
// in the background.
func (p *process) connect(c *config) error {
	natsTLS, err := daemon.Roots(c.NATS.CA)
	if err != nil {
		return fmt.Errorf("nats ca: %w", err)
	}
	for _, url := range c.NATS.URLs {
		link := new(overnats.Link)
		conn, err := overnats.Connect(overnats.ConnectConfig{
			Link: link, URLs: []string{url}, ServerName: c.NATS.ServerName, SeedFile: c.NATS.SeedFile,
			TLS: natsTLS, Name: "gateway " + c.ID, Logger: p.logger.With("link", url),
		})
		if err != nil {
			p.disconnect()
			return err
		}
		p.links = append(p.links, overnats.LinkConfig{Name: url, Conn: conn, Link: link})
	}
	p.asker, err = overnats.New(overnats.Config{
		Links: p.links, Gateway: c.ID, Logger: p.logger, Metrics: p.registry,
		OnRevocation: func(e decision.Revocation) { p.gateway.Recheck(e) },
	})
	if err != nil {
		p.disconnect()
	}
	return err
}

// disconnect closes the connections to NATS. Each of them can take seconds, so they
// are closed at the same time.
func (p *process) disconnect() {
	var wg sync.WaitGroup
	for _, l := range p.links {
		wg.Go(l.Conn.Close)
	}
	wg.Wait()
}

// ports are the open listeners.
type ports struct {
	starttls, direct []net.Listener
	health           net.Listener // nil: none
	all              []net.Listener
}

func (p *ports) close() {
	for _, l := range p.all {
		_ = l.Close()
	}
}

// open opens all ports. If one fails, it closes the others.
func open(c *config) (*ports, error) {
	p := new(ports)
	listen := func(address string) (net.Listener, error) {
		l, err := net.Listen("tcp", address)
		if err != nil {
			p.close()
			return nil, err
		}
		p.all = append(p.all, l)
		return l, nil
	}
	for _, a := range c.Listen.STARTTLS {
		l, err := listen(a)
		if err != nil {
			return nil, err
		}
		p.starttls = append(p.starttls, l)
	}
	for _, a := range c.Listen.DirectTLS {
		l, err := listen(a)
		if err != nil {
			return nil, err
		}
		p.direct = append(p.direct, l)
	}
	if c.Listen.HTTP == "" {
		return p, nil
	}
	var err error
	p.health, err = listen(c.Listen.HTTP)
	return p, err
}

// reload reads the certificates. It returns an error only if no certificate
// could be loaded. If only some could not be loaded, it logs the error.
func (p *process) reload() error {
	n, err := p.certs.Load()
	if n == 0 && err != nil {
		return err
	}
	if err != nil {
		p.logger.Error("some certificates were not loaded", "err", err)
	}
	p.logger.Info("certificates loaded", "count", n)
	p.noticeCertificates()
	return nil
}

// serve runs all parts until ctx is done or a part fails. It stops the asker
// after the gateway, because the sessions need the asker until they end.
func (p *process) serve(ctx context.Context) error {
	serving, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	asking, stopAsking := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAsking()
	var rest sync.WaitGroup
	rest.Go(func() {
		if err := p.asker.Run(asking); err != nil {
			fail(fmt.Errorf("asker: %w", err))
		}
	})
	rest.Go(func() {
		if err := p.reporter.Serve(asking); err != nil {
			fail(fmt.Errorf("answer about sessions: %w", err))
		}
	})
	upkeep := daemon.Upkeep{Hangup: p.reloadAgain, Daily: p.noticeCertificates}
	rest.Go(func() { upkeep.Run(asking) })
	if p.health != nil {
		rest.Go(func() {
			health := &daemon.Health{Listener: p.health, Metrics: p.registry, Ready: p.ready}
			if err := health.Serve(asking, serving); err != nil {
				fail(fmt.Errorf("http: %w", err))
			}
		})
	}
	p.logger.Info("gateway serves")
	rest.Go(func() {
		if err := p.notifier.Run(serving); err != nil {
			fail(err)
		}
	})
	err := p.gateway.Serve(serving)
	if err == nil && ctx.Err() == nil {
		err = context.Cause(serving)
	}
	stopAsking()
	rest.Wait()
	p.logger.Info("gateway has stopped", "err", err)
	return err
}

// ready returns nil while a policy node answers. Nodes do not answer two gateways with
// one id.
func (p *process) ready() error {
	if p.reporter.Duplicate() {
		return fmt.Errorf("another gateway uses this gateway's id, %s: policy nodes answer neither", p.id)
	}
	if _, out := p.asker.Available(); out {
		if cause := p.asker.Cause(); cause != "" {
			return fmt.Errorf("no policy node answers: %s", cause)
		}
		return errors.New("no policy node answers")
	}
	return nil
}

// reloadAgain reads the certificates of a running gateway. If that fails, the
// gateway keeps the certificates it has.
func (p *process) reloadAgain() {
	if err := p.reload(); err != nil {
		p.logger.Error("certificates not reloaded", "err", err)
	}
}
