package session

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postern-im/postern/decision"
)

// TestVerdictOfAnotherLog checks that a verdict from another log ends the
// session, whatever its effect and the direction of the stanza. The session was
// opened at a position of its own log, so a revocation in the other log could
// go unnoticed.
func TestVerdictOfAnotherLog(t *testing.T) {
	for name, try := range map[string]struct {
		effect decision.Effect
		log    string
		in     bool
	}{
		"out":         {decision.Pass, "restored", false},
		"out, refuse": {decision.Refuse, "restored", false},
		"in":          {decision.Pass, "restored", true},
		"in, drop":    {decision.Drop, "restored", true},
		"no log":      {decision.Pass, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t, func(ctx context.Context, qs []decision.Question, vs []decision.Verdict) error {
					_ = passAll(ctx, qs, vs)
					for i := range vs {
						vs[i].Effect, vs[i].LogID = try.effect, try.log
					}
					return nil
				})
				client, server := collect(r.client), collect(r.backend)
				from := r.client
				if try.in {
					from = r.backend
				}
				send(from, "<message id='secret'/>")
				if err := <-r.done; told(err) != "reset" {
					t.Errorf("it ends with %v", err)
				}
				said := <-client
				if !strings.Contains(said, "<reset ") || !strings.Contains(said, "Roles changed") {
					t.Errorf("the client got %q", said)
				}
				if passed := said + <-server; strings.Contains(passed, "secret") {
					t.Errorf("it passed: %q", passed)
				}
			})
		})
	}
}

// TestObeyAnotherLog checks that Apply also ends a session because of a verdict
// from another log.
func TestObeyAnotherLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, passAll)
		_, _ = collect(r.client), collect(r.backend)
		r.session.Apply(&decision.Verdict{})
		r.session.Apply(&decision.Verdict{Effect: decision.Pass, LogID: testLog})
		synctest.Wait()
		select {
		case err := <-r.done:
			t.Fatalf("it has ended: %v", err)
		default:
		}
		r.session.Apply(&decision.Verdict{Effect: decision.Pass, LogID: "restored"})
		if err := <-r.done; told(err) != "reset" {
			t.Errorf("it ends with %v", err)
		}
	})
}
