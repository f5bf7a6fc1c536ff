package gateway_test

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postern-im/postern/decision"
)

// TestSessionsAreShownAndEnded: a gateway lists its sessions in pages, with the
// number of stanzas passed. When one of two sessions is ended, its client is
// told, and the second session stays.
func TestSessionsAreShownAndEnded(t *testing.T) {
	defer goleak.VerifyNone(t)
	b := startSink(t)
	defer b.stop()
	g := serveGateway(t, newTable(), b.listener.Addr().String(), nil)
	stays, still, err := dialDirect(g.direct, "a-stays")
	if err != nil {
		t.Fatal(err)
	}
	defer stays.Close()
	conn, r, err := dialDirect(g.direct, "b-ends")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The client gets its bind result before its session is registered. Once the
	// session answers a stanza, it is registered.
	for _, s := range []struct {
		net.Conn
		r *bufio.Reader
	}{{stays, still}, {conn, r}} {
		_ = s.SetReadDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(s, "<iq type='get' id='1' to='bob@a.test/'><a xmlns='b'/></iq>")
		if got, ok := readUntil(s.r, "</iq>"); !ok {
			t.Fatalf("no answer: %q", got)
		}
	}
	page := g.gateway.Sessions(&decision.SessionQuery{Tenant: "acme", Limit: 1})
	if len(page.Sessions) != 1 || !page.More || page.Sessions[0].Resource != "a-stays" {
		t.Fatalf("first page: %+v", page)
	}
	page = g.gateway.Sessions(&decision.SessionQuery{After: page.Sessions[0].Key(), Limit: 1})
	if len(page.Sessions) != 1 || page.More {
		t.Fatalf("second page: %+v", page)
	}
	l := page.Sessions[0]
	if l.Resource != "b-ends" || l.Account != "alice@a.test" || l.Opened != 7 || l.LogID != "log" || l.TLS != "TLS 1.3" ||
		l.Mechanism != "PLAIN" || l.Remote != conn.LocalAddr().String() || l.RefusedOut != 1 || l.PassedOut != 0 || l.ID == "" {
		t.Errorf("listed as %+v", l)
	}
	if wrong := g.gateway.Sessions(&decision.SessionQuery{Tenant: "other", Session: l.ID, End: true, Limit: 1}); len(wrong.Sessions) != 0 {
		t.Errorf("a query for another tenant ends it: %+v", wrong)
	}
	ended := g.gateway.Sessions(&decision.SessionQuery{Tenant: "acme", Session: l.ID, End: true, Limit: 1})
	if len(ended.Sessions) != 1 || ended.Sessions[0].ID != l.ID {
		t.Errorf("ended: %+v", ended)
	}
	if got, _ := io.ReadAll(r); !strings.Contains(string(got), "<reset ") || !strings.Contains(string(got), "Ended by an administrator") {
		t.Errorf("the client is told %q", got)
	}
	_, _ = io.WriteString(stays, "<iq type='get' id='1' to='bob@a.test/'><a xmlns='b'/></iq>")
	if got, ok := readUntil(still, "</iq>"); !ok {
		t.Errorf("the second session has ended: %q", got)
	}
	g.stop()
	_, _ = io.ReadAll(still)
	if err := <-g.done; err != nil {
		t.Error(err)
	}
}
