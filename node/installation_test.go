package node_test

import (
	"testing"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/tenants"
)

// TestInstallation: commands for the installation have their own versions, beside
// those of tenants. Each is run once, and the next node has its effect.
func TestInstallation(t *testing.T) {
	l := openLog(t)
	r := start(t, l, l.LogID()).ready()
	r.tenants()
	token := tenants.CreateToken{ID: "0123456789abcdef", Label: "CI", Scope: events.TokenRead, Tenant: "acme", Hash: [32]byte{1}}
	made := r.do("", "t1", token)
	if !made.Changed || made.Position != 3 || made.TenantVersion != 1 {
		t.Errorf("made: %+v", made)
	}
	if again := r.do("", "t1", token); again.Position != made.Position {
		t.Errorf("the same command again: %+v", again)
	}
	if r.do("acme", "x", tenants.SuspendTenant{}); r.View().Installation().Version() != 1 {
		t.Errorf("version %d after a tenant's command", r.View().Installation().Version())
	}
	if revoked := r.do("", "t2", tenants.RevokeToken{ID: token.ID}); revoked.TenantVersion != 2 || revoked.Position != 5 {
		t.Errorf("revoked: %+v", revoked)
	}
	hash := r.View().Hash()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	for len(r.revocations) > 0 {
		if e := <-r.revocations; e.Tenant == "" {
			t.Errorf("a revocation without a tenant: %+v", e)
		}
	}
	after := start(t, l, l.LogID()).ready()
	if v := after.View(); v.Hash() != hash || v.Installation().Token(token.ID) == nil || v.Installation().Token(token.ID).Revoked != 5 {
		t.Errorf("the next node: %+v", v.Installation().Token(token.ID))
	}
}
