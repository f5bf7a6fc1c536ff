package overnats

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
)

// This file reports to the operator why no node answers.

const (
	// complainAfter is how long an outage lasts before it is logged. A restart of a
	// policy node takes less time.
	complainAfter = time.Second
	// firstAnswerWithin replaces complainAfter for silent nodes until the first answer. A
	// node of a cluster makes a tick each second, and can prove its state to a new gateway
	// only with the next one. Until then the gateway uses none of its answers.
	firstAnswerWithin = 3 * time.Second
	// complainEach is how often the message is repeated. A new cause is logged
	// sooner, but at most once in complainAfter.
	complainEach = time.Minute
)

// A Link records why a connection could not be made, and which right the server
// has denied. Connect fills it; an Asker and a Responder read it. Its methods are
// safe for concurrent use. The methods of a nil Link do nothing.
type Link struct {
	mu     sync.Mutex // guards the fields below
	err    error      // the error of the last attempt; nil while connected
	denied error      // the last permission violation of this connection
}

func (l *Link) failed(err error) {
	if l == nil || err == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

func (l *Link) made() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err, l.denied = nil, nil
}

func (l *Link) deny(err error) {
	if l == nil || !errors.Is(err, nats.ErrPermissionViolation) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.denied = err
}

// Trouble returns the right that the server has denied last, or else the error of
// the last attempt to connect. It returns nil if there is no trouble.
func (l *Link) Trouble() error {
	err, denied := l.state()
	return cmp.Or(denied, err)
}

func (l *Link) state() (err, denied error) {
	if l == nil {
		return nil, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err, l.denied
}

// A trouble is a likely cause of an outage, with a remedy for the operator. The
// causes are values of a metric's label and must not change.
type trouble struct {
	cause, remedy string
	err           error // the error that was seen, if any
}

// noAnswer is the cause of an outage while nodes are ready and silent.
const noAnswer = "no answer"

// unconnected returns the likely cause of a missing connection. If the server
// refused the key, the NATS client has kept the error. The Link has the errors
// that occur before authentication.
func unconnected(l *Link, conn *nats.Conn) trouble {
	err, _ := l.state()
	if last := conn.LastError(); last != nil {
		err = last
	}
	t := troubleOf(err)
	t.err = err
	return t
}

// troubleOf returns the likely cause of an error of an attempt to connect.
func troubleOf(err error) trouble {
	var (
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		dns       *net.DNSError
		timeout   net.Error
	)
	switch {
	case err == nil:
		return trouble{cause: "not connected", remedy: "check that the NATS server at urls in [nats] runs"}
	case errors.Is(err, errOtherServer):
		return trouble{cause: "another NATS server", remedy: "server_name in [nats] must equal server_name in policyd's [nats] or the part of it before a hyphen, and urls must be the addresses of that server"}
	case errors.Is(err, errNoServer):
		return trouble{cause: "no NATS server", remedy: "another program listens there: correct urls in [nats], or listen in policyd's [nats]"}
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked):
		return trouble{cause: "unknown key", remedy: "on a policy node, policyctl gateway list shows the registered gateways and their keys. Register this one with policyctl gateway add ID, which makes a seed, and name the seed's file in seed_file; " +
			"if its key was replaced, install the newest seed. A single policyd also registers the ids in gateways of its [nats] when it starts, with the seeds nats/ID.nkey in its data folder"}
	case errors.Is(err, syscall.ECONNREFUSED):
		return trouble{cause: "connection refused", remedy: "nothing listens there: start policyd, or correct urls in [nats], or listen in policyd's [nats]. " +
			"If policyd runs, its log and its /readyz say why it does not listen: it may still copy the log of its cluster, or its own log may be damaged"}
	case errors.Is(err, nats.ErrSecureConnWanted), errors.As(err, &record):
		return trouble{cause: "no TLS there", remedy: "set cert and key in policyd's [nats], or, on loopback only, remove ca here"}
	case errors.As(err, &hostname):
		return trouble{cause: "certificate of another name", remedy: "urls in [nats] must use a name or address that is in the certificate of policyd's [nats]"}
	case errors.As(err, &authority):
		return trouble{cause: "certificate not trusted", remedy: "ca in [nats] must be the certificate of policyd's [nats] or of its authority"}
	case errors.As(err, &invalid):
		return trouble{cause: "certificate not valid", remedy: "renew the certificate of policyd's [nats], and check the clocks of both hosts"}
	case errors.As(err, &dns):
		return trouble{cause: "name not found", remedy: "correct urls in [nats], or the DNS"}
	case errors.As(err, &timeout) && timeout.Timeout():
		return trouble{cause: "no answer from the host", remedy: "check that no packet filter blocks the connection, and that urls in [nats] have the address and port of listen in policyd's [nats], not in its [cluster]"}
	}
	return trouble{cause: "not connected", remedy: "check that the NATS server at urls in [nats] runs"}
}

// A reporter logs an outage: once it has lasted for complainAfter, then every
// complainEach, when its cause changes, and when it ends. It has no clock and is
// used by one goroutine.
type reporter struct {
	logger *slog.Logger
	// out is the message of an outage, and over the message of its end. Both are
	// logged with args.
	out, over string
	args      []any
	level     slog.Level // of the message out; zero: error

	said  time.Time // when the outage was last logged; zero: not yet
	since time.Time // when the outage began
	cause string
	once  bool // the message over was logged at least once
}

// look updates the reporter with the current state. It returns the cause of the
// outage, if there is one that was logged.
func (r *reporter) look(now time.Time, out bool, since time.Time, why func() trouble) (cause string) {
	if !out {
		if !r.said.IsZero() || !r.once {
			args := r.args
			if !r.said.IsZero() {
				args = append(args[:len(args):len(args)], "after", now.Sub(r.since).Round(time.Millisecond))
			}
			r.logger.Info(r.over, args...)
		}
		r.said, r.cause, r.once = time.Time{}, "", true
		return ""
	}
	if now.Sub(since) < complainAfter {
		return r.cause
	}
	t := why()
	if t.cause == "" || t.cause == noAnswer && !r.once && now.Sub(since) < firstAnswerWithin {
		return r.cause
	}
	last := now.Sub(r.said)
	if r.said.IsZero() || last >= complainEach || t.cause != r.cause && last >= complainAfter {
		r.said, r.since, r.cause = now, since, t.cause
		args := append(r.args[:len(r.args):len(r.args)], "cause", t.cause, "for", now.Sub(since).Round(time.Second), "remedy", t.remedy)
		if t.err != nil {
			args = append(args, "error", t.err)
		}
		level := slog.LevelError
		if r.level != 0 {
			level = r.level
		}
		r.logger.Log(context.Background(), level, r.out, args...)
	}
	return r.cause
}

// complain logs outages, and links that are down, until ctx ends. It has a goroutine
// of its own, because reading the state of a connection can take seconds.
func (a *Asker) complain(ctx context.Context) {
	look := time.NewTicker(complainAfter / 4)
	defer look.Stop()
	r := reporter{
		logger: a.cfg.Logger, out: "no policy node answers: nothing passes", over: "a policy node answers",
		args: []any{"gateway", a.cfg.Gateway},
	}
	links := make([]linkReporter, len(a.links))
	for i, l := range a.links {
		links[i] = linkReporter{link: l, reporter: reporter{
			logger: a.cfg.Logger, level: slog.LevelWarn,
			out: "a link is down: the policy nodes behind it are not asked", over: "a link is up",
			args: []any{"gateway", a.cfg.Gateway, "link", l.Name},
		}}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-look.C:
			a.report(&r, now)
			for i := range links {
				if len(links) > 1 {
					links[i].report(a, now)
				}
			}
		}
	}
}

// report logs an outage and sets the metric of its cause.
func (a *Asker) report(r *reporter, now time.Time) {
	lasted, out := a.Available()
	before := r.cause
	cause := r.look(now, out, now.Add(-lasted), a.trouble)
	a.cause.Store(&cause)
	if cause != before && a.outage != nil {
		a.outage.Reset()
		if cause != "" {
			a.outage.WithLabelValues(cause).Set(1)
		}
	}
}

// Cause returns the likely cause of the present outage. It is empty if there is no
// outage, and while the outage is younger than a second.
func (a *Asker) Cause() string {
	if cause := a.cause.Load(); cause != nil {
		return *cause
	}
	return ""
}

// A linkReporter logs that one of several links is down.
type linkReporter struct {
	reporter
	link *asking
	down time.Time // when the link was first found down; zero: it is up
}

func (r *linkReporter) report(a *Asker, now time.Time) {
	a.mu.Lock()
	up := a.core.links[r.link.index].connected
	a.mu.Unlock()
	switch {
	case up:
		r.down = time.Time{}
	case r.down.IsZero():
		r.down = now
	}
	r.look(now, !up, r.down, func() trouble { return unconnected(r.link.Link, r.link.Conn) })
}

// trouble returns the likely cause why no node answers. The cause is empty if a
// node is ready and no message to it has failed yet. The core pings a ready node
// within seconds, so the cause does not stay empty.
func (a *Asker) trouble() trouble {
	a.mu.Lock()
	known := len(a.core.nodes)
	ready, unanswered := a.core.readyNodes()
	var up []*asking
	for _, l := range a.links {
		if a.core.links[l.index].connected {
			up = append(up, l)
		}
	}
	a.mu.Unlock()
	if len(up) == 0 && len(a.links) > 0 {
		// With several links, the cause of each is logged too.
		return unconnected(a.links[0].Link, a.links[0].Conn)
	}
	for _, l := range up {
		if _, denied := l.Link.state(); denied != nil {
			return trouble{
				cause: "key of another id", err: denied,
				remedy: "seed_file must be the seed of this gateway's id, and id must be the one that it was made for: policyctl gateway list shows which key belongs to which id",
			}
		}
	}
	switch {
	case known == 0:
		return trouble{cause: "no policy node", remedy: "NATS is connected, but no policyd announces itself: check that policyd runs and is connected to the same servers, and that both programs have the same version"}
	case ready == 0:
		return trouble{cause: "policy node not ready", remedy: "policyd runs but does not decide: see its log and its /readyz for the reason"}
	case !unanswered:
		return trouble{} // a node has just become ready and is being asked
	}
	return trouble{cause: noAnswer, remedy: "policyd is ready but does not answer this gateway: see its log for refused batches, and check that both programs have the same version"}
}
