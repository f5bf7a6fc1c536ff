package overnats

import (
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

// This file tells an operator why nobody answers.

const (
	// complainAfter is how long nobody may answer before the log says so: a
	// policy node that is started again is back sooner.
	complainAfter = time.Second
	// complainEach is how often the log repeats it. Another cause is told at
	// once, but no more often than complainAfter.
	complainEach = time.Minute
)

// A Link remembers why a connection is not there, or what its server denies.
// Connect fills it; an Asker and a Responder read it. Its methods may be called
// at the same time; those of a nil Link do nothing.
type Link struct {
	mu     sync.Mutex // guards what follows
	err    error      // why the last attempt failed; nil while connected
	denied error      // what the server has denied since it was connected to
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

func (l *Link) state() (err, denied error) {
	if l == nil {
		return nil, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err, l.denied
}

// A trouble is a likely cause of an outage, in words that stay the same, and
// what an operator can do about it.
type trouble struct {
	cause, remedy string
	err           error // what was seen of it; nil: nothing in particular
}

// unconnected is the trouble of a connection that is not there. The client
// keeps what a server answered to a key; the Link has everything before that.
func unconnected(l *Link, conn *nats.Conn) trouble {
	err, _ := l.state()
	if last := conn.LastError(); last != nil {
		err = last
	}
	t := troubleOf(err)
	t.err = err
	return t
}

// troubleOf tells what an attempt to connect failed by.
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
		return trouble{cause: "not connected", remedy: "see whether the NATS server at urls in [nats] runs"}
	case errors.Is(err, errOtherServer):
		return trouble{cause: "another NATS server", remedy: "server_name in [nats] must be the one that policyd's [nats] has, and urls must lead there"}
	case errors.Is(err, errNoServer):
		return trouble{cause: "no NATS server", remedy: "something else listens there: mend urls in [nats], or listen in policyd's [nats]"}
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked):
		return trouble{cause: "unknown key", remedy: "policyd must name this id in gateways of [nats] and be started again; seed_file must be the file it has made for it, nats/ID.nkey in its data folder"}
	case errors.Is(err, syscall.ECONNREFUSED):
		return trouble{cause: "connection refused", remedy: "nothing listens there: start policyd, or mend urls in [nats], or listen in policyd's [nats]"}
	case errors.Is(err, nats.ErrSecureConnWanted), errors.As(err, &record):
		return trouble{cause: "no TLS there", remedy: "give cert and key in policyd's [nats], or, on loopback only, leave out ca here"}
	case errors.As(err, &hostname):
		return trouble{cause: "certificate of another name", remedy: "urls in [nats] must use a name or address that the certificate of policyd's [nats] is for"}
	case errors.As(err, &authority):
		return trouble{cause: "certificate not trusted", remedy: "ca in [nats] must be the certificate of policyd's [nats] or of its authority"}
	case errors.As(err, &invalid):
		return trouble{cause: "certificate not valid", remedy: "renew the certificate of policyd's [nats], and look at both clocks"}
	case errors.As(err, &dns):
		return trouble{cause: "name not found", remedy: "mend urls in [nats], or the name service"}
	case errors.As(err, &timeout) && timeout.Timeout():
		return trouble{cause: "no answer from the host", remedy: "see whether a packet filter is in the way, and whether urls in [nats] lead to policyd"}
	}
	return trouble{cause: "not connected", remedy: "see whether the NATS server at urls in [nats] runs"}
}

// A reporter tells of an outage: when it has lasted for complainAfter, each
// complainEach, when its cause changes, and when it is over. It has no clock
// and is used by one goroutine.
type reporter struct {
	logger *slog.Logger
	// out is the message of an outage, over that of its end. Both are told
	// with args.
	out, over string
	args      []any

	said  time.Time // when it was last told; zero: not in this outage
	since time.Time // when this outage has begun
	cause string
	once  bool // that it works was told at least once
}

// look takes how things are now. It returns the cause where there is an outage
// that was told.
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
	last := now.Sub(r.said)
	if r.said.IsZero() || last >= complainEach || t.cause != r.cause && last >= complainAfter {
		r.said, r.since, r.cause = now, since, t.cause
		args := append(r.args[:len(r.args):len(r.args)], "cause", t.cause, "for", now.Sub(since).Round(time.Second), "remedy", t.remedy)
		if t.err != nil {
			args = append(args, "error", t.err)
		}
		r.logger.Error(r.out, args...)
	}
	return r.cause
}

// report tells the operator while no node answers, and the metric why.
func (a *Asker) report(r *reporter, now time.Time) {
	since, out := a.Available()
	before := r.cause
	cause := r.look(now, out, since, a.trouble)
	if cause != before && a.outage != nil {
		a.outage.Reset()
		if cause != "" {
			a.outage.WithLabelValues(cause).Set(1)
		}
	}
}

// trouble is why no node answers.
func (a *Asker) trouble() trouble {
	if a.cfg.Conn != nil && !a.cfg.Conn.IsConnected() {
		return unconnected(a.cfg.Link, a.cfg.Conn)
	}
	if _, denied := a.cfg.Link.state(); denied != nil {
		return trouble{
			cause: "key of another id", err: denied,
			remedy: "id and seed_file belong together: policyd makes nats/ID.nkey for each id in gateways of its [nats]",
		}
	}
	a.mu.Lock()
	known, ready := len(a.core.nodes), a.core.readyNodes()
	a.mu.Unlock()
	switch {
	case known == 0:
		return trouble{cause: "no policy node", remedy: "NATS is there and no policyd tells of itself: see whether one runs and is connected to the same servers, and whether both programs are of one version"}
	case ready == 0:
		return trouble{cause: "policy node not ready", remedy: "policyd runs and does not decide: its log and its /readyz say why"}
	}
	return trouble{cause: "no answer", remedy: "policyd is ready and does not answer this gateway: see its log for what it turns away, and whether both programs are of one version"}
}
