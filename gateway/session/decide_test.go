package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/xmpp/stanza"
	"github.com/postern-im/postern/xmpp/stream"
)

// poisoned passes everything, but cannot decide a batch that contains the
// question with this id.
type poisoned struct{ id uint64 }

func (p poisoned) Ask(_ context.Context, qs []decision.Question, vs []decision.Verdict, _ time.Duration) error {
	for i := range qs {
		if qs[i].ID == p.id {
			return fmt.Errorf("question %d: %w", i, decision.ErrUndecidable)
		}
	}
	for i := range vs {
		vs[i] = decision.Verdict{Effect: decision.Pass}
	}
	return nil
}

// TestUndecidable checks that a stanza which a node cannot decide is refused,
// in both directions, while the stanzas beside it are decided and the session
// continues.
func TestUndecidable(t *testing.T) {
	shared, err := NewShared(poisoned{id: 2}, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		dir  decision.Direction
		desc stanza.Descriptor
		want decision.Verdict
	}{
		{decision.Out, stanza.Descriptor{Kind: stanza.Message, Type: stanza.Chat}, decision.Verdict{Effect: decision.Refuse, Reason: decision.NotAcceptable}},
		{decision.Out, stanza.Descriptor{Kind: stanza.IQ, Type: stanza.Result}, decision.Verdict{Effect: decision.Drop, Reason: decision.NotAcceptable}},
		{decision.In, stanza.Descriptor{Kind: stanza.Message, Type: stanza.Chat}, decision.Verdict{Effect: decision.Drop, Reason: decision.NotAcceptable}},
		{decision.In, stanza.Descriptor{Kind: stanza.IQ, Type: stanza.Get}, decision.Verdict{Effect: decision.Refuse, Reason: decision.UnavailableUndescribable}},
		{decision.In, stanza.Descriptor{Kind: stanza.IQ, Type: stanza.Error}, decision.Verdict{Effect: decision.Drop, Reason: decision.NotAcceptable}},
	} {
		p := &pump{s: &Session{shared: shared}, dir: c.dir}
		qs := []decision.Question{{ID: 1}, {ID: 2, Desc: c.desc}, {ID: 3}}
		vs := make([]decision.Verdict, len(qs))
		if err := p.decide(t.Context(), qs, vs); err != nil {
			t.Fatal(err)
		}
		got := vs[1]
		if vs[0].Effect != decision.Pass || got != c.want || vs[2].Effect != decision.Pass {
			t.Errorf("direction %d, type %d: %v, want pass, %v, pass", c.dir, c.desc.Type, vs, c.want)
		}
	}
}

// TestLargeBuffers checks the limits on large buffers: of an account, of a
// tenant, and in total. A session that waits too long for a permit gets an
// error. A returned permit serves the next session.
func TestLargeBuffers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared, err := NewShared(poisoned{}, slog.New(slog.NewTextHandler(io.Discard, nil)))
		if err != nil {
			t.Fatal(err)
		}
		var held []*batch
		// take takes a permit for the account, or returns an error if that
		// takes too long.
		take := func(d decision.Direction, tenant string, account int) error {
			b := newBatch(stream.Config{})
			b.buf = make([]byte, largeBuffer)
			who := &decision.Session{Tenant: []byte(tenant), Account: fmt.Appendf(nil, "user%d@%s.test", account, tenant)}
			err := shared.roomFor(t.Context(), d, who, b, time.Second)
			if err == nil {
				held = append(held, b)
			}
			return err
		}
		refused := func(what, tenant string, account int) {
			t.Helper()
			var told *stream.Error
			if err := take(decision.In, tenant, account); !errors.As(err, &told) || told.Condition != "resource-constraint" {
				t.Errorf("%s: %v", what, err)
			}
		}
		for tenant := range maxLarge / largePerTenant {
			name := fmt.Sprint("tenant", tenant)
			for i := range largePerTenant {
				if err := take(decision.In, name, i/largePerAccount); err != nil {
					t.Fatal(err)
				}
				if i == largePerAccount-1 {
					refused("one too many of an account", name, 0)
				}
			}
			refused("one too many of a tenant", name, 99)
		}
		refused("one too many", "other", 0)
		if err := take(decision.Out, "other", 0); err != nil {
			t.Errorf("in the other direction: %v", err)
		}
		small := newBatch(stream.Config{})
		if err := shared.roomFor(t.Context(), decision.In, new(decision.Session), small, time.Second); err != nil {
			t.Errorf("a small buffer: %v", err)
		}
		waited := make(chan error)
		go func() { waited <- take(decision.In, "other", 0) }()
		synctest.Wait()
		held[0].reset()
		if err := <-waited; err != nil {
			t.Errorf("after a permit was returned: %v", err)
		}
		for _, b := range held {
			b.reset()
		}
		for _, l := range shared.large {
			if l.taken != 0 || l.byTenant.Keys() != 0 || l.byAccount.Keys() != 0 {
				t.Errorf("left: %+v", l)
			}
		}
	})
}

// TestResetForgetsLargeDescriptions checks that a batch releases the memory of
// large descriptions before it returns to the pool.
func TestResetForgetsLargeDescriptions(t *testing.T) {
	b := newBatch(stream.Config{Limits: stream.ClientLimits()})
	el, err := b.framer.ParseStanza(fmt.Appendf(nil, "<iq type='get' id='%0100d'><a xmlns='u:a'/></iq>", 0))
	if err != nil {
		t.Fatal(err)
	}
	for range maxBatch {
		d := b.desc()
		d.Describe(el)
		b.qs = append(b.qs, decision.Question{Desc: *d})
	}
	b.reset()
	if len(b.descs) == 0 {
		t.Error("small descriptions are not kept for the next batch")
	}
	wide := []byte("<message>")
	for range stanza.MaxPayloads {
		wide = fmt.Appendf(wide, "<a xmlns='u:%01000d'/>", 0)
	}
	if el, err = b.framer.ParseStanza(append(wide, "</message>"...)); err != nil {
		t.Fatal(err)
	}
	b.descs[0].Describe(el)
	if b.reset(); len(b.descs) != 0 {
		t.Errorf("%d bytes of a large description are kept", b.descs[0].Size())
	}
}
