//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/postern-im/postern/test/e2e/client"
)

// maxOutstanding is how many requests a session remembers in each direction.
const maxOutstanding = 1024

// testMemory shows that a request is answered once, by the address that it was
// sent to, and that a session remembers only its newest requests.
func testMemory(t *testing.T, s *site) {
	ctx := waiting(t)
	s.allBut(ctx, t, "lab:all")
	me := s.subject(ctx, t, s.member(ctx, t, "asker", "lab:all"))
	bob, dave := s.peer(ctx, t, "bob", "alpha.test"), s.peer(ctx, t, "dave", "beta.test")
	t.Run("in", func(t *testing.T) {
		send(ctx, t, me.Client, ask("once", bob.c.JID))
		me.fence(ctx, t)
		wantAnswers(ctx, t, me, bob, "once", true)
		wantAnswers(ctx, t, me, bob, "once", false) // the request is answered already
		send(ctx, t, me.Client, ask("misled", dave.c.JID))
		me.fence(ctx, t)
		wantAnswers(ctx, t, me, bob, "misled", false)
		var asked strings.Builder
		for i := range maxOutstanding + 1 {
			asked.WriteString(ask(fmt.Sprint("many-", i), bob.c.JID))
		}
		send(ctx, t, me.Client, asked.String())
		me.fence(ctx, t)
		wantAnswers(ctx, t, me, bob, "many-0", false)
		wantAnswers(ctx, t, me, bob, fmt.Sprint("many-", maxOutstanding/2), true)
		wantAnswers(ctx, t, me, bob, fmt.Sprint("many-", maxOutstanding), true)
	})
	t.Run("out", func(t *testing.T) {
		for i := range maxOutstanding + 1 {
			bob.send(ctx, t, ask(fmt.Sprint("his-", i), me.JID))
		}
		if err := me.leg.sent(ctx, fmt.Sprintf("his-%d", maxOutstanding)); err != nil {
			t.Fatal(err)
		}
		me.fence(ctx, t)
		for _, answer := range []struct {
			id     string
			to     *peer
			passes bool
		}{
			{"his-0", bob, false}, {"his-1", dave, false}, {"his-1", bob, true}, {"his-1", bob, false}, {"nobodys", bob, false},
		} {
			before := me.leg.passed()
			raw := "<iq type='result' id='" + answer.id + "' to='" + answer.to.c.JID + "'/>"
			send(ctx, t, me.Client, raw)
			if me.fence(ctx, t); !answer.passes {
				raw = ""
			}
			wantForwarded(t, me.leg.upSince(before), raw)
		}
	})
}

// ask returns a request.
func ask(id, to string) string {
	return "<iq type='get' id='" + id + "' to='" + to + "'><query xmlns='jabber:iq:version'/></iq>"
}

// wantAnswers lets the peer answer a request, and expects the answer to reach
// the session, or to be dropped.
func wantAnswers(ctx context.Context, t *testing.T, me *subject, p *peer, id string, passes bool) {
	t.Helper()
	mark := unique("mark")
	p.send(ctx, t, "<iq type='result' id='"+id+"' to='"+me.JID+"'><query xmlns='jabber:iq:version'><name>"+mark+"</name></query></iq>")
	if err := me.leg.sent(ctx, mark); err != nil {
		t.Fatal(err)
	}
	came := me.fence(ctx, t)
	if got := len(came) == 1 && client.IsAnswer(id)(came[0]); got != passes || !passes && len(came) > 0 {
		t.Errorf("want the answer to %s to pass: %v, got %v", id, passes, came)
	}
}
