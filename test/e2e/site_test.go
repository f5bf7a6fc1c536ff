//go:build e2e

package e2e

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/test/e2e/backend"
	"github.com/postern-im/postern/test/e2e/client"
	"github.com/postern-im/postern/test/e2e/installation"
)

// A site is an installation of one test's own in front of a server, with a tap
// between the two. It is for tests that change a whole tenant or inspect the
// bytes that the server is sent.
type site struct {
	target
	in    *installation.Installation
	tap   *tap
	admin *api.Client
}

// newSite starts a site with the tenants lab and other. It is stopped at the
// end of the test.
func newSite(t *testing.T, kind backend.Kind) *site {
	t.Helper()
	server := shared.servers[kind]
	tap := newTap(t, server.Addr())
	in, err := newInstallation(server, tap.listener.Addr().String(), "")
	if err != nil {
		t.Fatal(err)
	}
	admin := api.NewClient(in.Socket())
	t.Cleanup(func() {
		admin.Close()
		if err := in.Stop(); err != nil {
			t.Error(err)
		}
	})
	return &site{
		target: target{
			name: "tapped gateway before " + string(kind), server: server,
			startTLS: in.StartTLS, directTLS: in.DirectTLS, caFile: server.CAFile(),
		},
		in: in, tap: tap, admin: admin,
	}
}

// do runs a command on a tenant.
func (s *site) do(ctx context.Context, t *testing.T, tenant string, cmd api.Command) api.Result {
	t.Helper()
	result, err := s.admin.Do(ctx, tenant, cmd, api.CommandMeta{})
	if err != nil {
		t.Fatalf("%s of tenant %s: %v", cmd.Command(), tenant, err)
	}
	return result
}

// everything lists all permissions of the catalogue.
func everything() []string { return permission.Everything.Names() }

// allBut defines a role of tenant lab that gives all permissions except denied.
func (s *site) allBut(ctx context.Context, t *testing.T, role string, denied ...string) {
	t.Helper()
	s.do(ctx, t, "lab", api.RoleDefine{Role: role, Allow: everything(), Deny: denied})
}

// only defines a role of tenant lab that gives the allowed permissions only.
func (s *site) only(ctx context.Context, t *testing.T, role string, allowed ...string) {
	t.Helper()
	s.do(ctx, t, "lab", api.RoleDefine{Role: role, Allow: allowed})
}

// member creates an account of alpha.test with a role of tenant lab.
func (s *site) member(ctx context.Context, t *testing.T, prefix, role string) account {
	t.Helper()
	a := newAccount(t, s.server, prefix, "alpha.test")
	s.do(ctx, t, "lab", api.MemberSet{JID: a.jid, Role: role})
	return a
}

// A subject is a session through the gateway, whose stanzas are decided about.
type subject struct {
	*client.Client
	account account
	leg     *leg // the connection between gateway and server
}

// subjectResource is the resource of every subject. The scenarios name it.
const subjectResource = "r1"

// subject logs in through the gateway.
func (s *site) subject(ctx context.Context, t *testing.T, a account) *subject {
	t.Helper()
	config := s.clientConfig(t, a, client.DirectTLS)
	config.Mechanism, config.Resource = "PLAIN", subjectResource
	c := login(ctx, t, config)
	leg, err := s.tap.of(c.JID)
	if err != nil {
		t.Fatal(err)
	}
	return &subject{Client: c, account: a, leg: leg}
}

// fence is Client.Fence. It returns everything that arrived before the answer.
func (s *subject) fence(ctx context.Context, t *testing.T) []client.Element {
	t.Helper()
	before, err := s.Fence(ctx)
	if err != nil {
		t.Fatalf("%s: %v", s.JID, err)
	}
	return before
}

// A peer is another user, connected directly to the server. It keeps every
// element it receives, so that several tests can look at them at once.
type peer struct {
	c   *client.Client
	jid string // bare
	ctx context.Context

	mu   sync.Mutex
	got  []client.Element // guarded by mu
	more chan struct{}    // closed and replaced with each element; guarded by mu
	err  error            // why reading ended; guarded by mu
}

// peerResource is the resource of every peer. The scenarios name it.
const peerResource = "r"

// peer creates an account, connects it directly to the server, and sends
// presence.
func (s *site) peer(ctx context.Context, t *testing.T, prefix, domain string) *peer {
	t.Helper()
	return s.peerOf(ctx, t, newAccount(t, s.server, prefix, domain), peerResource)
}

// peerOf connects an account directly to the server and sends presence.
func (s *site) peerOf(ctx context.Context, t *testing.T, a account, resource string) *peer {
	t.Helper()
	config := direct(s.server).clientConfig(t, a, client.DirectTLS)
	config.Mechanism, config.Resource = "PLAIN", resource
	c := login(ctx, t, config)
	p := &peer{c: c, jid: a.jid, ctx: ctx, more: make(chan struct{})}
	send(ctx, t, c, "<presence/>")
	if _, err := c.Fence(ctx); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(p.read)
	t.Cleanup(func() {
		_ = c.Close()
		reading.Wait()
	})
	return p
}

func (p *peer) read() {
	for {
		e, err := p.c.Next(p.ctx)
		p.mu.Lock()
		if p.err = err; err == nil {
			p.got = append(p.got, e)
		}
		close(p.more)
		p.more = make(chan struct{})
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// await returns the first received element that matches. It waits if there is
// none yet.
func (p *peer) await(ctx context.Context, match func(client.Element) bool) (client.Element, error) {
	for {
		p.mu.Lock()
		at := slices.IndexFunc(p.got, match)
		var e client.Element
		if at >= 0 {
			e = p.got[at]
		}
		more, err := p.more, p.err
		p.mu.Unlock()
		switch {
		case at >= 0:
			return e, nil
		case err != nil:
			return e, errors.Join(errors.New("the awaited element does not come to "+p.c.JID), err)
		}
		select {
		case <-more:
		case <-ctx.Done():
			return e, context.Cause(ctx)
		}
	}
}

// awaitPresence waits for presence of a type (kind) from an address.
func (p *peer) awaitPresence(ctx context.Context, t *testing.T, kind, from string) {
	t.Helper()
	_, err := p.await(ctx, func(e client.Element) bool {
		return e.Stanza("presence") && e.Attr("type") == kind && e.Attr("from") == from
	})
	if err != nil {
		t.Fatalf("presence %q of %s: %v", kind, from, err)
	}
}

// has reports whether any element received so far matches.
func (p *peer) has(match func(client.Element) bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.got, match)
}

// send writes a stanza.
func (p *peer) send(ctx context.Context, t *testing.T, raw string) {
	t.Helper()
	if err := p.c.Send(ctx, raw); err != nil {
		t.Fatalf("%s: %v", p.c.JID, err)
	}
}

// query sends an iq and returns its answer.
func (p *peer) query(ctx context.Context, t *testing.T, kind, to, payload string) client.Element {
	t.Helper()
	id := unique("peer")
	p.send(ctx, t, "<iq type='"+kind+"' id='"+id+"' to='"+client.Escape(to)+"'>"+payload+"</iq>")
	answer, err := p.await(ctx, client.IsAnswer(id))
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// fence waits until the server has routed everything this peer sent, and has
// sent this peer everything it had for it.
func (p *peer) fence(ctx context.Context, t *testing.T) {
	t.Helper()
	_, domain := split(p.jid)
	p.query(ctx, t, "get", domain, "<ping xmlns='urn:xmpp:ping'/>")
}

// split returns the localpart and the domain of a bare JID.
func split(jid string) (local, domain string) {
	local, domain, _ = strings.Cut(jid, "@")
	return local, domain
}
