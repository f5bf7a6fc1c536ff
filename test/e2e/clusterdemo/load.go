package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/postern-im/postern/test/e2e/backend"
	"github.com/postern-im/postern/test/e2e/client"
	"github.com/postern-im/postern/test/e2e/installation"
)

const (
	// askEach is how often a user sends a request to its server.
	askEach = 200 * time.Millisecond
	// answerTime bounds the wait for one answer.
	answerTime = time.Minute
	// loginTime bounds a log-in, and againAfter is the wait before the next one.
	loginTime  = 15 * time.Second
	againAfter = 500 * time.Millisecond
	// startTime bounds the first log-in of all users.
	startTime = time.Minute
)

// A load is a number of users that stay connected and ask all the time.
type load struct {
	cluster *installation.Cluster
	caFile  string
	users   []*user
	cancel  context.CancelFunc
	working sync.WaitGroup

	mu    sync.Mutex // guards the fields below
	seen  experience
	bound int // sessions now
}

// An experience is all that users noticed in some time.
type experience struct {
	answers, refusals, ends int
	slowest                 time.Duration // the longest wait for an answer
}

func (e experience) String() string {
	return fmt.Sprintf("%d answers, the slowest after %d ms; %d refused; sessions ended: %d",
		e.answers, e.slowest.Milliseconds(), e.refusals, e.ends)
}

// A user is one account. It always uses the same gateway, unless that is gone.
type user struct {
	jid, password, domain string
	gateway               int
}

func newLoad(c *installation.Cluster, caFile string) *load { return &load{cluster: c, caFile: caFile} }

// addUsers creates accounts on a server.
func (l *load) addUsers(ctx context.Context, s *backend.Server, domain string, n int) error {
	for i := range n {
		u := &user{jid: fmt.Sprintf("user%d@%s", i+1, domain), password: "demo", domain: domain, gateway: i % len(l.cluster.Gateways)}
		if err := s.AddUser(ctx, u.jid, u.password); err != nil {
			return err
		}
		l.users = append(l.users, u)
	}
	return nil
}

// start connects all users, and returns when all have a session.
func (l *load) start(ctx context.Context) error {
	text, err := os.ReadFile(l.caFile)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	working, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l.cancel = cancel
	for _, u := range l.users {
		l.working.Go(func() {
			for working.Err() == nil {
				l.session(working, u, roots)
			}
		})
	}
	deadline := time.Now().Add(startTime)
	for l.sessions() < len(l.users) {
		if time.Now().After(deadline) {
			return fmt.Errorf("only %d of %d users could log in", l.sessions(), len(l.users))
		}
		pause(ctx, againAfter)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

func (l *load) stop() {
	if l.cancel != nil {
		l.cancel()
	}
	l.working.Wait()
}

func (l *load) sessions() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bound
}

// take returns what users noticed since the last call.
func (l *load) take() experience {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := l.seen
	l.seen = experience{}
	return seen
}

// session logs a user in and asks until the session ends.
func (l *load) session(ctx context.Context, u *user, roots *x509.CertPool) {
	login, cancel := context.WithTimeout(ctx, loginTime)
	defer cancel()
	g := l.cluster.Gateways[u.gateway]
	c, err := client.Login(login, client.Config{Address: g.DirectTLS, Security: client.DirectTLS, Roots: roots, JID: u.jid, Password: u.password})
	if err != nil {
		// Clients try the next address of their SRV record.
		u.gateway = rand.IntN(len(l.cluster.Gateways))
		pause(ctx, againAfter)
		return
	}
	defer c.Vanish()
	l.count(func() { l.bound++ })
	defer l.count(func() { l.bound-- })
	for ctx.Err() == nil {
		began := time.Now()
		wait, cancel := context.WithTimeout(ctx, answerTime)
		answer, err := c.Query(wait, "get", u.domain, "<ping xmlns='urn:xmpp:ping'/>")
		cancel()
		switch took := time.Since(began); {
		case err != nil && (ctx.Err() != nil || errors.Is(err, context.Canceled)):
			return
		case err != nil:
			l.count(func() { l.seen.ends++ })
			return
		case answer.Attr("type") != "result":
			l.count(func() { l.seen.refusals++ })
		default:
			l.count(func() { l.seen.answers++; l.seen.slowest = max(l.seen.slowest, took) })
		}
		pause(ctx, askEach)
	}
}

func (l *load) count(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
