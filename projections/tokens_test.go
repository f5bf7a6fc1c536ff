package projections

import (
	"fmt"
	"testing"

	"github.com/postern-im/postern/events"
)

// TestTokens folds events about tokens. It checks that older Views keep their
// tokens and that the encoding holds all of them.
func TestTokens(t *testing.T) {
	views := []*View{New()}
	give := func(list ...events.Event) {
		t.Helper()
		v := views[len(views)-1]
		next, err := v.Apply(&events.Commit{Position: v.Position() + 1, TenantVersion: v.Installation().Version() + 1, Events: list})
		if err != nil {
			t.Fatal(err)
		}
		views = append(views, next)
	}
	for i := range 20 {
		give(events.TokenCreated{ID: fmt.Sprintf("%02d", i*7%20), Name: "n", Scope: events.TokenWrite, Tenant: "t", Hash: [32]byte{byte(i)}, Expires: uint64(i) << 40})
	}
	give(events.TokenRevoked{ID: "07"}, events.TokenCreated{ID: "op", Name: "n", Scope: events.TokenOperator})
	for n, v := range views {
		if want := min(n, 20) + n/21; len(v.Installation().Tokens()) != want {
			t.Errorf("view %d has %d tokens, want %d", n, len(v.Installation().Tokens()), want)
		}
		for i, token := range v.Installation().Tokens() {
			if i > 0 && v.Installation().Tokens()[i-1].ID >= token.ID || v.Installation().Token(token.ID) != token {
				t.Errorf("view %d: token %q is out of place", n, token.ID)
			}
		}
		if token := v.Installation().Token("07"); token != nil && (token.Revoked != 0) != (n == 21) {
			t.Errorf("view %d: %+v", n, token)
		}
		again := decoded(t, encoded(t, v))
		if again.Hash() != v.Hash() || again.Installation().Version() != v.Installation().Version() || len(again.Installation().Tokens()) != len(v.Installation().Tokens()) {
			t.Errorf("view %d: the decoded view differs", n)
		}
		for i, token := range again.Installation().Tokens() {
			if *token != *v.Installation().Tokens()[i] {
				t.Errorf("view %d: %+v, want %+v", n, token, v.Installation().Tokens()[i])
			}
		}
	}
	if b := encoded(t, views[21]); accepted(t, b[:len(b)-2]) {
		t.Error("a cut section was accepted")
	}
}
