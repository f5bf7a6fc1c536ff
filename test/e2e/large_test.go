//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/postern-im/postern/test/e2e/client"
)

// TestLargeStanza: an avatar above the stanza limit is refused with an answer
// that names the limit. No byte of it reaches the server, and the session
// continues. A far larger avatar ends the stream, with the limit in the error's
// text.
func TestLargeStanza(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			ctx := waiting(t)
			s := newSite(t, kind)
			s.only(ctx, t, "lab:all", everything()...)
			me := s.subject(ctx, t, s.member(ctx, t, "painter", "lab:all"))
			before := me.leg.passed()
			answer, err := me.Query(ctx, "set", "", avatar(267_000))
			if err != nil {
				t.Fatal(err)
			}
			if text := answer.Find(client.NSStanza, "text").Text; answer.Condition() != "policy-violation" || !strings.Contains(text, "262144") {
				t.Errorf("answer %s", answer.Raw)
			}
			if up := me.leg.upSince(before); len(up) > 0 {
				t.Errorf("%d bytes of it reach the server", len(up))
			}
			if answer, err = me.Query(ctx, "set", "", avatar(1000)); err != nil || answer.Attr("type") != "result" {
				t.Fatalf("the next one: %s, %v", answer.Raw, err)
			}
			_, err = me.Query(ctx, "set", "", avatar(2_000_000))
			if err == nil || me.Ended == nil || me.Ended.Condition() != "policy-violation" || !strings.Contains(me.Ended.Raw, "262144") {
				t.Errorf("far too large: %v, %v", err, me.Ended)
			}
		})
	}
}

// avatar publishes an avatar of size encoded bytes (XEP-0084).
func avatar(size int) string {
	return "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='urn:xmpp:avatar:data'><item id='111f4b3c50d7b0df729d299bc6f8e9ef9066971f'>" +
		"<data xmlns='urn:xmpp:avatar:data'>" + strings.Repeat("A", size) + "</data></item></publish></pubsub>"
}
