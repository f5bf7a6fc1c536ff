package tenants

import (
	"errors"
	"strings"
	"testing"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/projections"
)

// TestTokens checks the rules for a token's fields, that only operators may
// create one, and that a revocation cannot be undone.
func TestTokens(t *testing.T) {
	w := &world{t: t, v: projections.New()}
	if _, err := w.give("a", CreateTenant{}); err != nil {
		t.Fatal(err)
	}
	good := CreateToken{ID: "0123456789abcdef", Label: "CI", Scope: events.TokenWrite, Tenant: "a", Hash: [32]byte{1}}
	for want, spoil := range map[string]func(*CreateToken){
		"no token id":        func(c *CreateToken) { c.ID = "0123456789ABCDEF" },
		"name is missing":    func(c *CreateToken) { c.Label = "" },
		"is not allowed":     func(c *CreateToken) { c.Label = "a\nb" },
		"hash is missing":    func(c *CreateToken) { c.Hash = [32]byte{} },
		"unknown scope":      func(c *CreateToken) { c.Scope = 9 },
		"for all tenants: ":  func(c *CreateToken) { c.Scope = events.TokenOperator },
		"tenant is missing":  func(c *CreateToken) { c.Tenant = "" },
		`no tenant "nobody"`: func(c *CreateToken) { c.Tenant = "nobody" },
	} {
		c := good
		spoil(&c)
		if _, err := Check(w.v, "", c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
	if _, err := Check(w.v, "a", good); err == nil || !strings.Contains(err.Error(), "not about a tenant") {
		t.Errorf("as a command for a tenant: %v", err)
	}
	for _, actor := range []Actor{{Name: "x"}, {Name: "x", Tenant: "a"}} {
		for _, c := range []Change{good, RevokeToken{ID: good.ID}} {
			command := Command{Actor: actor, ID: "1", Change: c}
			_, err := command.Check(w.v)
			if e, ok := errors.AsType[*Error](err); !ok || e.Code != Forbidden {
				t.Errorf("%s by %+v: %v", c.Name(), actor, err)
			}
		}
	}
	steps := []struct {
		change Change
		want   string
		events int
	}{
		{RevokeToken{ID: good.ID}, "no token", 0}, {good, "", 1}, {good, "exists", 0},
		{RevokeToken{ID: good.ID}, "", 1}, {RevokeToken{ID: good.ID}, "", 0}, {good, "exists", 0},
	}
	for i, s := range steps {
		outcome, err := Check(w.v, "", s.change)
		if len(outcome.Events) != s.events || (err == nil) != (s.want == "") || err != nil && !strings.Contains(err.Error(), s.want) {
			t.Fatalf("step %d: %+v, %v", i+1, outcome, err)
		}
		if len(outcome.Events) == 0 {
			continue
		}
		next, err := w.v.Apply(&events.Commit{Position: w.v.Position() + 1, TenantVersion: w.v.Installation().Version() + 1, Events: outcome.Events})
		if err != nil {
			t.Fatal(err)
		}
		w.v = next
	}
	if token := w.v.Installation().Token(good.ID); token == nil || token.Revoked != 3 || token.Created != 2 || w.v.Installation().Version() != 2 {
		t.Errorf("%+v", token)
	}
}

// TestActorsToken checks that a command is refused after its actor's token has
// been revoked, even if it was given before.
func TestActorsToken(t *testing.T) {
	w := &world{t: t, v: projections.New()}
	const id = "0123456789abcdef"
	for _, c := range []struct {
		tenant string
		change Change
	}{{"a", twin("a")}, {"", CreateToken{ID: id, Label: "x", Scope: events.TokenWrite, Tenant: "a", Hash: [32]byte{1}}}} {
		if _, err := w.give(c.tenant, c.change); err != nil {
			t.Fatal(err)
		}
	}
	given := Command{Tenant: "a", Actor: Actor{Name: "token:" + id, Tenant: "a", Token: id}, ID: "1", Change: RenameTenant{DisplayName: "new"}}
	if _, err := given.Check(w.v); err != nil {
		t.Fatal(err)
	}
	if _, err := w.give("", RevokeToken{ID: id}); err != nil {
		t.Fatal(err)
	}
	if _, err := given.Check(w.v); err == nil || !strings.Contains(err.Error(), "token was revoked") {
		t.Errorf("after the revocation: %v", err)
	}
}
