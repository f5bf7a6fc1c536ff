//go:build e2e

package e2e

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/test/e2e/client"
)

const rosterQuery = "<query xmlns='jabber:iq:roster'/>"

// TestLive changes the permissions of connected accounts. Once a command
// returns, its change applies to the next stanza.
func TestLive(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, kind)
			t.Run("members", func(t *testing.T) {
				for name, try := range map[string]func(context.Context, *testing.T, *site){
					"next stanza":       nextStanza,
					"next incoming":     nextIncoming,
					"inherited":         inherited,
					"role changed":      roleChanged,
					"role shrinks":      roleShrinks,
					"while logging in":  whileLoggingIn,
					"role before bind":  roleBeforeBind,
					"ended before bind": endedBeforeBind,
					"suspended":         memberSuspended,
					"ended":             sessionsEnded,
				} {
					t.Run(name, func(t *testing.T) {
						t.Parallel()
						try(waiting(t), t, s)
					})
				}
			})
			// The following steps concern all accounts, so they run one by one.
			for _, step := range []struct {
				name string
				try  func(context.Context, *testing.T, *site)
			}{
				{"ceiling", ceiling},
				{"service", serviceTaken},
				{"default role", defaultRole},
				{"domain suspended", domainSuspended},
				{"tenant suspended", tenantSuspended},
				{"domain removed", domainRemoved},
				{"tenant removed", tenantRemoved},
			} {
				t.Run(step.name, func(t *testing.T) { step.try(waiting(t), t, s) })
			}
		})
	}
}

// mayReadRoster expects the session's next request to succeed, or to be
// refused.
func mayReadRoster(ctx context.Context, t *testing.T, me *subject, may bool) {
	t.Helper()
	answer, err := me.Query(ctx, "get", "", rosterQuery)
	if err != nil {
		t.Fatal(err)
	}
	if may != (answer.Attr("type") == "result") || !may && answer.Condition() != "forbidden" {
		t.Fatalf("want allowed to read the roster: %v, got %s", may, answer)
	}
}

// wantReset expects the session to end because roles changed, without sending
// anything.
func wantReset(ctx context.Context, t *testing.T, me *subject) {
	t.Helper()
	e, err := me.Expect(ctx, client.IsStreamError)
	if err != nil {
		t.Fatalf("%s: %v", me.JID, err)
	}
	if e.Condition() != "reset" {
		t.Errorf("%s ends with %s", me.JID, e)
	}
	if _, err := me.Next(ctx); err == nil {
		t.Errorf("%s continues after the stream error", me.JID)
	}
}

// cannotEnter expects that an account cannot log in.
func cannotEnter(ctx context.Context, t *testing.T, s *site, a account) {
	t.Helper()
	config := s.clientConfig(t, a, client.DirectTLS)
	config.Mechanism = "PLAIN"
	c, err := client.Login(ctx, config)
	if err == nil {
		t.Errorf("%s logs in as %s", a.jid, c.JID)
		_ = c.Close()
	} else if errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%s is kept waiting", a.jid)
	}
}

// nextStanza takes a permission away and gives it back a hundred times. Each
// change applies to the very next stanza, and the session stays.
func nextStanza(ctx context.Context, t *testing.T, s *site) {
	role := unique("lab:live")
	s.allBut(ctx, t, role)
	me := s.subject(ctx, t, s.member(ctx, t, "live", role))
	mayReadRoster(ctx, t, me, true)
	for range 100 {
		s.allBut(ctx, t, role, "xmpp:account:contacts:read")
		mayReadRoster(ctx, t, me, false)
		s.allBut(ctx, t, role)
		mayReadRoster(ctx, t, me, true)
	}
	// A change by the command line takes effect just as fast.
	if _, err := s.in.Policyctl(ctx, "", "role", "define", "--tenant", "lab", role, "--inherits", "prosody:registered",
		"--deny", "xmpp:account:contacts:read"); err != nil {
		t.Fatal(err)
	}
	mayReadRoster(ctx, t, me, false)
}

// nextIncoming is nextStanza for stanzas from the server.
func nextIncoming(ctx context.Context, t *testing.T, s *site) {
	role := unique("lab:live")
	s.allBut(ctx, t, role)
	me := s.subject(ctx, t, s.member(ctx, t, "live", role))
	bob := s.peer(ctx, t, "bob", "alpha.test")
	for i := range 50 {
		denied := i%2 == 0
		if denied {
			s.allBut(ctx, t, role, "xmpp:account:contacts:read")
		} else {
			s.allBut(ctx, t, role)
		}
		mark := unique("mark")
		bob.send(ctx, t, "<presence to='"+me.JID+"' id='"+mark+"'/>")
		if err := me.leg.sent(ctx, mark); err != nil {
			t.Fatal(err)
		}
		came := me.fence(ctx, t)
		if got := len(came) == 1 && came[0].Attr("id") == mark; got == denied {
			t.Fatalf("presence %d: denied %v, and came %v", i, denied, came)
		}
	}
}

// inherited: a change to a role applies to all roles that inherit from it, and
// a built-in role can change too.
func inherited(ctx context.Context, t *testing.T, s *site) {
	parent, child := unique("lab:parent"), unique("lab:child")
	s.allBut(ctx, t, parent)
	s.do(ctx, t, "lab", api.RoleDefine{Role: child, Inherits: []string{parent}})
	me := s.subject(ctx, t, s.member(ctx, t, "live", child))
	mayReadRoster(ctx, t, me, true)
	s.allBut(ctx, t, parent, "xmpp:account:contacts:read")
	mayReadRoster(ctx, t, me, false)
	s.do(ctx, t, "lab", api.RoleDefine{Role: child, Inherits: []string{parent}, Allow: []string{"xmpp:account:contacts:read"}})
	mayReadRoster(ctx, t, me, true)

	// prosody:operator is no default role, so no other account is concerned.
	operator := s.subject(ctx, t, s.member(ctx, t, "live", "prosody:operator"))
	mayReadRoster(ctx, t, operator, true)
	s.do(ctx, t, "lab", api.RoleAdjust{Role: "prosody:operator", Remove: []string{"xmpp:account:contacts:read"}})
	mayReadRoster(ctx, t, operator, false)
	s.do(ctx, t, "lab", api.RoleAdjust{Role: "prosody:operator"})
	mayReadRoster(ctx, t, operator, true)
}

// roleChanged: a new primary role ends the account's sessions, idle ones too,
// and the next session has the new role. Secondary roles and the same role
// again end none.
func roleChanged(ctx context.Context, t *testing.T, s *site) {
	free, bound := unique("lab:free"), unique("lab:bound")
	s.allBut(ctx, t, free)
	s.allBut(ctx, t, bound, "xmpp:account:contacts:read")
	a := s.member(ctx, t, "live", free)
	bystander := s.subject(ctx, t, s.member(ctx, t, "bystander", free))
	me := s.subject(ctx, t, a)
	s.do(ctx, t, "lab", api.MemberSet{JID: a.jid, Role: free, Secondary: []string{bound}})
	if result := s.do(ctx, t, "lab", api.MemberSet{JID: a.jid, Role: free, Secondary: []string{bound}}); result.Changed {
		t.Error("the same role again changes something")
	}
	mayReadRoster(ctx, t, me, true)
	s.do(ctx, t, "lab", api.MemberSet{JID: a.jid, Role: bound})
	wantReset(ctx, t, me)
	me = s.subject(ctx, t, a)
	mayReadRoster(ctx, t, me, false)
	s.do(ctx, t, "lab", api.MemberRemove{JID: a.jid})
	wantReset(ctx, t, me)
	mayReadRoster(ctx, t, s.subject(ctx, t, a), true) // as prosody:registered, the default role
	mayReadRoster(ctx, t, bystander, true)
}

// roleShrinks: a session ends if it loses a permission whose effects its server
// would continue to give it.
func roleShrinks(ctx context.Context, t *testing.T, s *site) {
	for _, lost := range everything() {
		role := unique("lab:live")
		s.allBut(ctx, t, role)
		me := s.subject(ctx, t, s.member(ctx, t, "live", role))
		s.allBut(ctx, t, role, lost)
		if lost == "xmpp:account:messages:read" || lost == "xmpp:account:presence:write" {
			wantReset(ctx, t, me)
			continue
		}
		me.fence(ctx, t)
		s.allBut(ctx, t, role) // gaining permissions ends no session
		me.fence(ctx, t)
		_ = me.Close()
	}
}

// whileLoggingIn changes the role during each step of a log-in. A session that
// survives has the new role.
func whileLoggingIn(ctx context.Context, t *testing.T, s *site) {
	free, bound := unique("lab:free"), unique("lab:bound")
	s.allBut(ctx, t, free)
	s.allBut(ctx, t, bound, "xmpp:account:contacts:read")
	a := s.member(ctx, t, "racer", free)
	ended := 0
	for i := range 30 {
		// Each round changes to the other role.
		role, may := bound, false
		if i%2 == 1 {
			role, may = free, true
		}
		answer, err := s.logInWhile(ctx, t, a, i/2%2, func() { s.do(ctx, t, "lab", api.MemberSet{JID: a.jid, Role: role}) })
		switch {
		case err != nil:
			ended++
		case may != (answer.Attr("type") == "result"):
			t.Errorf("round %d: want allowed to read the roster: %v, got %s", i, may, answer)
		}
	}
	t.Logf("%d of 30 log-ins were ended by the change", ended)
}

// logInWhile logs in and asks for the roster; do runs at the same time as one
// of the steps. It returns an error if the session was ended because its roles
// changed.
func (s *site) logInWhile(ctx context.Context, t *testing.T, a account, step int, do func()) (answer client.Element, err error) {
	t.Helper()
	config := s.clientConfig(t, a, client.DirectTLS)
	config.Mechanism = "PLAIN"
	c, err := client.Dial(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var doing sync.WaitGroup
	for i, log := range []func(context.Context) error{c.Authenticate, c.Bind} {
		if i == step {
			doing.Go(do)
		}
		if err == nil {
			err = log(ctx)
		}
	}
	if doing.Wait(); err == nil { // so the request comes after the change
		answer, err = c.Query(ctx, "get", "", rosterQuery)
	}
	if err != nil && (c.Ended == nil || c.Ended.Condition() != "reset") {
		t.Errorf("a role changed in step %d: %v", step, err)
	}
	return answer, err
}

// roleBeforeBind: a client that authenticated under an old role does not keep
// it.
func roleBeforeBind(ctx context.Context, t *testing.T, s *site) {
	free, bound := unique("lab:free"), unique("lab:bound")
	s.allBut(ctx, t, free)
	s.only(ctx, t, bound)
	a := s.member(ctx, t, "early", free)
	config := s.clientConfig(t, a, client.DirectTLS)
	config.Mechanism = "PLAIN"
	c, err := client.Dial(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Authenticate(ctx); err != nil {
		t.Fatal(err)
	}
	s.do(ctx, t, "lab", api.MemberSet{JID: a.jid, Role: bound})
	answer := client.Element{}
	if err = c.Bind(ctx); err == nil {
		answer, err = c.Query(ctx, "get", "", rosterQuery)
	}
	switch {
	case err != nil && (c.Ended == nil || c.Ended.Condition() != "reset"):
		t.Errorf("after the role was changed: %v", err)
	case err == nil && answer.Condition() != "forbidden":
		t.Errorf("the old role is kept: %s", answer)
	}
}

// endedBeforeBind: a client that authenticated before the account's sessions
// were ended cannot escape by binding afterwards, even if it sends nothing.
func endedBeforeBind(ctx context.Context, t *testing.T, s *site) {
	a := newAccount(t, s.server, "early", "alpha.test")
	config := s.clientConfig(t, a, client.DirectTLS)
	config.Mechanism = "PLAIN"
	c, err := client.Dial(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Authenticate(ctx); err != nil {
		t.Fatal(err)
	}
	s.do(ctx, t, "lab", api.MemberEndSessions{JID: a.jid})
	if err := c.Bind(ctx); err != nil {
		t.Fatal(err)
	}
	wantReset(ctx, t, &subject{Client: c, account: a})
	mayReadRoster(ctx, t, s.subject(ctx, t, a), true) // the revocation ends earlier sessions only
}

func memberSuspended(ctx context.Context, t *testing.T, s *site) {
	a := newAccount(t, s.server, "live", "alpha.test")
	bystander := s.subject(ctx, t, newAccount(t, s.server, "bystander", "alpha.test"))
	me := s.subject(ctx, t, a)
	s.do(ctx, t, "lab", api.MemberSuspend{JID: a.jid})
	wantReset(ctx, t, me)
	cannotEnter(ctx, t, s, a)
	s.do(ctx, t, "lab", api.MemberResume{JID: a.jid})
	mayReadRoster(ctx, t, s.subject(ctx, t, a), true)
	mayReadRoster(ctx, t, bystander, true)
}

func sessionsEnded(ctx context.Context, t *testing.T, s *site) {
	a := newAccount(t, s.server, "live", "alpha.test")
	me := s.subject(ctx, t, a)
	s.do(ctx, t, "lab", api.MemberEndSessions{JID: a.jid})
	wantReset(ctx, t, me)
	mayReadRoster(ctx, t, s.subject(ctx, t, a), true) // the revocation ends earlier sessions only
}

func ceiling(ctx context.Context, t *testing.T, s *site) {
	me := s.subject(ctx, t, newAccount(t, s.server, "live", "alpha.test"))
	other := s.subject(ctx, t, newAccount(t, s.server, "live", "gamma.test"))
	s.do(ctx, t, "lab", api.TenantSetCeiling{Permissions: []string{"xmpp:account:contacts:read"}})
	mayReadRoster(ctx, t, me, false)
	mayReadRoster(ctx, t, other, true)
	s.do(ctx, t, "lab", api.TenantSetCeiling{Permissions: []string{}})
	mayReadRoster(ctx, t, me, true)
	s.do(ctx, t, "lab", api.TenantSetCeiling{Permissions: []string{"xmpp:account:messages:read"}})
	wantReset(ctx, t, me)
	s.do(ctx, t, "lab", api.TenantSetCeiling{Permissions: []string{}})
	mayReadRoster(ctx, t, other, true)
}

// serviceTaken: a service is remote as soon as the tenant no longer has it.
func serviceTaken(ctx context.Context, t *testing.T, s *site) {
	role := unique("lab:live")
	s.allBut(ctx, t, role, "xmpp:federate")
	me := s.subject(ctx, t, s.member(ctx, t, "live", role))
	const disco = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
	wantResult(ctx, t, me, "get", "pubsub.beta.test", disco)
	s.do(ctx, t, "lab", api.ServiceRemove{Service: "pubsub.beta.test"})
	wantDenied(ctx, t, me, "xmpp:federate", "<iq type='get' to='pubsub.beta.test'>"+disco+"</iq>")
	s.do(ctx, t, "lab", api.ServiceAdd{Service: "pubsub.beta.test"})
	wantResult(ctx, t, me, "get", "pubsub.beta.test", disco)
}

func defaultRole(ctx context.Context, t *testing.T, s *site) {
	role := unique("lab:default")
	s.allBut(ctx, t, role, "xmpp:account:contacts:read")
	a := newAccount(t, s.server, "live", "alpha.test")
	me := s.subject(ctx, t, a)
	explicit := s.subject(ctx, t, s.member(ctx, t, "explicit", "prosody:registered"))
	beta := s.subject(ctx, t, newAccount(t, s.server, "live", "beta.test"))
	s.do(ctx, t, "lab", api.DomainSetDefaultRole{Domain: "alpha.test", Role: role})
	wantReset(ctx, t, me)
	mayReadRoster(ctx, t, s.subject(ctx, t, a), false)
	mayReadRoster(ctx, t, explicit, true)
	mayReadRoster(ctx, t, beta, true)
	s.do(ctx, t, "lab", api.DomainSetDefaultRole{Domain: "alpha.test", Role: "prosody:registered"})
}

func domainSuspended(ctx context.Context, t *testing.T, s *site) {
	a := newAccount(t, s.server, "live", "alpha.test")
	me := s.subject(ctx, t, a)
	beta := s.subject(ctx, t, newAccount(t, s.server, "live", "beta.test"))
	s.do(ctx, t, "lab", api.DomainSuspend{Domain: "alpha.test"})
	wantReset(ctx, t, me)
	cannotEnter(ctx, t, s, a)
	mayReadRoster(ctx, t, beta, true)
	s.do(ctx, t, "lab", api.DomainResume{Domain: "alpha.test"})
	mayReadRoster(ctx, t, s.subject(ctx, t, a), true)
}

func tenantSuspended(ctx context.Context, t *testing.T, s *site) {
	a := newAccount(t, s.server, "live", "beta.test")
	me := s.subject(ctx, t, a)
	other := s.subject(ctx, t, newAccount(t, s.server, "live", "gamma.test"))
	s.do(ctx, t, "lab", api.TenantSuspend{})
	wantReset(ctx, t, me)
	cannotEnter(ctx, t, s, a)
	mayReadRoster(ctx, t, other, true)
	s.do(ctx, t, "lab", api.TenantResume{})
	mayReadRoster(ctx, t, s.subject(ctx, t, a), true)
}

func domainRemoved(ctx context.Context, t *testing.T, s *site) {
	a := newAccount(t, s.server, "live", "beta.test")
	me := s.subject(ctx, t, a)
	alpha := s.subject(ctx, t, newAccount(t, s.server, "live", "alpha.test"))
	s.do(ctx, t, "lab", api.DomainRemove{Domain: "beta.test"})
	wantReset(ctx, t, me)
	mayReadRoster(ctx, t, alpha, true)
	config := s.clientConfig(t, a, client.DirectTLS)
	if _, err := client.Dial(ctx, config); err == nil || !strings.Contains(err.Error(), "host-unknown") {
		t.Errorf("the domain that was removed: %v", err)
	}
}

func tenantRemoved(ctx context.Context, t *testing.T, s *site) {
	me := s.subject(ctx, t, newAccount(t, s.server, "live", "alpha.test"))
	other := s.subject(ctx, t, newAccount(t, s.server, "live", "gamma.test"))
	s.do(ctx, t, "lab", api.TenantRemove{})
	wantReset(ctx, t, me)
	mayReadRoster(ctx, t, other, true)
}
