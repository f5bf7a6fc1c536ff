package gateway_test

import (
	"context"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postern-im/postern/decision"
)

// late is a table whose answers come too late, as many as admits, opens and asks
// say. An answer can be too late after a suspend.
type late struct {
	*table
	admits, opens, asks atomic.Int64 // how many of the next answers come too late
}

// age makes an answer older than the lease, if more of its kind are to come too
// late.
func age(left *atomic.Int64, f *decision.Freshness) {
	if left.Add(-1) >= 0 {
		f.ProvenAt -= decision.Lease + time.Second
	}
}

func (p *late) Admit(ctx context.Context, domain string) (decision.Admission, error) {
	a, err := p.table.Admit(ctx, domain)
	age(&p.admits, &a.Freshness)
	return a, err
}

func (p *late) Open(ctx context.Context, s decision.Session) (decision.Opening, error) {
	o, err := p.table.Open(ctx, s)
	age(&p.opens, &o.Freshness)
	return o, err
}

func (p *late) Ask(ctx context.Context, qs []decision.Question, vs []decision.Verdict, hold time.Duration) error {
	err := p.table.Ask(ctx, qs, vs, hold)
	tooLate := p.asks.Add(-1) >= 0
	for i := range vs {
		if tooLate {
			vs[i].Effect = decision.Pass // it does not know of any revocation
			vs[i].ProvenAt -= decision.Lease + time.Second
		}
	}
	return err
}

// TestLateAnswersOnLogin checks that a log-in asks again after an answer that is
// not fresh, and that it fails if no answer is.
func TestLateAnswersOnLogin(t *testing.T) {
	defer goleak.VerifyNone(t)
	b := startSink(t)
	defer b.stop()
	for _, tt := range []struct {
		name          string
		admits, opens int64
		refused       bool
	}{
		{"the first two", 2, 2, false},
		{"all on the domain", 1000, 0, true},
		{"all on the session", 0, 1000, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &late{table: newTable()}
			p.admits.Store(tt.admits)
			p.opens.Store(tt.opens)
			g := serveGateway(t, p, b.listener.Addr().String(), nil)
			conn, _, err := dialDirect(g.direct, "r")
			if err == nil {
				defer conn.Close()
			}
			if refused := err != nil; refused != tt.refused || refused && !strings.Contains(err.Error(), "access control is temporarily unavailable") {
				t.Errorf("the log-in: %v", err)
			}
			g.stop()
			if err := <-g.done; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestLateAnswerAfterARevocation checks that a verdict which is not fresh does not
// count as the answer about a session that was revoked.
func TestLateAnswerAfterARevocation(t *testing.T) {
	defer goleak.VerifyNone(t)
	b := startSink(t)
	defer b.stop()
	p := &late{table: newTable()}
	g := serveGateway(t, p, b.listener.Addr().String(), nil)
	conn, r, err := dialDirect(g.direct, "r")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p.mu.Lock()
	p.ended["alice@a.test"] = true
	p.mu.Unlock()
	p.asks.Store(2)
	g.gateway.Recheck(decision.Revocation{Tenant: "acme", Account: "alice@a.test", Position: 8, LogID: "log"})
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if got, _ := io.ReadAll(r); !strings.Contains(string(got), "<reset ") {
		t.Errorf("the client is told %q", got)
	}
	g.stop()
	if err := <-g.done; err != nil {
		t.Error(err)
	}
}
