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

// A site is an installation of a test's own before one of the servers, with a
// tap between them, for tests that change what holds for a whole tenant or
// look at what the server is sent.
type site struct {
	target
	in    *installation.Installation
	tap   *tap
	admin *api.Client
}

// newSite starts one with the tenants lab and other. It ends with the test.
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

// do gives a command for a tenant.
func (s *site) do(ctx context.Context, t *testing.T, tenant string, cmd api.Command) api.Result {
	t.Helper()
	result, err := s.admin.Do(ctx, tenant, cmd, api.CommandMeta{})
	if err != nil {
		t.Fatalf("%s of tenant %s: %v", cmd.Command(), tenant, err)
	}
	return result
}

// everything is every permission of the catalogue.
func everything() []string { return permission.Everything.Names() }

// allBut is a role of the lab that gives everything but what is named.
func (s *site) allBut(ctx context.Context, t *testing.T, role string, denied ...string) {
	t.Helper()
	s.do(ctx, t, "lab", api.RoleDefine{Role: role, Allow: everything(), Deny: denied})
}

// only is a role of the lab that gives what is named and nothing else.
func (s *site) only(ctx context.Context, t *testing.T, role string, allowed ...string) {
	t.Helper()
	s.do(ctx, t, "lab", api.RoleDefine{Role: role, Allow: allowed})
}

// member makes an account of alpha.test with a role of the lab.
func (s *site) member(ctx context.Context, t *testing.T, prefix, role string) account {
	t.Helper()
	a := newAccount(t, s.server, prefix, "alpha.test")
	s.do(ctx, t, "lab", api.MemberSet{JID: a.jid, Role: role})
	return a
}

// A subject is a session through the gateway, whose stanzas are judged.
type subject struct {
	*client.Client
	account account
	leg     *leg // what is behind the gateway
}

// subjectResource is every subject's resource: scenarios name it.
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

// fence is Fence; all that came before it is returned.
func (s *subject) fence(ctx context.Context, t *testing.T) []client.Element {
	t.Helper()
	before, err := s.Fence(ctx)
	if err != nil {
		t.Fatalf("%s: %v", s.JID, err)
	}
	return before
}

// A peer is another user, connected to the server itself. All it is sent is
// kept, so that several tests may look at once.
type peer struct {
	c   *client.Client
	jid string // bare
	ctx context.Context

	mu   sync.Mutex
	got  []client.Element // guarded by mu
	more chan struct{}    // as a tap's; guarded by mu
	err  error            // why no more will come; guarded by mu
}

// peerResource is every peer's resource: scenarios name it.
const peerResource = "r"

// peer makes an account, connects it to the server, and sends presence.
func (s *site) peer(ctx context.Context, t *testing.T, prefix, domain string) *peer {
	t.Helper()
	return s.peerOf(ctx, t, newAccount(t, s.server, prefix, domain), peerResource)
}

// peerOf connects an account to the server itself.
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

// await returns the first of all elements received that matches, waiting for
// it if need be.
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
			return e, errors.Join(errors.New("it does not come to "+p.c.JID), err)
		}
		select {
		case <-more:
		case <-ctx.Done():
			return e, context.Cause(ctx)
		}
	}
}

// awaitPresence waits for presence of a type.
func (p *peer) awaitPresence(ctx context.Context, t *testing.T, kind, from string) {
	t.Helper()
	_, err := p.await(ctx, func(e client.Element) bool {
		return e.Stanza("presence") && e.Attr("type") == kind && e.Attr("from") == from
	})
	if err != nil {
		t.Fatalf("presence %q of %s: %v", kind, from, err)
	}
}

// has tells whether anything received so far matches.
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

// query sends an iq and gives its answer.
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

// fence waits until the server has routed what this peer sent, and has sent it
// what it was to get.
func (p *peer) fence(ctx context.Context, t *testing.T) {
	t.Helper()
	_, domain := split(p.jid)
	p.query(ctx, t, "get", domain, "<ping xmlns='urn:xmpp:ping'/>")
}

// split is the localpart and the domain of a bare JID.
func split(jid string) (local, domain string) {
	local, domain, _ = strings.Cut(jid, "@")
	return local, domain
}
