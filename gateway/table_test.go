package gateway_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/internal/boottime"
	"github.com/postern-im/postern/xmpp/stanza"
)

// A table decides by a stanza's id, and passes a stanza without a rule. It takes
// the place of policy nodes, which this package may not import.
type table struct {
	recheck func(decision.Revocation)
	atOpen  string        // account whose sessions end just after the next is opened
	most    atomic.Uint64 // limit on the tenant's sessions; 0: no limit

	mu     sync.Mutex
	rules  map[string]decision.Verdict
	ended  map[string]bool
	joined map[string]bool // ids that pass only from a peer that the session has joined
	outage chan struct{}   // closed when the outage ends; nil: no outage
	since  time.Time
	asked  []string // ids, in order
}

func newTable() *table {
	return &table{rules: make(map[string]decision.Verdict), ended: make(map[string]bool), joined: make(map[string]bool)}
}

var errNobody = errors.New("no policy node answers")

func (p *table) set(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case down && p.outage == nil:
		p.outage, p.since = make(chan struct{}), time.Now()
	case !down && p.outage != nil:
		close(p.outage)
		p.outage = nil
	}
}

// up waits for the end of an outage, as an Asker does.
func (p *table) up(ctx context.Context, hold time.Duration) error {
	p.mu.Lock()
	outage, since := p.outage, p.since
	p.mu.Unlock()
	if outage == nil {
		return nil
	}
	timer := time.NewTimer(time.Until(since.Add(hold)))
	defer timer.Stop()
	select {
	case <-outage:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return errNobody
	}
}

// justNow is the freshness of an answer that was made without delay.
func justNow() decision.Freshness {
	now := boottime.Now()
	return decision.Freshness{AskedAt: now, ProvenAt: now}
}

func (p *table) Admit(ctx context.Context, domain string) (decision.Admission, error) {
	if err := p.up(ctx, 5*time.Second); err != nil {
		return decision.Admission{}, err
	}
	if !strings.HasSuffix(domain, ".test") || domain == "unknown.test" {
		return decision.Admission{Freshness: justNow()}, nil
	}
	return decision.Admission{
		Known: true, Tenant: "acme", Domain: domain, Position: 7, LogID: "log", MaxSessions: p.most.Load(), Freshness: justNow(),
		Backends: []decision.Backend{{Address: "backend:5222"}},
	}, nil
}

func (p *table) Open(ctx context.Context, s decision.Session) (decision.Opening, error) {
	if err := p.up(ctx, 5*time.Second); err != nil {
		return decision.Opening{}, err
	}
	p.mu.Lock()
	allowed := !p.ended[string(s.Account)]
	p.mu.Unlock()
	if p.atOpen == string(s.Account) {
		p.end(p.atOpen)
	}
	return decision.Opening{Allowed: allowed, Position: 7, LogID: "log", Freshness: justNow()}, nil
}

func (p *table) Ask(ctx context.Context, qs []decision.Question, vs []decision.Verdict, hold time.Duration) error {
	if err := p.up(ctx, hold); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range qs {
		vs[i] = p.decide(&qs[i])
		vs[i].LogID = "log"
		vs[i].Freshness = justNow()
	}
	return nil
}

func (p *table) decide(q *decision.Question) decision.Verdict {
	d := &q.Desc
	p.asked = append(p.asked, string(d.ID))
	if p.ended[string(q.Session.Account)] || q.Session.Opened != 7 || string(q.Session.OpenedLog) != "log" {
		return decision.Verdict{Effect: decision.End, Reason: decision.RolesChanged}
	}
	if v, ok := p.rules[string(d.ID)]; ok {
		return v
	}
	refuse := func(r decision.Reason) decision.Verdict {
		return decision.Verdict{Effect: decision.Refuse, Reason: r}
	}
	answers := d.Type == stanza.Result || d.Type == stanza.Error
	switch d.Fault {
	case stanza.ForgedFrom:
		return decision.Verdict{Effect: decision.End, Reason: decision.InvalidFrom}
	case stanza.Unsupported:
		if q.Direction == decision.Out {
			return decision.Verdict{Effect: decision.End, Reason: decision.UnsupportedStanzaType}
		}
		return decision.Verdict{Effect: decision.Drop, Reason: decision.UnsupportedStanzaType}
	case stanza.BadIQ, stanza.BadPresenceType:
		return refuse(decision.BadRequest)
	case stanza.BadTo, stanza.BadEmbedded:
		return refuse(decision.JIDMalformed)
	case stanza.NoFault:
	default:
		if d.Type == stanza.Get || d.Type == stanza.Set {
			return refuse(decision.UnavailableUndescribable)
		}
		return decision.Verdict{Effect: decision.Drop, Reason: decision.UnavailableUndescribable}
	}
	if p.joined[string(d.ID)] && !q.Joined {
		return decision.Verdict{Effect: decision.Drop, Reason: decision.NoPermission}
	}
	peer := d.From
	if q.Direction == decision.Out {
		peer = d.To
	}
	if d.Kind == stanza.IQ && answers && !peer.IsZero() && !q.Outstanding {
		return decision.Verdict{Effect: decision.Drop, Reason: decision.NotOutstanding}
	}
	return decision.Verdict{Effect: decision.Pass, Position: 7, LogID: "log"}
}

// end revokes the account's sessions and notifies the gateway.
func (p *table) end(account string) {
	p.mu.Lock()
	p.ended[account] = true
	p.mu.Unlock()
	p.recheck(decision.Revocation{Tenant: "acme", Account: account, Position: 9, LogID: "log"})
}

func (p *table) rule(t *testing.T, f []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f[1] == "joined" {
		p.joined[f[0]] = true
		return
	}
	v := decision.Verdict{Position: 7, LogID: "log"}
	for e := decision.Pass; e <= decision.End; e++ {
		if e.String() == f[1] {
			v.Effect = e
		}
	}
	reasons := map[string]decision.Reason{
		"NoRequest": decision.NoRequest, "NoMessage": decision.NoMessage, "NoPresence": decision.NoPresence,
		"Unavailable": decision.Unavailable, "PushRefused": decision.PushRefused,
		"RolesChanged": decision.RolesChanged, "NoPermission": decision.NoPermission,
		"JIDMalformed": decision.JIDMalformed, "NotAcceptable": decision.NotAcceptable,
	}
	if len(f) > 2 {
		r, ok := reasons[f[2]]
		if !ok {
			t.Fatalf("unknown reason %q", f[2])
		}
		v.Reason = r
	}
	if len(f) > 3 {
		v.Permission = f[3]
	}
	p.rules[f[0]] = v
}
