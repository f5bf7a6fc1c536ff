//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/test/e2e/backend"
	"github.com/postern-im/postern/test/e2e/client"
	"github.com/postern-im/postern/test/e2e/installation"
)

// TestSessions runs two gateways in front of one server. The sessions of both
// are listed. A session can be ended by its id at either gateway, and no other
// session ends. A killed gateway is reported as missing.
func TestSessions(t *testing.T) {
	ctx := waiting(t)
	server := shared.servers[backend.Prosody]
	in, err := install(server, server.Addr(), installation.Config{Second: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := in.Stop(); err != nil {
			t.Error(err)
		}
	})
	admin := api.NewClient(in.Socket())
	t.Cleanup(admin.Close)
	tg := target{name: "two gateways", server: server, startTLS: in.StartTLS, directTLS: in.DirectTLS, caFile: server.CAFile()}
	bob := newAccount(t, server, "bob", "alpha.test")
	connect := func(a account, at, resource string) *subject {
		config := tg.clientConfig(t, a, client.DirectTLS)
		config.Address, config.Resource = at, resource
		return &subject{Client: login(ctx, t, config), account: a}
	}
	here, there := connect(bob, in.DirectTLS, "here"), connect(bob, in.SecondDirectTLS, "there")
	other := connect(newAccount(t, server, "carol", "gamma.test"), in.SecondDirectTLS, "r")
	stays := func(me *subject) {
		t.Helper()
		mayReadRoster(ctx, t, me, true)
	}

	// found lists sessions with policyctl and returns them by full JID.
	found := func(wantMissing []string, args ...string) map[string]api.Session {
		t.Helper()
		out, err := in.Policyctl(ctx, "", append([]string{"session", "list", "--json"}, args...)...)
		if failed := new(exec.ExitError); err != nil && (!errors.As(err, &failed) || failed.ExitCode() != 1) {
			t.Fatal(err)
		}
		var list api.SessionList
		if failed := json.Unmarshal([]byte(out), &list); failed != nil {
			t.Fatalf("%v: %s, %v", failed, out, err)
		}
		if !slices.Equal(list.Missing, wantMissing) || (err != nil) != (len(wantMissing) > 0) {
			t.Errorf("missing: %v, want %v; %v", list.Missing, wantMissing, err)
		}
		all := map[string]api.Session{}
		for _, s := range list.Sessions {
			all[s.Account+"/"+s.Resource] = s
		}
		return all
	}
	none := []string{}
	all := found(none)
	if len(all) != 3 || all[here.JID].Gateway != "gateway" || all[there.JID].Gateway != installation.SecondID || all[other.JID].Tenant != "other" {
		t.Fatalf("all sessions: %+v", all)
	}
	if s := all[there.JID]; s.Tenant != "lab" || s.Account != bob.jid || !strings.HasPrefix(s.Remote, "127.0.0.1") || !strings.HasPrefix(s.TLS, "TLS") || s.Since.IsZero() {
		t.Errorf("bob's session at the second gateway: %+v", s)
	}
	if lab := found(none, "-t", "lab"); len(lab) != 2 || lab[other.JID].ID != "" {
		t.Errorf("sessions of tenant lab: %+v", lab)
	}
	if second := found(none, "--gateway", installation.SecondID, "--account", bob.jid); len(second) != 1 || second[there.JID].ID != all[there.JID].ID {
		t.Errorf("bob's session at the second gateway: %+v", second)
	}

	// Another tenant cannot end the session. Its own tenant can, and ends only
	// that one.
	if _, err := in.Policyctl(ctx, "", "session", "end", all[there.JID].ID, "-t", "other"); err == nil || !strings.Contains(err.Error(), "no live session") {
		t.Errorf("end the session as another tenant: %v", err)
	}
	stays(there)
	if out, err := in.Policyctl(ctx, "", "session", "end", all[there.JID].ID, "-t", "lab", "--reason", "stolen phone"); err != nil || !strings.Contains(out, there.JID) {
		t.Fatalf("%s, %v", out, err)
	}
	wantReset(ctx, t, there)
	stays(here)
	stays(other)
	if _, err := in.Policyctl(ctx, "", "session", "show", all[here.JID].ID); err != nil {
		t.Error(err)
	}

	// A killed gateway cannot announce that it is gone.
	if err := in.SecondGateway.Kill(); err != nil {
		t.Fatal(err)
	}
	in.SecondGateway = nil
	if left := found([]string{installation.SecondID}); len(left) != 1 || left[here.JID].ID != all[here.JID].ID {
		t.Errorf("sessions with the second gateway killed: %+v", left)
	}
	_, err = admin.EndSession(ctx, "other", all[other.JID].ID, api.SessionEnd{})
	if e, ok := errors.AsType[*api.Error](err); !ok || e.Code != api.CodeUnknown || !strings.Contains(e.Text, installation.SecondID) {
		t.Errorf("end a session of the killed gateway: %v", err)
	}
	stays(here)
	if _, err := in.Policyctl(ctx, "", "session", "end", "--account", bob.jid); err != nil {
		t.Fatal(err)
	}
	wantReset(ctx, t, here)
}
