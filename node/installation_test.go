package node_test

import (
	"context"
	"errors"
	"testing"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/node"
	"github.com/postern-im/postern/projections"
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

// TestAwaitView: AwaitView returns as soon as there is a View that fits, and fails
// when its context ends or the node stops.
func TestAwaitView(t *testing.T) {
	l := openLog(t)
	r := start(t, l, l.LogID())
	v, err := r.AwaitView(t.Context(), func(*projections.View) bool { return true })
	if err != nil || v.Position() != 0 {
		t.Fatalf("the first view: %v", err)
	}
	type awaited struct {
		v   *projections.View
		err error
	}
	await := func(version uint64) chan awaited {
		done := make(chan awaited, 1)
		go func() {
			v, err := r.AwaitView(context.WithoutCancel(t.Context()), func(v *projections.View) bool { return v.Installation().Version() == version })
			done <- awaited{v, err}
		}()
		return done
	}
	first := await(1)
	r.tenants() // other commits do not end the wait
	made := r.do("", "s1", tenants.AddSharedService{Service: "push.test"})
	if got := <-first; got.err != nil || got.v.Position() != made.Position {
		t.Errorf("after a commit of the installation: %+v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.AwaitView(ctx, func(*projections.View) bool { return false }); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of its context: %v", err)
	}
	never := await(9)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if got := <-never; !errors.Is(got.err, node.ErrStopped) {
		t.Errorf("after the node has stopped: %v", got.err)
	}
}
